//! Claims about the edge of the server: listeners, certificates, links, uploads and downloads.

mod download;
mod link;
mod listen;
mod pki;
mod served;
mod upload;
