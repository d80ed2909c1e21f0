//! Clients of others, served by our end: libcoap's and aiocoap's.

use updraft_lwm2m::Moment;
use updraft_lwm2m::coap::block::serve;
use updraft_lwm2m::coap::{
    BlockSize, Code, Config, Event, Exchange, Method, Observer, Peer, Reliability, Request, Response,
};

use crate::capture;
use crate::program::{Program, Running, TIME_MAX};
use crate::talk::{Talk, body};

const LIBCOAP: Program = Program::Command("coap-client-notls");
const AIOCOAP: Program = Program::Python("aiocoap-client");
const BYTES: u16 = 42;
/// Bytes of the file that is served: many blocks of any size, and a piece.
const FILE_BYTES: usize = 20_001;

/// What is served: a file, a counter to observe, a place to write to whole, and one that takes each block by itself.
struct Site {
    file: Vec<u8>,
    written: Vec<u8>,
    streamed: Vec<u8>,
    counted: u8,
    observer: Option<Observer>,
    told_at: Moment,
}

impl Site {
    fn new() -> Self {
        Self {
            file: body(FILE_BYTES),
            written: Vec::new(),
            streamed: Vec::new(),
            counted: 0,
            observer: None,
            told_at: Moment(0),
        }
    }

    fn answer(&mut self, peer: &mut Peer, now: Moment, exchange: Exchange, request: Request) {
        let response = match (request.method, request.path().as_str()) {
            (Method::Get, "/file") => match serve(request.block2(), self.file.len() as u64, BlockSize::MAX) {
                Ok(slice) => {
                    let at = usize::try_from(slice.offset).unwrap();
                    slice.response(BYTES, b"one", self.file[at..at + slice.length].to_vec())
                }
                Err(code) => Response::new(code),
            },
            // Kept and cut into blocks by the peer.
            (Method::Get, "/kept") => Response::content(BYTES, self.file.clone()),
            (Method::Get, "/count") => {
                let response = Response::content(0, vec![b'0' + self.counted]);
                self.observer = peer.accept_observer(now, exchange, response);
                self.told_at = now;
                return;
            }
            (Method::Put, "/whole") => {
                self.written = request.payload;
                Response::new(Code::CHANGED)
            }
            (Method::Put, "/5/0/0") => {
                self.streamed.extend(&request.payload);
                let more = request.block1().is_some_and(|block| block.more);
                Response::new(if more { Code::CONTINUE } else { Code::CHANGED })
            }
            _ => Response::new(Code::NOT_FOUND),
        };
        peer.respond(now, exchange, response);
    }

    /// Counts on, ten times a second.
    fn count(&mut self, peer: &mut Peer, now: Moment) {
        let Some(observer) =
            self.observer.filter(|_| now.since(self.told_at).as_millis() >= 100 && self.counted < 9)
        else {
            return;
        };
        self.counted += 1;
        self.told_at = now;
        let response = Response::content(0, vec![b'0' + self.counted]);
        let reliability = if self.counted.is_multiple_of(2) {
            Reliability::Confirmable
        } else {
            Reliability::NonConfirmable
        };
        peer.notify(now, observer, response, reliability).unwrap();
    }
}

/// Serves until the client has ended, or `enough`; what it printed.
fn serve_until(talk: &mut Talk, site: &mut Site, client: &mut Running, enough: impl Fn(&Site) -> bool) {
    while !client.has_ended() && !enough(site) {
        assert!(talk.now() < Moment(0).plus(TIME_MAX), "takes longer than {TIME_MAX:?}");
        talk.step();
        let now = talk.now();
        while let Some(event) = talk.peer.poll_event() {
            match event {
                Event::Request { exchange, request } => site.answer(&mut talk.peer, now, exchange, request),
                Event::Unobserved { .. } => site.observer = None,
                event => panic!("{event:?}"),
            }
        }
        site.count(&mut talk.peer, now);
    }
    // The last acknowledgements.
    talk.step();
}

/// Lets a client ask one thing; what it printed, and what is left with us.
fn visit(client: Program, words: &[&str], path: &str, config: Config) -> Option<(Vec<u8>, Site, Talk)> {
    if !client.is_present() {
        return None;
    }
    let mut talk = Talk::with_client(config);
    let uri = format!("coap://127.0.0.1:{}{path}", talk.port());
    let mut words = words.to_vec();
    words.push(&uri);
    let mut running = client.start(&words);
    let mut site = Site::new();
    serve_until(&mut talk, &mut site, &mut running, |_| false);
    Some((running.printed(), site, talk))
}

fn streaming() -> Config {
    Config { streamed: vec!["/5/0/0".to_owned()], ..Config::default() }
}

/// A file of the body, for clients that send from one.
fn sent() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("body");
    std::fs::write(&path, body(FILE_BYTES)).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn libcoaps_client_fetches_a_file_in_blocks_of_each_size() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("fetched");
    for size in ["16", "256", "1024"] {
        for path in ["/file", "/kept"] {
            let words = ["-m", "get", "-b", size, "-B", "30", "-o", to.to_str().unwrap()];
            let Some((_, site, talk)) = visit(LIBCOAP, &words, path, Config::default()) else { return };
            assert!(std::fs::read(&to).unwrap() == site.file, "{path} in blocks of {size}");
            std::fs::remove_file(&to).unwrap();
            capture::reads_as_meant(&talk.said);
        }
    }
}

#[test]
fn libcoaps_client_sends_a_body_in_blocks_of_each_size() {
    let (_folder, from) = sent();
    for size in ["64", "1024"] {
        let words = ["-m", "put", "-t", "42", "-b", size, "-B", "30", "-f", &from];
        let Some((_, site, talk)) = visit(LIBCOAP, &words, "/whole", streaming()) else { return };
        assert!(site.written == site.file, "in blocks of {size}");
        capture::reads_as_meant(&talk.said);
        let Some((_, site, _)) = visit(LIBCOAP, &words, "/5/0/0", streaming()) else { return };
        assert!(site.streamed == site.file, "each by itself, in blocks of {size}");
    }
}

#[test]
fn a_client_of_libcoap_that_loses_a_tenth_of_what_it_sends_is_understood() {
    let (folder, from) = sent();
    let to = folder.path().join("fetched");
    let words = ["-m", "put", "-t", "42", "-l", "10%", "-B", "50", "-f", &from];
    for path in ["/whole", "/5/0/0"] {
        let Some((_, site, _)) = visit(LIBCOAP, &words, path, streaming()) else { return };
        assert!(site.written == site.file || site.streamed == site.file, "{path}");
    }
    let words = ["-m", "get", "-l", "10%", "-B", "50", "-o", to.to_str().unwrap()];
    let Some((_, site, _)) = visit(LIBCOAP, &words, "/kept", Config::default()) else { return };
    assert!(std::fs::read(&to).unwrap() == site.file);
}

#[test]
fn libcoaps_client_hears_of_changes_and_says_when_it_has_heard_enough() {
    let Some((printed, site, talk)) =
        visit(LIBCOAP, &["-m", "get", "-s", "1", "-B", "3"], "/count", Config::default())
    else {
        return;
    };
    let text = String::from_utf8(printed).unwrap();
    for count in ["0", "1", "2", "3", "4"] {
        assert!(text.contains(count), "{text}");
    }
    assert_eq!(site.observer, None, "it said that it observes no more");
    capture::reads_as_meant(&talk.said);
}

#[test]
fn aiocoaps_client_fetches_a_file_in_blocks() {
    for path in ["/file", "/kept"] {
        let Some((printed, site, talk)) = visit(AIOCOAP, &["--quiet"], path, Config::default()) else {
            return;
        };
        assert!(printed == site.file, "{path}: {} bytes", printed.len());
        capture::reads_as_meant(&talk.said);
    }
}

#[test]
fn aiocoaps_client_sends_a_body_in_blocks_of_each_size() {
    let (_folder, from) = sent();
    let payload = format!("@{from}");
    for exponent in ["2", "6"] {
        let words =
            ["-m", "PUT", "--content-format", "42", "--payload-initial-szx", exponent, "--payload", &payload];
        let Some((_, site, talk)) = visit(AIOCOAP, &words, "/whole", streaming()) else { return };
        assert!(site.written == site.file, "exponent {exponent}");
        capture::reads_as_meant(&talk.said);
        let Some((_, site, _)) = visit(AIOCOAP, &words, "/5/0/0", streaming()) else { return };
        assert!(site.streamed == site.file, "each by itself, exponent {exponent}");
    }
}

#[test]
fn aiocoaps_client_hears_of_changes() {
    if !AIOCOAP.is_present() {
        return;
    }
    let mut talk = Talk::with_client(Config::default());
    let uri = format!("coap://127.0.0.1:{}/count", talk.port());
    let mut client = AIOCOAP.start(&["--quiet", "--observe", &uri]);
    let mut site = Site::new();
    serve_until(&mut talk, &mut site, &mut client, |site| site.counted == 5);
    assert_eq!(site.counted, 5);
    capture::reads_as_meant(&talk.said);
}
