//! The same updates told to moto, an independent reading of the service: documents, deltas and the shape of metadata must
//! be the same. Where moto does not do what the service's guide says, a test below says so, and no story has it.

use crate::stage::Stage;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Stories told: most of the time goes to starting Python.
const SEEDS: u64 = 300;
/// Updates in each story.
const STEPS: u64 = 12;

const UPDATE: &str = "$aws/things/d1/shadow/update";
const GET: &str = "$aws/things/d1/shadow/get";

/// The Python that has moto. `None`, and a word about it, where it is not installed; in CI it must be.
fn python() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let clients =
        std::env::var_os("UPDRAFT_CLIENTS").map_or_else(|| root.join("target/clients"), PathBuf::from);
    let python = clients.join("py/bin/python");
    if python.exists() {
        return Some(python);
    }
    let missing = format!("{} is missing. To install: scripts/clients", python.display());
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{missing}");
    eprintln!("skipped: shadows compared with moto ({missing})");
    None
}

/// What moto makes of stories.
fn moto(python: &Path, stories: &[Value]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/python/shadow_oracle.py");
    let lines: String = stories.iter().map(|story| format!("{story}\n")).collect();
    let mut child =
        Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // It answers while it reads: both pipes must move.
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "the oracle failed: what it said is above");
    let text = String::from_utf8(output.stdout).unwrap();
    let told: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.len(), stories.len());
    told.into_iter().map(|story| story["steps"].clone()).collect()
}

/// What we make of a story.
fn ours(story: &Value) -> Value {
    let mut stage = Stage::new();
    let updates = story["updates"].as_array().unwrap();
    let steps = [&story["initial"]].into_iter().chain(updates).map(|state| {
        let published = stage.publish(UPDATE, json!({ "state": state }).to_string());
        assert!(published[0].0.ends_with("/accepted"), "{state}: {}", published[0].1);
        let delta = published.iter().find(|(topic, _)| topic.ends_with("/delta"));
        let delta = delta.map_or_else(|| json!({}), |(_, body)| body["state"].clone());
        let mut document = stage.publish(GET, "")[0].1.clone();
        let shown = document["state"].as_object_mut().unwrap().remove("delta");
        assert_eq!(shown.unwrap_or_else(|| json!({})), delta, "a get shows the delta that was published");
        json!({
            "state": document["state"], "delta": delta, "metadata": document["metadata"], "version": document["version"],
        })
    });
    steps.collect()
}

/// Metadata without their times: moto sets all of them anew with every update.
fn timeless(metadata: &Value) -> Value {
    match metadata {
        Value::Object(object) => match object.get("timestamp") {
            Some(Value::Number(_)) => json!("a time"),
            _ => object.iter().map(|(name, value)| (name.clone(), timeless(value))).collect(),
        },
        Value::Array(values) => values.iter().map(timeless).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => metadata.clone(),
    }
}

/// A delta without the objects that hold nothing, which moto leaves where all of an object is reported.
fn without_empty(delta: &Value) -> Value {
    let Value::Object(object) = delta else { return delta.clone() };
    let kept = object.iter().map(|(name, value)| (name.clone(), without_empty(value)));
    Value::Object(kept.filter(|(_, value)| *value != json!({})).collect())
}

fn comparable(steps: &Value) -> Vec<Value> {
    let step = |step: &Value| {
        let mut step = step.clone();
        step["metadata"] = timeless(&step["metadata"]);
        step["delta"] = without_empty(&step["delta"]);
        step
    };
    steps.as_array().unwrap().iter().map(step).collect()
}

/// A small generator with a full period (SplitMix64), so that a failing seed repeats everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// Few names, so that documents meet.
    fn name(&mut self) -> String {
        ["a", "b", "c", "timestamp", "désirée"][usize::try_from(self.below(5)).unwrap()].to_owned()
    }

    /// Few values, so that reported meets desired. No 0 and 1: Python takes them for false and true.
    fn scalar(&mut self) -> Value {
        let values = [
            json!(true),
            json!(false),
            json!(2),
            json!(2.0),
            json!(-1.5e-7),
            json!("text"),
            json!(""),
            json!(u64::MAX),
        ];
        values[usize::try_from(self.below(8)).unwrap()].clone()
    }

    fn array(&mut self, deep: u64) -> Value {
        let element = |random: &mut Self| match random.below(4) {
            0 if deep > 0 => random.array(deep - 1),
            1 if deep > 0 => json!({ random.name(): random.scalar() }),
            _ => random.scalar(),
        };
        (0..self.below(3)).map(|_| element(self)).collect()
    }

    fn object(&mut self, deep: u64) -> Map<String, Value> {
        let value = |random: &mut Self| match random.below(8) {
            0 => Value::Null,
            1 => random.array(deep.min(1)),
            2..=4 if deep > 0 => Value::Object(random.object(deep - 1)),
            _ => random.scalar(),
        };
        (0..self.below(4)).map(|_| (self.name(), value(self))).collect()
    }

    /// An update, without null for a whole section, which moto reads otherwise.
    fn update(&mut self) -> Value {
        let mut update = Map::new();
        for part in ["desired", "reported"] {
            if self.below(4) > 0 {
                update.insert(part.to_owned(), Value::Object(self.object(3)));
            }
        }
        Value::Object(update)
    }
}

fn story(seed: u64) -> Value {
    let mut random = Random(seed);
    let updates: Vec<_> = (1..STEPS).map(|_| random.update()).collect();
    json!({ "initial": random.update(), "updates": updates })
}

#[test]
fn moto_makes_the_same_documents_and_deltas_of_generated_updates() {
    let Some(python) = python() else { return };
    let stories: Vec<_> = (0..SEEDS).map(story).collect();
    let (mut deltas, mut removed) = (0, 0);
    for ((seed, story), told) in (0..SEEDS).zip(&stories).zip(moto(&python, &stories)) {
        let ours = comparable(&ours(story));
        for (step, (ours, theirs)) in ours.iter().zip(comparable(&told)).enumerate() {
            assert_eq!(*ours, theirs, "seed {seed}, step {step} of {story}");
            deltas += u32::from(ours["delta"] != json!({}));
        }
        assert_eq!(ours.len(), usize::try_from(STEPS).unwrap());
        removed += story.to_string().matches("null").count();
    }
    assert!(deltas > 1_000 && removed > 500, "{deltas} deltas and {removed} nulls: too little was compared");
}

/// The last step that moto and we make of a story of updates.
fn last(python: &Path, states: &[Value]) -> (Value, Value) {
    let story = json!({"initial": states[0], "updates": states[1..]});
    let theirs = moto(python, std::slice::from_ref(&story)).remove(0);
    let last = |steps: &Value| steps.as_array().unwrap().last().unwrap().clone();
    (last(&theirs), last(&ours(&story)))
}

#[test]
fn moto_keeps_a_section_that_null_should_remove() {
    let Some(python) = python() else { return };
    let (theirs, ours) = last(&python, &[json!({"desired": {"a": 2}}), json!({"desired": null})]);
    assert_eq!(theirs["state"], json!({"desired": {"a": 2}}));
    assert_eq!(ours["state"], json!({}));
}

#[test]
fn moto_leaves_an_empty_object_in_the_delta_where_only_reported_has_more() {
    let Some(python) = python() else { return };
    let (theirs, ours) =
        last(&python, &[json!({"desired": {"a": {"x": 2}}, "reported": {"a": {"x": 2, "y": 3}}})]);
    assert_eq!(theirs["delta"], json!({"a": {}}));
    assert_eq!(ours["delta"], json!({}));
}

#[test]
fn moto_takes_1_for_true_as_python_does() {
    let Some(python) = python() else { return };
    let (theirs, ours) = last(&python, &[json!({"desired": {"a": true}, "reported": {"a": 1}})]);
    assert_eq!(theirs["delta"], json!({}));
    assert_eq!(ours["delta"], json!({"a": true}));
}
