use std::time::Duration;

use super::World;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::auth::Principal;
use crate::pki::client::named_device;

#[tokio::test]
async fn a_token_is_shown_once_and_is_good_until_it_is_revoked() {
    let world = World::new();
    let (status, made) = world.post("/tokens", &json!({"device": "cam-1", "note": "bench 3"})).await;
    assert_eq!((status, &made["kind"], &made["subject"]), (201, &json!("device"), &json!("cam-1")));
    let token = made["token"].as_str().unwrap();
    let device = Principal::Device("cam-1".parse().unwrap());
    assert_eq!(world.auth.verify(token, world.engine.now()), Some(device));
    let (_, listed) = world.get("/tokens").await;
    assert!(!listed.to_string().contains(token), "a list shows no secret");
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "ann's and the device's");
    let path = format!("/tokens/{}/revoke", made["id"].as_str().unwrap());
    let (status, revoked) = world.call("POST", &path, "").await;
    assert_eq!((status, revoked["revoked"].is_string()), (200, true));
    assert_eq!(world.auth.verify(token, world.engine.now()), None);
    assert_eq!(world.call("POST", &path, "").await, (200, revoked), "revoking twice changes nothing");
    world.end();
}

#[tokio::test]
async fn a_token_stands_for_exactly_one_well_named_subject() {
    let world = World::new();
    let long = "n".repeat(257);
    for (body, code) in [
        (json!({}), "subject_invalid"),
        (json!({"device": "a", "product": "b"}), "subject_invalid"),
        (json!({"device": "a/b"}), "name_invalid"),
        (json!({"product": "\u{0}"}), "name_invalid"),
        (json!({"operator": ""}), "name_invalid"),
        (json!({"device": "a", "expires_in": "0s"}), "duration_invalid"),
        (json!({"device": "a", "expires_in": "4000d"}), "duration_invalid"),
        (json!({"device": "a", "note": long}), "note_too_long"),
    ] {
        let (status, answer) = world.post("/tokens", &body).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some(code)), "{body}");
    }
    for body in
        [json!({"product": "cam"}), json!({"operator": "bob"}), json!({"device": "a", "expires_in": "7d"})]
    {
        assert_eq!(world.post("/tokens", &body).await.0, 201, "{body}");
    }
    world.end();
}

#[tokio::test]
async fn an_access_key_is_shown_once_and_its_secret_is_the_one_that_signatures_are_checked_by() {
    let world = World::new();
    for (body, principal) in [
        (json!({"device": "cam-1", "form": "access_key"}), Principal::Device("cam-1".parse().unwrap())),
        (json!({"operator": "ci", "form": "access_key"}), Principal::Operator("ci".parse().unwrap())),
    ] {
        let (status, made) = world.post("/tokens", &body).await;
        assert_eq!((status, &made["form"]), (201, &json!("access_key")));
        let (id, secret) = (made["accessKeyId"].as_str().unwrap(), made["secretAccessKey"].as_str().unwrap());
        let key = world.auth.access_key(id, world.engine.now()).unwrap();
        assert_eq!((key.principal, key.secret.reveal()), (principal, secret));
        let (_, listed) = world.get("/tokens").await;
        assert!(!listed.to_string().contains(secret), "a list shows no secret");
        let path = format!("/tokens/{}/revoke", made["id"].as_str().unwrap());
        world.call("POST", &path, "").await;
        assert_eq!(world.auth.access_key(id, world.engine.now()), None);
    }
    world.end();
}

#[tokio::test]
async fn a_pre_shared_key_is_shown_once_with_its_identity_and_is_the_one_of_handshakes() {
    let world = World::new();
    let (status, made) = world.post("/tokens", &json!({"device": "cam-1", "form": "psk"})).await;
    assert_eq!((status, &made["form"], &made["subject"]), (201, &json!("psk"), &json!("cam-1")));
    let (identity, key) = (made["identity"].as_str().unwrap(), made["key"].as_str().unwrap());
    let found = world.auth.psk(identity.as_bytes(), world.engine.now()).unwrap();
    assert_eq!((found.device.as_str(), found.key), ("cam-1", key.parse().unwrap()));
    let (_, listed) = world.get("/tokens").await;
    assert!(!listed.to_string().contains(key), "a list shows no secret");
    assert!(listed.to_string().contains(identity), "and names what is revoked");
    let path = format!("/tokens/{}/revoke", made["id"].as_str().unwrap());
    world.call("POST", &path, "").await;
    assert_eq!(world.auth.psk(identity.as_bytes(), world.engine.now()), None);
    world.end();
}

#[tokio::test]
async fn a_key_that_a_device_was_made_with_is_taken_in_once_and_never_shown() {
    let world = World::new();
    let key = "000102030405060708090a0b0c0d0e0f";
    let body = json!({"device": "cam-1", "form": "psk", "identity": "urn:imei:1", "key": key});
    let (status, made) = world.post("/tokens", &body).await;
    assert_eq!((status, &made["identity"]), (201, &json!("urn:imei:1")));
    let (_, listed) = world.get("/tokens").await;
    for shown in [&made, &listed] {
        assert!(!shown.to_string().contains(key), "{shown}");
    }
    let found = world.auth.psk(b"urn:imei:1", world.engine.now()).unwrap();
    assert_eq!(found.key, key.parse().unwrap());
    let (status, refused) = world.post("/tokens", &body).await;
    assert_eq!((status, &refused["code"]), (409, &json!("identity_taken")));
    assert!(refused["message"].as_str().unwrap().contains(made["id"].as_str().unwrap()), "{refused}");
    world.end();
}

#[tokio::test]
async fn a_certificate_is_shown_with_its_key_once_and_ends_with_its_token() {
    let world = World::new();
    let body = json!({"device": "cam-1", "form": "certificate", "expires_in": "90d"});
    let (status, made) = world.post("/tokens", &body).await;
    assert_eq!((status, &made["form"], &made["kind"]), (201, &json!("certificate"), &json!("device")));
    let (pem, key) = (made["certificate"].as_str().unwrap(), made["key"].as_str().unwrap());
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    assert_eq!(named_device(&der), Some("cam-1".parse().unwrap()));
    let now = world.engine.now();
    assert_eq!(world.auth.certificate(&der, now), Some(Principal::Device("cam-1".parse().unwrap())));
    let later = now.plus(Duration::from_secs(91 * 24 * 3600));
    assert_eq!(world.auth.certificate(&der, later), None);
    let ends_s = X509Certificate::from_der(&der).unwrap().1.validity().not_after.timestamp();
    assert!((90..=92).contains(&((ends_s - now.as_millis() / 1000) / (24 * 3600))), "{ends_s}");
    let (_, listed) = world.get("/tokens").await;
    assert!(!listed.to_string().contains("PRIVATE KEY") && !listed.to_string().contains("CERTIFICATE"));
    world.end();
}

#[tokio::test]
async fn a_form_that_does_not_suit_its_subject_is_refused() {
    let too_long = "00".repeat(updraft_dtls::KEY_BYTES_MAX + 1);
    let world = World::new();
    let long = "x".repeat(65);
    let request = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
    for (body, code) in [
        (json!({"product": "cam", "form": "certificate"}), "form_invalid"),
        (json!({"operator": "ci", "form": "certificate"}), "form_invalid"),
        (json!({"product": "cam", "form": "access_key"}), "form_invalid"),
        (json!({"product": "cam", "form": "psk"}), "form_invalid"),
        (json!({"operator": "ci", "form": "psk", "identity": "i", "key": "00"}), "form_invalid"),
        (json!({"device": "a", "form": "psk", "identity": "i"}), "form_invalid"),
        (json!({"device": "a", "form": "psk", "key": "00"}), "form_invalid"),
        (json!({"device": "a", "identity": "i", "key": "00"}), "form_invalid"),
        (json!({"device": "a", "form": "psk", "identity": "", "key": "00"}), "identity_invalid"),
        (json!({"device": "a", "form": "psk", "identity": "caf\u{e9}", "key": "00"}), "identity_invalid"),
        (json!({"device": "a", "form": "psk", "identity": "i", "key": ""}), "key_invalid"),
        (json!({"device": "a", "form": "psk", "identity": "i", "key": too_long}), "key_invalid"),
        (json!({"device": "a", "signing_request": request}), "form_invalid"),
        (json!({"device": "a", "form": "access_key", "signing_request": request}), "form_invalid"),
        (
            json!({"device": "a", "form": "certificate", "signing_request": request}),
            "signing_request_invalid",
        ),
        (json!({"device": "a", "form": "certificate", "signing_request": ""}), "signing_request_invalid"),
        (json!({"device": long, "form": "certificate"}), "name_too_long"),
        (json!({"device": "a", "form": "password"}), "body_invalid"),
    ] {
        let (status, answer) = world.post("/tokens", &body).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some(code)), "{body}");
    }
    let (_, listed) = world.get("/tokens").await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "nothing was made: ann's is all there is");
    world.end();
}
