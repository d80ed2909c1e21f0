//! The bodies of the operator API, shared by the server and the `updraft` command line.
//!
//! Shapes only. Times are RFC 3339 in UTC, durations are texts such as `15m`, names and versions are texts: the server
//! checks each where it enters. Deliberately absent: paths and verbs (see the operating guide's API page) and anything
//! a device sends.
//!
//! Readers ignore fields they do not know, so an older command line works with a newer server; requests refuse them, so
//! that a misspelt setting is an error and not a surprise.

pub mod device;
pub mod lwm2m;
pub mod policy;
pub mod release;
pub mod rollout;
pub mod server;
pub mod token;

use serde::{Deserialize, Serialize};

/// Where the API's paths begin.
pub const API_PATH: &str = "/api/v1";
/// Items of a list page when the caller names no limit.
pub const PAGE_ITEMS_DEFAULT: usize = 100;
/// Most items of one list page: an answer stays below about a megabyte.
pub const PAGE_ITEMS_MAX: usize = 1_000;
/// Largest JSON body of a request, in bytes. Uploads are streamed and have their own limit.
pub const REQUEST_BYTES_MAX: usize = 256 * 1024;

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong, as a stable word for programs.
    pub code: String,
    /// What went wrong and what to do, as a sentence for people.
    pub message: String,
    /// Names near the one that was not found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub near: Vec<String>,
    /// For a policy that does not compile: the expression and a caret under the column, as two lines of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// What to send as `after` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
