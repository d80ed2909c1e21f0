//! LwM2M: constrained devices, over CoAP on UDP, with DTLS or without.

pub mod books;
pub mod desk;
