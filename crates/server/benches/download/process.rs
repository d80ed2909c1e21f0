//! The two servers, each a process of its own, and what they cost.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use bytes::Bytes;
use futures_util::stream;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use updraft_core::id::DeviceId;
use updraft_core::time::Timestamp;
use updraft_server::artifacts::serve::{
    Admission, Caller, DOWNLOADS_MAX, DownloadRequest, Downloads, Gatekeeper, Unavailable,
};
use updraft_server::artifacts::{Artifacts, Digest, LinkClaims, LinkSigner, UploadLimits};
use updraft_server::listen::{ListenLimits, Listener, Peer, bind, shutdown};
use updraft_server::pki;
use updraft_wire::JobId;

use crate::client::Target;
use crate::{FILE_BYTES, Outcome, cost};

/// How long a server may take to be ready.
const START_TIME: Duration = Duration::from_secs(10);

/// What both servers share.
pub(crate) struct Setup {
    pub(crate) link_target: String,
    client_tls: Arc<ClientConfig>,
    nginx_ports: (u16, u16),
}

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

/// Makes the file, the keys and the certificates.
pub(crate) fn prepare(folder: &Path) -> Outcome<Setup> {
    // No two 4 KiB pages alike, so that nothing below can share or compress them.
    let content: Vec<u8> =
        (0..FILE_BYTES as u64 / 8).flat_map(|word| (word * 0x9E37_79B9_7F4A_7C15).to_le_bytes()).collect();
    fs::write(folder.join("artifact"), &content)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let artifacts = Artifacts::open_folder(&folder.join("artifacts"))?;
    let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from(content))]);
    let artifact = runtime.block_on(artifacts.put(body, UploadLimits::default()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let signer = LinkSigner::open(&folder.join("link.keys"), now)?;
    let claims = LinkClaims {
        sha256: artifact.sha256,
        device: "benchmark".into(),
        job: String::new(),
        expires: now + 24 * 3600,
        net: None,
        close: false,
    };
    let link = signer.sign("http://localhost", &claims, now)?;
    pki::open(folder, &[], timestamp()?)?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join(pki::CA_FILE))?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client_tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Setup {
        link_target: link["http://localhost".len()..].into(),
        client_tls: Arc::new(client_tls),
        nginx_ports: (free_port()?, free_port()?),
    })
}

fn timestamp() -> Outcome<Timestamp> {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    Ok(Timestamp::from_millis(millis.try_into()?))
}

fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The child: our listeners over the prepared folder, until its input ends.
pub(crate) fn serve(folder: &Path) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let artifacts = Artifacts::open_folder(&folder.join("artifacts"))?;
        let signer = Arc::new(LinkSigner::open(&folder.join("link.keys"), 0)?);
        let router = Arc::new(Downloads::new(artifacts, signer, Everyone, DOWNLOADS_MAX)).router();
        let tls = pki::open(folder, &[], timestamp()?)?.tls;
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let plain = Listener::new(bind(any_port, "plain").await?, None, ListenLimits::default());
        let secure = Listener::new(bind(any_port, "tls").await?, Some(tls), ListenLimits::default());
        println!("{} {}", plain.local_addr()?.port(), secure.local_addr()?.port());
        let (trigger, stop) = shutdown::shutdown();
        thread::spawn(move || {
            // Ends when the parent lets go of the pipe, however the parent ends.
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            trigger.ask();
        });
        tokio::join!(plain.serve_router(router.clone(), stop.clone()), secure.serve_router(router, stop));
        Ok(())
    })
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    plain_port: u16,
    tls_port: u16,
}

impl Server {
    pub(crate) fn start_ours(folder: &Path) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--serve")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let (plain, tls) = line.trim().split_once(' ').ok_or("the server did not start")?;
        Ok(Self { plain_port: plain.parse()?, tls_port: tls.parse()?, child })
    }

    pub(crate) fn start_nginx(folder: &Path, setup: &Setup) -> Outcome<Self> {
        let (plain_port, tls_port) = setup.nginx_ports;
        let config = folder.join("nginx.conf");
        fs::write(&config, nginx_config(folder, plain_port, tls_port))?;
        let child =
            Command::new("nginx").arg("-c").arg(&config).args(["-e", "stderr"]).spawn().map_err(|error| {
                format!("cannot start nginx ({error}); install it: apt-get install nginx-light")
            })?;
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", tls_port)).is_err() {
            if begun.elapsed() > START_TIME {
                return Err("nginx did not start".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { child, plain_port, tls_port })
    }

    pub(crate) fn target(&self, is_tls: bool, path: &str, setup: &Setup) -> Target {
        let port = if is_tls { self.tls_port } else { self.plain_port };
        Target {
            address: ([127, 0, 0, 1], port).into(),
            path: path.into(),
            tls: is_tls.then(|| Arc::clone(&setup.client_tls)),
        }
    }

    /// User and system time of the process and its children that live.
    pub(crate) fn cpu_time(&self) -> Outcome<Duration> {
        cost::cpu_time(self.child.id())
    }

    /// The most memory the process has had resident, in KiB.
    pub(crate) fn peak_memory_kib(&self) -> Outcome<u64> {
        cost::memory_kib(self.child.id(), "VmHWM")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // nginx's master takes its workers along on SIGTERM, which `kill` does not send.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn nginx_config(folder: &Path, plain_port: u16, tls_port: u16) -> String {
    let folder = folder.display();
    let workers = thread::available_parallelism().map_or(1, usize::from);
    format!(
        "daemon off; worker_processes {workers}; pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path {folder}/nginx; proxy_temp_path {folder}/nginx; fastcgi_temp_path {folder}/nginx;
  uwsgi_temp_path {folder}/nginx; scgi_temp_path {folder}/nginx;
  server {{
    listen 127.0.0.1:{plain_port}; listen 127.0.0.1:{tls_port} ssl;
    ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key; ssl_protocols TLSv1.2 TLSv1.3;
    root {folder};
  }}
}}
"
    )
}
