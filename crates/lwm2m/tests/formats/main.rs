//! What is written into messages, in each format: as the standard and devices have it, and as nobody should send it.

mod bootstrap;
mod content;
mod link;
mod malformed;
mod notation;
mod registration;
mod round_trip;
