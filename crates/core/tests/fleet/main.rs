//! The fleet's claims: each test's name is one.

#![expect(clippy::unwrap_used, reason = "a stage that cannot be set fails the test")]

mod outcome;
mod rollout;
mod stage;
mod task;
