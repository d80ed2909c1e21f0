//! What was measured, as tables.

use crate::measure::{
    Cost, IMAGES_BYTES, PLAIN, PUSHED, Pushed, SECURED, SECURED_LESHAN, Secured, TAKEN_BYTES, Transfer, Work,
};
use crate::network::ONE_WAY;
use crate::transfer::{BLOCKS, Taken, Way};

const MIB: u64 = 1 << 20;

fn per_second(cost: &Cost) -> f64 {
    1e6 / cost.cpu_us
}

fn work_row(who: &str, cost: &Cost, beside: &Cost) {
    let ratio = beside.cpu_us / cost.cpu_us;
    println!("| {who} | {:.1} | {:.0} | {:.0} | {ratio:.2} |", cost.cpu_us, per_second(cost), cost.rate);
}

fn work_head(what: &str) {
    println!("| {what} | CPU-µs | per CPU-second | per second | times Leshan |");
    println!("|---|---|---|---|---|");
}

pub(crate) fn plain(bare: &Work, whole: &Work, leshan: &Work) {
    work_head(&format!("without security, {PLAIN} devices"));
    work_row("Leshan: register", &leshan.register, &leshan.register);
    work_row("Updraft: register, nothing to read", &bare.register, &leshan.register);
    work_row("Updraft: register, objects 3 and 5 read", &whole.register, &leshan.register);
    work_row("Leshan: update", &leshan.update, &leshan.update);
    work_row("Updraft: update", &whole.update, &leshan.update);
    println!(
        "\nBytes per device: Leshan {:.0}, Updraft {:.0}; with nothing to read {:.0}.\n",
        leshan.memory, whole.memory, bare.memory
    );
}

pub(crate) fn secured(ours: &Secured, leshan: &Work) {
    work_head(&format!("DTLS with keys, {SECURED} devices; Leshan {SECURED_LESHAN}"));
    if let (Some(theirs), Some(own)) = (&leshan.handshake, &ours.awake.handshake) {
        work_row("Leshan: full handshake", theirs, theirs);
        work_row("Updraft: full handshake", own, theirs);
    }
    work_row("Leshan: register", &leshan.register, &leshan.register);
    work_row("Updraft: register, objects 3 and 5 read", &ours.awake.register, &leshan.register);
    work_row("Leshan: update", &leshan.update, &leshan.update);
    work_row("Updraft: update", &ours.awake.update, &leshan.update);
    work_row("Updraft: update that wakes a session", &ours.wake, &leshan.update);
    println!("\nBytes per registered device with a key: Leshan {:.0}.\n", leshan.memory);
}

pub(crate) fn memory(ours: &Secured) {
    println!("| bytes per device with a key, of {SECURED} | goal | measured |\n|---|---|---|");
    println!("| session alone, awake | | {:.0} |", ours.session);
    println!("| registered, awake | at most 10,000 | {:.0} |", ours.awake.memory);
    println!("| registered, asleep | at most 1,000 | {:.0} |", ours.asleep);
    println!("| registered, without a session | | {:.0} |\n", ours.unconnected);
}

pub(crate) fn pushed(grown: &[Pushed]) {
    println!(
        "| {PUSHED} devices pushed at once, {} KiB to each | most memory more, MiB | blocks per second | CPU-µs per block |",
        TAKEN_BYTES / 1024
    );
    println!("|---|---|---|---|");
    for (bytes, grown) in IMAGES_BYTES.iter().zip(grown) {
        let mib = grown.grown_kib as f64 / 1024.0;
        println!(
            "| image of {} MiB | {mib:.1} | {:.0} | {:.1} |",
            *bytes as u64 / MIB,
            grown.blocks_per_s,
            grown.cpu_us
        );
    }
    println!();
}

pub(crate) fn transfers(transfers: &[Transfer]) {
    println!("| seconds per MiB | libcoap | Updraft | times libcoap | one block at a time | seeds |");
    println!("|---|---|---|---|---|---|");
    for transfer in transfers {
        let way = match transfer.way {
            Way::Push => "push",
            Way::Pull => "pull",
        };
        let (libcoap, ours) = (median(&transfer.libcoap), median(&transfer.ours));
        println!(
            "| {way}, {} % lost each way | {libcoap:.1} | {ours:.1} | {:.2} | {:.1} | {} |",
            transfer.loss_percent,
            libcoap / ours,
            limit(transfer.loss_percent),
            takes(transfer),
        );
    }
    println!();
}

fn median(taken: &[Taken]) -> f64 {
    let mut seconds: Vec<_> = taken.iter().map(Taken::seconds).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// Each take: libcoap's, and ours with the same seed.
fn takes(transfer: &Transfer) -> String {
    let takes = transfer.libcoap.iter().zip(&transfer.ours);
    takes
        .map(|(libcoap, ours)| format!("{} and {}", take(libcoap), take(ours)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Its seconds, and how far it came, where not to the end.
fn take(taken: &Taken) -> String {
    let reached = if taken.is_whole() { String::new() } else { format!(" ({} blocks)", taken.blocks) };
    format!("{:.1}{reached}", taken.seconds())
}

/// The seconds that one block at a time takes on such a path: a round trip each, and for each loss at least the shortest
/// wait that RFC 7252 §4.8.1 has for a path that is not known better, of a second.
fn limit(loss_percent: u64) -> f64 {
    let lost = loss_percent as f64 / 100.0;
    let arrives = (1.0 - lost) * (1.0 - lost);
    f64::from(BLOCKS) * (2.0 * ONE_WAY.as_secs_f64() + (1.0 / arrives - 1.0))
}
