//! Memory of the download path is flat: in the size of the file, in the number of readers and in their pace.
//!
//! One test in a process of its own, since it measures the process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use bytes::Bytes;
use futures_util::stream;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use updraft_core::id::DeviceId;
use updraft_core::time::Timestamp;
use updraft_server::artifacts::serve::{
    Admission, Caller, DownloadRequest, Downloads, Gatekeeper, Unavailable,
};
use updraft_server::artifacts::{Artifact, Artifacts, Digest, LinkClaims, LinkSigner, UploadLimits};
use updraft_server::listen::{ListenLimits, Listener, Peer, bind, shutdown};
use updraft_server::pki;
use updraft_wire::JobId;

/// Slow readers at a time, over each transport.
const READERS: usize = 100;
/// The small and the large file, in bytes; 16 times apart.
const FILES: [usize; 2] = [8 << 20, 128 << 20];
/// Most memory that the readers of the large file may take beyond those of the small one, in KiB.
const GROWTH_KIB_MAX: u64 = 32 * 1024;
/// Most memory that all readers together may take, in KiB: 16 MiB of large buffers, and 150 KiB a reader for both of
/// its ends, which are in this process, TLS included. Buffering a file for each would take a hundred times that.
const READERS_KIB_MAX: u64 = 16 * 1024 + 2 * READERS as u64 * 300;

struct Everyone;

impl Gatekeeper for Everyone {
    async fn caller(&self, _: &HeaderMap, _: Option<Peer>) -> Caller {
        Caller::Anonymous
    }
    async fn open_job(&self, _: &str, _: &Digest) -> Option<String> {
        None
    }
    async fn artifact_of(&self, _: &DeviceId, _: &JobId) -> Result<Option<Digest>, Unavailable> {
        Ok(None)
    }
    async fn admit(&self, _: &LinkClaims, _: DownloadRequest) -> Admission {
        Admission::Open
    }
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn put(artifacts: &Artifacts, bytes: usize) -> Artifact {
    let chunks = stream::iter((0..bytes >> 16).map(|index| {
        let byte = u8::try_from(index % 256).unwrap();
        Ok::<_, std::io::Error>(Bytes::from(vec![byte; 1 << 16]))
    }));
    artifacts.put(chunks, UploadLimits::default()).await.unwrap()
}

fn tls_client(folder: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join(pki::CA_FILE)).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Opens readers that take one KiB and then nothing, and says how much memory the process has with them.
fn with_slow_readers(request: &str, plain: u16, secure: u16, tls: &Arc<ClientConfig>) -> u64 {
    let begin = |stream: &mut dyn ReadWrite| {
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_exact(&mut [0; 1024]).unwrap();
    };
    let mut plain_readers = Vec::new();
    let mut secure_readers = Vec::new();
    for _ in 0..READERS {
        let mut tcp = TcpStream::connect(("127.0.0.1", plain)).unwrap();
        begin(&mut tcp);
        plain_readers.push(tcp);
        let tcp = TcpStream::connect(("127.0.0.1", secure)).unwrap();
        let session = ClientConnection::new(Arc::clone(tls), "localhost".try_into().unwrap()).unwrap();
        let mut secured = StreamOwned::new(session, tcp);
        begin(&mut secured);
        secure_readers.push(secured);
    }
    resident_kib()
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

#[test]
fn memory_grows_neither_with_the_file_nor_beyond_a_bound_with_slow_readers() {
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let artifacts = Artifacts::open_folder(&folder.path().join("artifacts")).unwrap();
    let before_upload = resident_kib();
    let stored = FILES.map(|bytes| runtime.block_on(put(&artifacts, bytes)));
    assert!(resident_kib() < before_upload + 64 * 1024, "an upload of 128 MiB is held in memory");
    let signer = Arc::new(LinkSigner::open(&folder.path().join("link.keys"), now).unwrap());
    let router = Arc::new(Downloads::new(artifacts, Arc::clone(&signer), Everyone, 4 * READERS)).router();
    let millis = i64::try_from(now).unwrap() * 1000;
    let server_tls = pki::open(folder.path(), &[], Timestamp::from_millis(millis)).unwrap().tls;
    let listen = |tls| {
        let tcp = runtime.block_on(bind(([127, 0, 0, 1], 0).into(), "test")).unwrap();
        Listener::new(tcp, tls, ListenLimits::default())
    };
    let (plain, secure) = (listen(None), listen(Some(server_tls)));
    let ports = [&plain, &secure].map(|listener| listener.local_addr().unwrap().port());
    let (trigger, stop) = shutdown::shutdown();
    let serving = thread::spawn(move || {
        runtime.block_on(async {
            tokio::join!(plain.serve_router(router.clone(), stop.clone()), secure.serve_router(router, stop))
        })
    });
    let tls = tls_client(folder.path());
    let before = resident_kib();
    let [small, large] = stored.map(|artifact| {
        let (sha256, expires) = (artifact.sha256, now + 600);
        let claims =
            LinkClaims { sha256, device: "d".into(), job: String::new(), expires, net: None, close: false };
        let link = signer.sign("http://x", &claims, now).unwrap();
        let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", &link["http://x".len()..]);
        with_slow_readers(&request, ports[0], ports[1], &tls)
    });
    println!("before {before} KiB, readers of 8 MiB {small} KiB, of 128 MiB {large} KiB");
    assert!(large < small + GROWTH_KIB_MAX, "memory grows with the file: {small} to {large} KiB");
    assert!(large < before + READERS_KIB_MAX, "{READERS} readers took {} KiB", large - before);
    trigger.ask();
    serving.join().unwrap();
}
