//! The operator API on loopback with a stand-in for the LwM2M device behind its desk, and the real program against it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use serde_json::Value as Json;
use tempfile::TempDir;
use updraft_core::attributes::Attributes;
use updraft_core::report::{Description, Report};
use updraft_core::time::Timestamp;
use updraft_server::api::{self, Lwm2m, Parts};
use updraft_server::artifacts::{Artifacts, LinkSigner, UploadLimits};
use updraft_server::auth::access_key::MasterKey;
use updraft_server::auth::{Auth, OPERATOR_TOKEN_FILE};
use updraft_server::engine::Engine;
use updraft_server::engine::clock::Clock;
use updraft_server::listen::{self, ListenLimits, Listener, ShutdownTrigger};
use updraft_server::pki;
use updraft_server::protocols::lwm2m::books::{Books, Change, SavedOrder};
use updraft_server::protocols::lwm2m::desk::{
    Call, Desk, DeskError, Entry, Order, Outcome, Standing, Taken, Value,
};
use updraft_server::store::Database;

/// The device's ID.
pub(crate) const DEVICE: &str = "cam-1";

/// What a verb did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// What the device does.
#[derive(Default)]
pub(crate) struct Device {
    /// Whether orders wait.
    pub(crate) is_asleep: bool,
    /// What comes of orders, by the word of the operation and the path; it refuses all others.
    pub(crate) outcomes: BTreeMap<(&'static str, &'static str), Outcome>,
    /// What the next looks show of its tree, one after the other; after the last one it is not registered.
    pub(crate) looks: Vec<Vec<Entry>>,
}

pub(crate) struct Server {
    folder: TempDir,
    address: SocketAddr,
    books: Arc<dyn Books>,
    pub(crate) device: Arc<Mutex<Device>>,
    /// Orders that wait, as they come.
    pub(crate) waiting: Mutex<mpsc::Receiver<Order>>,
    trigger: ShutdownTrigger,
    thread: JoinHandle<()>,
}

pub(crate) fn entry(path: &str, value: impl Into<Value>) -> Entry {
    Entry { path: path.parse().unwrap(), value: value.into() }
}

impl Server {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        let books: Arc<dyn Books> = Arc::new(database.lwm2m().unwrap());
        let (trigger, shutdown) = listen::shutdown::shutdown();
        let (ready, address) = mpsc::channel();
        let (waits, waiting) = mpsc::channel();
        let device: Arc<Mutex<Device>> = Arc::default();
        let (path, kept, shown) = (folder.path().to_owned(), books.clone(), device.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (desk, calls) = Desk::new();
                tokio::spawn(hub(calls, kept.clone(), shown, waits));
                let clock = Clock::system();
                let (engine, running) = Engine::start(database.fleet().unwrap(), clock).unwrap();
                report(&engine).await;
                let auth = Auth::open(database.tokens().unwrap(), MasterKey::draw().unwrap(), clock.now());
                let auth = auth.unwrap();
                auth.keep_operator_token(&path, clock.now()).unwrap();
                let router = api::router(Parts {
                    engine,
                    database,
                    artifacts: Artifacts::open_folder(&path.join("artifacts")).unwrap(),
                    upload_limits: UploadLimits { bytes_max: 1 },
                    auth,
                    authority: pki::open(&path, &[], clock.now()).unwrap().authority,
                    signer: Arc::new(LinkSigner::open(&path.join("link.keys"), 1_700_000_000).unwrap()),
                    public_url: String::new(),
                    lwm2m: Some(Lwm2m { desk, books: kept }),
                });
                let tcp = listen::bind("127.0.0.1:0".parse().unwrap(), "").await.unwrap();
                let listener = Listener::new(tcp, None, ListenLimits::default());
                ready.send(listener.local_addr().unwrap()).unwrap();
                listener.serve_router(router.unwrap(), shutdown).await;
                tokio::task::spawn_blocking(|| running.join()).await.unwrap();
            });
        });
        let address = address.recv().unwrap();
        Self { folder, address, books, device, waiting: Mutex::new(waiting), trigger, thread }
    }

    /// The device wakes, and this comes of an order that waited.
    pub(crate) fn wake(&self, order: Order, outcome: Outcome) {
        self.books.save(&[Change::Order(SavedOrder { order, outcome: Some(outcome) })]).unwrap();
    }

    /// Runs a verb, with nothing set that a person may have set.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_updraft"));
        for name in ["UPDRAFT_URL", "UPDRAFT_TOKEN", "UPDRAFT_DATA", "UPDRAFT_CA"] {
            command.env_remove(name);
        }
        let token = std::fs::read_to_string(self.folder.path().join(OPERATOR_TOKEN_FILE)).unwrap();
        let url = format!("http://{}", self.address);
        let output = command
            .args(arguments)
            .args(["--url", &url, "--token", token.trim()])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs a verb with `--json`: its status and what it printed.
    pub(crate) fn json(&self, arguments: &[&str]) -> (i32, Json) {
        let ran = self.run(&[arguments, &["--json"]].concat());
        let json = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        (ran.code, json)
    }

    /// Ends the server.
    pub(crate) fn end(self) {
        self.trigger.ask();
        self.thread.join().unwrap();
    }
}

/// The device is known to the fleet.
async fn report(engine: &Engine) {
    let mut attributes = Attributes::new();
    for (name, value) in [("id", DEVICE), ("product", "cam"), ("version", "1.0.0")] {
        attributes.insert(name, value).unwrap();
    }
    let (product, version) = ("cam".parse().unwrap(), "1.0.0".to_owned());
    let description = Description { product, version, boot: Some(1), attributes };
    let report = Report { description: Some(description), progress: None };
    let reported = engine.command(move |fleet, now| fleet.report(now, &DEVICE.parse().unwrap(), &report));
    reported.await.unwrap();
}

async fn hub(
    mut calls: tokio::sync::mpsc::Receiver<Call>,
    books: Arc<dyn Books>,
    device: Arc<Mutex<Device>>,
    waits: mpsc::Sender<Order>,
) {
    while let Some(call) = calls.recv().await {
        let mut device = device.lock().unwrap();
        match call {
            Call::Look(id, answer) => {
                let is_there = id.as_str() == DEVICE && !device.looks.is_empty();
                let _ = answer.send(is_there.then(|| standing(device.looks.remove(0))));
            }
            Call::Order(order, answer) if order.device.as_str() == DEVICE => {
                let _ = answer.send(Ok(take(&*books, &device, order, &waits)));
            }
            Call::Order(_, answer) => {
                let _ = answer.send(Err(DeskError::NotRegistered));
            }
        }
    }
}

fn take(books: &dyn Books, device: &Device, mut order: Order, waits: &mpsc::Sender<Order>) -> Taken {
    order.number = books.next_number().unwrap();
    let number = order.number;
    let refused = || Outcome::Refused("4.05".to_owned(), "\u{1b}[31m".to_owned());
    let (word, path) = (word(&order), order.path.to_string());
    let scripted = device.outcomes.iter().find(|((operation, at), _)| (*operation, *at) == (&word, &path));
    let outcome = scripted.map_or_else(refused, |(_, outcome)| outcome.clone());
    let outcome = (!device.is_asleep).then_some(outcome);
    books.save(&[Change::Order(SavedOrder { order: order.clone(), outcome: outcome.clone() })]).unwrap();
    match outcome {
        Some(outcome) => Taken::Ended(number, outcome),
        None => {
            waits.send(order).unwrap();
            Taken::Waits(number)
        }
    }
}

/// The operation and what it came with.
fn word(order: &Order) -> String {
    format!("{:?}", order.operation)
}

fn standing(known: Vec<Entry>) -> Standing {
    Standing {
        endpoint: DEVICE.to_owned(),
        address: "192.0.2.7:50412".to_owned(),
        security: "psk".to_owned(),
        version: "1.1".to_owned(),
        lifetime_s: Some(3_600),
        registered: Timestamp::from_millis(1_772_366_400_000),
        heard: Timestamp::from_millis(1_772_366_400_000),
        is_queue_mode: true,
        is_awake: false,
        objects: ["/3/0", "/5/0"].map(|path| path.parse().unwrap()).into(),
        known,
        waiting: 1,
    }
}
