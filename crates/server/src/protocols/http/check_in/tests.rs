use super::*;
use updraft_core::state::FailureReason;

fn native_body(update: &str) -> Vec<u8> {
    format!(r#"{{"id":"d-1","product":"p","version":"1.0.0","boot":3,"update":{update}}}"#).into_bytes()
}

fn word(update: &str) -> Word {
    native(&native_body(update)).unwrap().report.progress.unwrap().word
}

#[test]
fn each_state_on_the_wire_has_its_word() {
    for (state, expected) in [
        ("downloading", Word::Downloading),
        ("downloaded", Word::Downloaded),
        ("installing", Word::Installing),
        ("rebooting", Word::Rebooting),
        ("trial", Word::Trial),
        ("succeeded", Word::Succeeded),
        ("failed", Word::Failed(FailureReason::InstallFailed)),
        ("rolled_back", Word::Failed(FailureReason::RolledBack)),
        ("rejected", Word::Rejected),
    ] {
        assert_eq!(word(&format!(r#"{{"job":"r1-1","state":"{state}"}}"#)), expected, "{state}");
    }
}

#[test]
fn each_reason_on_the_wire_has_its_reason() {
    for (reason, expected) in [
        ("insufficient_storage", FailureReason::InsufficientStorage),
        ("out_of_memory", FailureReason::OutOfMemory),
        ("connection_lost", FailureReason::ConnectionLost),
        ("integrity_check_failed", FailureReason::IntegrityCheckFailed),
        ("unsupported_package", FailureReason::UnsupportedPackage),
        ("downgrade", FailureReason::UnsupportedPackage),
        ("invalid_uri", FailureReason::InvalidUri),
        ("install_failed", FailureReason::InstallFailed),
        ("unsupported_protocol", FailureReason::UnsupportedProtocol),
        ("cancelled", FailureReason::Cancelled),
        ("deferred", FailureReason::Deferred),
        ("rolled_back", FailureReason::RolledBack),
    ] {
        let update = format!(r#"{{"job":"r1-1","state":"failed","reason":"{reason}"}}"#);
        assert_eq!(word(&update), Word::Failed(expected), "{reason}");
    }
}

#[test]
fn only_an_end_is_noted() {
    for (state, ends) in [
        ("downloading", false),
        ("trial", false),
        ("succeeded", true),
        ("failed", true),
        ("rolled_back", true),
        ("rejected", true),
    ] {
        let said = native(&native_body(&format!(r#"{{"job":"r1-1","state":"{state}"}}"#))).unwrap();
        assert_eq!(said.ended.is_some(), ends, "{state}");
    }
}

#[test]
fn more_than_all_of_it_is_all_of_it() {
    let said = native(&native_body(r#"{"job":"r1-1","state":"downloading","progress":250}"#)).unwrap();
    assert_eq!(said.report.progress.unwrap().percent, Some(100));
}

#[test]
fn what_a_device_is_cannot_be_contradicted_by_its_attributes() {
    let body = br#"{"id":"d-1","product":"p","version":"1.0.0","boot":1,
        "attributes":{"id":"other","product":"q","version":"9.0.0","pro":true}}"#;
    let description = native(body).unwrap().report.description.unwrap();
    for (name, value) in [("id", "d-1"), ("product", "p"), ("version", "1.0.0")] {
        assert_eq!(description.attributes.get(name).and_then(Value::as_str), Some(value));
    }
    assert_eq!(description.attributes.get("pro"), Some(&Value::Bool(true)));
}

#[test]
fn the_c_updaters_last_comma_is_forgiven_and_nothing_else_is() {
    let good = [
        r#"{"id":"d","product":"p","version":"1.0.0",}"#,
        "{\"id\":\"d\",\"product\":\"p\",\"version\":\"1.0.0\" ,\r\n }\n",
    ];
    for body in good {
        assert_eq!(ioto(body.as_bytes()).unwrap().device.as_str(), "d", "{body}");
    }
    for body in [
        "",
        ",",
        ",}",
        "{,}",
        r#"{"id":"d",,}"#,
        r#"{"id":"d","product":"p","version":"1.0.0",},}"#,
        r#"{"id":"d","product":"p","version":"1.0.0","list":[1,]}"#,
        r#"{"id":"d","product":"p","version":"1.0.0","a":"b"#,
    ] {
        assert!(ioto(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn an_updaters_report_becomes_a_restart_or_a_failed_installation() {
    for (success, expected) in [
        ("true", Word::Rebooting),
        ("\"true\"", Word::Rebooting),
        ("false", Word::Failed(FailureReason::InstallFailed)),
        ("\"false\"", Word::Failed(FailureReason::InstallFailed)),
    ] {
        let body = format!(r#"{{"success":{success},"id":"d","update":"r1-2"}}"#);
        let (device, progress) = ioto_report(body.as_bytes()).unwrap();
        assert_eq!((device.as_str(), progress.attempt, progress.word), ("d", 2, expected), "{success}");
    }
}
