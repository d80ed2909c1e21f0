//! The server as it answers: is it there, does it know us, are its books right, do its links open.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use updraft_server::config::Config;
use updraft_server::pki::CA_FILE;
use updraft_server::store::{Database, OpenError};
use updraft_wire::operator::server::{Facts, Health};

use super::Finding;
use crate::client::{Client, ClientError, fetch_first_byte};
use crate::connection::Connection;

/// How far the server's clock may be from this one.
const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// Looks at the server; if there is none, at what stands in the way of starting it.
pub(super) fn check(connection: &Connection, config: &Config, device_url: Option<&str>) -> Vec<Finding> {
    let client = match connection.client() {
        Ok(client) => client,
        // Whether a server runs can be asked without a token.
        Err(error @ ClientError::NoToken { .. }) => {
            let mut findings = vec![Finding::warn("token", error.to_string(), "")];
            findings.extend(without_token(connection, config));
            return findings;
        }
        Err(error) => return vec![Finding::fail("server", error.to_string(), "correct --ca or UPDRAFT_CA")],
    };
    match client.get::<Health>(&["health"], &[]) {
        Ok(health) => {
            let found = format!("version {} answers at {}", health.version, client.url());
            let mut findings = vec![Finding::ok("server", found)];
            findings.extend(running(&client, connection, config, device_url));
            findings
        }
        Err(_) => stopped(&connection.data, client.url(), config),
    }
}

fn without_token(connection: &Connection, config: &Config) -> Vec<Finding> {
    let client = Client::new(&connection.url, "", None);
    match client.and_then(|client| client.get::<Health>(&["health"], &[])) {
        Ok(health) => {
            vec![Finding::ok("server", format!("version {} answers at {}", health.version, connection.url))]
        }
        Err(_) => stopped(&connection.data, &connection.url, config),
    }
}

/// Looks at a server that answers.
fn running(
    client: &Client,
    connection: &Connection,
    config: &Config,
    device_url: Option<&str>,
) -> Vec<Finding> {
    let base = device_url.map_or_else(|| base(config), ToOwned::to_owned);
    let facts: Facts = match client.get(&["doctor"], &[("base", &base)]) {
        Ok(facts) => facts,
        Err(error) => {
            return vec![Finding::fail(
                "operator API",
                error.to_string(),
                "give a token of an operator of this server",
            )];
        }
    };
    let mut findings = vec![books(&facts), clock(&facts)];
    let ca = connection.ca.clone().unwrap_or_else(|| connection.data.join(CA_FILE));
    findings.push(match &facts.link {
        None => Finding::ok("download link", "not tried: there is no release"),
        Some(link) => match fetch_first_byte(link, Some(ca.as_path()).filter(|ca| ca.exists())) {
            Ok(()) => Finding::ok("download link", format!("opens at {base}")),
            Err(error) => {
                let advice = "devices cannot download: check public_url, names and listen of [device], and firewalls; \
                              name another way in with --device-url";
                Finding::fail("download link", format!("{base}: {error}"), advice)
            }
        },
    });
    findings
}

/// Where devices reach a server with this configuration.
fn base(config: &Config) -> String {
    if let Some(url) = &config.device.public_url {
        return url.clone();
    }
    let listen = config.device.listen;
    let host = if listen.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { listen.ip() };
    format!("https://{}", SocketAddr::new(host, listen.port()))
}

fn books(facts: &Facts) -> Finding {
    let Facts { devices, releases, rollouts, database_faults, .. } = facts;
    if database_faults.is_empty() {
        let found = format!("sound: {devices} devices, {releases} releases, {rollouts} rollouts");
        Finding::ok("database", found)
    } else {
        Finding::fail("database", database_faults.join("; "), "stop the server and restore a backup")
    }
}

fn clock(facts: &Facts) -> Finding {
    let Ok(theirs) = facts.now.parse::<Timestamp>() else {
        return Finding::warn("server clock", format!("it says {:?}", facts.now), "");
    };
    let apart = Timestamp::now().duration_since(theirs).unsigned_abs();
    if apart > CLOCK_SKEW {
        let advice =
            "keep both set with NTP; a server whose clock was set while it ran must be started again";
        Finding::warn("server clock", format!("{} seconds from this machine's", apart.as_secs()), advice)
    } else {
        Finding::ok("server clock", "agrees with this machine's")
    }
}

/// Looks at what a start would meet.
fn stopped(data: &Path, url: &str, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if data.exists() {
        match Database::open(data).and_then(|database| database.views()) {
            Ok(mut views) => findings.push(match views.faults() {
                Ok(faults) if faults.is_empty() => Finding::ok("database", "sound"),
                Ok(faults) => Finding::fail("database", faults.join("; "), "restore a backup"),
                Err(error) => Finding::fail("database", error.to_string(), "restore a backup"),
            }),
            Err(OpenError::InUse(_)) => {
                let found = format!("a server has the data folder, and none answers at {url}");
                return vec![Finding::fail("server", found, "set UPDRAFT_URL to its operator listener")];
            }
            Err(error) => findings.push(Finding::fail("database", error.to_string(), "")),
        }
    }
    let found = format!("none answers at {url}");
    findings.push(Finding::warn("server", found, "start it with `updraft serve`, or set UPDRAFT_URL"));
    let plain = config.device.plain_listen.map(|address| ("[device] plain_listen", address));
    let listeners =
        [("[device] listen", config.device.listen), ("[operator] listen", config.operator.listen)];
    let section = &config.protocols.mqtt;
    let mqtt = [
        Some(("[protocols.mqtt] listen", section.listen)),
        section.plain_listen.map(|address| ("[protocols.mqtt] plain_listen", address)),
    ];
    let mqtt = mqtt.into_iter().flatten().filter(|_| section.is_embedded());
    let all = listeners.into_iter().chain(plain).chain(mqtt);
    let bind = |address| TcpListener::bind(address).map(drop);
    findings.extend(all.map(|(name, address)| port(name, address, bind(address))));
    let section = &config.protocols.lwm2m;
    let lwm2m = [
        Some(("[protocols.lwm2m] listen", section.listen)),
        section.plain_listen.map(|address| ("[protocols.lwm2m] plain_listen", address)),
    ];
    let bind = |address| UdpSocket::bind(address).map(drop);
    let lwm2m = lwm2m.into_iter().flatten().filter(|_| section.enabled);
    findings.extend(lwm2m.map(|(name, address)| port(name, address, bind(address))));
    findings
}

fn port(name: &'static str, address: SocketAddr, bound: std::io::Result<()>) -> Finding {
    match bound {
        Ok(()) => Finding::ok("port", format!("{address} is free for {name}")),
        Err(error) => {
            let advice = format!("free it, or set another address for {name}");
            Finding::fail("port", format!("{address}: {error}"), advice)
        }
    }
}
