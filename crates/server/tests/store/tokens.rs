//! Credentials as rows.

use updraft_core::time::Timestamp;
use updraft_server::store::{Cause, Database, TokenForm, TokenKind, TokenRow, cause};

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
    }
}

#[test]
fn a_token_is_read_as_it_was_written_and_found_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = [TokenKind::Device, TokenKind::Product, TokenKind::Operator];
    let forms = [TokenForm::Certificate, TokenForm::Text, TokenForm::AccessKey];
    let rows: Vec<_> = (0..3)
        .map(|index| TokenRow {
            kind: kinds[usize::from(index)],
            form: forms[usize::from(index)],
            expires: (index == 1).then(|| Timestamp::from_millis(i64::MAX)),
            ..token(&format!("t{index}"), index)
        })
        .collect();
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
