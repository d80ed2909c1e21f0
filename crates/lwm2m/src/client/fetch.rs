//! A package that the server offers by a URI of its own, fetched on the session that is there.
//!
//! Deliberately absent: other servers, for which a host has a session, a `Peer` and a [`Download`] of its own; and where the
//! bytes go.

use super::Client;
use crate::Moment;
use crate::coap::{BlockSize, Download, Method, Progress, Request, RequestId, Response};

/// A fetch under way: what has come, and the block that was asked for last.
#[derive(Debug)]
pub struct Fetch {
    download: Download,
    asked: RequestId,
}

impl Fetch {
    /// Asks for the first block of what a Package URI names. `None`: the client has too much to ask already.
    #[must_use]
    pub fn begin(now: Moment, client: &mut Client, uri: &str) -> Option<Self> {
        // After scheme, authority and the slash between.
        let path = uri.splitn(4, '/').nth(3).unwrap_or_default();
        let download = Download::new(Request::new(Method::Get, path), BlockSize::MAX);
        let asked = client.request(now, download.next_request()?).ok()?;
        Some(Self { download, asked })
    }

    /// Takes an answer, if it is to the block that was asked for last, and asks for the next block.
    pub fn handle_answer(
        &mut self,
        now: Moment,
        client: &mut Client,
        id: RequestId,
        response: Response,
    ) -> Option<Progress> {
        if id != self.asked {
            return None;
        }
        let progress = self.download.handle_response(response);
        if matches!(progress, Progress::Bytes(_) | Progress::Restarted) {
            let next = self.download.next_request().and_then(|request| client.request(now, request).ok());
            let Some(asked) = next else { return Some(Progress::Broken) };
            self.asked = asked;
        }
        Some(progress)
    }
}
