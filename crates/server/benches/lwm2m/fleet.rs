//! The devices: their names, keys and addresses, what they register, and what is read of them.

use crate::Outcome;
use std::net::SocketAddr;
use std::path::Path as Folder;
use updraft_core::time::Timestamp;
use updraft_lwm2m::coap::{Method, Request};
use updraft_lwm2m::content::ContentFormat;
use updraft_lwm2m::{Entry, Path, Value};
use updraft_server::auth::access_key::{ACCESS_KEY_FILE, MasterKey};
use updraft_server::auth::{Auth, NewToken, Principal};
use updraft_server::store::Database;

/// The model of all devices, which is the product they are of.
pub(crate) const MODEL: &str = "thermostat";
/// The key of all devices, in hexadecimal digits.
pub(crate) const KEY: &str = "00112233445566778899aabbccddeeff";
/// How long registrations last, in seconds: longer than any run.
const LIFETIME_S: u32 = 86_400;
/// Devices that share an address of the loopback: few enough for the pace that a server lets one source shake hands at.
const DEVICES_PER_ADDRESS: u32 = 1_000;
/// Their first port: below those that the system gives away.
const PORT_FIRST: u16 = 20_000;

/// A device's name, and the identity of its key.
pub(crate) fn name(number: u32) -> String {
    format!("urn:imei:{number:015}")
}

/// Where a device speaks from, each time the same.
pub(crate) fn address(number: u32) -> SocketAddr {
    let group = number / DEVICES_PER_ADDRESS;
    let [_, _, high, low] = group.to_be_bytes();
    let port = PORT_FIRST + u16::try_from(number % DEVICES_PER_ADDRESS).expect("below the limit");
    SocketAddr::from(([127, 1 + high, low, 1], port))
}

/// What a device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Object 1 alone: there is nothing to read.
    Nothing,
    /// Objects 3 and 5 as well, which a server that wants to know the device reads.
    All,
}

impl Shown {
    /// How often this server reads such a device once it has registered.
    pub(crate) fn reads(self) -> u32 {
        match self {
            Self::Nothing => 0,
            Self::All => 2,
        }
    }

    fn links(self) -> &'static str {
        match self {
            Self::Nothing => r#"</>;rt="oma.lwm2m";ct=112,</1/0>"#,
            Self::All => r#"</>;rt="oma.lwm2m";ct=112,</1/0>,</3/0>,</5/0>"#,
        }
    }
}

/// The request by which a device registers.
pub(crate) fn registration(number: u32, shown: Shown) -> Request {
    Request::new(Method::Post, "rd")
        .with_query(&format!("ep={}", name(number)))
        .with_query(&format!("lt={LIFETIME_S}"))
        .with_query("lwm2m=1.1")
        .with_query("b=U")
        .with_payload(ContentFormat::LINK.0, shown.links().as_bytes().to_vec())
}

/// What is read of a device.
pub(crate) fn tree(number: u32) -> Vec<Entry> {
    let text = |path: Path, text: &str| Entry { path, value: Value::Text(text.to_owned()) };
    let integer = |path: Path, value: i64| Entry { path, value: Value::Integer(value) };
    vec![
        text(Path::resource(3, 0, 0), "Acme"),
        text(Path::resource(3, 0, 1), MODEL),
        text(Path::resource(3, 0, 2), &format!("SN-{number:010}")),
        text(Path::resource(3, 0, 3), "1.0.0"),
        integer(Path::resource(3, 0, 9), 93),
        text(Path::resource(3, 0, 16), "U"),
        integer(Path::resource(5, 0, 3), 0),
        integer(Path::resource(5, 0, 5), 0),
        integer(Path::resource(5, 0, 9), 2),
    ]
}

/// Gives devices their keys, in a data folder that no server has yet.
pub(crate) fn seed(folder: &Folder, count: u32) -> Outcome<()> {
    let now = Timestamp::from_millis(1_700_000_000_000);
    let master = MasterKey::open(&folder.join(ACCESS_KEY_FILE))?;
    let auth = Auth::open(Database::open(folder)?.tokens()?, master, now)?;
    for number in 0..count {
        let name = name(number);
        let new =
            NewToken { principal: Principal::Device(name.parse()?), expires: None, note: String::new() };
        auth.import_psk(name.parse()?, KEY.parse()?, new, now)?;
    }
    Ok(())
}
