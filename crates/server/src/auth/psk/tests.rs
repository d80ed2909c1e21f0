use super::*;
use crate::auth::tests::{NOW, auth, new};
use crate::store::Database;
use std::time::Duration;

fn device(id: &str) -> Principal {
    Principal::Device(id.parse().unwrap())
}

fn identity_of(row: &TokenRow) -> &str {
    &row.psk.as_ref().unwrap().identity
}

fn import(auth: &Auth, identity: &str, key: &str, id: &str) -> Result<TokenRow, AuthError> {
    auth.import_psk(identity.parse().unwrap(), key.parse().unwrap(), new(device(id), None), NOW)
}

#[test]
fn a_made_key_is_that_of_its_device_and_the_same_after_a_restart() {
    let database = Database::in_memory().unwrap();
    let before = auth(&database);
    let (key, row) = before.create_psk(new(device("cam-1"), None), NOW).unwrap();
    let (another, second) = before.create_psk(new(device("cam-1"), None), NOW).unwrap();
    assert_eq!(key.reveal().len(), PSK_BYTES);
    assert_ne!(key, another, "a device may have several, to change from one to the next");
    assert!(identity_of(&row).starts_with(PSK_IDENTITY_PREFIX));
    let expected = Psk { device: "cam-1".parse().unwrap(), key };
    for auth in [before, auth(&database)] {
        let found = auth.psk(identity_of(&row).as_bytes(), NOW);
        assert_eq!(found.as_ref(), Some(&expected));
        assert_eq!(auth.psk(identity_of(&second).as_bytes(), NOW).unwrap().key, another);
        let device = auth.device_of_psk(identity_of(&row).as_bytes(), NOW);
        assert_eq!(device, Some("cam-1".parse().unwrap()));
    }
    assert_eq!(format!("{expected:?}"), "Psk { device: \"cam-1\", key: PskKey(…) }");
}

#[test]
fn an_imported_key_is_found_as_it_was_brought_also_after_a_restart() {
    let database = Database::in_memory().unwrap();
    let before = auth(&database);
    let longest = "i".repeat(PSK_IDENTITY_BYTES_MAX);
    let table = [
        ("urn:imei:123456789012345", "00".to_owned()),
        ("a b~", "0123456789abcdefABCDEF".to_owned()),
        (&longest, "5a".repeat(PSK_BYTES_MAX)),
    ];
    for (number, (identity, key)) in table.iter().enumerate() {
        let row = import(&before, identity, key, &format!("d{number}")).unwrap();
        assert!(!format!("{row:?}").contains("90, 90"), "a row shows no key: {row:?}");
    }
    for auth in [before, auth(&database)] {
        for (number, (identity, key)) in table.iter().enumerate() {
            let expected = Psk { device: format!("d{number}").parse().unwrap(), key: key.parse().unwrap() };
            assert_eq!(auth.psk(identity.as_bytes(), NOW), Some(expected));
        }
    }
}

#[test]
fn a_revoked_or_expired_key_is_nobodys_and_others_of_the_device_stay() {
    let database = Database::in_memory().unwrap();
    let before = auth(&database);
    let ends = NOW.plus(Duration::from_secs(60));
    let (_, revoked) = before.create_psk(new(device("cam-1"), None), NOW).unwrap();
    let (_, ended) = before.create_psk(new(device("cam-1"), Some(ends)), NOW).unwrap();
    let (_, good) = before.create_psk(new(device("cam-1"), None), NOW).unwrap();
    let imported = import(&before, "burnt in", "00ff", "cam-1").unwrap();
    let mut told = before.revocations();
    before.revoke(&revoked.id, NOW).unwrap();
    before.revoke(&imported.id, NOW).unwrap();
    assert_eq!(told.try_recv().unwrap(), device("cam-1"));
    for auth in [before, auth(&database)] {
        for row in [&revoked, &ended, &imported] {
            assert_eq!(auth.psk(identity_of(row).as_bytes(), ends), None);
            assert_eq!(auth.device_of_psk(identity_of(row).as_bytes(), ends), None);
        }
        assert!(auth.psk(identity_of(&ended).as_bytes(), NOW).is_some());
        assert!(auth.psk(identity_of(&good).as_bytes(), ends).is_some());
    }
}

#[test]
fn an_identity_is_of_one_key_until_that_is_revoked() {
    let database = Database::in_memory().unwrap();
    let auth = auth(&database);
    let first = import(&auth, "urn:imei:1", "00ff", "cam-1").unwrap();
    for id in ["cam-1", "cam-2"] {
        let error = import(&auth, "urn:imei:1", "01ff", id).unwrap_err();
        assert!(matches!(error, AuthError::IdentityTaken { .. }), "{error}");
        assert!(error.to_string().contains(&first.id), "{error}");
    }
    let (_, made) = auth.create_psk(new(device("cam-1"), None), NOW).unwrap();
    let error = import(&auth, identity_of(&made), "01ff", "cam-2").unwrap_err();
    assert!(matches!(error, AuthError::IdentityTaken { .. }), "{error}");
    assert_eq!(auth.psk(b"urn:imei:1", NOW).unwrap().key, "00ff".parse().unwrap());

    auth.revoke(&first.id, NOW).unwrap();
    import(&auth, "urn:imei:1", "02ff", "cam-2").unwrap();
    auth.revoke(&first.id, NOW).unwrap();
    let expected = Psk { device: "cam-2".parse().unwrap(), key: "02ff".parse().unwrap() };
    assert_eq!(
        auth.psk(b"urn:imei:1", NOW),
        Some(expected),
        "revoking the first again takes nothing from it"
    );
}

#[test]
fn what_is_no_identity_has_no_key() {
    let database = Database::in_memory().unwrap();
    let auth = auth(&database);
    let (_, made) = auth.create_psk(new(device("cam-1"), None), NOW).unwrap();
    let (token, _) = auth.create(new(device("cam-1"), None), NOW).unwrap();
    let (access_key, ..) = auth.create_access_key(new(device("cam-1"), None), NOW).unwrap();
    let identity = identity_of(&made).as_bytes();
    let (longer, huge) = ([identity, b"\0"].concat(), vec![b'U'; 1 << 20]);
    let lower = identity.to_ascii_lowercase();
    let bad: [&[u8]; 8] = [
        b"",
        &identity[1..],
        &longer,
        &lower,
        b"\xff\xfe",
        &huge,
        token.reveal().as_bytes(),
        access_key.as_bytes(),
    ];
    for bad in bad {
        assert_eq!(auth.psk(bad, NOW), None, "{:?}", bad.escape_ascii().to_string().get(..40));
        assert_eq!(auth.device_of_psk(bad, NOW), None);
    }
    let identity = identity_of(&made);
    assert_eq!(auth.verify(identity, NOW), None, "an identity is no token");
    assert_eq!(auth.access_key(identity, NOW), None, "nor an access key");
}

#[test]
fn a_pre_shared_key_is_for_a_device_and_for_nobody_else() {
    let database = Database::in_memory().unwrap();
    let auth = auth(&database);
    for principal in [Principal::Product("cam".parse().unwrap()), Principal::Operator("ci".parse().unwrap())]
    {
        let new = new(principal, None);
        assert!(matches!(auth.create_psk(new.clone(), NOW), Err(AuthError::NotADevice)));
        let imported = auth.import_psk("i".parse().unwrap(), "00".parse().unwrap(), new, NOW);
        assert!(matches!(imported, Err(AuthError::NotADevice)));
    }
    assert_eq!(auth.list(None, 10).unwrap(), []);
}

#[test]
fn every_key_that_lwm2m_has_devices_made_with_is_taken() {
    assert_eq!(PSK_BYTES_MAX, updraft_lwm2m::bootstrap::PSK_BYTES_MAX);
}

#[test]
fn an_identity_is_short_and_printable_and_a_key_is_short_and_hexadecimal() {
    for bad in ["", "\n", "a\0", "caf\u{e9}", "\u{7f}", &"i".repeat(PSK_IDENTITY_BYTES_MAX + 1)] {
        assert_eq!(bad.parse::<PskIdentity>(), Err(InvalidIdentity), "{bad:?}");
    }
    for bad in ["", "0", "0g", "00 00", "0x00", &"00".repeat(PSK_BYTES_MAX + 1)] {
        assert_eq!(bad.parse::<PskKey>(), Err(InvalidPsk), "{bad:?}");
    }
}

#[test]
fn a_key_is_the_mac_of_its_purpose_and_identity() {
    let master = crate::auth::tests::master();
    let (one, other) = (master.psk(b"UPDP0000000000000001"), master.psk(b"UPDP0000000000000002"));
    assert_ne!(one, other);
    let access_key = hex::decode(master.secret("UPDP0000000000000001").reveal()).unwrap();
    assert_ne!(one.reveal(), &access_key[..PSK_BYTES], "no access key of the same ID has it for its secret");
    let whole = master.tag(&[b"updraft psk v1\nUPDP0000000000000001"]);
    assert_eq!(one.reveal(), &whole[..PSK_BYTES]);
}

#[test]
fn a_copy_of_the_database_holds_no_made_key_and_no_revoked_one() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let auth = auth(&database);
    let (made, _) = auth.create_psk(new(device("cam-1"), None), NOW).unwrap();
    let revoked = import(&auth, "one", &"a7".repeat(32), "cam-1").unwrap();
    import(&auth, "two", &"b8".repeat(32), "cam-2").unwrap();
    auth.revoke(&revoked.id, NOW).unwrap();
    let rows = auth.list(None, 10).unwrap();
    let key = |identity: &str| {
        let row = rows.iter().find(|row| identity_of(row) == identity).unwrap();
        row.psk.clone().unwrap().key
    };
    assert_eq!((key("one"), key("two")), (None, Some(vec![0xb8; 32])), "what a device was made with is kept");
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!holds(made.reveal()) && !holds(hex::encode(made.reveal()).as_bytes()));
    }
}
