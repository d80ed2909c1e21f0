//! What crosses a process boundary: check-in bodies, topics and bodies over MQTT, release manifests, the operator
//! API's bodies.
//!
//! Types and their checks only. Nothing here reads a clock, a socket, a file or a random source, and nothing
//! here decides: the server turns these words into the domain's, the agent into actions.

pub mod broker;
pub mod check_in;
pub mod ioto;
pub mod job;
pub mod jobs;
pub mod manifest;
pub mod operator;
pub mod replica;

pub use check_in::{Assignment, CheckIn, CheckInAnswer, Reason, UpdateState, UpdateStatus};
pub use job::JobId;
pub use manifest::{ArtifactEntry, Manifest};
