//! The ways in which the demonstration's devices reach the server.

use super::server::DemoServer;

/// How a device reaches the server, and what it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    Http,
    Replica,
    Jobs,
    Pulled,
    Pushed,
}

impl Carrier {
    pub(super) const ALL: [Self; 5] = [Self::Http, Self::Replica, Self::Jobs, Self::Pulled, Self::Pushed];

    /// How a person calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "check-in over HTTP",
            Self::Replica => "state replica over MQTT",
            Self::Jobs => "AWS IoT Jobs over MQTT",
            Self::Pulled => "LwM2M, pulled",
            Self::Pushed => "LwM2M, pushed",
        }
    }

    /// Where the server is for it.
    pub(super) fn url(self, server: &DemoServer) -> &str {
        match self {
            Self::Http => &server.device_url,
            Self::Replica | Self::Jobs => &server.mqtt_url,
            Self::Pulled | Self::Pushed => &server.lwm2m_url,
        }
    }

    /// Whether a device proves itself by a pre-shared key instead of a token.
    pub(super) fn has_key(self) -> bool {
        match self {
            Self::Http | Self::Replica | Self::Jobs => false,
            Self::Pulled | Self::Pushed => true,
        }
    }

    /// What `updraft-agent run` is told of it. Over MQTT nothing but the server's push makes an agent ask in time.
    pub(super) fn options(self) -> [&'static str; 4] {
        match self {
            Self::Http => ["--transport", "http", "--interval", "2s"],
            Self::Replica => ["--transport", "mqtt", "--mqtt-flow", "replica"],
            Self::Jobs => ["--transport", "mqtt", "--mqtt-flow", "jobs"],
            Self::Pulled => ["--transport", "lwm2m", "--delivery", "pull"],
            Self::Pushed => ["--transport", "lwm2m", "--delivery", "push"],
        }
    }
}
