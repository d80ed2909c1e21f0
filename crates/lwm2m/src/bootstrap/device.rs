//! The device's end: what its bootstrap server writes is kept apart, checked when it finishes, and read as accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use thiserror::Error;

use super::{SECURITY, SERVER, Security, SecurityMode, ServerAccount};
use crate::content::{self, ContentFormat, FormatError};
use crate::link::Discovered;
use crate::path::Path;
use crate::registration::{Binding, Lifetime};
use crate::value::{Entry, Value};

/// The most leaves that are kept: a dozen for each account, and a device has few servers.
const LEAVES_MAX: usize = 256;

/// The most bytes of texts and keys that are kept: two certificates and a key take some kilobytes for each account.
const BYTES_MAX: usize = 32_768;

/// Why a request of a bootstrap server is refused, as the CoAP code that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Rejection {
    /// It writes to an object that has no accounts, or reads secrets.
    #[error("a bootstrap server writes accounts")]
    Elsewhere,
    /// It writes more than is kept.
    #[error("the accounts are too large")]
    TooBig,
    /// What it wrote makes no accounts.
    #[error("the accounts are inconsistent: {0}")]
    Inconsistent(&'static str),
    /// The body of a pack is malformed.
    #[error("the body is malformed")]
    Format(#[from] FormatError),
}

impl Rejection {
    /// The CoAP code: 4.05, 4.13, 4.06, or what the format says.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Elsewhere => 0x85,
            Self::TooBig => 0x8d,
            Self::Inconsistent(_) => 0x86,
            Self::Format(error) => error.code(),
        }
    }
}

/// What a device has of accounts while it is bootstrapped. What it had before stays until it is deleted or overwritten.
pub struct AccountStore {
    leaves: BTreeMap<Path, Value>,
    /// The bootstrap server's own instance of object 0.
    bootstrap: Path,
}

/// Without values: some are secrets, and what is printed ends in logs.
impl fmt::Debug for AccountStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.leaves.keys()).finish()
    }
}

impl AccountStore {
    /// Begins with the account of the bootstrap server, and those that the device has.
    #[must_use]
    pub fn new(bootstrap: &Security, accounts: &[ServerAccount]) -> Self {
        let mut entries = bootstrap.entries(0, None);
        for (account, instance) in accounts.iter().zip(0..) {
            entries.extend(account.security.entries(instance + 1, Some(account.ssid)));
            entries.extend(account.server_entries(instance));
        }
        let leaves = entries.into_iter().map(|entry| (entry.path, entry.value)).collect();
        Self { leaves, bootstrap: Path::instance(SECURITY, 0) }
    }

    /// `PUT`: each instance in the body, or that is the path, becomes what the body says; a resource is replaced.
    ///
    /// # Errors
    /// The code of the answer is [`Rejection::code`]; then nothing has changed.
    pub fn handle_write(&mut self, path: &Path, entries: Vec<Entry>) -> Result<(), Rejection> {
        let accounts = |path: &Path| matches!(path.object_id(), Some(SECURITY | SERVER));
        let placed = entries.iter().all(|entry| accounts(&entry.path) && path.contains(&entry.path));
        if !placed || (*path != Path::ROOT && !accounts(path)) {
            return Err(Rejection::Elsewhere);
        }
        let mut replaced: BTreeSet<Path> =
            entries.iter().map(|entry| entry.path.truncated(path.depth().max(2))).collect();
        if path.depth() >= 2 {
            replaced.insert(*path);
        }
        let mut leaves = self.leaves.clone();
        leaves.retain(|leaf, _| !replaced.iter().any(|node| node.contains(leaf)));
        leaves.extend(entries.into_iter().map(|entry| (entry.path, entry.value)));
        let bytes: usize = leaves.values().map(bytes).sum();
        if leaves.len() > LEAVES_MAX || bytes > BYTES_MAX {
            return Err(Rejection::TooBig);
        }
        self.leaves = leaves;
        Ok(())
    }

    /// `DELETE` of everything, an object or an instance; the bootstrap server's own account stays (Core §6.1.7.6).
    ///
    /// # Errors
    /// The path is in an instance, or of an object without accounts.
    pub fn handle_delete(&mut self, path: &Path) -> Result<(), Rejection> {
        let deletable = path.depth() <= 2 && matches!(path.object_id(), None | Some(SECURITY | SERVER));
        if !deletable || *path == self.bootstrap {
            return Err(Rejection::Elsewhere);
        }
        let own = self.bootstrap;
        self.leaves.retain(|leaf, _| own.contains(leaf) || !path.contains(leaf));
        Ok(())
    }

    /// The answer to `GET /bspack`: the whole configuration at once. The accounts there were are gone.
    ///
    /// # Errors
    /// The body is malformed, or makes no accounts; then nothing has changed.
    pub fn handle_pack(
        &mut self,
        format: ContentFormat,
        body: &[u8],
    ) -> Result<Vec<ServerAccount>, Rejection> {
        let entries = content::decode(format, &Path::ROOT, body)?;
        let before = self.leaves.clone();
        let outcome = self
            .handle_delete(&Path::ROOT)
            .and_then(|()| self.handle_write(&Path::ROOT, entries))
            .and_then(|()| self.handle_finish());
        if outcome.is_err() {
            self.leaves = before;
        }
        outcome
    }

    /// `POST /bs`: checks what there is, and reads it as accounts.
    ///
    /// # Errors
    /// Something is missing, twice, or of no use to this device; what there is stays, for the server to mend.
    pub fn handle_finish(&self) -> Result<Vec<ServerAccount>, Rejection> {
        let mut accounts: Vec<ServerAccount> = Vec::new();
        for instance in self.instances(SECURITY) {
            let at = Path::instance(SECURITY, instance);
            let is_bootstrap = self.leaf(at, 1).and_then(Value::as_boolean);
            if is_bootstrap != Some(at == self.bootstrap) {
                return Err(Rejection::Inconsistent("which server bootstraps is not clear"));
            }
            let security = self.security(at)?;
            if at == self.bootstrap {
                continue;
            }
            let account = self.account(at, security)?;
            if accounts.iter().any(|other| other.ssid == account.ssid) {
                return Err(Rejection::Inconsistent("a short server id is twice in object 0"));
            }
            accounts.push(account);
        }
        let servers = self.instances(SERVER).len();
        match accounts.len() {
            0 => Err(Rejection::Inconsistent("there is no server")),
            count if count != servers => {
                Err(Rejection::Inconsistent("objects 0 and 1 name different servers"))
            }
            _ => Ok(accounts),
        }
    }

    /// `GET` of object 1, or of a part of it: a bootstrap server may read it, and never object 0 (Core §6.1.7.4).
    ///
    /// # Errors
    /// The path is of another object.
    pub fn read(&self, path: &Path) -> Result<Vec<Entry>, Rejection> {
        if path.object_id() != Some(SERVER) {
            return Err(Rejection::Elsewhere);
        }
        let leaves = self.leaves.iter().filter(|(leaf, _)| path.contains(leaf));
        Ok(leaves.map(|(path, value)| Entry { path: *path, value: value.clone() }).collect())
    }

    /// `GET /`, Accept 40: the instances, with the short server ids and URIs of those that are no bootstrap server's
    /// (Core §6.1.7.3). [`crate::link::write_discovered`] writes it.
    #[must_use]
    pub fn discovered(&self) -> Vec<Discovered> {
        let mut nodes = Vec::new();
        for object in [SECURITY, SERVER] {
            nodes.push(Discovered { path: Path::object(object), attributes: Vec::new() });
            for instance in self.instances(object) {
                let at = Path::instance(object, instance);
                let mut attributes = Vec::new();
                let ssid = self.leaf(at, if object == SECURITY { 10 } else { 0 });
                if let Some(ssid) = ssid {
                    attributes.push(("ssid".to_owned(), Some(ssid.to_string())));
                    let uri = self.leaf(at, 0).filter(|_| object == SECURITY).and_then(Value::as_text);
                    attributes.extend(uri.map(|uri| ("uri".to_owned(), Some(uri.to_owned()))));
                }
                nodes.push(Discovered { path: at, attributes });
            }
        }
        nodes
    }

    fn instances(&self, object: u16) -> BTreeSet<u16> {
        let of_object = self.leaves.keys().filter(|path| path.object_id() == Some(object));
        of_object.filter_map(Path::instance_id).collect()
    }

    fn leaf(&self, instance: Path, resource: u16) -> Option<&Value> {
        self.leaves.get(&instance.child(resource)?)
    }

    fn security(&self, at: Path) -> Result<Security, Rejection> {
        let opaque = |resource| {
            let value = self.leaf(at, resource).and_then(Value::as_opaque);
            value.unwrap_or_default().to_vec()
        };
        let uri = self.leaf(at, 0).and_then(Value::as_text);
        let mode = self.leaf(at, 2).and_then(Value::as_integer).and_then(SecurityMode::of_number);
        let (Some(uri), Some(mode)) = (uri, mode) else {
            return Err(Rejection::Inconsistent("a server has no URI or no mode"));
        };
        let security = Security {
            uri: uri.to_owned(),
            mode,
            identity: opaque(3),
            server_key: opaque(4),
            secret: opaque(5),
        };
        let usable = security.is_usable();
        if usable { Ok(security) } else { Err(Rejection::Inconsistent("a server's URI and keys do not fit")) }
    }

    /// The account of an instance of object 0, with the one instance of object 1 that has its short server id.
    fn account(&self, at: Path, security: Security) -> Result<ServerAccount, Rejection> {
        let id = |value: Option<&Value>| {
            let id = value.and_then(Value::as_integer).and_then(|id| u16::try_from(id).ok());
            id.filter(|id| (1..=crate::path::ID_MAX).contains(id))
        };
        let ssid = id(self.leaf(at, 10)).ok_or(Rejection::Inconsistent("a server has no short id"))?;
        let servers = self.instances(SERVER).into_iter().map(|instance| Path::instance(SERVER, instance));
        let mut servers = servers.filter(|server| id(self.leaf(*server, 0)) == Some(ssid));
        let (Some(server), None) = (servers.next(), servers.next()) else {
            return Err(Rejection::Inconsistent("a server of object 0 is not once in object 1"));
        };
        let seconds = |resource| {
            self.leaf(server, resource).and_then(Value::as_integer).and_then(|s| u64::try_from(s).ok())
        };
        let lifetime = seconds(1).ok_or(Rejection::Inconsistent("a server has no lifetime"))?;
        let binding = self.leaf(server, 7).and_then(Value::as_text).unwrap_or("U");
        let (binding, _) =
            Binding::parse(binding).map_err(|_| Rejection::Inconsistent("a server has no binding"))?;
        Ok(ServerAccount {
            security,
            ssid,
            lifetime: Lifetime::of_seconds(lifetime),
            binding,
            stores_notifications: self.leaf(server, 6).and_then(Value::as_boolean).unwrap_or(true),
            pmin_s: seconds(2),
            pmax_s: seconds(3).filter(|seconds| *seconds > 0),
            disable_s: seconds(5),
        })
    }
}

fn bytes(value: &Value) -> usize {
    value.as_text().map_or_else(|| value.as_opaque().map_or(0, <[u8]>::len), str::len)
}
