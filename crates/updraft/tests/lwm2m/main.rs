//! `updraft lwm2m`: the real program against the real operator API, with a stand-in for the device.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod server;

use serde_json::{Value, json};
use server::{DEVICE, Server, entry};
use updraft_server::protocols::lwm2m::desk::Outcome;

/// The outcomes of a device that is awake.
fn script(server: &Server) {
    let battery = Outcome::Content(vec![entry("/3/0/9", 87)]);
    let all = Outcome::Content(vec![entry("/3/0/0", "Acme\u{1b}[2J"), entry("/3/0/9", 87)]);
    let links = Outcome::Links("</3/0>;pmin=1,</3/0/9>".to_owned());
    server.device.lock().unwrap().outcomes.extend([
        (("Read", "/3/0/9"), battery.clone()),
        (("Read", "/3"), all),
        (("Read", "/7"), Outcome::Content(Vec::new())),
        (("Observe", "/3/0/9"), battery),
        (("Ignore", "/3/0/9"), Outcome::Done),
        (("Discover", "/3/0"), links),
        (("Write(\"-60\")", "/3/0/13"), Outcome::Done),
        (("Execute(None)", "/3/0/4"), Outcome::Done),
        (("Execute(Some(\"0='x',1\"))", "/3/0/5"), Outcome::Done),
        (("Read", "/5"), Outcome::NoAnswer("it was not heard for 93 s".to_owned())),
    ]);
}

#[test]
fn each_verb_asks_the_device_and_prints_what_came_of_it() {
    let server = Server::new();
    script(&server);
    for (arguments, code, out) in [
        (vec!["read", DEVICE, "/3/0/9"], 0, "PATH    NAME           VALUE\n/3/0/9  Battery Level  87\n"),
        (vec!["read", DEVICE, "3/0/9"], 0, "PATH    NAME           VALUE\n/3/0/9  Battery Level  87\n"),
        (vec!["read", DEVICE, "/7"], 0, "there is nothing\n"),
        (vec!["discover", DEVICE, "/3/0"], 0, "</3/0>;pmin=1\n</3/0/9>\n"),
        (vec!["ignore", DEVICE, "/3/0/9"], 0, "done\n"),
        (vec!["write", DEVICE, "/3/0/13", "-60"], 0, "done\n"),
        (vec!["exec", DEVICE, "/3/0/4"], 0, "done\n"),
        (vec!["exec", DEVICE, "/3/0/5", "0='x',1"], 0, "done\n"),
        (vec!["read", DEVICE, "/5"], 1, "cam-1 did not answer: it was not heard for 93 s\n"),
    ] {
        let ran = server.run(&[&["lwm2m"], arguments.as_slice()].concat());
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (code, out, ""), "{arguments:?}");
    }
    let read = server.run(&["lwm2m", "read", DEVICE, "/3"]);
    assert!(
        read.out.contains("Manufacturer   Acme\u{fffd}[2J\n"),
        "no escape sequence of a device: {read:?}"
    );
    let refused = server.run(&["lwm2m", "exec", DEVICE, "/3/0/6"]);
    assert_eq!(refused.code, 1);
    assert!(refused.out.starts_with("cam-1 refused: 4.05 method not allowed"), "{refused:?}");
    assert!(!refused.out.contains('\u{1b}'), "{refused:?}");
    server.end();
}

#[test]
fn json_has_the_fields_of_the_api() {
    let server = Server::new();
    script(&server);
    let battery = json!({"path": "/3/0/9", "name": "Battery Level", "type": "integer", "value": 87});
    let placed = json!({"number": 1, "waits": false, "outcome": {"result": "content", "tree": [battery]}});
    assert_eq!(server.json(&["lwm2m", "read", DEVICE, "/3/0/9"]), (0, placed));
    let (code, refused) = server.json(&["lwm2m", "read", DEVICE, "/6"]);
    assert_eq!((code, &refused["outcome"]["code"]), (1, &json!("4.05")));
    let (_, orders) = server.json(&["lwm2m", "orders", DEVICE]);
    let numbers: Vec<_> = orders.as_array().unwrap().iter().map(|order| order["number"].clone()).collect();
    assert_eq!(numbers, [json!(1), json!(2)]);
    server.device.lock().unwrap().looks = vec![vec![entry("/3/0/9", 87)]];
    let (_, standing) = server.json(&["lwm2m", "show", DEVICE]);
    assert_eq!((&standing["tree"], &standing["awake"]), (&json!([battery]), &json!(false)));
    server.end();
}

#[test]
fn an_order_for_a_device_that_sleeps_waits_and_its_outcome_can_be_waited_for() {
    let server = Server::new();
    server.device.lock().unwrap().is_asleep = true;
    let ran = server.run(&["lwm2m", "read", DEVICE, "/3/0/9"]);
    let waits = "cam-1 sleeps: the order waits, number 1; see `updraft lwm2m orders cam-1`\n";
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, waits, ""));
    let waiting = server.waiting.lock().unwrap();
    waiting.recv().unwrap();
    let orders = server.run(&["lwm2m", "orders", DEVICE]);
    let line = orders.out.lines().nth(1).unwrap();
    assert!(line.contains("read /3/0/9") && line.ends_with("waits"), "{orders:?}");
    // Nobody wakes it.
    let ran = server.run(&["lwm2m", "exec", DEVICE, "/3/0/4", "--wait", "1"]);
    assert_eq!(
        (ran.code, ran.out.contains("number 2"), ran.err.contains("number 2")),
        (1, true, true),
        "{ran:?}"
    );
    let (code, placed) = server.json(&["lwm2m", "exec", DEVICE, "/3/0/4", "--wait", "1"]);
    assert_eq!((code, placed), (1, json!({"number": 3, "waits": true})));
    for _ in 2..=3 {
        waiting.recv().unwrap();
    }
    std::thread::scope(|scope| {
        let read = scope.spawn(|| server.run(&["lwm2m", "read", DEVICE, "/3/0/9", "--wait", "300"]));
        let order = waiting.recv().unwrap();
        server.wake(order, Outcome::Content(vec![entry("/3/0/9", 12)]));
        let ran = read.join().unwrap();
        assert_eq!((ran.code, ran.out.contains("Battery Level  12")), (0, true), "{ran:?}");
        let write =
            scope.spawn(|| server.json(&["lwm2m", "write", DEVICE, "/3/0/15", "UTC", "--wait", "300"]));
        server.wake(waiting.recv().unwrap(), Outcome::Refused("4.01".to_owned(), String::new()));
        let (code, placed) = write.join().unwrap();
        assert_eq!((code, &placed["waits"], &placed["outcome"]["code"]), (1, &json!(false), &json!("4.01")));
    });
    drop(waiting);
    server.end();
}

#[test]
fn an_observation_is_followed_for_a_time_or_until_the_device_is_gone() {
    let server = Server::new();
    script(&server);
    let observe = ["lwm2m", "observe", DEVICE, "/3/0/9"];
    let ran = server.run(&observe);
    assert!(ran.code == 0 && ran.out.contains("Battery Level  87"), "{ran:?}");
    assert!(ran.err.contains("`updraft device show cam-1`; --follow"), "{ran:?}");
    let look = |battery: i64| vec![entry("/3/0/8", battery), entry("/3/0/9", battery)];
    server.device.lock().unwrap().looks = vec![look(87), look(86), look(86), look(85)];
    let ran = server.run(&[&observe[..], &["--follow", "--for", "300"]].concat());
    assert!(ran.code == 1 && ran.err.contains("device cam-1 is not registered by LwM2M"), "{ran:?}");
    let changes: Vec<_> = ran.out.lines().skip(2).map(|line| line.split_once("  ").unwrap().1).collect();
    assert_eq!(changes, ["/3/0/9 Battery Level = 86", "/3/0/9 Battery Level = 85"], "{ran:?}");
    server.device.lock().unwrap().looks = vec![look(80); 100];
    let ran = server.run(&[&observe[..], &["--follow", "--for", "1", "--json"]].concat());
    assert_eq!(ran.code, 0, "its time is over: {ran:?}");
    let lines: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[1]["value"]), (2, &json!(80)), "the order, and one change: {ran:?}");
    server.end();
}

#[test]
fn a_registered_device_is_shown_with_its_tree_and_another_without() {
    let server = Server::new();
    server.device.lock().unwrap().looks = vec![vec![entry("/3/0/9", 87), entry("/5/0/3", 0)]];
    let shown = server.run(&["device", "show", DEVICE]);
    assert_eq!(shown.code, 0, "{shown:?}");
    for part in [
        "LwM2M\n  endpoint    cam-1, LwM2M 1.1\n",
        "from 192.0.2.7:50412, proved by a pre-shared key\n",
        "  sleeps      between its words; asleep now\n  objects     /3/0 /5/0\n",
        "  orders      1 wait; see `updraft lwm2m orders cam-1`\n",
        "  PATH    NAME           VALUE\n  /3/0/9  Battery Level  87\n  /5/0/3  State          0\n",
    ] {
        assert!(shown.out.contains(part), "{part}: {shown:?}");
    }
    // The looks are over: it is not registered.
    let shown = server.run(&["device", "show", DEVICE]);
    assert!(shown.code == 0 && !shown.out.contains("LwM2M"), "{shown:?}");
    server.end();
}

#[test]
fn what_cannot_be_asked_is_an_error_that_says_why() {
    let server = Server::new();
    for (arguments, part) in [
        (vec!["read", DEVICE, "/rd"], "path: a segment of a path is a number"),
        (vec!["read", DEVICE, "/"], "path: read takes an object"),
        (vec!["exec", DEVICE, "/3"], "path: execute takes a resource, such as /3/0/4"),
        (vec!["write", DEVICE, "/1/0/1", "soon"], "value: /1/0/1 holds a whole number"),
        (vec!["read", "cam-2", "/3"], "did you mean cam-1?"),
        (vec!["show", DEVICE], "device cam-1 is not registered by LwM2M"),
    ] {
        let ran = server.run(&[&["lwm2m"], arguments.as_slice()].concat());
        assert!(ran.code == 1 && ran.out.is_empty() && ran.err.contains(part), "{arguments:?}: {ran:?}");
    }
    for arguments in [
        vec!["read", DEVICE],
        vec!["write", DEVICE, "/1/0/1"],
        vec!["read", DEVICE, "/3", "--wait", "0"],
        vec!["read", DEVICE, "/3", "--follow"],
        vec!["observe", DEVICE, "/3", "--for", "9"],
    ] {
        let ran = server.run(&[&["lwm2m"], arguments.as_slice()].concat());
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
    }
    let none = server.run(&["lwm2m", "orders", DEVICE]);
    assert_eq!((none.code, none.out.as_str(), none.err.as_str()), (0, "", "no orders\n"));
    server.end();
}
