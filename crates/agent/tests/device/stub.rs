//! A server of one assignment and one image, on a port of its own, that can be told to misbehave.

use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use updraft_wire::{
    ArtifactEntry, Assignment, CheckIn, CheckInAnswer, JobId, Manifest, UpdateState, UpdateStatus,
};

/// How long a test waits for what it expects.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The product everything is for.
pub(crate) const PRODUCT: &str = "thermostat";
/// The image's strong entity tag.
pub(crate) const ETAG: &str = "\"image-1\"";

/// A request for the image.
#[derive(Debug, Clone)]
pub(crate) struct Get {
    pub(crate) path: String,
    /// How many there were before it.
    pub(crate) nth: usize,
    /// Header lines, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

impl Get {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }

    /// The first byte asked for.
    pub(crate) fn offset(&self) -> usize {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        range.map_or(0, |first| first.parse().unwrap())
    }
}

/// An answer, byte for byte; the connection is closed after it.
pub(crate) type Reply = Vec<u8>;

/// Serves an image as it should be.
pub(crate) fn serve(image: &[u8], get: &Get) -> Reply {
    let offset = get.offset();
    let is_part = offset > 0 && get.header("if-range") == Some(ETAG);
    let body = if is_part { &image[offset..] } else { image };
    let range = format!("Content-Range: bytes {offset}-{}/{}\r\n", image.len() - 1, image.len());
    let (status, range) = if is_part { ("206 Partial Content", range.as_str()) } else { ("200 OK", "") };
    reply(&format!("{status}\r\nETag: {ETAG}\r\n{range}Content-Length: {}", body.len()), body)
}

/// An answer from its status line and headers, and its body.
pub(crate) fn reply(head: &str, body: &[u8]) -> Reply {
    let mut reply = format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").into_bytes();
    reply.extend_from_slice(body);
    reply
}

type Downloads = Box<dyn FnMut(&Get) -> Reply + Send>;
type Answers = Box<dyn FnMut(&CheckIn) -> Option<Reply> + Send>;

struct State {
    assignment: Option<Assignment>,
    ended: Option<UpdateStatus>,
    words: Vec<CheckIn>,
    authorizations: Vec<String>,
    gets: Vec<Get>,
    downloads: Downloads,
    answers: Answers,
    is_closing: bool,
    is_holding: bool,
}

/// The server.
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

/// An image of this many bytes that compresses badly.
pub(crate) fn image(bytes: usize) -> Vec<u8> {
    let mut image = Vec::with_capacity(bytes + 32);
    let mut digest = Sha256::digest(b"image");
    while image.len() < bytes {
        image.extend_from_slice(&digest);
        digest = Sha256::digest(digest);
    }
    image.truncate(bytes);
    image
}

/// A manifest of one artifact.
pub(crate) fn manifest(version: &str, image: &[u8]) -> Manifest {
    let entry = ArtifactEntry {
        name: "image".into(),
        size: image.len() as u64,
        sha256: hex::encode(Sha256::digest(image)),
        md5: None,
    };
    Manifest { format: 1, product: PRODUCT.into(), version: version.into(), artifacts: vec![entry] }
}

impl Stub {
    /// A server without an assignment.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            assignment: None,
            ended: None,
            words: Vec::new(),
            authorizations: Vec::new(),
            gets: Vec::new(),
            downloads: Box::new(|_| reply("404 Not Found\r\nContent-Length: 0", b"")),
            answers: Box::new(|_| None),
            is_closing: false,
            is_holding: false,
        };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let for_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || accept(&listener, &for_thread));
        Self { address, shared, thread: Some(thread) }
    }

    /// A server that assigns this image, well served.
    pub(crate) fn assigning(job: &str, version: &str, image: &[u8]) -> Self {
        let stub = Self::start();
        stub.assign(job, version, image);
        stub
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Assigns an image, served as it should be.
    pub(crate) fn assign(&self, job: &str, version: &str, image: &[u8]) {
        let job: JobId = job.parse().unwrap();
        let links = vec![format!("{}/image", self.url())];
        self.assign_as(Assignment { job, manifest: manifest(version, image), links, allow_downgrade: false });
        let image = image.to_vec();
        self.on_download(move |get| serve(&image, get));
    }

    pub(crate) fn assign_as(&self, assignment: Assignment) {
        let mut state = self.state();
        state.assignment = Some(assignment);
        state.ended = None;
    }

    /// Takes the assignment back.
    pub(crate) fn withdraw(&self) {
        self.state().assignment = None;
    }

    /// Sets how requests for the image are answered.
    pub(crate) fn on_download(&self, downloads: impl FnMut(&Get) -> Reply + Send + 'static) {
        self.state().downloads = Box::new(downloads);
    }

    /// Sets how check-ins are answered; `None` is the usual answer.
    pub(crate) fn on_check_in(&self, answers: impl FnMut(&CheckIn) -> Option<Reply> + Send + 'static) {
        self.state().answers = Box::new(answers);
    }

    /// Keeps connections open after what there was to say was said: the rest is silence.
    pub(crate) fn hold(&self, is_holding: bool) {
        self.state().is_holding = is_holding;
    }

    pub(crate) fn words(&self) -> Vec<CheckIn> {
        self.state().words.clone()
    }

    pub(crate) fn gets(&self) -> Vec<Get> {
        self.state().gets.clone()
    }

    pub(crate) fn authorizations(&self) -> Vec<String> {
        self.state().authorizations.clone()
    }

    /// How the assignment ended, if the server has heard it.
    pub(crate) fn ended(&self) -> Option<UpdateStatus> {
        self.state().ended.clone()
    }

    /// Waits until something is so.
    pub(crate) fn wait<T>(&self, what: &str, mut is_so: impl FnMut(&[CheckIn], &[Get]) -> Option<T>) -> T {
        let give_up = Instant::now() + PATIENCE;
        let mut state = self.state();
        loop {
            if let Some(value) = is_so(&state.words, &state.gets) {
                return value;
            }
            let left = give_up.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain: {what}; heard {:#?}", state.words);
            state = self.shared.1.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits for the assignment's end.
    pub(crate) fn wait_for_end(&self) -> (UpdateStatus, CheckIn) {
        self.wait("the end of the update", |words, _| {
            words.iter().rev().find_map(|said| {
                let update = said.update.clone().filter(|update| update.state.is_settled())?;
                Some((update, said.clone()))
            })
        })
    }

    /// Waits for `count` more check-ins.
    pub(crate) fn wait_for_check_ins(&self, count: usize) {
        let before = self.words().len();
        self.wait("more check-ins", |words, _| (words.len() >= before + count).then_some(()));
    }

    /// The states reported, each once, in order.
    pub(crate) fn states(&self) -> Vec<UpdateState> {
        let mut states: Vec<_> =
            self.words().iter().filter_map(|said| said.update.as_ref().map(|update| update.state)).collect();
        states.dedup();
        states
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        // A test that failed may have poisoned the lock; the thread is then left to the process's end.
        let Ok(mut state) = self.shared.0.lock() else { return };
        state.is_closing = true;
        drop(state);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Shared = Arc<(Mutex<State>, Condvar)>;

fn accept(listener: &TcpListener, shared: &Shared) {
    for stream in listener.incoming() {
        if shared.0.lock().map_or(true, |state| state.is_closing) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        // A device that goes away in the middle is what some tests are about.
        thread::spawn(move || converse(stream, &shared));
    }
}

fn converse(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let is_get = line.starts_with("GET ");
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let reply = if is_get {
        answer_get(shared, path, headers)
    } else {
        let find = |name| headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.clone());
        let length = find("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        answer_check_in(shared, &body, find("authorization"))
    };
    writer.write_all(&reply)?;
    let is_holding = shared.0.lock().unwrap().is_holding;
    if is_holding && is_get {
        // Until the other side gives up.
        let _ = reader.read(&mut [0]);
    }
    Ok(())
}

fn answer_get(shared: &Shared, path: String, headers: Vec<(String, String)>) -> Reply {
    let mut state = shared.0.lock().unwrap();
    let get = Get { path, nth: state.gets.len(), headers };
    state.gets.push(get.clone());
    let reply = (state.downloads)(&get);
    shared.1.notify_all();
    reply
}

fn answer_check_in(shared: &Shared, body: &[u8], authorization: Option<String>) -> Reply {
    let words: CheckIn = serde_json::from_slice(body).unwrap();
    let mut state = shared.0.lock().unwrap();
    state.words.push(words.clone());
    state.authorizations.extend(authorization);
    shared.1.notify_all();
    if let Some(reply) = (state.answers)(&words) {
        return reply;
    }
    let end = words.update.filter(|update| update.state.is_settled());
    let noted = end.as_ref().map(|end| end.job.clone());
    if state.assignment.as_ref().map(|assignment| &assignment.job) == noted.as_ref() && noted.is_some() {
        state.ended = end;
    }
    let assignment = state.assignment.clone().filter(|_| state.ended.is_none());
    answer(&CheckInAnswer { next_check_in_s: 1, assignment, noted })
}

/// An answer to a check-in.
pub(crate) fn answer(answer: &CheckInAnswer) -> Reply {
    let body = serde_json::to_vec(answer).unwrap();
    reply(&format!("200 OK\r\nContent-Type: application/json\r\nContent-Length: {}", body.len()), &body)
}
