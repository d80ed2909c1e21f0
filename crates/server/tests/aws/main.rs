//! The HTTP doors of AWS IoT, of a whole server in this process: who is let in, and what is refused; and boto3 itself, with
//! nothing but its endpoint changed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod boto;
mod certificate;
mod control;
mod doors;
mod sign;
mod stage;
