//! Clients with exactly the wire habits of those in the field. The behaviour is theirs, every line is ours.

pub(crate) mod agent;
pub(crate) mod c;
pub(crate) mod script;

use crate::stage::Stage;

/// What a client is told on its command line.
pub(crate) struct Device<'a> {
    pub(crate) id: &'a str,
    pub(crate) product: &'a str,
    pub(crate) version: &'a str,
    pub(crate) token: &'a str,
    /// Further properties, all texts.
    pub(crate) properties: &'a [(&'a str, &'a str)],
}

/// What the apply script does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Apply {
    Succeeds,
    Fails,
}

/// How a run of a client ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ran {
    /// Nothing was offered.
    NoUpdate,
    /// This version was fetched, verified and handed to the apply script.
    Updated(String),
}

/// A run from the check-in to the report; an error is what the client says as it gives up.
pub(crate) type Run = fn(&Stage, &Device<'_>, Apply) -> Result<Ran, String>;

/// The stand-alone updaters, by the language of the original. One whose interpreter is missing is left out by name.
pub(crate) fn updaters() -> Vec<(&'static str, Run)> {
    let mut updaters: Vec<(&'static str, Run)> = vec![("c", c::run)];
    if script::are_present(&["bash", "curl", "jq", "openssl"]) {
        updaters.push(("shell", script::run_shell));
    }
    if script::are_present(&["node"]) {
        updaters.push(("javascript", script::run_javascript));
    }
    updaters
}
