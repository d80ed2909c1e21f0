//! A server of one assignment over MQTT, on a port of its own, that can be told to misbehave. It speaks the replica and
//! jobs, and nothing more of MQTT than one device needs.

use crate::stub::PATIENCE;
use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{
    ConnAck, ConnectAuth, ConnectReturnCode, Packet, PubAck, Publish, SubAck, SubscribeReasonCode,
};
use rumqttc::mqttbytes::{Error, QoS};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Instant;
use updraft_wire::jobs::{self, Execution, Status, UpdateDocument, UpdateRequest};
use updraft_wire::replica::{self, DesiredUpdate, Reported};
use updraft_wire::{Assignment, UpdateStatus};

/// The device all tests are about.
pub(crate) const DEVICE: &str = "device-1";
/// Largest packet the stub takes, in bytes.
const PACKET_BYTES_MAX: usize = 1024 * 1024;

/// A message, its payload as JSON.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) topic: String,
    pub(crate) body: Value,
}

/// What the stub does about a message instead of the usual.
pub(crate) enum Reaction {
    Usual,
    /// The usual, after another hand has changed the execution.
    Overtake,
    Say(Vec<(String, Vec<u8>)>),
    HangUp,
}

/// A job of another kind than ours.
struct Foreign {
    name: String,
    document: Value,
    status: Status,
    version: i64,
}

type Reactions = Box<dyn FnMut(&Said) -> Reaction + Send>;

struct State {
    assignment: Option<Assignment>,
    /// Jobs before ours.
    foreign: Vec<Foreign>,
    execution: (Status, i64),
    ended: Option<UpdateStatus>,
    said: Vec<Said>,
    /// User name, password and keep-alive of each connection.
    connects: Vec<(Option<(String, String)>, u16)>,
    filters: Vec<String>,
    reactions: Reactions,
    is_refusing: bool,
    stream: Option<TcpStream>,
    is_closing: bool,
}

/// The server.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Broker {
    /// A server without an assignment.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            assignment: None,
            foreign: Vec::new(),
            execution: (Status::Queued, 1),
            ended: None,
            said: Vec::new(),
            connects: Vec::new(),
            filters: Vec::new(),
            reactions: Box::new(|_| Reaction::Usual),
            is_refusing: false,
            stream: None,
            is_closing: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let for_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || accept(&listener, &for_thread));
        Self { address, shared, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Assigns an image at this link, and hints.
    pub(crate) fn assign(&self, job: &str, version: &str, image: &[u8], link: &str) {
        let manifest = crate::stub::manifest(version, image);
        self.assign_as(Assignment {
            job: job.parse().unwrap(),
            manifest,
            links: vec![link.to_owned()],
            allow_downgrade: false,
        });
    }

    pub(crate) fn assign_as(&self, assignment: Assignment) {
        let mut state = self.state();
        state.assignment = Some(assignment);
        state.ended = None;
        state.execution = (Status::Queued, 1);
        drop(state);
        self.hint();
    }

    /// Puts another's job before ours.
    pub(crate) fn put_before(&self, name: &str, document: Value) {
        let name = name.to_owned();
        self.state().foreign.push(Foreign { name, document, status: Status::Queued, version: 1 });
        self.push(&jobs::Topic::Notify.name(DEVICE), b"{}");
    }

    /// Takes the assignment back, and hints.
    pub(crate) fn withdraw(&self) {
        self.state().assignment = None;
        self.hint();
    }

    /// Says that something has changed.
    pub(crate) fn hint(&self) {
        self.push(&replica::Topic::Delta.name(DEVICE), b"{}");
        self.push(&jobs::Topic::NotifyNext.name(DEVICE), b"{}");
    }

    /// Sends a message to the device, if it is connected.
    pub(crate) fn push(&self, topic: &str, payload: &[u8]) {
        if let Some(stream) = &mut self.state().stream {
            let _ = stream.write_all(&packet(topic, payload));
        }
    }

    /// Cuts the device's connection.
    pub(crate) fn cut(&self) {
        if let Some(stream) = self.state().stream.take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Sets what is done about messages.
    pub(crate) fn on_message(&self, reactions: impl FnMut(&Said) -> Reaction + Send + 'static) {
        self.state().reactions = Box::new(reactions);
    }

    /// Refuses every credential from the next connection on, or takes it again.
    pub(crate) fn refuse(&self, is_refusing: bool) {
        self.state().is_refusing = is_refusing;
    }

    pub(crate) fn said(&self) -> Vec<Said> {
        self.state().said.clone()
    }

    pub(crate) fn filters(&self) -> Vec<String> {
        self.state().filters.clone()
    }

    pub(crate) fn connects(&self) -> Vec<(Option<(String, String)>, u16)> {
        self.state().connects.clone()
    }

    pub(crate) fn ended(&self) -> Option<UpdateStatus> {
        self.state().ended.clone()
    }

    /// What the device reported of itself, oldest first.
    pub(crate) fn reported(&self) -> Vec<Reported> {
        let update = replica::Topic::Update.name(DEVICE);
        let said = self.said().into_iter().filter(|said| said.topic == update);
        said.map(|said| serde_json::from_value(said.body["state"]["reported"].clone()).unwrap()).collect()
    }

    /// What the device said of jobs, oldest first: the job's name and the body.
    pub(crate) fn updates(&self) -> Vec<(String, UpdateRequest)> {
        let said = self.said();
        let updates = said.iter().filter_map(|said| match jobs::Topic::parse(&said.topic)? {
            (_, jobs::Topic::Update(job)) => {
                Some((job.to_owned(), serde_json::from_value(said.body.clone()).unwrap()))
            }
            _ => None,
        });
        updates.collect()
    }

    /// Waits until something is so.
    pub(crate) fn wait<T>(&self, what: &str, mut is_so: impl FnMut(&Self) -> Option<T>) -> T {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = is_so(self) {
                return value;
            }
            let left = give_up.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain: {what}; heard {:#?}", self.said());
            let state = self.state();
            drop(self.shared.changed.wait_timeout(state, left.min(std::time::Duration::from_millis(50))));
        }
    }

    /// Waits for the assignment's end.
    pub(crate) fn wait_for_end(&self) -> UpdateStatus {
        self.wait("the end of the update", Self::ended)
    }

    /// Waits for so many connections.
    pub(crate) fn wait_for_connects(&self, count: usize) {
        self.wait("a connection", |broker| (broker.connects().len() >= count).then_some(()));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let Ok(mut state) = self.shared.state.lock() else { return };
        state.is_closing = true;
        if let Some(stream) = state.stream.take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn packet(topic: &str, payload: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    Publish::new(topic, QoS::AtMostOnce, payload.to_vec()).write(&mut bytes).unwrap();
    bytes
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.state.lock().map_or(true, |state| state.is_closing) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        thread::spawn(move || converse(stream, &shared));
    }
}

/// One connection, until either side ends it.
fn converse(mut stream: TcpStream, shared: &Shared) {
    let mut buffer = BytesMut::new();
    let mut piece = [0; 16 * 1024];
    loop {
        match Packet::read(&mut buffer, PACKET_BYTES_MAX) {
            Ok(packet) => {
                if !handle(&mut stream, shared, packet) {
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
            }
            Err(Error::InsufficientBytes(_)) => match stream.read(&mut piece) {
                Ok(read) if read > 0 => buffer.extend_from_slice(&piece[..read]),
                Ok(_) | Err(_) => return,
            },
            Err(error) => panic!("the agent sent what is no MQTT: {error}"),
        }
    }
}

/// Handles a packet; says whether the connection goes on.
fn handle(stream: &mut TcpStream, shared: &Shared, packet: Packet) -> bool {
    let mut out = BytesMut::new();
    let mut state = shared.state.lock().unwrap();
    match packet {
        Packet::Connect(connect) => {
            assert_eq!(connect.client_id, DEVICE);
            assert!(connect.clean_session);
            let credential = if let ConnectAuth::UsernamePassword { username, password } = &connect.auth {
                Some((username.clone(), String::from_utf8_lossy(password).into_owned()))
            } else {
                None
            };
            state.connects.push((credential, connect.keep_alive));
            let code = if state.is_refusing {
                ConnectReturnCode::NotAuthorized
            } else {
                state.stream = Some(stream.try_clone().unwrap());
                ConnectReturnCode::Success
            };
            ConnAck::new(code, false).write(&mut out).unwrap();
        }
        Packet::Subscribe(subscribe) => {
            let granted = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); subscribe.filters.len()];
            state.filters.extend(subscribe.filters.into_iter().map(|filter| filter.path));
            SubAck::new(subscribe.pkid, granted).write(&mut out).unwrap();
        }
        Packet::Publish(publish) => {
            PubAck::new(publish.pkid).write(&mut out).unwrap();
            let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
            let said = Said { topic, body: serde_json::from_slice(&publish.payload).unwrap() };
            state.said.push(said.clone());
            let reaction = (state.reactions)(&said);
            if matches!(reaction, Reaction::Overtake) {
                state.execution.1 += 1;
            }
            match reaction {
                Reaction::Usual | Reaction::Overtake => {
                    for (topic, body) in state.usual(&said) {
                        out.extend_from_slice(&self::packet(&topic, body.to_string().as_bytes()));
                    }
                }
                Reaction::Say(messages) => {
                    messages
                        .iter()
                        .for_each(|(topic, body)| out.extend_from_slice(&self::packet(topic, body)));
                }
                Reaction::HangUp => return false,
            }
        }
        Packet::PingReq => rumqttc::mqttbytes::v4::PingResp.write(&mut out).map(drop).unwrap(),
        Packet::Disconnect => return false,
        Packet::ConnAck(_)
        | Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::SubAck(_)
        | Packet::Unsubscribe(_)
        | Packet::UnsubAck(_)
        | Packet::PingResp => panic!("the agent sent what it never sends"),
    }
    shared.changed.notify_all();
    stream.write_all(&out).is_ok()
}

impl State {
    /// What a good server replies.
    fn usual(&mut self, said: &Said) -> Vec<(String, Value)> {
        let mut replies = self.usual_replica(said);
        replies.extend(self.usual_jobs(said));
        for (_, body) in &mut replies {
            body["clientToken"] = said.body["clientToken"].clone();
            body["timestamp"] = json!(1_700_000_000);
        }
        replies
    }

    fn usual_replica(&mut self, said: &Said) -> Vec<(String, Value)> {
        use replica::{Topic, Verdict};
        let reply =
            |topic: Topic, state: Value| vec![(topic.name(DEVICE), json!({"version": 1, "state": state}))];
        match Topic::parse(&said.topic) {
            Some((_, Topic::Update)) => {
                let reported: Reported =
                    serde_json::from_value(said.body["state"]["reported"].clone()).unwrap();
                let end = reported.update.filter(|update| update.state.is_settled());
                if end.as_ref().map(|end| &end.job) == self.assignment.as_ref().map(|a| &a.job)
                    && end.is_some()
                {
                    self.ended = end;
                }
                reply(Topic::UpdateReply(Verdict::Accepted), said.body["state"].clone())
            }
            Some((_, Topic::Get)) => {
                let open = self.assignment.clone().filter(|_| self.ended.is_none());
                let delta =
                    open.map(|assignment| serde_json::to_value(DesiredUpdate::from(assignment)).unwrap());
                let mut state = json!({"desired": {"colour": "red"}, "reported": {}});
                state["delta"] = delta.unwrap_or(json!({"colour": "red"}));
                reply(Topic::GetReply(Verdict::Accepted), state)
            }
            _ => Vec::new(),
        }
    }

    /// The execution that is next, as jobs have it.
    fn execution(&self) -> Option<Execution> {
        let execution = |job_id: &str, (status, version), number, document| Execution {
            job_id: job_id.to_owned(),
            thing_name: Some(DEVICE.into()),
            status,
            status_details: None,
            queued_at: 0,
            started_at: None,
            last_updated_at: 0,
            approximate_seconds_before_timed_out: None,
            version_number: version,
            execution_number: Some(number),
            job_document: Some(document),
        };
        if let Some(Foreign { name, document, status, version }) = self.foreign.first() {
            return Some(execution(name, (*status, *version), 1, document.clone()));
        }
        let assignment = self.assignment.clone().filter(|_| !self.execution.0.is_terminal())?;
        let (job, number) = (assignment.job.rollout().to_owned(), i64::from(assignment.job.attempt()));
        let document = serde_json::to_value(UpdateDocument::from(assignment)).unwrap();
        Some(execution(&job, self.execution, number, document))
    }

    fn usual_jobs(&mut self, said: &Said) -> Vec<(String, Value)> {
        use jobs::Topic;
        use replica::Verdict;
        match Topic::parse(&said.topic) {
            Some((_, Topic::Describe(job))) => {
                let execution = self.execution();
                let found = execution.filter(|execution| job == jobs::NEXT || execution.job_id == job);
                if found.is_none() && job != jobs::NEXT {
                    let topic = Topic::DescribeReply(job, Verdict::Rejected).name(DEVICE);
                    return vec![(topic, json!({"code": "ResourceNotFound", "message": "none"}))];
                }
                let topic = Topic::DescribeReply(job, Verdict::Accepted).name(DEVICE);
                vec![(topic, found.map_or(json!({}), |found| json!({"execution": found})))]
            }
            Some((_, Topic::Update(job))) => self.usual_job_update(job, said),
            Some((_, Topic::Get)) => {
                let next = self.execution().map(|execution| {
                    let mut summary = serde_json::to_value(&execution).unwrap();
                    summary["executionNumber"] = json!(1);
                    (execution.status, summary)
                });
                let of = |status| {
                    next.iter()
                        .filter(|(held, _)| *held == status)
                        .map(|(_, summary)| summary.clone())
                        .collect()
                };
                let (begun, queued): (Vec<_>, Vec<_>) = (of(Status::InProgress), of(Status::Queued));
                let topic = Topic::GetReply(Verdict::Accepted).name(DEVICE);
                vec![(topic, json!({"inProgressJobs": begun, "queuedJobs": queued}))]
            }
            _ => Vec::new(),
        }
    }

    fn usual_job_update(&mut self, job: &str, said: &Said) -> Vec<(String, Value)> {
        use jobs::Topic;
        use replica::Verdict;
        let request: UpdateRequest = serde_json::from_value(said.body.clone()).unwrap();
        if let Some(foreign) = self.foreign.first_mut().filter(|foreign| foreign.name == job) {
            (foreign.status, foreign.version) = (request.status, foreign.version + 1);
            let state =
                json!({"status": foreign.status, "statusDetails": {}, "versionNumber": foreign.version});
            self.foreign.retain(|foreign| !foreign.status.is_terminal());
            let topic = Topic::UpdateReply(job, Verdict::Accepted).name(DEVICE);
            return vec![(topic, json!({"executionState": state}))];
        }
        let state =
            json!({"status": self.execution.0, "statusDetails": {}, "versionNumber": self.execution.1});
        let rejected = |code: &str| {
            let body = json!({"code": code, "message": "no", "executionState": state});
            vec![(Topic::UpdateReply(job, Verdict::Rejected).name(DEVICE), body)]
        };
        let Some(ours) = self.assignment.as_ref().map(|assignment| assignment.job.clone()) else {
            return rejected("ResourceNotFound");
        };
        if self.execution.0.is_terminal() {
            return rejected("InvalidStateTransition");
        }
        if request.expected_version.is_some_and(|version| version != self.execution.1) {
            return rejected("VersionMismatch");
        }
        self.execution = (request.status, self.execution.1 + 1);
        if request.status.is_terminal() {
            self.ended = jobs::heard(ours, request.status, &request.status_details.unwrap_or_default());
        }
        let state =
            json!({"status": self.execution.0, "statusDetails": {}, "versionNumber": self.execution.1});
        let topic = Topic::UpdateReply(job, Verdict::Accepted).name(DEVICE);
        vec![(topic, json!({"executionState": state}))]
    }
}
