//! Object 1, the server the device is registered at: lifetime, binding, the periods of notifications (Core §E.2).

use super::object::{Object, Time, Write};
use crate::bootstrap::ServerAccount;
use crate::coap::Code;
use crate::link::ObjectVersion;
use crate::registration::Lifetime;
use crate::{Entry, Path, Value};

/// The object's number.
pub const OBJECT: u16 = 1;
/// The one instance.
const INSTANCE: u16 = 0;
/// How long a disabled server stays so unless resource 5 says otherwise, in seconds (Core §E.2).
const DISABLE_S_DEFAULT: u64 = 86_400;

/// What the server has asked for by an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trigger {
    /// Resource 8: update the registration.
    Update,
    /// Resource 4: deregister, and come back after that many seconds.
    Disable(u64),
    /// Resource 9: bootstrap.
    Bootstrap,
}

/// The server's settings on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerObject {
    /// Resource 0: Short Server ID.
    pub short_id: u16,
    /// Resource 1: how long a registration lives without an update.
    pub lifetime: Lifetime,
    /// Resource 2: pmin where no attribute says otherwise, in seconds.
    pub pmin_s: u64,
    /// Resource 3: pmax where no attribute says otherwise, in seconds.
    pub pmax_s: Option<u64>,
    /// Resource 5: for how long the server is left when it says so, in seconds.
    pub disable_s: Option<u64>,
    /// Resource 6: whether notifications wait while the device is offline. They never do; kept for the server.
    pub is_storing: bool,
    /// Resource 7: the letters of the bindings.
    pub binding: String,
    pub(super) trigger: Option<Trigger>,
}

impl ServerObject {
    /// The server with this number, over UDP.
    #[must_use]
    pub fn new(short_id: u16, lifetime: Lifetime) -> Self {
        Self {
            short_id,
            lifetime,
            pmin_s: 0,
            pmax_s: None,
            disable_s: None,
            is_storing: false,
            binding: "U".to_owned(),
            trigger: None,
        }
    }

    /// The server of an account, as its bootstrap server describes it.
    #[must_use]
    pub fn of_account(account: &ServerAccount) -> Self {
        Self {
            is_storing: account.stores_notifications,
            pmin_s: account.pmin_s.unwrap_or(0),
            pmax_s: account.pmax_s,
            disable_s: account.disable_s,
            ..Self::new(account.ssid, account.lifetime)
        }
    }

    fn set(&mut self, entry: &Entry) -> Result<(), Code> {
        let seconds = || entry.value.as_integer().and_then(|value| u64::try_from(value).ok());
        match entry.path.resource_id() {
            Some(1) => self.lifetime = Lifetime::of_seconds(seconds().ok_or(Code::BAD_REQUEST)?),
            Some(2) => self.pmin_s = seconds().ok_or(Code::BAD_REQUEST)?,
            Some(3) => self.pmax_s = Some(seconds().ok_or(Code::BAD_REQUEST)?).filter(|s| *s > 0),
            Some(5) => self.disable_s = Some(seconds().ok_or(Code::BAD_REQUEST)?),
            Some(6) => self.is_storing = entry.value.as_boolean().ok_or(Code::BAD_REQUEST)?,
            Some(7) => {
                let binding = entry.value.as_text().ok_or(Code::BAD_REQUEST)?;
                if !matches!(binding, "U" | "UQ") {
                    return Err(Code::BAD_REQUEST); // the only transport there is
                }
                binding.clone_into(&mut self.binding);
            }
            Some(_) | None => return Err(Code::METHOD_NOT_ALLOWED),
        }
        Ok(())
    }
}

fn unsigned(value: u64) -> Value {
    i64::try_from(value).map_or(Value::Unsigned(value), Value::Integer)
}

impl Object for ServerObject {
    fn id(&self) -> u16 {
        OBJECT
    }

    fn version(&self) -> Option<ObjectVersion> {
        Some(ObjectVersion { major: 1, minor: 1 })
    }

    fn instances(&self) -> Vec<u16> {
        vec![INSTANCE]
    }

    fn resources(&self, _instance: u16) -> Vec<u16> {
        vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    }

    fn read(&self, _time: Time, _instance: u16) -> Vec<Entry> {
        let mut entries = vec![
            (0, Value::Integer(self.short_id.into())),
            (1, unsigned(self.lifetime.seconds().into())),
            (2, unsigned(self.pmin_s)),
            (5, unsigned(self.disable_s.unwrap_or(DISABLE_S_DEFAULT))),
            (6, Value::Boolean(self.is_storing)),
            (7, Value::Text(self.binding.clone())),
        ];
        entries.extend(self.pmax_s.map(|pmax| (3, unsigned(pmax))));
        super::registry::entries(OBJECT, INSTANCE, entries)
    }

    fn write(&mut self, _time: Time, _write: Write, entries: &[Entry]) -> Result<(), Code> {
        let mut changed = self.clone();
        entries.iter().try_for_each(|entry| changed.set(entry))?;
        *self = changed;
        Ok(())
    }

    fn execute(&mut self, _time: Time, resource: Path, _arguments: &str) -> Result<(), Code> {
        self.trigger = Some(match resource.resource_id() {
            Some(4) => Trigger::Disable(self.disable_s.unwrap_or(DISABLE_S_DEFAULT)),
            Some(8) => Trigger::Update,
            Some(9) => Trigger::Bootstrap,
            Some(_) | None => return Err(Code::METHOD_NOT_ALLOWED),
        });
        Ok(())
    }
}
