//! The ways in which the demonstration's devices reach the server.

use super::server::DemoServer;

/// How a device reaches the server, and what it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    Http,
    Replica,
    Jobs,
}

impl Carrier {
    pub(super) const ALL: [Self; 3] = [Self::Http, Self::Replica, Self::Jobs];

    /// How a person calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "check-in over HTTP",
            Self::Replica => "state replica over MQTT",
            Self::Jobs => "AWS IoT Jobs over MQTT",
        }
    }

    /// Where the server is for it.
    pub(super) fn url(self, server: &DemoServer) -> &str {
        match self {
            Self::Http => &server.device_url,
            Self::Replica | Self::Jobs => &server.mqtt_url,
        }
    }

    /// What `updraft-agent run` is told of it. Over MQTT nothing but the server's push makes an agent ask in time.
    pub(super) fn options(self) -> [&'static str; 4] {
        match self {
            Self::Http => ["--transport", "http", "--interval", "2s"],
            Self::Replica => ["--transport", "mqtt", "--mqtt-flow", "replica"],
            Self::Jobs => ["--transport", "mqtt", "--mqtt-flow", "jobs"],
        }
    }
}
