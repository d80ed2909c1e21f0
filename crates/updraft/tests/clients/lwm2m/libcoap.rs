//! libcoap's client, as Debian builds it on OpenSSL: a registration by hand.

use crate::program::{Kind, Running};
use crate::server::Server;

const DEVICE: &str = "by-hand-1";
/// A key that can be typed: the client takes it as text.
const KEY: &str = "sesame-sesame-16";
const LINKS: &str = "</1/0>,</3/0>,</5/0>";

/// Sends a request with a body; what the client printed, an answer's error among it.
fn ask(server: &Server, key: &str, path: &str, body: &str) -> String {
    let mut command = Kind::Libcoap.command("", server.folder());
    let uri = format!("{}{path}", server.coaps());
    command.args(["-m", "post", "-t", "40", "-B", "5", "-v", "7", "-e", body, "-u", DEVICE, "-k", key, &uri]);
    // It prints an error of the server's, and ends well; it ends well without an answer, too.
    command.stderr(std::fs::File::create(server.path("libcoap.err")).unwrap());
    Running::start(command).must_hold() + &std::fs::read_to_string(server.path("libcoap.err")).unwrap()
}

fn server() -> Option<Server> {
    if !Kind::Libcoap.is_present() {
        return None;
    }
    let server = Server::also_with("");
    let digits: String = KEY.bytes().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(server.path("key"), digits).unwrap();
    let create = ["token", "create", "--device", DEVICE, "--psk", "--identity", DEVICE, "--key-file", "key"];
    server.verb(&create);
    Some(server)
}

#[test]
fn libcoaps_client_registers_over_dtls_with_a_key_it_brought_along() {
    let Some(server) = server() else { return };
    let printed = ask(&server, KEY, &format!("/rd?ep={DEVICE}&lt=60&lwm2m=1.1&b=U"), LINKS);
    assert!(printed.contains("Location-Path:rd"), "{printed}");
    let standing = server.await_standing(DEVICE);
    assert_eq!(standing["objects"], serde_json::json!(["/1/0", "/3/0", "/5/0"]), "{standing}");
    server.end();
}

#[test]
fn libcoaps_client_with_a_wrong_key_or_another_devices_name_is_not_registered() {
    let Some(server) = server() else { return };
    ask(&server, "open-open-open-1", &format!("/rd?ep={DEVICE}&lt=60&lwm2m=1.1&b=U"), LINKS);
    let printed = ask(&server, KEY, "/rd?ep=somebody-else&lt=60&lwm2m=1.1&b=U", LINKS);
    assert!(printed.contains("4.0"), "{printed}");
    for device in [DEVICE, "somebody-else"] {
        assert_eq!(server.verb_if(&["lwm2m", "show", device]), None);
    }
    server.end();
}
