// The device state replica with mqtt (MQTT.js): `mqtt_replica.mjs CASE 4|5 tcp|tls|wss`; 4 is MQTT 3.1.1.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { get } from "node:https";

import { CASE, Inbox, PATIENCE, WORDS, client, end, hold, same, verb } from "./case.mjs";

const mqtt = client("mqtt");
const [protocol, transport] = WORDS;
const { device, host } = CASE;
const ca = readFileSync(CASE.ca);
const paths = ["update/delta", "update/accepted", "update/rejected", "get/accepted"];

function connect() {
  const url = {
    tcp: `mqtt://${host}:${CASE.plain_port}`,
    tls: `mqtts://${host}:${CASE.mqtt_port}`,
    wss: `wss://${host}:${CASE.wss_port}/mqtt`,
  }[transport];
  return mqtt.connectAsync(url, {
    protocolVersion: Number(protocol),
    clientId: device,
    username: device,
    password: CASE.token,
    ca,
    clean: true,
    reconnectPeriod: 0,
    connectTimeout: PATIENCE,
  });
}

function download(url) {
  return new Promise((resolve, reject) => {
    get(url, { ca }, (answer) => {
      hold(answer.statusCode === 200, `${url} answers ${answer.statusCode}`);
      const digest = createHash("sha256");
      answer.on("data", (bytes) => digest.update(bytes));
      answer.on("end", () => resolve(digest.digest("hex")));
    }).on("error", reject);
  });
}

function value(payload) {
  const text = payload.toString();
  return text.startsWith("{") ? JSON.parse(text) : text;
}

const here = await connect();
const inboxes = Object.fromEntries(paths.map((path) => [`state/${device}/${path}`, new Inbox(path)]));
const inbox = (path) => inboxes[`state/${device}/${path}`];
here.on("message", (topic, payload) => {
  hold(topic in inboxes, `a message came to ${topic}`);
  inboxes[topic].put(value(payload));
});
for (const grant of await here.subscribeAsync(Object.keys(inboxes), { qos: 1 })) {
  hold(grant.qos <= 2, `a device may not hear ${grant.topic}`);
}
const say = (path, body) =>
  here.publishAsync(`state/${device}/${path}`, typeof body === "string" ? body : JSON.stringify(body), { qos: 1 });

await say("update", { state: { reported: { product: CASE.product, version: "1.0.0", boot: 1, ports: [1, 2] } } });
const accepted = await inbox("update/accepted").next("the report is accepted");
same(accepted.state.reported.ports, [1, 2], "what was accepted");
verb("rollout", "start", "--product", CASE.product, "--version", CASE.version);
const delta = await inbox("update/delta").next("the difference names the software");
same(await download(delta.state.softwareURL), CASE.image_sha256, "the digest of what was downloaded");
await say("update", `jobID:${delta.state.jobID} SUCCESS`);
await inbox("update/accepted").next("the acknowledgement is accepted");
await say("get", "");
const { state } = await inbox("get/accepted").next("the state is told");
same([state.reported.version, state.delta?.softwareURL], [CASE.version, undefined], "what runs, and what is left to do");
// A large message of the device: QoS 2, in several TLS records.
await here.publishAsync(
  `state/${device}/update`,
  JSON.stringify({ state: { reported: { note: "x".repeat(6_000) } } }),
  { qos: 2 },
);
await inbox("update/accepted").next("a long report at QoS 2 is accepted");
await inbox("update/rejected").isSilent("but all was as it should be");
await here.endAsync();
end();
