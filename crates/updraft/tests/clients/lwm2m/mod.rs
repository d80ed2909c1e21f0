//! LwM2M, with clients and a server of others: Leshan's, libcoap's, aiocoap's and npm's coap.

mod agent;
mod aiocoap;
mod bootstrap;
mod leshan;
mod libcoap;
mod network;
mod stage;
mod x509;
