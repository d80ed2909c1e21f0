//! When each device was last heard of: in memory at once, in the store within seconds.
//!
//! The one fact that changes with every word of every device. It is kept by device number in pages, and a page is written
//! when something in it changed: the cost follows the number of devices, never the number of check-ins.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock};
use updraft_core::time::Timestamp;

/// Devices per page: 4 KiB, as large as a page of the database.
pub const DEVICES_PER_PAGE: usize = 1024;

struct Page {
    seen_s: Box<[AtomicU32]>,
    dirty: AtomicBool,
}

impl Page {
    fn new(seen_s: &[u32]) -> Self {
        let mut page: Vec<_> = seen_s.iter().map(|seen| AtomicU32::new(*seen)).collect();
        page.resize_with(DEVICES_PER_PAGE, AtomicU32::default);
        Self { seen_s: page.into(), dirty: AtomicBool::new(false) }
    }
}

/// Last-seen times of all devices, by device number.
pub struct Presence {
    pages: RwLock<Vec<Page>>,
}

impl Presence {
    /// From what the store holds: seconds since 1970 by device number, 0 for never.
    #[must_use]
    pub fn new(seen_s: &[u32]) -> Self {
        Self { pages: RwLock::new(seen_s.chunks(DEVICES_PER_PAGE).map(Page::new).collect()) }
    }

    /// A device was heard.
    pub fn touch(&self, number: u32, now: Timestamp) {
        let (page, place) = place(number);
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(page) = pages.get(page) {
            page.seen_s[place].store(seconds(now), Ordering::Relaxed);
            page.dirty.store(true, Ordering::Release);
            return;
        }
        drop(pages);
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        while pages.len() <= page {
            pages.push(Page::new(&[]));
        }
        pages[page].seen_s[place].store(seconds(now), Ordering::Relaxed);
        pages[page].dirty.store(true, Ordering::Release);
    }

    /// When a device was last heard, to the second; `None`: never.
    #[must_use]
    pub fn last_seen(&self, number: u32) -> Option<Timestamp> {
        let (page, place) = place(number);
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        let seen_s = pages.get(page)?.seen_s[place].load(Ordering::Relaxed);
        (seen_s > 0).then(|| Timestamp::from_millis(i64::from(seen_s) * 1_000))
    }

    /// Takes the pages that changed since the last call: page number and its devices' times.
    #[must_use]
    pub fn take_dirty(&self) -> Vec<(u32, Vec<u32>)> {
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        pages
            .iter()
            .enumerate()
            .filter(|(_, page)| page.dirty.swap(false, Ordering::AcqRel))
            .map(|(number, page)| {
                let seen = page.seen_s.iter().map(|seen| seen.load(Ordering::Relaxed)).collect();
                (u32::try_from(number).unwrap_or(u32::MAX), seen)
            })
            .collect()
    }

    /// Marks pages as changed again: they could not be written.
    pub fn put_back(&self, numbers: impl IntoIterator<Item = u32>) {
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        for number in numbers {
            if let Some(page) = pages.get(number as usize) {
                page.dirty.store(true, Ordering::Release);
            }
        }
    }
}

fn place(number: u32) -> (usize, usize) {
    let number = number as usize;
    (number / DEVICES_PER_PAGE, number % DEVICES_PER_PAGE)
}

/// Seconds since 1970; times outside of what 32 bits hold are cut.
pub(super) fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_millis().max(0) / 1000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_with_news_are_taken_and_each_once() {
        let presence = Presence::new(&[]);
        presence.touch(5, Timestamp::from_millis(7_000));
        presence.touch(3_000, Timestamp::from_millis(9_000));
        let dirty = presence.take_dirty();
        assert_eq!(dirty.iter().map(|(page, _)| *page).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(dirty[0].1[5], 7);
        assert_eq!(dirty[1].1[3_000 - 2_048], 9);
        assert!(presence.take_dirty().is_empty());
        presence.put_back([2]);
        assert_eq!(presence.take_dirty().len(), 1);
    }

    #[test]
    fn what_the_store_knew_stays_beside_what_is_heard() {
        let presence = Presence::new(&[0, 11, 12]);
        presence.touch(1, Timestamp::from_millis(20_000));
        assert_eq!(presence.take_dirty()[0].1[..3], [0, 20, 12]);
        assert_eq!(presence.last_seen(2), Some(Timestamp::from_millis(12_000)));
        assert_eq!((presence.last_seen(0), presence.last_seen(99_999)), (None, None));
    }
}
