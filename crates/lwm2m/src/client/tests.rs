//! The client against a bare `Peer`, which is its server, step by step on virtual time.

mod bootstrap;
mod firmware;
mod objects;
mod observe;
mod registration;

use super::*;
use crate::coap::{Code, Event, Method, Observe, Options};
use crate::content;
use crate::firmware::object::Abilities;
use crate::registration::Lifetime;
use crate::{ContentFormat, Entry};

/// The client, its server, and what happened between them.
struct World {
    now: Moment,
    client: Client,
    server: Peer,
    /// Requests of the client that the server has not answered.
    asked: VecDeque<(Exchange, Request)>,
    answers: VecDeque<Response>,
    notifications: VecDeque<Response>,
    failures: usize,
    actions: Vec<Action>,
    /// Whether datagrams arrive.
    is_connected: bool,
    /// Whether the server refuses the sessions that are not to be had.
    is_refusing: bool,
    datagrams: usize,
}

fn config() -> Config {
    Config::new("device-1")
}

fn device() -> Device {
    Device {
        manufacturer: "Acme".into(),
        model: "T1".into(),
        serial: "0001".into(),
        firmware_version: "1.0.0".into(),
        battery_percent: Some(80),
        ..Device::default()
    }
}

fn server_object() -> ServerObject {
    ServerObject::new(7, Lifetime::Seconds(300))
}

fn firmware_object() -> object5::Object {
    let schemes = [object5::Scheme::Coap, object5::Scheme::Https].into_iter().collect();
    let delivery = object5::DeliveryMethod::Both;
    object5::Object::new(Abilities { schemes, delivery, image_bytes_max: 1 << 20 })
}

impl World {
    fn new(config: Config) -> Self {
        let client = Client::new(config, [7; 32], server_object(), device())
            .with_connectivity(Connectivity::new(21, -60))
            .with_firmware(firmware_object());
        Self::of(client)
    }

    fn of(client: Client) -> Self {
        Self {
            now: Moment(1_000_000),
            client,
            server: Peer::new([9; 32], Arc::new(coap::Config::default())),
            asked: VecDeque::new(),
            answers: VecDeque::new(),
            notifications: VecDeque::new(),
            failures: 0,
            actions: Vec::new(),
            is_connected: true,
            is_refusing: false,
            datagrams: 0,
        }
    }

    /// A client that is registered.
    fn registered() -> Self {
        let mut world = Self::new(config());
        world.client.start(world.now);
        world.settle();
        world.answer(Response::new(Code::CREATED).with_location("/rd/5a3f"));
        assert_eq!(world.client.location(), Some("/rd/5a3f"));
        world.actions.clear();
        world
    }

    /// Lets everything happen that happens at this moment.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            while let Some(action) = self.client.poll_action() {
                moved = true;
                if matches!(action, Action::Connect { .. }) {
                    if self.is_connected {
                        self.client.connected(self.now);
                        self.server = Peer::new([9; 32], Arc::new(coap::Config::default()));
                    } else if self.is_refusing {
                        self.client.connection_refused(self.now);
                    } else {
                        self.client.connection_failed(self.now);
                    }
                }
                self.actions.push(action);
            }
            while let Some(datagram) = self.client.poll_transmit(self.now) {
                moved = true;
                self.datagrams += 1;
                if self.is_connected {
                    self.server.handle_datagram(self.now, &datagram);
                }
            }
            while let Some(event) = self.server.poll_event() {
                self.note(event);
            }
            while let Some(datagram) = self.server.poll_transmit() {
                moved = true;
                if self.is_connected {
                    self.client.handle_datagram(self.now, &datagram);
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Request { exchange, request } => self.asked.push_back((exchange, request)),
            Event::Response { response, .. } => self.answers.push_back(response),
            Event::Notification { response, .. } => self.notifications.push_back(response),
            Event::Failed { .. } => self.failures += 1,
            Event::WantBlock { .. } | Event::Unobserved { .. } | Event::Pong { .. } => {}
        }
    }

    /// Lets time pass, and what is due in it happen.
    fn pass(&mut self, duration: Duration) {
        let end = self.now.plus(duration);
        loop {
            let due = [self.client.poll_timeout(), self.server.poll_timeout()].into_iter().flatten().min();
            match due.filter(|due| *due <= end) {
                Some(due) => self.now = self.now.max(due),
                None => break,
            }
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    /// Answers the oldest request of the client.
    fn answer(&mut self, response: Response) -> Request {
        let (exchange, request) = self.asked.pop_front().expect("the client asks");
        self.server.respond(self.now, exchange, response);
        self.settle();
        request
    }

    /// Asks the client as its server.
    fn ask(&mut self, request: Request) -> Response {
        self.server.request(self.now, request).unwrap();
        self.settle();
        self.answers.pop_front().expect("the client answers")
    }

    fn get(&mut self, path: &str, format: Option<ContentFormat>) -> Response {
        let request = Request::new(Method::Get, path);
        self.ask(match format {
            Some(format) => request.with_accept(format.0),
            None => request,
        })
    }

    fn observe(&mut self, path: &str) -> Response {
        self.ask(Request::new(Method::Get, path).with_observe(Observe::Register))
    }

    fn put(&mut self, path: &str, text: &str) -> Code {
        self.ask(Request::new(Method::Put, path).with_payload(0, text.as_bytes().to_vec())).code
    }

    fn post(&mut self, path: &str) -> Code {
        self.ask(Request::new(Method::Post, path)).code
    }

    fn attributes(&mut self, path: &str, queries: &str) -> Code {
        let request = Request::new(Method::Put, path);
        self.ask(queries.split('&').fold(request, |request, query| request.with_query(query))).code
    }

    /// The requests of the client that wait, by method, path and queries.
    fn asks(&self) -> Vec<String> {
        let line = |request: &Request| {
            let queries: Vec<&str> = request.queries().collect();
            format!("{:?} {} {}", request.method, request.path(), queries.join("&"))
        };
        self.asked.iter().map(|(_, request)| line(request).trim_end().to_owned()).collect()
    }
}

fn text(response: &Response) -> String {
    assert_eq!(response.code, Code::CONTENT);
    assert_eq!(response.content_format(), Some(0));
    String::from_utf8(response.payload.clone()).unwrap()
}

fn entries(response: &Response, base: &str) -> Vec<Entry> {
    assert_eq!(response.code, Code::CONTENT, "{base}");
    let format = ContentFormat(response.content_format().unwrap());
    content::decode(format, &base.parse().unwrap(), &response.payload).unwrap()
}

#[test]
fn a_fleet_is_spread_and_each_device_keeps_its_place() {
    let width = Duration::from_secs(1_000);
    let places: Vec<u64> = (0..1_000).map(|n| spread(&format!("device-{n}"), 3, width).as_secs()).collect();
    for tenth in 0..10 {
        let inside = places.iter().filter(|place| (tenth * 100..tenth * 100 + 100).contains(*place)).count();
        assert!((60..140).contains(&inside), "{inside} of 1000 devices in tenth {tenth}");
    }
    assert_eq!(spread("device-1", 3, width).as_secs(), places[1]);
    assert_ne!(spread("device-1", 4, width).as_secs(), places[1]);
}
