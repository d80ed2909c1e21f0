use super::*;
use crate::auth::access_key::ACCESS_KEY_FILE;
use crate::store::Database;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_772_366_400_000);

pub(super) fn auth(database: &Database) -> Auth {
    // One key for all, as the file is one for all starts of a server.
    Auth::open(database.tokens().unwrap(), master(), NOW).unwrap()
}

pub(super) fn master() -> MasterKey {
    static FOLDER: std::sync::LazyLock<tempfile::TempDir> =
        std::sync::LazyLock::new(|| tempfile::tempdir().unwrap());
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap();
    MasterKey::open(&FOLDER.path().join(ACCESS_KEY_FILE)).unwrap()
}

pub(super) fn new(principal: Principal, expires: Option<Timestamp>) -> NewToken {
    NewToken { principal, expires, note: String::new() }
}

fn principals() -> [Principal; 3] {
    // One name for all: the kind is part of who is calling.
    [Kind::Device, Kind::Product, Kind::Operator].map(|kind| Principal::new(kind, "cam-1").unwrap())
}

#[test]
fn a_token_lets_in_whom_it_was_made_for_also_after_a_restart() {
    let database = Database::in_memory().unwrap();
    let before = auth(&database);
    let made = principals().map(|principal| {
        let (token, _) = before.create(new(principal.clone(), None), NOW).unwrap();
        (token, principal)
    });
    for auth in [before, auth(&database)] {
        for (token, principal) in &made {
            assert_eq!(auth.verify(token.reveal(), NOW).as_ref(), Some(principal));
        }
    }
}

#[test]
fn a_revoked_token_lets_nobody_in_from_that_moment_and_after_a_restart() {
    let database = Database::in_memory().unwrap();
    let before = auth(&database);
    let [device, ..] = principals();
    let (token, row) = before.create(new(device.clone(), None), NOW).unwrap();
    let (other, _) = before.create(new(device.clone(), None), NOW).unwrap();
    before.revoke(&row.id, NOW).unwrap();
    for auth in [before, auth(&database)] {
        assert_eq!(auth.verify(token.reveal(), NOW), None);
        assert_eq!(
            auth.verify(other.reveal(), NOW),
            Some(device.clone()),
            "the device's other token is untouched"
        );
    }
}

#[test]
fn an_expired_token_lets_nobody_in_and_a_clock_set_back_does_not_lose_a_good_one() {
    let database = Database::in_memory().unwrap();
    let before = auth(&database);
    let expires = NOW.plus(Duration::from_secs(60));
    let [device, ..] = principals();
    let (token, _) = before.create(new(device.clone(), Some(expires)), NOW).unwrap();
    for auth in [before, auth(&database)] {
        assert_eq!(auth.verify(token.reveal(), expires), None);
        assert_eq!(auth.verify(token.reveal(), NOW), Some(device.clone()));
        assert_eq!(auth.verify(token.reveal(), Timestamp::from_millis(0)), Some(device.clone()));
    }
}

#[test]
fn what_is_no_token_lets_nobody_in_whatever_it_is() {
    let database = Database::in_memory().unwrap();
    let auth = auth(&database);
    let [device, ..] = principals();
    let (token, row) = auth.create(new(device, None), NOW).unwrap();
    let good = token.reveal();
    let huge = "updt_".repeat(1 << 18);
    for bad in [
        "",
        TOKEN_PREFIX,
        &good[1..],
        &good[TOKEN_PREFIX.len()..],
        &format!("{good}\n"),
        &format!(" {good}"),
        &format!("{}\0", &good[..good.len() - 1]),
        &good.to_uppercase(),
        &format!("{TOKEN_PREFIX}{}", "0".repeat(64)),
        &format!("{TOKEN_PREFIX}{}", "é".repeat(32)),
        &hex::encode(row.hash),
        &format!("{TOKEN_PREFIX}{}", hex::encode(row.hash)),
        &huge,
    ] {
        assert_eq!(auth.verify(bad, NOW), None, "{:?}", bad.get(..80).unwrap_or(bad));
    }
}

#[test]
fn a_copy_of_the_data_folder_without_the_token_file_lets_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let [device, ..] = principals();
    let (token, _) = auth(&database).create(new(device, None), NOW).unwrap();
    let secret = &token.reveal()[TOKEN_PREFIX.len()..];
    let raw = hex::decode(secret).unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!holds(secret.as_bytes()) && !holds(&raw));
    }
    assert_eq!(format!("{token:?}"), "Token(…)");
}

#[test]
fn the_first_start_leaves_an_operators_token_that_only_the_owner_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(OPERATOR_TOKEN_FILE);
    let database = Database::open(folder.path()).unwrap();
    let read = || std::fs::read_to_string(&path).unwrap().trim().to_owned();
    auth(&database).keep_operator_token(folder.path(), NOW).unwrap();
    let first = read();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = auth(&database);
    again.keep_operator_token(folder.path(), NOW).unwrap();
    assert_eq!(read(), first, "a token that works is kept");
    assert!(matches!(again.verify(&first, NOW), Some(Principal::Operator(_))));
    let id = again.list(None, 10).unwrap()[0].id.clone();
    again.revoke(&id, NOW).unwrap();
    auth(&database).keep_operator_token(folder.path(), NOW).unwrap();
    assert_ne!(read(), first, "one that was revoked is replaced at the next start");
}

#[test]
fn a_token_that_is_not_there_cannot_be_revoked() {
    let database = Database::in_memory().unwrap();
    assert!(matches!(auth(&database).revoke("t1", NOW), Err(AuthError::Unknown(_))));
}

#[test]
fn an_access_key_stands_for_whom_it_was_made_for_with_the_same_secret_after_a_restart() {
    let database = Database::in_memory().unwrap();
    let before = auth(&database);
    let [device, _, operator] = principals();
    for principal in [device, operator] {
        let (id, secret, row) = before.create_access_key(new(principal.clone(), None), NOW).unwrap();
        let key = AccessKey { principal, secret };
        for auth in [&before, &auth(&database)] {
            assert_eq!(auth.access_key(&id, NOW).as_ref(), Some(&key));
        }
        before.revoke(&row.id, NOW).unwrap();
        for auth in [&before, &auth(&database)] {
            assert_eq!(auth.access_key(&id, NOW), None, "a revoked one signs nothing");
        }
    }
}

#[test]
fn what_is_no_access_keys_id_has_no_secret() {
    let database = Database::in_memory().unwrap();
    let auth = auth(&database);
    let [device, ..] = principals();
    let expires = NOW.plus(Duration::from_secs(60));
    let (id, secret, _) = auth.create_access_key(new(device.clone(), Some(expires)), NOW).unwrap();
    let (token, _) = auth.create(new(device, None), NOW).unwrap();
    for bad in ["", "UPDK", &id[1..], &id.to_lowercase(), &format!("{id}0"), token.reveal(), secret.reveal()]
    {
        assert_eq!(auth.access_key(bad, NOW), None, "{bad}");
    }
    assert_eq!(auth.access_key(&id, expires), None);
    assert_eq!(auth.verify(&id, NOW), None, "the ID is no secret, so it is no token");
    assert_eq!(auth.verify(secret.reveal(), NOW), None);
}

#[test]
fn a_certificate_stands_for_its_device_until_it_is_revoked() {
    let database = Database::in_memory().unwrap();
    let before = auth(&database);
    let [device, ..] = principals();
    let row = before.add_certificate(b"a certificate", new(device.clone(), None), NOW).unwrap();
    for auth in [&before, &auth(&database)] {
        assert_eq!(auth.certificate(b"a certificate", NOW), Some(device.clone()));
        assert_eq!(auth.certificate(b"another", NOW), None);
    }
    before.revoke(&row.id, NOW).unwrap();
    for auth in [&before, &auth(&database)] {
        assert_eq!(auth.certificate(b"a certificate", NOW), None);
    }
}
