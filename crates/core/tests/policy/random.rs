//! Sources and devices made from a seed: whatever they are, compiling and evaluating end, and agree with themselves.

use updraft_core::attributes::Attributes;
use updraft_core::policy::{Facts, Policy, bucket};
use updraft_core::position::{POSITIONS, position};

use super::facts::{DEVICE, UPDATE, attributes};

/// A small generator with a full period (SplitMix64), so that a failing seed repeats everywhere.
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        // The bounds here are small: the remainder's bias does not matter.
        let low = u32::try_from(self.draw() >> 32).expect("the upper half of 64 bits fits in 32");
        usize::try_from(low).expect("32 bits fit a usize") % bound
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

const VALUES: &[&str] = &[
    "device.version",
    "update.version",
    "device.region",
    "device.pro",
    "device.memory",
    "device.cores",
    "device.nothing",
    "device.groups",
    "device.absent",
    "device['x-y']",
    "device.hwVersion",
    "'a'",
    "'1.2.3'",
    "\"16\"",
    "16",
    "0",
    "-1.5",
    "1e300",
    "true",
    "false",
    "null",
    "[1, 'a']",
    "has(device.gps)",
    "''",
    "4503599627370496",
];
const OPERATORS: &[&str] = &[
    "+", "-", "*", "/", "%", "^", "==", "!=", "<", "<=", ">", ">=", "^=", "^!=", "$=", "$!=", "<<", ">>",
    "&&", "||", "<>", "><", "in",
];

fn expression(random: &mut Random, depth: usize) -> String {
    if depth == 0 || random.below(4) == 0 {
        return random.pick(VALUES).to_owned();
    }
    let left = expression(random, depth - 1);
    match random.below(10) {
        0 => format!("!({left})"),
        1 => format!("-({left})"),
        2 => format!("bucket({left})"),
        3 => format!("({left}) == /a|1/"),
        _ => {
            let right = expression(random, depth - 1);
            format!("({left}) {} ({right})", random.pick(OPERATORS))
        }
    }
}

#[test]
fn every_expression_ends_with_an_answer_or_without_one_and_never_with_both() {
    let (device, update) = (attributes(DEVICE), attributes(UPDATE));
    let facts = Facts { device: &device, update: &update };
    let (mut holding, mut failing) = (0, 0);
    for seed in 0..20_000 {
        let source = expression(&mut Random(seed), 4);
        let Ok(policy) = Policy::compile(&source) else { continue };
        let Ok(negated) = Policy::compile(&format!("!({source})")) else { panic!("seed {seed}: {source}") };
        let (holds, fails) = (policy.matches(&facts), negated.matches(&facts));
        assert!(!(holds && fails), "seed {seed}: {source}");
        assert_eq!(policy.explain(&facts).matches, holds, "seed {seed}: {source}");
        holding += usize::from(holds);
        failing += usize::from(fails);
    }
    assert!(
        holding > 500 && failing > 500,
        "the generator tries both outcomes: {holding} held, {failing} failed"
    );
}

#[test]
fn any_text_compiles_or_is_refused_at_a_place_within_it() {
    let pieces = [
        VALUES,
        OPERATORS,
        &["(", ")", "[", "]", ",", "/", "'", "\"", "\\", "!", "=", "ß", "\n", "💥", "\0", ".", "9", " "],
    ];
    let pieces = pieces.concat();
    let empty = Attributes::new();
    for seed in 0..20_000 {
        let random = &mut Random(seed);
        let source: String = (0..random.below(12)).map(|_| random.pick(&pieces)).collect();
        match Policy::compile(&source) {
            Ok(policy) => {
                let explanation = policy.explain(&Facts { device: &empty, update: &empty });
                assert!(
                    explanation.clauses.iter().all(|clause| source.contains(&clause.source)),
                    "seed {seed}"
                );
            }
            Err(error) => {
                let line =
                    source.split('\n').nth(error.line - 1).unwrap_or_else(|| panic!("seed {seed}: {error}"));
                assert!((1..=line.chars().count() + 1).contains(&error.column), "seed {seed}: {error}");
                assert!(error.render(&source).ends_with(&error.to_string()), "seed {seed}");
            }
        }
    }
}

#[test]
fn buckets_and_positions_are_the_same_for_ever() {
    // Computed by another implementation. A change here moves every device of every fleet to another place in its rollouts.
    let buckets = [("", 10), ("a", 23), ("device-1", 24), ("device-2", 92), ("größe", 77)];
    let positions =
        [("", "", 1083), ("a", "", 2301), ("device-1", "rollout-1", 9743), ("device-1", "rollout-2", 9584)];
    assert_eq!(buckets.map(|(text, _)| (text, bucket(text))), buckets);
    assert_eq!(positions.map(|(device, salt, _)| (device, salt, position(device, salt))), positions);
}

#[test]
fn text_and_salt_do_not_run_together() {
    assert_ne!(position("ab", "c"), position("a", "bc"));
}

#[test]
fn positions_are_even_over_devices_and_independent_between_salts() {
    const DEVICES: usize = 100_000;
    let mut counts = [0_usize; 100];
    let mut early_in_both = 0_usize;
    for index in 0..DEVICES {
        let device = format!("device-{index}");
        let place = position(&device, "rollout-1");
        assert!(place < POSITIONS);
        counts[usize::from(place / 100)] += 1;
        let early = |salt| position(&device, salt) < POSITIONS / 10;
        early_in_both += usize::from(early("rollout-1") && early("rollout-2"));
    }
    // 1000 expected in each, with a standard deviation of 31; 5 of them is 1 in 17 000 over all hundred.
    assert!(counts.iter().all(|count| (845..=1155).contains(count)), "{counts:?}");
    assert!((845..=1155).contains(&early_in_both), "{early_in_both}");
}

#[test]
fn a_bucket_is_the_position_without_salt_in_percents() {
    for index in 0..1000 {
        let text = index.to_string();
        assert_eq!(u16::from(bucket(&text)), position(&text, "") / 100);
    }
}
