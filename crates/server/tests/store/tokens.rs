//! Credentials as rows.

use updraft_core::time::Timestamp;
use updraft_server::store::{Cause, Database, PskRow, TokenForm, TokenKind, TokenRow, cause};

fn token(id: &str, hash: u8) -> TokenRow {
    TokenRow {
        id: id.to_owned(),
        hash: [hash; 32],
        form: TokenForm::Text,
        kind: TokenKind::Device,
        subject: "D1".to_owned(),
        created: Timestamp::from_millis(1),
        expires: None,
        revoked: None,
        note: "in the cellar".to_owned(),
        psk: None,
    }
}

fn psk(id: &str, hash: u8, key: Option<Vec<u8>>) -> TokenRow {
    let psk = PskRow { identity: "urn:imei:1".to_owned(), key };
    TokenRow { form: TokenForm::Psk, psk: Some(psk), ..token(id, hash) }
}

#[test]
fn a_token_is_read_as_it_was_written_and_found_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = [TokenKind::Device, TokenKind::Product, TokenKind::Operator];
    let forms = [TokenForm::Certificate, TokenForm::Text, TokenForm::AccessKey];
    let mut rows: Vec<_> = (0..3)
        .map(|index| TokenRow {
            kind: kinds[usize::from(index)],
            form: forms[usize::from(index)],
            expires: (index == 1).then(|| Timestamp::from_millis(i64::MAX)),
            ..token(&format!("t{index}"), index)
        })
        .collect();
    rows.extend([psk("t3", 3, None), psk("t4", 4, Some(vec![0; 64]))]);
    let mut tokens = Database::open(folder.path()).unwrap().tokens().unwrap();
    rows.iter().for_each(|row| tokens.insert(row).unwrap());
    drop(tokens);
    let mut tokens = Database::open(folder.path()).unwrap().tokens().unwrap();
    assert_eq!(tokens.list(None, 10).unwrap(), rows);
    assert_eq!(tokens.list(Some("t0"), 1).unwrap(), rows[1..2]);
    assert_eq!(tokens.get("t2").unwrap().as_ref(), Some(&rows[2]));
    assert_eq!(tokens.get("t9").unwrap(), None);
}

#[test]
fn an_id_or_a_digest_that_is_taken_is_refused() {
    let mut tokens = Database::in_memory().unwrap().tokens().unwrap();
    tokens.insert(&token("t1", 1)).unwrap();
    for second in [token("t1", 2), token("t2", 1)] {
        assert_eq!(cause(&tokens.insert(&second).unwrap_err()), Cause::Refused);
    }
}

#[test]
fn what_a_revoked_token_was_presented_by_may_be_anothers_and_its_key_is_forgotten() {
    let at = Timestamp::from_millis;
    let mut tokens = Database::in_memory().unwrap().tokens().unwrap();
    let (first, second) = (psk("t1", 1, Some(vec![1])), psk("t2", 1, Some(vec![2])));
    tokens.insert(&first).unwrap();
    assert_eq!(tokens.presented(&[1; 32]).unwrap().as_ref(), Some(&first));
    assert_eq!(cause(&tokens.insert(&second).unwrap_err()), Cause::Refused);
    let revoked = TokenRow { revoked: Some(at(5)), ..psk("t1", 1, None) };
    assert_eq!(tokens.revoke("t1", at(5)).unwrap().as_ref(), Some(&revoked));
    assert_eq!(tokens.presented(&[1; 32]).unwrap(), None);
    tokens.insert(&second).unwrap();
    assert_eq!(tokens.presented(&[1; 32]).unwrap(), Some(second));
}

#[test]
fn a_row_that_is_no_pre_shared_key_keeps_none() {
    let mut tokens = Database::in_memory().unwrap().tokens().unwrap();
    let kept = |identity: &str, key: Option<Vec<u8>>| Some(PskRow { identity: identity.to_owned(), key });
    for wrong in [
        TokenRow { psk: kept("i", None), ..token("t1", 1) },
        TokenRow { psk: kept("", None), ..psk("t1", 1, None) },
        TokenRow { psk: kept(&"i".repeat(129), None), ..psk("t1", 1, None) },
        psk("t1", 1, Some(vec![0; 65])),
        psk("t1", 1, Some(vec![])),
        TokenRow { form: TokenForm::Psk, ..token("t1", 1) },
    ] {
        assert_eq!(cause(&tokens.insert(&wrong).unwrap_err()), Cause::Refused, "{wrong:?}");
    }
}

#[test]
fn the_live_are_neither_revoked_nor_expired() {
    let at = Timestamp::from_millis;
    let mut tokens = Database::in_memory().unwrap().tokens().unwrap();
    for (index, expires) in [(0, None), (1, Some(99)), (2, Some(100)), (3, Some(101)), (4, None)] {
        tokens.insert(&TokenRow { expires: expires.map(at), ..token(&format!("t{index}"), index) }).unwrap();
    }
    tokens.revoke("t4", at(50)).unwrap();
    let mut live = Vec::new();
    tokens.each_live(at(100), |row| live.push(row.id)).unwrap();
    live.sort();
    assert_eq!(live, ["t0", "t3"]);
}

#[test]
fn a_token_is_revoked_once_and_stays_revoked() {
    let at = Timestamp::from_millis;
    let mut tokens = Database::in_memory().unwrap().tokens().unwrap();
    tokens.insert(&token("t1", 1)).unwrap();
    let revoked = TokenRow { revoked: Some(at(5)), ..token("t1", 1) };
    assert_eq!(tokens.revoke("t1", at(5)).unwrap().as_ref(), Some(&revoked));
    assert_eq!(tokens.revoke("t1", at(9)).unwrap().as_ref(), Some(&revoked));
    assert_eq!(tokens.list(None, 10).unwrap(), [revoked]);
    assert_eq!(tokens.revoke("t2", at(9)).unwrap(), None);
}
