//! CoAP: the codec by itself, and two peers with a bad network between them.

mod blocks;
mod exchange;
mod hostile;
mod message;
mod observe;
mod pace;
mod pair;
mod pull;
