//! The fleet's claims: each test's name is one.

mod outcome;
mod rollout;
mod stage;
