//! What operators ask of single devices.

use crate::device::{Device, both, plain, stage};
use crate::stage::Stage;
use serde_json::{Value, json};
use std::sync::mpsc;
use std::time::Duration;
use updraft_lwm2m::client::Config;

/// Gives an order while the device goes on; the answer's status and body.
#[track_caller]
fn order(stage: &Stage, device: &mut Device, body: &Value) -> (u16, Value) {
    let (answer, answered) = mpsc::channel();
    std::thread::scope(|scope| {
        let body = body.to_string();
        scope.spawn(move || {
            let got = stage.operate("POST", "/devices/d/lwm2m/orders", body.as_bytes());
            answer.send((got.status, serde_json::from_slice(&got.body).unwrap())).unwrap();
        });
        let mut got = None;
        device.until("the order's answer", |_| {
            got = answered.try_recv().ok();
            got.is_some()
        });
        got.unwrap()
    })
}

#[test]
fn a_device_is_read_written_and_executed_by_order() {
    let stage = stage(|_| ());
    let mut device = Device::plain(plain(&stage), "d").registered();
    let (status, read) = order(&stage, &mut device, &json!({ "operation": "read", "path": "/3/0/0" }));
    assert_eq!((status, &read["outcome"]["tree"][0]["value"]), (200, &json!("Acme")), "{read}");
    let (status, written) =
        order(&stage, &mut device, &json!({ "operation": "write", "path": "/1/0/1", "value": "120" }));
    assert_eq!((status, &written["outcome"]["result"]), (200, &json!("done")), "{written}");
    let (_, refused) = order(&stage, &mut device, &json!({ "operation": "read", "path": "/9/0/0" }));
    assert_eq!(refused["outcome"]["code"], "4.04", "{refused}");
    let (_, observed) = order(&stage, &mut device, &json!({ "operation": "observe", "path": "/4/0/2" }));
    assert_eq!(observed["outcome"]["tree"][0]["value"], -97, "{observed}");
    let now = device.now();
    device.client.set_connectivity(now, |connectivity| connectivity.signal_strength = -50);
    device.while_looking("the change", || {
        let answer = stage.operate("GET", "/devices/d/lwm2m", b"");
        String::from_utf8_lossy(&answer.body).contains("-50")
    });
}

#[test]
fn an_order_for_a_device_that_sleeps_waits_also_over_a_restart_and_is_done_when_it_wakes() {
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut stage = stage(|config| config.protocols.lwm2m.plain_listen = Some(port));
    let config = Config { is_queued: true, awake_for: Duration::from_millis(200), ..Config::new("d") };
    let mut device = Device::new(port, config, None, both()).registered();
    device.while_looking("to be known", || stage.operate("GET", "/devices/d", b"").status == 200);
    // The server knows no line of it any more: it is held to be asleep.
    stage.restart();
    let body = json!({ "operation": "read", "path": "/3/0/0" }).to_string();
    let waits = stage.operate("POST", "/devices/d/lwm2m/orders", body.as_bytes());
    assert_eq!(waits.status, 202, "{}", waits.text());
    stage.restart();
    let now = device.now();
    device.client.update(now);
    device.while_looking("the order to be done", || {
        let answer = stage.operate("GET", "/devices/d/lwm2m/orders", b"");
        answer.text().contains("Acme")
    });
}

#[test]
fn a_device_that_is_not_registered_cannot_be_asked() {
    let stage = stage(|_| ());
    stage.check_in(
        &stage.device_token("d"),
        &json!({ "id": "d", "product": crate::stage::PRODUCT, "version": "1.0.0", "boot": 1 }),
    );
    let body = json!({ "operation": "read", "path": "/3/0/0" }).to_string();
    let answer = stage.operate("POST", "/devices/d/lwm2m/orders", body.as_bytes());
    assert_eq!(answer.status, 404, "{}", answer.text());
}
