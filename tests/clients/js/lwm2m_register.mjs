// A registration's life with npm's coap: begun, renewed, ended, and gone.
//
//     node lwm2m_register.mjs CASE.json
import { CASE, client, hold, same } from "./case.mjs";

const coap = client("coap");
const agent = new coap.Agent({ type: "udp4" });

function ask(method, pathname, { query, body, format } = {}) {
  const request = coap.request({ host: "127.0.0.1", port: CASE.coap_port, method, pathname, query, agent });
  if (format) request.setOption("Content-Format", format);
  // In blocks of 1024 bytes, where it is longer than one.
  if (body) request.setOption("Block1", Buffer.of(6));
  return new Promise((answered, failed) => {
    request.on("response", answered);
    request.on("error", failed);
    request.end(body);
  });
}

// Longer than a block: it goes in several.
const links = ["</1/0>", "</3/0>", "</5/0>", ...Array.from({ length: 200 }, (_, index) => `</3303/${index}>`)].join(",");
const registered = await ask("POST", "/rd", {
  query: `ep=${CASE.device}&lt=60&lwm2m=1.1&b=U`,
  body: Buffer.from(links),
  format: "application/link-format",
});
same(registered.code, "2.01", "the registration");
// Its headers keep the last of options that come more than once.
const segments = registered.options.filter((option) => option.name === "Location-Path");
const location = segments.map((option) => `/${option.value}`).join("");
hold(location.startsWith("/rd/"), `a location of its own: ${location}`);
same((await ask("POST", location, { query: "lt=120" })).code, "2.04", "the renewal");
same((await ask("DELETE", location)).code, "2.02", "the end");
same((await ask("POST", location)).code, "4.04", "a renewal of what has ended");
process.exit(0);
