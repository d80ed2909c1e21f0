//! Shadows as devices and applications meet them: topics, bodies, codes; and an independent oracle.

#![expect(clippy::unwrap_used, reason = "a stage that cannot be set fails the test")]

mod codes;
mod oracle;
mod page;
mod replies;
mod stage;
