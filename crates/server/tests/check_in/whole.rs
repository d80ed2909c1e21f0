//! The server as a whole: its folder, its clock, and devices that take their time.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use updraft_core::attributes::Attributes;
use updraft_core::fleet::{Assignment, Offer};
use updraft_core::policy::Policy;
use updraft_core::release::{Artifact, Release};
use updraft_core::report::{Description, Report};
use updraft_core::rollout::Plan;
use updraft_core::time::Timestamp;
use updraft_server::artifacts::LinkSigner;
use updraft_server::auth::access_key::MasterKey;
use updraft_server::auth::{Auth, NewToken, Principal};
use updraft_server::config::Config;
use updraft_server::engine::clock::Clock;
use updraft_server::engine::{CheckIn, Engine, Running};
use updraft_server::listen::{ListenLimits, Listener, bind, shutdown};
use updraft_server::protocols::http::config::CheckInConfig;
use updraft_server::protocols::http::serve::{Doors, router};
use updraft_server::serve::{ServeError, Server};
use updraft_server::store::Database;

use crate::stage::Stage;
use crate::wire::{Answer, Wire};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Some time in 2023.
const THEN: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_and_the_first_goes_on() {
    let stage = Stage::new();
    let mut config = Config { data: Some(stage.data()), ..Config::default() };
    config.device.listen = ([127, 0, 0, 1], 0).into();
    config.operator.listen = ([127, 0, 0, 1], 0).into();
    config.protocols.mqtt.listen = ([127, 0, 0, 1], 0).into();
    config.protocols.lwm2m.listen = ([127, 0, 0, 1], 0).into();
    let second = runtime().block_on(Server::open(&config));
    let Err(ServeError::Database(error)) = second else { panic!("two servers on one folder") };
    assert!(error.to_string().contains(&stage.data().display().to_string()), "{error}");
    let token = stage.device_token("d");
    let body = serde_json::json!({ "id": "d", "product": "p", "version": "1.0.0" });
    assert_eq!(stage.say("/tok/provision/update", &token, body.to_string()).status, 200);
}

/// An engine that believes it is `now`, over a folder.
fn engine_at(folder: &TempDir, now: Timestamp) -> (Engine, Running) {
    let database = Database::open(folder.path()).unwrap();
    Engine::start(database.fleet().unwrap(), Clock::starting_at(now)).unwrap()
}

fn release() -> Release {
    let mut attributes = Attributes::new();
    attributes.insert("version", "1.1.0").unwrap();
    let artifact = Artifact { sha256: "0".repeat(64), md5: "0".repeat(32), size: 1 };
    let (product, version) = ("p".parse().unwrap(), "1.1.0".parse().unwrap());
    Release {
        product,
        version,
        policy: Policy::compile("true").unwrap(),
        artifact,
        attributes,
        created: THEN,
    }
}

async fn check_in(engine: &Engine) -> Option<Assignment> {
    let description = Description {
        product: "p".parse().unwrap(),
        version: "1.0.0".into(),
        boot: Some(1),
        attributes: Attributes::new(),
    };
    let report = Report { description: Some(description), progress: None };
    let device = "d".parse().unwrap();
    match engine.check_in(CheckIn { device, report, key: None, product: None }).await.unwrap() {
        Offer::Assigned(assignment) => Some(assignment),
        Offer::Nothing { .. } => None,
    }
}

#[test]
fn a_wall_clock_that_went_back_expires_nothing_early_and_one_that_went_forward_expires_once() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let (engine, running) = engine_at(&folder, THEN);
    let first = runtime.block_on(async {
        engine.add_release(release()).await.unwrap();
        engine
            .start_rollout("p".parse().unwrap(), "1.1.0".parse().unwrap(), Plan::standard(THEN), "me".into())
            .await
            .unwrap();
        check_in(&engine).await.unwrap()
    });
    drop(engine);
    running.join();
    // A week back, and before 1970: the job is the one it was.
    for now in [Timestamp::from_millis(THEN.as_millis() - 7 * 86_400_000), Timestamp::from_millis(-5_000)] {
        let (engine, running) = engine_at(&folder, now);
        let again = runtime.block_on(check_in(&engine));
        let again = again.expect("still assigned");
        assert_eq!((again.rollout, again.attempt), (first.rollout.clone(), first.attempt), "{now:?}");
        drop(engine);
        running.join();
    }
    let (engine, running) = engine_at(&folder, THEN.plus(3 * DAY));
    // The first turn of the engine ends what is overdue, before it answers anyone or right after.
    let attempt = runtime.block_on(async {
        loop {
            match check_in(&engine).await {
                Some(open) if open.attempt == 1 => tokio::task::yield_now().await,
                next => break next.map(|next| next.attempt),
            }
        }
    });
    assert!(matches!(attempt, None | Some(2)), "{attempt:?}");
    drop(engine);
    running.join();
}

#[test]
fn a_body_that_does_not_come_is_408_and_costs_no_more_than_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let auth = Auth::open(database.tokens().unwrap(), MasterKey::draw().unwrap(), THEN).unwrap();
    let new =
        NewToken { principal: Principal::Device("d".parse().unwrap()), expires: None, note: String::new() };
    let token = auth.create(new, THEN).unwrap().0.reveal().to_owned();
    let (engine, running) = Engine::start(database.fleet().unwrap(), Clock::starting_at(THEN)).unwrap();
    let doors = Arc::new(Doors {
        engine,
        auth,
        signer: Arc::new(LinkSigner::open(&folder.path().join("link.keys"), 1_700_000_000).unwrap()),
        config: CheckInConfig::default(),
        public_url: None,
        bind_links_to_address: false,
        body_time_max: Duration::from_millis(100),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (trigger, stop) = shutdown::shutdown();
    let tcp = runtime.block_on(bind(([127, 0, 0, 1], 0).into(), "test")).unwrap();
    let listener = Listener::new(tcp, None, ListenLimits::default());
    let address = listener.local_addr().unwrap();
    let serving = runtime.spawn(listener.serve_router(router(doors), stop));
    let mut wire = Wire::plain(address);
    let head = format!(
        "POST /v1/check-in HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\nContent-Length: 100\r\n\r\n{{\"id\":"
    );
    wire.write_all(head.as_bytes()).unwrap();
    let answer = Answer::read(&mut wire);
    assert_eq!((answer.status, answer.code().as_str()), (408, "body_too_slow"));
    drop(wire);
    trigger.ask();
    runtime.block_on(serving).unwrap();
    running.join();
}
