//! A listener on a port of its own, and a client that says exactly the bytes it is told to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::HeaderMap;
use bytes::Bytes;
use futures_util::stream;
use tempfile::TempDir;
use updraft_core::id::DeviceId;
use updraft_server::artifacts::serve::{
    Admission, Caller, DownloadRequest, Downloads, Gatekeeper, Unavailable,
};
use updraft_server::artifacts::{
    Artifact, Artifacts, Digest, LinkClaims, LinkSigner, ShortClaims, UploadLimits,
};
use updraft_server::listen::{Drained, ListenLimits, Listener, Peer, ShutdownTrigger, bind, shutdown};
use updraft_wire::JobId;

/// How long a test waits for bytes that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// What links of the tests begin with.
pub(crate) const PUBLIC_URL: &str = "http://updates.example";

/// A listener in a thread, drained when dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    trigger: ShutdownTrigger,
    thread: Option<thread::JoinHandle<Drained>>,
}

impl Served {
    pub(crate) fn start(
        router: Router,
        limits: ListenLimits,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        let (trigger, stop) = shutdown::shutdown();
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let tcp = bind(([127, 0, 0, 1], 0).into(), "test").await.unwrap();
                let listener = Listener::new(tcp, tls, limits);
                sender.send(listener.local_addr().unwrap()).unwrap();
                listener.serve_router(router, stop).await
            })
        });
        Self { address: receiver.recv().unwrap(), trigger, thread: Some(thread) }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes on a connection of its own and reads the one answer.
    pub(crate) fn say(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        Answer::read(&mut stream, request.starts_with(b"HEAD"))
    }

    pub(crate) fn ask_to_stop(&self) {
        self.trigger.ask();
    }

    pub(crate) fn stop(mut self) -> Drained {
        self.trigger.ask();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.trigger.ask();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An answer as it came over the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn read(stream: &mut impl Read, is_head: bool) -> Self {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut byte).expect("the server answers or closes");
            assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&head));
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Self { status, head, body: Vec::new() };
        if !is_head && status != 304 {
            let length = answer.header("Content-Length").expect("every answer has a length").parse().unwrap();
            answer.body = vec![0; length];
            stream.read_exact(&mut answer.body).expect("the body is as long as announced");
        }
        answer
    }

    /// The header's value; its name is compared as the C updater does, letter by letter.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).expect("an error has a JSON body");
        assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()));
        body["code"].as_str().unwrap().into()
    }
}

/// What the tests' gatekeeper knows and has seen.
#[derive(Default)]
pub(crate) struct Gate {
    pub(crate) withdrawn: bool,
    pub(crate) requests: Mutex<Vec<(LinkClaims, DownloadRequest)>>,
    /// What the job brings; nothing can be told before it is known.
    pub(crate) artifact: OnceLock<Digest>,
}

/// Devices prove themselves by `Bearer token-of-<device>`; only `dev-1` has a job, for short links its first attempt at `r1`.
pub(crate) struct Door(pub Arc<Gate>);

impl Gatekeeper for Door {
    async fn caller(&self, headers: &HeaderMap, _: Option<Peer>) -> Caller {
        let token = headers.get("authorization").and_then(|value| value.to_str().ok());
        match token.and_then(|token| token.strip_prefix("Bearer token-of-")) {
            Some(device) => Caller::Device(device.into()),
            None => Caller::Anonymous,
        }
    }

    async fn open_job(&self, device: &str, _: &Digest) -> Option<String> {
        (device == "dev-1").then(|| "job-1".into())
    }

    async fn artifact_of(&self, device: &DeviceId, job: &JobId) -> Result<Option<Digest>, Unavailable> {
        let artifact = *self.0.artifact.get().ok_or(Unavailable)?;
        Ok((device.as_str() == "dev-1" && job.to_string() == "r1-1").then_some(artifact))
    }

    async fn admit(&self, claims: &LinkClaims, request: DownloadRequest) -> Admission {
        self.0.requests.lock().unwrap().push((claims.clone(), request));
        if self.0.withdrawn { Admission::Withdrawn } else { Admission::Open }
    }
}

/// A server with one artifact.
pub(crate) struct Depot {
    pub(crate) served: Served,
    pub(crate) signer: Arc<LinkSigner>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) artifact: Artifact,
    pub(crate) content: Vec<u8>,
    pub(crate) folder: TempDir,
}

impl Depot {
    pub(crate) fn with(content: Vec<u8>, limits: ListenLimits, downloads_max: usize, gate: Gate) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open_folder(&folder.path().join("artifacts")).unwrap();
        Self::over(artifacts, folder, content, limits, downloads_max, gate)
    }

    pub(crate) fn over(
        artifacts: Artifacts,
        folder: TempDir,
        content: Vec<u8>,
        limits: ListenLimits,
        downloads_max: usize,
        gate: Gate,
    ) -> Self {
        let artifact = put(&artifacts, &content);
        let signer = Arc::new(LinkSigner::open(&folder.path().join("link.keys"), now()).unwrap());
        let gate = Arc::new(gate);
        gate.artifact.set(artifact.sha256).expect("a gate is of one depot");
        let downloads =
            Downloads::new(artifacts, Arc::clone(&signer), Door(Arc::clone(&gate)), downloads_max);
        let served = Served::start(Arc::new(downloads).router(), limits, None);
        Self { served, signer, gate, artifact, content, folder }
    }

    pub(crate) fn new(bytes: usize) -> Self {
        Self::with(content(bytes), ListenLimits::default(), 16, Gate::default())
    }

    /// The same depot behind TLS.
    pub(crate) fn over_tls(mut self, tls: Arc<rustls::ServerConfig>) -> Self {
        let artifacts = Artifacts::open_folder(&self.folder.path().join("artifacts")).unwrap();
        let downloads = Downloads::new(artifacts, Arc::clone(&self.signer), Door(Arc::clone(&self.gate)), 16);
        self.served = Served::start(Arc::new(downloads).router(), ListenLimits::default(), Some(tls));
        self
    }

    pub(crate) fn claims(&self) -> LinkClaims {
        LinkClaims {
            sha256: self.artifact.sha256,
            device: "dev-1".into(),
            job: "job-1".into(),
            expires: now() + 3600,
            net: None,
            close: false,
        }
    }

    /// Path and query of a link.
    pub(crate) fn target(&self, claims: &LinkClaims) -> String {
        let link = self.signer.sign(PUBLIC_URL, claims, now()).unwrap();
        link.strip_prefix(PUBLIC_URL).unwrap().into()
    }

    pub(crate) fn short_claims(&self) -> ShortClaims {
        let (device, job) = ("dev-1".parse().unwrap(), "r1-1".parse().unwrap());
        ShortClaims { device, job, expires: now() + 3600 }
    }

    /// Path of a short link.
    pub(crate) fn short_target(&self, claims: &ShortClaims) -> String {
        let link = self.signer.sign_short(PUBLIC_URL, claims, now()).unwrap();
        link.strip_prefix(PUBLIC_URL).unwrap().into()
    }

    /// Fetches a target with extra header lines, each ended by CRLF.
    pub(crate) fn get(&self, target: &str, headers: &str) -> Answer {
        self.served.say(request("GET", target, headers).as_bytes())
    }
}

pub(crate) fn request(method: &str, target: &str, headers: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: updates.example\r\n{headers}\r\n")
}

pub(crate) fn put(artifacts: &Artifacts, content: &[u8]) -> Artifact {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let chunks: Vec<_> =
        content.chunks(60_000).map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk))).collect();
    runtime.block_on(artifacts.put(stream::iter(chunks), UploadLimits::default())).unwrap()
}

/// Bytes of which no two runs of eight are alike.
pub(crate) fn content(bytes: usize) -> Vec<u8> {
    (0..bytes.div_ceil(8) as u64)
        .flat_map(|word| (word.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5555).to_le_bytes())
        .take(bytes)
        .collect()
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
