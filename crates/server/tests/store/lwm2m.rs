//! What LwM2M keeps, as rows.

use crate::crash::{FOLDER, child, kill_after};
use crate::fleet::{at, id};
use std::path::{Path, PathBuf};
use updraft_server::protocols::lwm2m::books::{Books, Change, ORDERS_MAX, SavedOrder, SavedRegistration};
use updraft_server::protocols::lwm2m::desk::{Entry, Operation, Order, Outcome, Value};
use updraft_server::store::{Database, Lwm2mBooks, backup};

/// Processes killed.
const KILLS: u64 = 10;
/// Devices that one call changes together.
const DEVICES: usize = 20;

fn order(number: u64, device: &str, outcome: Option<Outcome>) -> SavedOrder {
    let order = Order {
        number,
        device: id(device),
        operation: Operation::Read,
        path: "/3/0/9".parse().unwrap(),
        by: "ann".to_owned(),
        at: at(1_772_366_400_123),
    };
    SavedOrder { order, outcome }
}

fn registration(device: &str, record: &str) -> SavedRegistration {
    SavedRegistration { device: id(device), record: record.to_owned() }
}

fn numbers(books: &Lwm2mBooks, device: &str) -> Vec<u64> {
    books.orders(&id(device)).unwrap().iter().map(|saved| saved.order.number).collect()
}

/// Every operation and every outcome, with every type of value.
fn every_kind() -> Vec<SavedOrder> {
    let values = [
        Value::Text("Ä\"\u{0}\n".to_owned()),
        Value::Integer(i64::MIN),
        Value::Unsigned(u64::MAX),
        Value::Float(0.1 + 0.2),
        Value::Float(5e-324),
        Value::Float(f64::INFINITY),
        Value::Boolean(true),
        Value::Opaque(vec![0, 0xff, 0x7f]),
        Value::Opaque(Vec::new()),
        Value::Time(-1),
        Value::ObjectLink(65_535, 65_535),
        Value::CoreLink("</3>".to_owned()),
    ];
    let multiple = order(1, "D1", None).order.path.truncated(2).child(6).unwrap();
    let entries = (0..).zip(values).map(|(one, value)| Entry { path: multiple.child(one).unwrap(), value });
    let outcomes = [
        None,
        Some(Outcome::Content(entries.collect())),
        Some(Outcome::Content(Vec::new())),
        Some(Outcome::Links("</5/0/3>;pmin=1".to_owned())),
        Some(Outcome::Done),
        Some(Outcome::Refused("4.05".to_owned(), "no".to_owned())),
        Some(Outcome::NoAnswer("it is no longer registered".to_owned())),
        None,
    ];
    let operations = [
        Operation::Read,
        Operation::Observe,
        Operation::Ignore,
        Operation::Discover,
        Operation::Write("-1".to_owned()),
        Operation::Execute(None),
        Operation::Execute(Some("0='x',1".to_owned())),
        Operation::Write(String::new()),
    ];
    let pairs = (1..).zip(outcomes.into_iter().zip(operations));
    pairs
        .map(|(number, (outcome, operation))| {
            let mut saved = order(number, "D1", outcome);
            saved.order.operation = operation;
            saved
        })
        .collect()
}

fn kept(books: &Lwm2mBooks) -> Vec<SavedRegistration> {
    let mut kept = Vec::new();
    books.registrations(&mut |saved| kept.push(saved)).unwrap();
    kept
}

#[test]
fn what_is_kept_is_read_as_it_was_written_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let all = every_kind();
    let registrations = [registration("D1", "{\"endpoint\":\"D1\"}"), registration("D2", "{}")];
    let books = Database::open(folder.path()).unwrap().lwm2m().unwrap();
    assert_eq!(books.next_number().unwrap(), 1, "the first");
    let mut changes: Vec<_> = registrations.iter().cloned().map(Change::Register).collect();
    changes.extend(all.iter().cloned().map(Change::Order));
    changes.push(Change::Order(order(9, "D2", None)));
    books.save(&changes).unwrap();
    drop(books);
    let books = Database::open(folder.path()).unwrap().lwm2m().unwrap();
    assert_eq!(kept(&books), registrations);
    assert_eq!(books.orders(&id("D1")).unwrap(), all);
    let waiting: Vec<_> = books.waiting().unwrap().iter().map(|order| order.number).collect();
    assert_eq!(waiting, [1, 8, 9], "those without an outcome, of all devices");
    assert_eq!(books.orders(&id("D3")).unwrap(), []);
}

#[test]
fn changes_are_made_in_order() {
    let books = Database::in_memory().unwrap().lwm2m().unwrap();
    books
        .save(&[
            Change::Register(registration("D1", "{\"a\":1}")),
            Change::Deregister(id("D1")),
            Change::Register(registration("D1", "{\"a\":2}")),
            Change::Register(registration("D1", "{\"a\":3}")),
            Change::Order(order(1, "D1", None)),
            Change::Order(order(1, "D1", Some(Outcome::Done))),
        ])
        .unwrap();
    assert_eq!(kept(&books), [registration("D1", "{\"a\":3}")]);
    assert_eq!(books.orders(&id("D1")).unwrap(), [order(1, "D1", Some(Outcome::Done))]);
    books.save(&[Change::Deregister(id("D1")), Change::Deregister(id("D1"))]).unwrap();
    assert_eq!(kept(&books), []);
    assert_eq!(numbers(&books, "D1"), [1], "its orders tell what became of them");
}

#[test]
fn the_oldest_order_that_is_done_goes_when_a_device_has_too_many() {
    let books = Database::in_memory().unwrap().lwm2m().unwrap();
    let most = ORDERS_MAX as u64;
    let waits = |number: u64| number <= 3;
    for number in 1..=most {
        let outcome = (!waits(number)).then_some(Outcome::Done);
        books.save(&[Change::Order(order(number, "D1", outcome))]).unwrap();
    }
    books.save(&[Change::Order(order(1_000, "D2", None))]).unwrap();
    assert_eq!(numbers(&books, "D1").len(), ORDERS_MAX);
    books.save(&[Change::Order(order(most + 1, "D1", None))]).unwrap();
    let left: Vec<u64> = (1..=most + 1).filter(|number| *number != 4).collect();
    assert_eq!(numbers(&books, "D1"), left, "order 4 is the oldest that is done");
    // One that comes to its end takes nobody's place.
    books.save(&[Change::Order(order(2, "D1", Some(Outcome::Done)))]).unwrap();
    assert_eq!(numbers(&books, "D1"), left);
    assert_eq!(numbers(&books, "D2"), [1_000], "another device's are its own");
}

#[test]
fn no_more_orders_wait_for_a_device_than_are_kept() {
    let books = Database::in_memory().unwrap().lwm2m().unwrap();
    let most = ORDERS_MAX as u64;
    let waiting: Vec<_> = (1..=most).map(|number| Change::Order(order(number, "D1", None))).collect();
    books.save(&waiting).unwrap();
    let another = Change::Order(order(most + 1, "D1", None));
    let with_others = [Change::Register(registration("D1", "{}")), another];
    assert!(books.save(&with_others).is_err());
    assert_eq!((kept(&books), numbers(&books, "D1").len()), (vec![], ORDERS_MAX));
    // One that is done at once was told to whoever asked; there is no room to keep it.
    books.save(&[Change::Order(order(most + 2, "D1", Some(Outcome::Done)))]).unwrap();
    assert_eq!(numbers(&books, "D1").len(), ORDERS_MAX);
    assert_eq!(books.next_number().unwrap(), most + 3, "its number is not given again");
}

#[test]
fn a_number_is_never_given_twice_not_even_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut last = 0;
    for _ in 0..3 {
        let books = Database::open(folder.path()).unwrap().lwm2m().unwrap();
        for _ in 0..ORDERS_MAX + 1 {
            let number = books.next_number().unwrap();
            assert!(number > last, "{number} after {last}");
            books.save(&[Change::Order(order(number, "D1", Some(Outcome::Done)))]).unwrap();
            last = number;
        }
    }
    assert_eq!(last, 3 * (ORDERS_MAX as u64 + 1));
}

#[test]
fn a_number_beyond_what_is_kept_changes_nothing() {
    let books = Database::in_memory().unwrap().lwm2m().unwrap();
    let changes = [Change::Order(order(1, "D1", None)), Change::Order(order(u64::MAX, "D1", None))];
    assert!(books.save(&changes).is_err());
    assert_eq!((books.waiting().unwrap(), books.next_number().unwrap()), (vec![], 1));
}

#[test]
fn a_backup_holds_registrations_and_orders() {
    let home = tempfile::tempdir().unwrap();
    let old = home.path().join("old");
    std::fs::create_dir(&old).unwrap();
    let database = Database::open(&old).unwrap();
    let books = database.lwm2m().unwrap();
    let all = every_kind();
    let mut changes: Vec<_> = all.iter().cloned().map(Change::Order).collect();
    changes.push(Change::Register(registration("D1", "{}")));
    books.save(&changes).unwrap();
    let mut file = Vec::new();
    backup::write(&database, at(1), &mut file, &mut |_| ()).unwrap();
    let new = home.path().join("new");
    backup::restore(&mut file.as_slice(), &new, &mut |_| ()).unwrap();
    let restored = Database::open(&new).unwrap().lwm2m().unwrap();
    assert_eq!(restored.orders(&id("D1")).unwrap(), all);
    assert_eq!(kept(&restored), [registration("D1", "{}")]);
    assert_eq!(restored.next_number().unwrap(), all.len() as u64 + 1);
}

fn devices() -> Vec<String> {
    (0..DEVICES).map(|index| format!("d{index:03}")).collect()
}

/// Saves for every device a registration that names the step, and the next order, until the process is killed.
fn save_for_ever(folder: &Path) -> ! {
    let books = Database::open(folder).unwrap().lwm2m().unwrap();
    loop {
        let first = books.next_number().unwrap();
        let orders = (first..).zip(devices());
        let changes = orders.flat_map(|(number, device)| {
            let record = format!("{{\"first\":{first}}}");
            let outcome = (number % 3 > 0).then_some(Outcome::Done);
            [Change::Register(registration(&device, &record)), Change::Order(order(number, &device, outcome))]
        });
        // Those that wait would be too many in time: they end with the next step.
        let waiting = books.waiting().unwrap();
        let ended = waiting
            .into_iter()
            .map(|order| Change::Order(SavedOrder { order, outcome: Some(Outcome::Done) }));
        let changes: Vec<_> = ended.chain(changes).collect();
        books.save(&changes).unwrap();
        println!("\nsaved {first}");
    }
}

#[test]
fn a_process_killed_at_any_moment_leaves_whole_changes() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        save_for_ever(&PathBuf::from(folder));
    }
    let home = tempfile::tempdir().unwrap();
    let test = "lwm2m::a_process_killed_at_any_moment_leaves_whole_changes";
    for kill in 0..KILLS {
        let told = kill_after(child(test, home.path()).spawn().unwrap(), 1 + kill % 7);
        let books = Database::open(home.path()).unwrap().lwm2m().unwrap();
        let next = books.next_number().unwrap();
        let first = next - DEVICES as u64;
        assert!(first >= told, "{told} was answered for, and {first} is the last one there");
        let registrations = kept(&books);
        let record = format!("{{\"first\":{first}}}");
        let expected: Vec<_> = devices().iter().map(|device| registration(device, &record)).collect();
        assert_eq!(registrations, expected, "a change is there for all devices or for none");
        let last =
            devices().iter().map(|device| *numbers(&books, device).last().unwrap()).collect::<Vec<_>>();
        assert_eq!(last, (first..next).collect::<Vec<_>>());
        assert!(books.waiting().unwrap().iter().all(|order| order.number >= first));
    }
}
