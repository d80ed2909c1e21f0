//! The embedded MQTT endpoint: a gateway for devices, not a general broker.

mod gate;

pub use gate::{ConnectFacts, Gate, Refusal};
