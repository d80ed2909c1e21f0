//! Documents made from a seed: whatever they are, shadows agree with themselves.

use crate::{at, metadata, state, update};
use serde_json::{Map, Value, json};
use updraft_core::shadow::{Node, Section, Shadow, State};

/// Runs of each claim: a second of work together.
const SEEDS: u64 = 400;
/// Updates in each run.
const STEPS: u64 = 12;

/// A small generator with a full period (SplitMix64), so that a failing seed repeats everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// Few names, so that documents meet.
    fn name(&mut self) -> String {
        ["a", "b", "c", "timestamp", "désirée"][usize::try_from(self.below(5)).unwrap()].to_owned()
    }

    fn scalar(&mut self) -> Value {
        match self.below(7) {
            0 => json!(true),
            1 => json!(self.below(3)),
            2 => json!(-1.5),
            // Any double there is, among them those whose text is long.
            3 => json!(f64::from_bits(self.draw())),
            4 => json!(self.draw()),
            5 => json!(1.0),
            _ => json!("text \u{1f5fb} \0"),
        }
    }

    fn element(&mut self, deep: u64) -> Value {
        match self.below(4) {
            0 if deep > 0 => json!([self.element(deep - 1)]),
            1 if deep > 0 => json!({ self.name(): self.element(deep - 1) }),
            _ => {
                // What is no number is null in JSON.
                let scalar = self.scalar();
                if scalar.is_null() { json!(0) } else { scalar }
            }
        }
    }

    fn value(&mut self, deep: u64) -> Value {
        match self.below(8) {
            0 => Value::Null,
            1 if deep > 1 => (0..self.below(3)).map(|_| self.element(deep - 2)).collect(),
            2..=4 if deep > 0 => Value::Object(self.object(deep - 1)),
            _ => self.scalar(),
        }
    }

    fn object(&mut self, deep: u64) -> Map<String, Value> {
        (0..self.below(4)).map(|_| (self.name(), self.value(deep))).collect()
    }

    fn section(&mut self) -> Option<Value> {
        match self.below(8) {
            0 => Some(Value::Null),
            1 | 2 => None,
            _ => Some(Value::Object(self.object(5))),
        }
    }

    /// A `state` object.
    pub(crate) fn state(&mut self) -> Value {
        let mut state = Map::new();
        for part in ["desired", "reported"] {
            state.extend(self.section().map(|section| (part.to_owned(), section)));
        }
        Value::Object(state)
    }
}

/// Calls `claim` with many shadows and the update that led to each, named by seed and step.
fn shadows(mut claim: impl FnMut(&str, &Shadow, &Value, &Shadow)) {
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let mut shadow = Shadow::default();
        for step in 1..=STEPS {
            let said = random.state();
            let next = shadow.apply(at(step.cast_signed()), &update(&said).unwrap()).unwrap();
            claim(&format!("seed {seed}, step {step}: {said}"), &shadow, &said, &next);
            shadow = next;
        }
    }
}

/// Whether everything desired is there in reported: the definition in its plainest form.
fn is_covered(desired: &Section, reported: Option<&Section>) -> bool {
    desired.iter().all(|(name, node)| match (node, reported.and_then(|reported| reported.get(name))) {
        (Node::Leaf { value, .. }, Some(Node::Leaf { value: there, .. })) => {
            value == there || is_equal_number(value, there)
        }
        (Node::Leaf { .. }, Some(Node::Branch(_)) | None) => false,
        (Node::Branch(inner), Some(Node::Branch(there))) => is_covered(inner, Some(there)),
        (Node::Branch(inner), Some(Node::Leaf { .. }) | None) => is_covered(inner, None),
    })
}

fn is_equal_number(left: &Value, right: &Value) -> bool {
    // Of the numbers drawn only 1 and 1.0 are equal and written differently; and lists that hold them.
    let plain = |value: &Value| value.to_string().replace("1.0", "1");
    !left.is_string() && plain(left) == plain(right)
}

#[test]
fn the_delta_is_empty_exactly_if_reported_covers_desired() {
    let mut empty = 0;
    shadows(|name, _, _, shadow| {
        let covered = is_covered(&shadow.desired, Some(&shadow.reported));
        assert_eq!(shadow.delta().is_empty(), covered, "{name}");
        empty += u32::from(covered && !shadow.desired.is_empty());
    });
    assert!(empty > 20, "only {empty} shadows were covered: the claim was hardly tried");
}

#[test]
fn a_device_that_reports_the_delta_is_done() {
    let mut done = 0;
    shadows(|name, _, _, shadow| {
        let delta = shadow.delta();
        let reported = json!({ "reported": state(&delta) });
        if let Ok(next) = shadow.apply(at(99), &update(&reported).unwrap()) {
            assert!(next.delta().is_empty(), "{name}: {:?}", next.delta());
            assert_eq!(next.desired, shadow.desired, "{name}");
            done += u32::from(!delta.is_empty());
        }
    });
    assert!(done > 1_000, "only {done} deltas were reported");
}

#[test]
fn the_same_update_twice_changes_version_and_times_alone() {
    shadows(|name, _, said, shadow| {
        let again = shadow.apply(at(99), &update(said).unwrap()).unwrap();
        assert_eq!(state(&again.desired), state(&shadow.desired), "{name}");
        assert_eq!(state(&again.reported), state(&shadow.reported), "{name}");
        assert_eq!(again.version, shadow.version + 1, "{name}");
    });
}

/// The merge in its plainest form: RFC 7396, section 2.
fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let target = target.as_object_mut().unwrap();
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge_patch(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[test]
fn an_update_does_to_each_section_what_rfc_7396_says() {
    shadows(|name, before, said, after| {
        for (part, before, after) in
            [("desired", &before.desired, &after.desired), ("reported", &before.reported, &after.reported)]
        {
            let mut expected = state(before);
            match said.get(part) {
                Some(Value::Null) => expected = json!({}),
                Some(patch) => merge_patch(&mut expected, patch),
                None => {}
            }
            assert_eq!(state(after), expected, "{name}");
        }
    });
}

/// Each scalar has a time, at the same place; what was not spoken of has the time it had.
fn check_times(name: &str, state: &Value, times: &Value) {
    match (state, times) {
        (Value::Object(state), Value::Object(times)) => {
            assert!(state.keys().eq(times.keys()), "{name}");
            state.iter().for_each(|(key, value)| check_times(name, value, &times[key]));
        }
        (Value::Array(state), Value::Array(times)) => {
            assert_eq!(state.len(), times.len(), "{name}");
            state.iter().zip(times).for_each(|(value, time)| check_times(name, value, time));
        }
        (_, times) => {
            let time = times["timestamp"].as_i64().unwrap();
            assert!((1..=STEPS.cast_signed()).contains(&time), "{name}");
            assert_eq!(times.as_object().unwrap().len(), 1, "{name}");
        }
    }
}

#[test]
fn metadata_mirror_the_state_with_a_time_for_each_scalar() {
    shadows(|name, _, _, shadow| {
        for section in [&shadow.desired, &shadow.reported, &shadow.delta()] {
            check_times(name, &state(section), &metadata(section));
        }
    });
}

#[test]
fn a_shadow_written_and_read_is_the_same_to_the_last_bit() {
    shadows(|name, _, _, shadow| {
        let text = serde_json::to_string(shadow).unwrap();
        let read: Shadow = serde_json::from_str(&text).unwrap();
        assert_eq!(read, *shadow, "{name}");
        assert_eq!(serde_json::to_string(&read).unwrap(), text, "{name}");
    });
}

#[test]
fn the_size_is_that_of_both_sections_as_compact_json() {
    shadows(|name, _, _, shadow| {
        let length = |section: &Section| {
            let text = serde_json::to_string(&State(section)).unwrap();
            if section.is_empty() { 0 } else { text.len() }
        };
        assert_eq!(shadow.bytes(), length(&shadow.desired) + length(&shadow.reported), "{name}");
    });
}

#[test]
fn what_does_not_read_as_a_stored_section_is_an_error() {
    for text in ["[]", "1", r#"{"a": 1}"#, r#"{"a": [1]}"#, r#"{"a": [1, 2, 3]}"#, r#"{"a": [1, "x"]}"#] {
        assert!(serde_json::from_str::<Section>(text).is_err(), "{text}");
    }
}
