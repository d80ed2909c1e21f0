//! The Updraft agent: downloads, verifies, writes the inactive slot, starts it on trial, confirms it or falls
//! back.

pub mod agent;
pub mod app;
pub mod assignment;
pub mod boot;
pub mod check_in;
pub mod config;
pub mod cron;
mod download;
mod duty;
pub mod event;
pub mod fetch;
pub mod file_slots;
pub mod hook;
pub mod http;
pub mod image;
pub mod ioto;
pub mod ledger;
#[cfg(feature = "lwm2m")]
mod lwm2m;
#[cfg(feature = "mqtt")]
mod mqtt;
pub mod pace;
pub mod package;
pub mod record;
pub mod session;
pub mod slots;
pub mod start;
pub mod storage;
mod target;
pub mod transport;
pub mod trial;
pub mod updater;
pub mod verbs;
pub mod zerynth;
