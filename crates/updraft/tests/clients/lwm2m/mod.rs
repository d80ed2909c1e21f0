//! LwM2M, with clients and a server of others: Leshan's, libcoap's, aiocoap's and npm's coap; and with our own agent and load.

mod agent;
mod aiocoap;
mod bootstrap;
mod leshan;
mod libcoap;
mod load;
mod network;
mod stage;
mod weather;
mod x509;
