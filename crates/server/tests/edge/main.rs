//! Claims about the edge of the server: listeners, certificates, links, uploads and downloads.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod certificate;
mod download;
mod gate;
mod identity;
mod link;
mod listen;
mod mqtt;
mod pki;
mod served;
mod short_link;
mod signing;
mod upload;
mod websocket;
