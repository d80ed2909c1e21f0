//! Updates in the shape of Zerynth's library: its contract, and none of its faults.

use crate::stub::{Reply, Stub, image, reply, serve};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use updraft_agent::zerynth::{Fota, FotaSettings, Job, Jobs, JobsError, Pending};
use updraft_wire::jobs::{Details, FotaDocument, OPERATION_FOTA, Status};

const IMAGE_BYTES: usize = 200_000;

/// A device whose slot 0 was filled at the factory.
struct Board {
    folder: TempDir,
    resets: Arc<AtomicUsize>,
}

impl Board {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/image"), "factory").unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("current")).unwrap();
        Self { folder, resets: Arc::default() }
    }

    /// The device starts.
    fn start(&self) -> Fota {
        let resets = Arc::clone(&self.resets);
        let settings = FotaSettings {
            slots: self.folder.path().to_owned(),
            ca: None,
            plain_links: true,
            silence_time: Duration::from_secs(5),
            reset: Box::new(move || {
                resets.fetch_add(1, Ordering::SeqCst);
            }),
        };
        Fota::open(settings).unwrap()
    }

    fn resets(&self) -> usize {
        self.resets.load(Ordering::SeqCst)
    }

    fn current(&self) -> Vec<u8> {
        std::fs::read(self.path("current/image")).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn files(image: &[u8]) -> Stub {
    let stub = Stub::start();
    let served = image.to_vec();
    stub.on_download(move |get| serve(&served, get));
    stub
}

fn document(slot: u32, image: &[u8], stub: &Stub) -> FotaDocument {
    FotaDocument {
        operation: OPERATION_FOTA.into(),
        bc_idx: slot,
        bc_crc: hex::encode(Md5::digest(image)),
        bc_size: image.len() as u64,
        bc_url: format!("{}/image", stub.url()),
    }
}

/// The server's side, in memory.
#[derive(Default)]
struct List {
    jobs: Vec<Job>,
    has_changed: bool,
    updates: Vec<(String, Status, Details)>,
    /// Updates with this status get lost on their way.
    loses: Option<Status>,
    /// Another hand changes each job between its description and its update.
    overtakes: bool,
    disconnects: usize,
}

impl List {
    fn of(document: &FotaDocument) -> Self {
        let mut list = Self::default();
        list.add("fota-1", serde_json::to_value(document).unwrap());
        list
    }

    fn add(&mut self, id: &str, document: Value) {
        self.jobs.push(Job { id: id.into(), status: Status::Queued, version: 1, document });
        self.has_changed = true;
    }

    fn ids(&self, status: Status) -> Vec<String> {
        self.jobs.iter().filter(|job| job.status == status).map(|job| job.id.clone()).collect()
    }

    fn status(&self, id: &str) -> Status {
        self.jobs.iter().find(|job| job.id == id).unwrap().status
    }

    fn reason(&self) -> &str {
        self.updates.last().unwrap().2.get("reason").map_or("", String::as_str)
    }
}

impl Jobs for List {
    fn changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    fn list(&mut self) -> Result<Pending, JobsError> {
        Ok(Pending { in_progress: self.ids(Status::InProgress), queued: self.ids(Status::Queued) })
    }

    fn describe(&mut self, id: &str) -> Result<Option<Job>, JobsError> {
        Ok(self.jobs.iter().find(|job| job.id == id && !job.status.is_terminal()).cloned())
    }

    fn update(&mut self, job: &mut Job, status: Status, details: Details) -> Result<(), JobsError> {
        if self.loses == Some(status) {
            self.loses = None;
            return Err(JobsError::Unanswered("lost".into()));
        }
        let held = self.jobs.iter_mut().find(|held| held.id == job.id).unwrap();
        held.version += i64::from(self.overtakes);
        if held.status.is_terminal() || held.version != job.version {
            return Err(JobsError::Refused("another hand was faster".into()));
        }
        (held.status, held.version) = (status, held.version + 1);
        (job.status, job.version) = (status, held.version);
        self.updates.push((job.id.clone(), status, details));
        Ok(())
    }

    fn disconnect(&mut self) {
        self.disconnects += 1;
    }
}

fn handle(fota: &mut Fota, jobs: &mut List) -> bool {
    fota.handle_fota_jobs(jobs, true, false, true, None).unwrap()
}

#[test]
fn an_image_is_downloaded_tried_once_confirmed_and_only_then_a_success() {
    let (board, bytes) = (Board::new(), image(IMAGE_BYTES));
    let files = files(&bytes);
    let mut jobs = List::of(&document(1, &bytes, &files));
    let mut fota = board.start();
    assert_eq!(fota.running(), Some(0));
    assert!(handle(&mut fota, &mut jobs));
    assert_eq!((jobs.status("fota-1"), board.resets()), (Status::InProgress, 1));
    assert_eq!(board.current(), bytes);
    let mut fota = board.start();
    assert_eq!(fota.running(), Some(1));
    assert!(handle(&mut fota, &mut jobs));
    assert_eq!(jobs.status("fota-1"), Status::Succeeded);
    assert!(!handle(&mut fota, &mut jobs), "nothing is left");
    assert_eq!(board.start().running(), Some(1), "it stays");
    // And back into slot 0.
    let second = image(IMAGE_BYTES + 1);
    let files = self::files(&second);
    jobs.add("fota-2", serde_json::to_value(document(0, &second, &files)).unwrap());
    let mut fota = board.start();
    assert!(handle(&mut fota, &mut jobs) && handle(&mut board.start(), &mut jobs));
    assert_eq!((jobs.status("fota-2"), board.current()), (Status::Succeeded, second));
}

/// Fault 1 of the original.
#[test]
fn an_image_whose_md5_differs_fails_and_never_starts() {
    let (board, bytes) = (Board::new(), image(IMAGE_BYTES));
    let files = files(&bytes);
    let mut broken = document(1, &bytes, &files);
    broken.bc_crc = hex::encode(Md5::digest("another"));
    let mut jobs = List::of(&broken);
    let mut fota = board.start();
    assert!(handle(&mut fota, &mut jobs));
    assert_eq!((jobs.status("fota-1"), jobs.reason()), (Status::Failed, "integrity_check_failed"));
    assert!(fota.test(&broken).is_err());
    assert_eq!((board.resets(), board.current()), (0, b"factory".to_vec()));
    assert_eq!(board.start().running(), Some(0));
}

/// Fault 2 of the original.
#[test]
fn a_second_download_in_one_start_counts_its_own_bytes() {
    let (board, first, second) = (Board::new(), image(IMAGE_BYTES), image(IMAGE_BYTES / 3));
    let (files, others) = (files(&first), files(&second));
    let mut fota = board.start();
    fota.update(&document(1, &first, &files)).unwrap();
    fota.update(&document(1, &second, &others)).unwrap();
    assert!(fota.test(&document(1, &first, &files)).is_err(), "that image is gone");
    fota.test(&document(1, &second, &others)).unwrap();
    assert_eq!(board.current(), second);
}

/// Fault 3 of the original.
#[test]
fn an_update_confirmed_before_its_success_was_heard_is_a_success() {
    let (board, bytes) = (Board::new(), image(1000));
    let files = files(&bytes);
    let mut jobs = List::of(&document(1, &bytes, &files));
    assert!(handle(&mut board.start(), &mut jobs));
    jobs.loses = Some(Status::Succeeded);
    let mut fota = board.start();
    assert!(fota.handle_fota_jobs(&mut jobs, true, false, true, None).is_err());
    assert_eq!(jobs.status("fota-1"), Status::InProgress);
    assert!(handle(&mut board.start(), &mut jobs), "a later start");
    assert_eq!(jobs.status("fota-1"), Status::Succeeded);
}

/// Fault 4 of the original.
#[test]
fn the_slot_that_is_written_is_the_slot_that_is_named_and_never_the_one_that_runs() {
    let (board, bytes) = (Board::new(), image(1000));
    let files = files(&bytes);
    let mut fota = board.start();
    for slot in [0, 2, u32::MAX] {
        let wrong = document(slot, &bytes, &files);
        assert!(fota.update(&wrong).is_err() && fota.test(&wrong).is_err());
        let mut jobs = List::of(&wrong);
        assert!(!handle(&mut fota, &mut jobs));
        assert_eq!((jobs.status("fota-1"), jobs.reason()), (Status::Failed, "unsupported_package"));
        assert!(jobs.updates[0].2["detail"].starts_with("bad fota data"));
    }
    assert!(files.gets().is_empty());
    assert_eq!(board.current(), b"factory");
    assert!(!board.path("b/image").exists());
    fota.update(&document(1, &bytes, &files)).unwrap();
    assert_eq!(std::fs::read(board.path("b/image")).unwrap(), bytes);
}

/// Fault 6 of the original.
#[test]
fn a_success_restarts_nothing_a_second_time() {
    let (board, bytes) = (Board::new(), image(1000));
    let files = files(&bytes);
    let mut jobs = List::of(&document(1, &bytes, &files));
    assert!(handle(&mut board.start(), &mut jobs));
    assert_eq!(board.resets(), 1);
    assert!(handle(&mut board.start(), &mut jobs));
    assert_eq!((jobs.status("fota-1"), board.resets()), (Status::Succeeded, 1));
}

#[test]
fn an_image_that_does_not_confirm_itself_is_left_and_the_old_one_says_so() {
    let (board, bytes) = (Board::new(), image(1000));
    let files = files(&bytes);
    let mut jobs = List::of(&document(1, &bytes, &files));
    assert!(handle(&mut board.start(), &mut jobs));
    assert_eq!(board.start().running(), Some(1), "its one start, and no word");
    let mut fota = board.start();
    assert!(handle(&mut fota, &mut jobs));
    assert_eq!(jobs.status("fota-1"), Status::InProgress, "the wrong image must not speak");
    assert_eq!((board.resets(), board.current()), (2, b"factory".to_vec()));
    let mut fota = board.start();
    assert_eq!(fota.running(), Some(0));
    assert!(handle(&mut fota, &mut jobs));
    assert_eq!((jobs.status("fota-1"), jobs.reason()), (Status::Failed, "rolled_back"));
    assert_eq!(board.resets(), 2);
}

#[test]
fn a_download_that_a_power_cut_broke_off_is_begun_again_and_not_failed() {
    let (board, bytes) = (Board::new(), image(1000));
    let files = files(&bytes);
    let mut jobs = List::of(&document(1, &bytes, &files));
    // The image is whole, and the power goes before it is made the one that starts.
    board.start().update(&document(1, &bytes, &files)).unwrap();
    jobs.jobs[0].status = Status::InProgress;
    assert!(handle(&mut board.start(), &mut jobs));
    assert_eq!((jobs.status("fota-1"), files.gets().len()), (Status::InProgress, 2));
    assert!(handle(&mut board.start(), &mut jobs));
    assert_eq!(jobs.status("fota-1"), Status::Succeeded);
}

#[test]
fn a_connection_that_breaks_is_gone_on_with_and_a_server_of_another_image_is_not_believed() {
    let (board, bytes) = (Board::new(), image(IMAGE_BYTES));
    let files = Stub::start();
    let served = bytes.clone();
    files.on_download(move |get| {
        let mut reply = serve(&served, get);
        if get.nth == 0 {
            reply.truncate(reply.len() / 2);
        }
        reply
    });
    board.start().update(&document(1, &bytes, &files)).unwrap();
    assert_eq!(std::fs::read(board.path("b/image")).unwrap(), bytes);
    assert!(files.gets()[1].offset() > 0);
    let bad = |answer: fn(&[u8]) -> Reply| {
        let (board, files, served) = (Board::new(), Stub::start(), bytes.clone());
        files.on_download(move |_| answer(&served));
        let mut jobs = List::of(&document(1, &bytes, &files));
        assert!(handle(&mut board.start(), &mut jobs));
        assert_eq!(board.current(), b"factory");
        (jobs.status("fota-1"), jobs.reason().to_owned())
    };
    let broken = (Status::Failed, "integrity_check_failed".to_owned());
    assert_eq!(bad(|image| reply("200 OK\r\nContent-Length: 5", &image[..5])), broken, "too short");
    assert_eq!(bad(|image| reply("200 OK", &[image, b"x"].concat())), broken, "too long");
    assert_eq!(bad(|image| reply("200 OK", &vec![0; image.len()])), broken, "other bytes");
    let gone = (Status::Failed, "invalid_uri".to_owned());
    assert_eq!(bad(|_| reply("403 Forbidden\r\nContent-Length: 0", b"")), gone, "refused");
}

#[test]
fn what_is_no_fota_job_goes_to_the_callback_and_malformed_documents_fail() {
    let (board, bytes) = (Board::new(), image(1000));
    let files = files(&bytes);
    let mut jobs = List::default();
    jobs.add("reboot", json!({"operation": "reboot"}));
    for (id, bad) in [
        ("no-crc", json!({"operation": "fota", "bc_idx": 1, "bc_size": 3, "bc_url": "http://x/y"})),
        ("negative", json!({"operation": "fota", "bc_idx": -1, "bc_size": 3, "bc_crc": "", "bc_url": ""})),
        (
            "upper",
            json!({"operation": "fota", "bc_idx": 1, "bc_size": 3, "bc_crc": "A".repeat(32), "bc_url": "u"}),
        ),
        (
            "empty",
            json!({"operation": "fota", "bc_idx": 1, "bc_size": 0, "bc_crc": "a".repeat(32), "bc_url": "u"}),
        ),
    ] {
        jobs.add(id, bad);
    }
    jobs.add("good", serde_json::to_value(document(1, &bytes, &files)).unwrap());
    let mut seen = Vec::new();
    let mut callback = |jobs: &mut dyn Jobs, job: &mut Job| {
        seen.push(job.id.clone());
        jobs.update(job, Status::Succeeded, Details::new()).unwrap();
    };
    let mut fota = board.start();
    assert!(fota.handle_fota_jobs(&mut jobs, false, true, false, Some(&mut callback)).unwrap());
    assert_eq!(seen, ["reboot"]);
    for id in ["no-crc", "negative", "upper", "empty"] {
        assert_eq!(jobs.status(id), Status::Failed, "{id}");
    }
    assert_eq!((jobs.status("good"), jobs.disconnects, board.resets()), (Status::InProgress, 1, 0));
}

#[test]
fn nothing_is_asked_while_nothing_has_changed_and_a_job_another_hand_took_is_left() {
    let (board, bytes) = (Board::new(), image(1000));
    let files = files(&bytes);
    let mut jobs = List::of(&document(1, &bytes, &files));
    jobs.overtakes = true;
    let mut fota = board.start();
    assert!(!fota.handle_fota_jobs(&mut jobs, false, false, true, None).unwrap());
    assert!(files.gets().is_empty());
    jobs.overtakes = false;
    assert!(
        !fota.handle_fota_jobs(&mut jobs, false, false, true, None).unwrap(),
        "unchanged, and not forced"
    );
    assert!(handle(&mut fota, &mut jobs), "forced");
}

#[cfg(feature = "mqtt")]
mod over_mqtt {
    use super::*;
    use crate::broker::{Broker, DEVICE, Reaction};
    use crate::device::TOKEN;
    use std::time::Instant;
    use updraft_agent::config::Credential;
    use updraft_agent::zerynth::{FotaError, MqttJobs, MqttJobsSettings};

    fn open(broker: &Broker, answer_time: Duration) -> MqttJobs {
        MqttJobs::open(MqttJobsSettings {
            server: broker.url(),
            id: DEVICE.into(),
            credential: Credential::Token(TOKEN.into()),
            ca: None,
            answer_time,
        })
        .unwrap()
    }

    #[test]
    fn an_update_goes_the_whole_way_over_mqtt() {
        let (board, broker, bytes) = (Board::new(), Broker::start(), image(IMAGE_BYTES));
        let files = files(&bytes);
        broker.put_before("fota-device-1-1", serde_json::to_value(document(1, &bytes, &files)).unwrap());
        let mut jobs = open(&broker, Duration::from_secs(10));
        assert!(board.start().handle_fota_jobs(&mut jobs, true, true, true, None).unwrap());
        assert!(board.start().handle_fota_jobs(&mut jobs, true, true, true, None).unwrap());
        assert_eq!(board.current(), bytes);
        let said: Vec<_> = broker.updates().into_iter().map(|(job, body)| (job, body.status)).collect();
        let expected = [Status::InProgress, Status::Succeeded];
        assert_eq!(said, expected.map(|status| ("fota-device-1-1".to_owned(), status)));
        assert!(broker.connects().len() >= 2, "the connection was kept during the download");
    }

    /// Fault 5 of the original.
    #[test]
    fn every_wait_ends_though_the_server_never_answers() {
        let (board, broker, bytes) = (Board::new(), Broker::start(), image(1000));
        let files = files(&bytes);
        broker.put_before("fota-1", serde_json::to_value(document(1, &bytes, &files)).unwrap());
        for silent in ["jobs/get", "/get", "/update"] {
            broker.on_message(move |said| {
                if said.topic.ends_with(silent) { Reaction::Say(Vec::new()) } else { Reaction::Usual }
            });
            let mut jobs = open(&broker, Duration::from_millis(300));
            let began = Instant::now();
            let result = board.start().handle_fota_jobs(&mut jobs, true, false, true, None);
            assert!(matches!(result, Err(FotaError::Jobs(JobsError::Unanswered(_)))), "{silent}: {result:?}");
            assert!(began.elapsed() < Duration::from_secs(20), "{silent}");
        }
        assert_eq!(board.current(), b"factory");
    }
}
