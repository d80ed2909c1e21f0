//! What was measured, as tables.

use crate::measure::{ASKING, Cost, FEW, MANY, Measured, Plain, WITH_TLS};

pub(crate) fn print(measured: &Measured) {
    memory(measured);
    asked(measured);
    sent(measured);
    goals(measured);
}

fn memory(measured: &Measured) {
    let Measured { mosquitto, bare, ours, mosquitto_tls, ours_tls } = measured;
    println!("| KB per idle connection, two subscriptions | mosquitto | endpoint alone | Updraft |");
    println!("|---|---|---|---|");
    for (place, count) in [FEW, MANY].into_iter().enumerate() {
        let kb = |plain: &Plain| plain.memory[place] / 1e3;
        println!("| {count} | {:.2} | {:.2} | {:.2} |", kb(mosquitto), kb(bare), kb(ours));
    }
    let kb = [mosquitto_tls.memory / 1e3, ours_tls.memory / 1e3];
    println!("| {WITH_TLS}, TLS 1.3 with client certificates | {:.1} | – | {:.1} |", kb[0], kb[1]);
    let full = [mosquitto_tls.handshakes, ours_tls.handshakes];
    println!(
        "\nFull handshakes with CONNECT per CPU-second: mosquitto {:.0}, Updraft {:.0}.\n",
        full[0], full[1]
    );
}

fn asked(measured: &Measured) {
    println!(
        "| request and answer at QoS 1, {ASKING} of {FEW} devices asking | CPU-µs | backend | per second | times mosquitto | with its backend |"
    );
    println!("|---|---|---|---|---|---|");
    let beside = &measured.mosquitto.asked[0];
    row("mosquitto", beside, beside);
    row("endpoint alone", &measured.bare.asked[0], beside);
    for cost in &measured.ours.asked {
        row(&format!("Updraft: {}", cost.what), cost, beside);
    }
    println!();
}

fn sent(measured: &Measured) {
    println!(
        "| one different message to each of {FEW} devices | CPU-µs each | backend | per second | times mosquitto | with its backend |"
    );
    println!("|---|---|---|---|---|---|");
    let beside = &measured.mosquitto.sent;
    row("mosquitto", beside, beside);
    row("endpoint alone", &measured.bare.sent, beside);
    row("Updraft: desired state, stored", &measured.ours.sent, beside);
    println!();
}

fn row(who: &str, cost: &Cost, beside: &Cost) {
    let own = cost.cpu_us + cost.backend_us;
    println!(
        "| {who} | {:.1} | {:.1} | {:.0} | {:.2} | {:.2} |",
        cost.cpu_us,
        cost.backend_us,
        cost.rate,
        beside.cpu_us / cost.cpu_us,
        (beside.cpu_us + beside.backend_us) / own,
    );
}

fn goals(measured: &Measured) {
    let Measured { mosquitto, ours, mosquitto_tls, ours_tls, .. } = measured;
    println!("| | goal | measured |");
    println!("|---|---|---|");
    println!("| KB per connection, {MANY} | at most 2.5 | {:.2} |", ours.memory[1] / 1e3);
    println!("| KB per connection with TLS | at most 13 | {:.1} |", ours_tls.memory / 1e3);
    let system = |cost: &Cost| cost.cpu_us + cost.backend_us;
    let ratio = system(&mosquitto.asked[0]) / ours.asked[0].cpu_us;
    println!(
        "| requests per CPU-second, nothing stored, beside mosquitto and its backend | at least 4 | {ratio:.2} |"
    );
    let ratio = system(&mosquitto.sent) / measured.bare.sent.cpu_us;
    println!(
        "| messages per CPU-second beside mosquitto and its backend, endpoint alone | at least 2 | {ratio:.2} |"
    );
    let ratio = ours_tls.handshakes / mosquitto_tls.handshakes;
    println!("| full handshakes per CPU-second beside mosquitto | at least 2 | {ratio:.2} |");
}
