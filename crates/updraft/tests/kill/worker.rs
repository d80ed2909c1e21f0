//! Devices that work off jobs over MQTT. Each has a memory that outlives its connections, as a device's flash does.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::mqtt::Link;
use crate::process::PATIENCE;

pub(crate) const PRODUCT: &str = "thermostat";
/// The first wait before a device connects again; each device has its own, and it doubles.
const BACK_OFF: Duration = Duration::from_millis(20);
/// How often the wait doubles.
const BACK_OFF_DOUBLINGS: u32 = 4;

/// What all devices share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) server: RwLock<SocketAddr>,
    token: String,
    /// Devices that are known to the server and have nothing to do.
    pub(crate) idle: AtomicUsize,
    /// Changes of executions that the devices have heard of.
    pub(crate) words: AtomicUsize,
    /// Jobs that devices know to have ended.
    pub(crate) settled: AtomicUsize,
    /// Jobs that a device has begun and knows not to have ended.
    pub(crate) under_way: AtomicUsize,
    pub(crate) is_over: AtomicBool,
}

impl World {
    pub(crate) fn new(server: SocketAddr, token: String) -> Arc<Self> {
        Arc::new(Self {
            server: RwLock::new(server),
            token,
            idle: AtomicUsize::default(),
            words: AtomicUsize::default(),
            settled: AtomicUsize::default(),
            under_way: AtomicUsize::default(),
            is_over: AtomicBool::default(),
        })
    }
}

/// What a device remembers of one execution.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// How often it has run what the job is about.
    pub(crate) runs: u32,
    /// The version of the execution that it was last told.
    version: i64,
    /// Whether the server has told that it has ended.
    pub(crate) is_settled: bool,
}

/// A device, over its whole life. Its executions are named by job and number.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) memory: BTreeMap<(String, i64), Remembered>,
    is_known: bool,
    /// Whether it has heard that the server has its session, with what it subscribed to.
    has_session: bool,
    is_idle: bool,
}

impl Worker {
    pub(crate) fn new(number: usize) -> Self {
        let (version, memory) = ("1.0.0".to_owned(), BTreeMap::new());
        Self {
            id: format!("m{number:04}"),
            version,
            memory,
            is_known: false,
            has_session: false,
            is_idle: false,
        }
    }

    /// Works until it is over; whenever the connection breaks, it makes another.
    pub(crate) async fn live(mut self, world: &World) -> Self {
        let mut failures = 0;
        while !world.is_over.load(Ordering::Relaxed) {
            let address = *world.server.read().unwrap_or_else(PoisonError::into_inner);
            if let Ok(mut link) = Link::open(address, &self.id, &world.token).await {
                failures = 0;
                // Whatever breaks it, the memory says how to go on.
                let _ = self.work(&mut link, world).await;
            }
            self.set_idle(world, false);
            // A spread that is the device's own, so that not all come at once.
            let own = 1 + self.id.bytes().fold(0, |sum, byte| (sum * 31 + u32::from(byte)) % 8);
            tokio::time::sleep(BACK_OFF * own * 2_u32.pow(failures) / 4).await;
            failures = (failures + 1).min(BACK_OFF_DOUBLINGS);
        }
        self
    }

    /// Works on one connection.
    async fn work(&mut self, link: &mut Link, world: &World) -> io::Result<()> {
        let jobs = format!("$aws/things/{}/jobs", self.id);
        if self.has_session {
            assert!(link.is_resumed, "{}: its session was lost", self.id);
        } else {
            link.subscribe(&format!("{jobs}/notify-next")).await?;
            self.has_session = true;
        }
        if !self.is_known {
            let state = json!({ "state": { "reported": { "version": self.version } } });
            link.publish(&format!("state/{}/update", self.id), &state).await?;
            self.is_known = true;
        }
        loop {
            let answer = self.ask(link, &format!("{jobs}/start-next"), &json!({})).await?;
            if answer["execution"].is_object() {
                self.run(link, world, &answer["execution"]).await?;
                continue;
            }
            self.settle_all(world);
            self.set_idle(world, true);
            while !link.news().await?.topic.ends_with("/notify-next") {}
            self.set_idle(world, false);
        }
    }

    fn set_idle(&mut self, world: &World, is_idle: bool) {
        match (self.is_idle, is_idle) {
            (false, true) => world.idle.fetch_add(1, Ordering::Relaxed),
            (true, false) => world.idle.fetch_sub(1, Ordering::Relaxed),
            (false, false) | (true, true) => 0,
        };
        self.is_idle = is_idle;
    }

    /// A request and the answer to it, which must be that it was taken.
    async fn ask(&self, link: &mut Link, topic: &str, body: &Value) -> io::Result<Value> {
        link.publish(topic, body).await?;
        loop {
            let message = link.message().await?;
            let Some(verdict) = message.topic.strip_prefix(topic) else { continue };
            assert_eq!(verdict, "/accepted", "{topic} {body}: {}\n{self:?}", message.payload);
            return Ok(message.payload);
        }
    }

    /// Goes on with an execution from where the memory says that it is.
    async fn run(&mut self, link: &mut Link, world: &World, execution: &Value) -> io::Result<()> {
        let (job, number) =
            (execution["jobId"].as_str().unwrap(), execution["executionNumber"].as_i64().unwrap());
        // The document of a task says nothing of a version.
        let target = execution["jobDocument"]["version"].as_str().map(str::to_owned);
        assert_eq!(execution["status"], "IN_PROGRESS");
        let key = (job.to_owned(), number);
        let update = format!("$aws/things/{}/jobs/{job}/update", self.id);
        if !self.memory.contains_key(&key) {
            assert_ne!(Some(&self.version), target.as_ref(), "{}: {key:?} is to run what has run", self.id);
            world.under_way.fetch_add(1, Ordering::Relaxed);
            self.memory.insert(key.clone(), Remembered::default());
        }
        self.told(world, &key, execution);
        if self.memory[&key].runs == 0 {
            self.say(link, world, &key, &update, "IN_PROGRESS", json!({ "step": "installing" })).await?;
            self.memory.get_mut(&key).unwrap().runs += 1;
            self.version = target.unwrap_or_else(|| self.version.clone());
        }
        self.say(link, world, &key, &update, "SUCCEEDED", json!({})).await?;
        self.settle(world, &key);
        Ok(())
    }

    /// Says how an execution stands, if it stands there as the device knows.
    async fn say(
        &mut self,
        link: &mut Link,
        world: &World,
        key: &(String, i64),
        topic: &str,
        status: &str,
        details: Value,
    ) -> io::Result<()> {
        let words = json!({
            "status": status, "statusDetails": details, "expectedVersion": self.memory[key].version,
            "executionNumber": key.1, "includeJobExecutionState": true,
        });
        let answer = self.ask(link, topic, &words).await?;
        let state = &answer["executionState"];
        assert_eq!(state["status"], status, "{answer}");
        self.told(world, key, state);
        Ok(())
    }

    /// Notes how the server says an execution stands: never behind what it said before, and never open once it has ended.
    fn told(&mut self, world: &World, key: &(String, i64), state: &Value) {
        let remembered = self.memory.get_mut(key).unwrap();
        let version = state["versionNumber"].as_i64().unwrap();
        assert!(!remembered.is_settled, "{}: {key:?} was given again: {state}", self.id);
        assert!(version >= remembered.version, "{}: {key:?} lost what was answered: {state}", self.id);
        let unheard = usize::try_from(version - remembered.version).unwrap();
        world.words.fetch_add(unheard, Ordering::Relaxed);
        remembered.version = version;
    }

    fn settle(&mut self, world: &World, key: &(String, i64)) {
        self.memory.get_mut(key).unwrap().is_settled = true;
        world.under_way.fetch_sub(1, Ordering::Relaxed);
        world.settled.fetch_add(1, Ordering::Relaxed);
    }

    /// There is nothing to do: of what is open, the server has heard the end, and the device has not heard that.
    fn settle_all(&mut self, world: &World) {
        let open = self.memory.iter().filter(|(_, remembered)| !remembered.is_settled);
        for (key, runs) in open.map(|(key, remembered)| (key.clone(), remembered.runs)).collect::<Vec<_>>() {
            assert_eq!(runs, 1, "{}: {key:?} was lost before its end", self.id);
            world.words.fetch_add(1, Ordering::Relaxed);
            self.settle(world, &key);
        }
    }
}

/// Devices at work, on a thread of their own.
pub(crate) struct Crowd {
    world: Arc<World>,
    thread: Option<JoinHandle<Vec<Worker>>>,
}

impl Crowd {
    /// Sets so many devices to work.
    pub(crate) fn start(world: &Arc<World>, devices: usize) -> Self {
        let shared = world.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(live_all(shared, devices))
        });
        Self { world: world.clone(), thread: Some(thread) }
    }

    /// Waits until something is so, and fails if that takes too long or a device has failed.
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn(&World) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so(&self.world) {
            let is_alive = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
            assert!(is_alive, "a device has failed");
            assert!(Instant::now() < until, "not in time: {what}: {:?}", self.world);
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Ends it, once no server answers any more, and returns the devices.
    pub(crate) fn end(mut self) -> Vec<Worker> {
        self.world.is_over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.world.is_over.store(true, Ordering::Relaxed);
    }
}

/// Lets devices live until it is over or one has failed.
async fn live_all(world: Arc<World>, devices: usize) -> Vec<Worker> {
    let mut lives = JoinSet::new();
    for number in 0..devices {
        let world = world.clone();
        lives.spawn(async move { Worker::new(number).live(&world).await });
    }
    let mut ended = Vec::new();
    while let Some(worker) = lives.join_next().await {
        ended.push(worker.unwrap());
    }
    ended
}
