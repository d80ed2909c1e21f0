//! What may wait: turns of the engine, reads of images, the books. Each runs beside the sockets.

use super::books::{Books, BooksError, Change};
use super::firmware::{Said, Work};
use super::hub::{File, Heard, Piece};
use super::serve::{Door, Link};
use super::{describe, fleet};
use crate::artifacts::Artifacts;
use crate::engine::{By, Engine, EngineError};
use bytes::Bytes;
use std::sync::mpsc as blocking;
use std::time::Duration;
use updraft_core::id::DeviceId;
use updraft_lwm2m::coap::Code;

/// Changes that one write to the books holds.
const CHANGES_AT_ONCE: usize = 1_024;
/// How long changes are gathered before they are written: a crash costs devices that registered within it another
/// registration, and saves the disk a thousand writes.
const GATHER: Duration = Duration::from_millis(250);
/// The pause after the books could not be written.
const BOOKS_PAUSE: Duration = Duration::from_secs(1);
/// How often one write is tried. What is lost then costs devices another registration, after the next start.
const BOOKS_TRIES_MAX: u32 = 60;

/// Tells the fleet what a device is; whether it was taken.
pub(super) async fn describe(
    engine: &Engine,
    device: &DeviceId,
    tree: Vec<updraft_lwm2m::Entry>,
    alias: Option<describe::Alias>,
) -> bool {
    let id = device.clone();
    let described = engine.about(device.clone(), By::Device, move |fleet, now| {
        fleet::describe(fleet, now, &id, &tree, alias.as_ref())
    });
    described.await.map_err(|error| warn(device, &error)).is_ok()
}

pub(super) async fn look(engine: &Engine, device: &DeviceId) -> Result<Option<Work>, ()> {
    let id = device.clone();
    let looked = engine.about(device.clone(), By::Another, move |fleet, now| fleet::look(fleet, now, &id));
    looked.await.map_err(|error| warn(device, &error))
}

pub(super) async fn say(engine: &Engine, device: &DeviceId, work: Work, said: Said) -> Heard {
    let id = device.clone();
    let heard = engine
        .about(device.clone(), By::Device, move |fleet, now| fleet::say(fleet, now, &id, &work, said))
        .await;
    heard.unwrap_or_else(|error| {
        warn(device, &error);
        Heard::Failed
    })
}

fn warn(device: &DeviceId, error: &EngineError) {
    tracing::warn!(error = error as &dyn std::error::Error, %device, "the fleet could not be told or asked");
}

pub(super) async fn read(artifacts: &Artifacts, piece: &Piece, size: u64) -> Option<Bytes> {
    let range = piece.offset()..piece.offset() + piece.length(size);
    let found = artifacts.open_range(&piece.image, range).await.map_err(|error| unread(error.into())).ok()?;
    found.bytes().await.map_err(|error| unread(error.into())).ok()
}

fn unread(error: Box<dyn std::error::Error>) {
    tracing::error!(error = &*error, "an image cannot be read");
}

pub(super) async fn resolve(
    engine: &Engine,
    door: &dyn Door,
    path: &str,
    is_start: bool,
) -> Result<File, Code> {
    let Link { device, rollout, attempt } = door.open_link(path)?;
    let unavailable = |_: EngineError| Code::SERVICE_UNAVAILABLE;
    let artifact = engine.artifact_of(device.clone(), rollout.clone(), attempt).await;
    let artifact = artifact.map_err(unavailable)?.ok_or(Code::NOT_FOUND)?;
    let image = artifact.sha256.parse().map_err(|_| Code::INTERNAL_SERVER_ERROR)?;
    let is_open = engine.admit_download(device.clone(), rollout, attempt, is_start).await;
    if is_open.map_err(unavailable)? {
        Ok(File { device, image, size: artifact.size })
    } else {
        Err(Code::NOT_FOUND)
    }
}

/// Writes changes to the books as they come, many at a time, until nobody sends any more.
pub(super) fn keep_books(books: &dyn Books, changes: &blocking::Receiver<Change>) {
    while let Ok(first) = changes.recv() {
        std::thread::sleep(GATHER);
        let mut gathered = vec![first];
        gathered.extend(changes.try_iter().take(CHANGES_AT_ONCE - 1));
        for _ in 0..BOOKS_TRIES_MAX {
            let Err(BooksError(error)) = books.save(&gathered) else { break };
            tracing::error!(error = &*error as &dyn std::error::Error, "registrations could not be kept");
            std::thread::sleep(BOOKS_PAUSE);
        }
    }
}
