//! What the device keeps of its servers across starts: the account that a bootstrap server gave it (objects 0 and 1), and what
//! its server has written to object 1 since.
//!
//! These are two records: the account has a key, and changes with a bootstrap; the settings change whenever a server writes.
//! The settings name whose they are, so that a power cut between the two does not make an earlier server's this one's.

use crate::record::{self, Found, RecordError};
use crate::session::sentence;
use crate::storage::FileStorage;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use updraft_lwm2m::bootstrap::{Security, SecurityMode, ServerAccount};
use updraft_lwm2m::client::server_object::ServerObject;
use updraft_lwm2m::registration::Lifetime;

/// The account's name in the state folder.
const ACCOUNT: &str = "lwm2m-account.rec";
/// The settings' name in the state folder.
const SETTINGS: &str = "lwm2m-server.rec";
/// The shape of both records; what has another is not read.
const FORMAT: u32 = 1;

/// The account, as it is on disk.
#[derive(Serialize, Deserialize)]
struct AccountOnDisk {
    format: u32,
    /// By whom it was given to whom: one of another bootstrap server, or for another name, is none.
    given: String,
    uri: String,
    mode: i64,
    /// In hex, as the two below.
    identity: String,
    server_key: String,
    secret: String,
    short_id: u16,
    lifetime_s: u32,
    is_storing: bool,
    pmin_s: Option<u64>,
    pmax_s: Option<u64>,
    disable_s: Option<u64>,
}

impl AccountOnDisk {
    fn new(given: &str, account: &ServerAccount) -> Self {
        let security = &account.security;
        Self {
            format: FORMAT,
            given: given.to_owned(),
            uri: security.uri.clone(),
            mode: security.mode.number(),
            identity: hex::encode(&security.identity),
            server_key: hex::encode(&security.server_key),
            secret: hex::encode(&security.secret),
            short_id: account.ssid,
            lifetime_s: account.lifetime.seconds(),
            is_storing: account.stores_notifications,
            pmin_s: account.pmin_s,
            pmax_s: account.pmax_s,
            disable_s: account.disable_s,
        }
    }

    /// `None` where something is said that no version of this format says.
    fn account(&self) -> Option<ServerAccount> {
        let security = Security {
            uri: self.uri.clone(),
            mode: SecurityMode::of_number(self.mode)?,
            identity: hex::decode(&self.identity).ok()?,
            server_key: hex::decode(&self.server_key).ok()?,
            secret: hex::decode(&self.secret).ok()?,
        };
        // There is one binding that this device has.
        Some(ServerAccount {
            lifetime: Lifetime::of_seconds(self.lifetime_s.into()),
            stores_notifications: self.is_storing,
            pmin_s: self.pmin_s,
            pmax_s: self.pmax_s,
            disable_s: self.disable_s,
            ..ServerAccount::new(security, self.short_id)
        })
    }
}

/// The account that was kept.
///
/// # Errors
/// Why one that was kept is of no use.
pub(super) fn load(state: &Path, given: &str) -> Result<Option<ServerAccount>, String> {
    let found = record::load::<AccountOnDisk>(&mut FileStorage::new(), &state.join(ACCOUNT));
    match found.map_err(|error| sentence(&error))? {
        Found::Absent => Ok(None),
        Found::Torn => Err("it is damaged".to_owned()),
        Found::Whole(kept) if kept.format != FORMAT => {
            Err("it is of another version of the agent".to_owned())
        }
        Found::Whole(kept) if kept.given != given => {
            Err("it is of another bootstrap server, or for another name".to_owned())
        }
        Found::Whole(kept) => kept.account().map(Some).ok_or_else(|| "it makes no sense".to_owned()),
    }
}

/// Makes an account durable, readable by the agent's user alone.
///
/// # Errors
/// The disk fails.
pub(super) fn store(state: &Path, given: &str, account: &ServerAccount) -> Result<(), RecordError> {
    record::store(&mut FileStorage::new(), &state.join(ACCOUNT), &AccountOnDisk::new(given, account))
}

/// Object 1's settings, as they are on disk.
#[derive(Debug, Serialize, Deserialize)]
struct SettingsOnDisk {
    format: u32,
    /// Whose they are.
    of: String,
    /// What was set when the server wrote. A lifetime that is set otherwise since then is the later word.
    set_lifetime_s: u32,
    lifetime_s: u32,
    pmin_s: u64,
    pmax_s: Option<u64>,
    disable_s: Option<u64>,
    is_storing: bool,
    binding: String,
}

/// What one server has written to object 1.
#[derive(Debug)]
pub(super) struct Written {
    path: PathBuf,
    of: String,
    /// Object 1 where nothing was written.
    unwritten: ServerObject,
}

impl Written {
    /// By the server of an option.
    pub(super) fn by_server(state: &Path, of: String, unwritten: ServerObject) -> Self {
        Self { path: state.join(SETTINGS), of, unwritten }
    }

    /// By the server of an account: another key makes another account.
    pub(super) fn by_account(state: &Path, given: &str, account: &ServerAccount) -> Self {
        let account_text = serde_json::to_vec(&AccountOnDisk::new(given, account));
        let digest = Sha256::digest(account_text.expect("numbers and texts have no shape that JSON has not"));
        let unwritten = ServerObject::of_account(account);
        Self { path: state.join(SETTINGS), of: format!("account {}", hex::encode(digest)), unwritten }
    }

    /// Object 1 where nothing was written.
    pub(super) fn unwritten(&self) -> &ServerObject {
        &self.unwritten
    }

    /// Object 1 as the server left it; as it was set where the record is absent, another's or damaged.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn load(&self) -> Result<ServerObject, RecordError> {
        let found = record::load::<SettingsOnDisk>(&mut FileStorage::new(), &self.path)?.whole();
        let found = found.filter(|found| found.format == FORMAT && found.of == self.of);
        let mut server = self.unwritten.clone();
        let Some(found) = found else { return Ok(server) };
        if found.set_lifetime_s == self.unwritten.lifetime.seconds() {
            server.lifetime = Lifetime::of_seconds(found.lifetime_s.into());
        }
        server.pmin_s = found.pmin_s;
        server.pmax_s = found.pmax_s;
        server.disable_s = found.disable_s;
        server.is_storing = found.is_storing;
        server.binding = found.binding;
        Ok(server)
    }

    /// Makes durable what object 1 says now.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn store(&self, server: &ServerObject) -> Result<(), RecordError> {
        let on_disk = SettingsOnDisk {
            format: FORMAT,
            of: self.of.clone(),
            set_lifetime_s: self.unwritten.lifetime.seconds(),
            lifetime_s: server.lifetime.seconds(),
            pmin_s: server.pmin_s,
            pmax_s: server.pmax_s,
            disable_s: server.disable_s,
            is_storing: server.is_storing,
            binding: server.binding.clone(),
        };
        record::store(&mut FileStorage::new(), &self.path, &on_disk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn account() -> ServerAccount {
        let security = Security {
            uri: "coaps://127.0.0.1:5684".into(),
            mode: SecurityMode::Psk,
            identity: b"device-1".to_vec(),
            server_key: Vec::new(),
            secret: vec![7; 16],
        };
        let (lifetime, pmin_s, pmax_s) = (Lifetime::Seconds(600), Some(1), Some(90));
        ServerAccount { lifetime, pmin_s, pmax_s, ..ServerAccount::new(security, 42) }
    }

    #[test]
    fn an_account_is_found_again_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path(), "a"), Ok(None));
        store(folder.path(), "a", &account()).unwrap();
        assert_eq!(load(folder.path(), "a"), Ok(Some(account())));
        let mode = std::fs::metadata(folder.path().join(ACCOUNT)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_account_that_is_damaged_or_anothers_is_none_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        store(folder.path(), "a", &account()).unwrap();
        assert!(load(folder.path(), "b").unwrap_err().contains("another bootstrap server"));
        let later = AccountOnDisk { format: FORMAT + 1, ..AccountOnDisk::new("a", &account()) };
        record::store(&mut FileStorage::new(), &folder.path().join(ACCOUNT), &later).unwrap();
        assert!(load(folder.path(), "a").unwrap_err().contains("another version"));
        let odd = AccountOnDisk { mode: 9, ..AccountOnDisk::new("a", &account()) };
        record::store(&mut FileStorage::new(), &folder.path().join(ACCOUNT), &odd).unwrap();
        assert!(load(folder.path(), "a").unwrap_err().contains("no sense"));
        std::fs::write(folder.path().join(ACCOUNT), b"torn").unwrap();
        assert!(load(folder.path(), "a").unwrap_err().contains("damaged"));
    }

    #[test]
    fn what_a_server_has_written_is_found_again_by_that_server_alone() {
        let folder = tempfile::tempdir().unwrap();
        let unwritten = |lifetime| ServerObject::new(1, Lifetime::Seconds(lifetime));
        let by = |url: &str, lifetime| Written::by_server(folder.path(), url.to_owned(), unwritten(lifetime));
        let mut server = unwritten(300);
        (server.lifetime, server.pmin_s, server.pmax_s) = (Lifetime::Infinite, 5, Some(50));
        (server.disable_s, server.is_storing, server.binding) = (Some(9), true, "UQ".into());
        by("coap://a", 300).store(&server).unwrap();
        assert_eq!(by("coap://a", 300).load().unwrap(), server);
        assert_eq!(by("coap://b", 300).load().unwrap(), unwritten(300), "another server");
        let set_anew = by("coap://a", 60).load().unwrap();
        assert_eq!((set_anew.lifetime, set_anew.pmin_s), (Lifetime::Seconds(60), 5), "the option is later");
        let of_account = Written::by_account(folder.path(), "a", &account());
        assert_eq!(of_account.load().unwrap(), ServerObject::of_account(&account()));
        of_account.store(&server).unwrap();
        assert_eq!(of_account.load().unwrap().pmin_s, 5);
        let mut rekeyed = account();
        rekeyed.security.secret = vec![8; 16];
        let rekeyed = Written::by_account(folder.path(), "a", &rekeyed);
        assert_eq!(rekeyed.load().unwrap().pmin_s, 1, "another account");
        std::fs::write(folder.path().join(SETTINGS), b"torn").unwrap();
        assert_eq!(of_account.load().unwrap().pmin_s, 1);
    }
}
