//! Each format says again what it was told, for thousands of trees by a seed; and damaged bodies are refused or read, never
//! more.

use updraft_lwm2m::content::{self, ContentFormat};
use updraft_lwm2m::{Entry, Kind, Path, Value, model};

/// A small generator of numbers (xorshift64*), so that each run is the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    /// A number of any size, small ones as often as large.
    fn any_size(&mut self) -> u64 {
        let bits = self.below(64);
        self.next() >> bits
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = [0, 1, 7, 8, 255, 256, 300][usize::try_from(self.below(7)).expect("in range")];
        (0..length).map(|_| u8::try_from(self.below(256)).expect("in range")).collect()
    }

    fn text(&mut self) -> String {
        let letters = ['a', 'Z', '0', '/', '"', '\\', ',', '\u{0}', '\u{e9}', '\u{1f680}', ' ', '\n'];
        (0..self.below(40)).map(|_| letters[usize::try_from(self.below(12)).expect("in range")]).collect()
    }

    fn value(&mut self, kind: Kind) -> Value {
        match kind {
            Kind::Text => Value::Text(self.text()),
            Kind::CoreLink => Value::CoreLink(self.text()),
            Kind::Integer => Value::Integer(self.any_size().cast_signed()),
            Kind::Time => Value::Time(self.any_size().cast_signed()),
            Kind::Unsigned => Value::Unsigned(self.any_size()),
            Kind::Float => Value::Float(0.5),
            Kind::Boolean => Value::Boolean(self.below(2) == 1),
            Kind::Opaque => Value::Opaque(self.bytes()),
            Kind::ObjectLink => {
                let id = |numbers: &mut Self| u16::try_from(numbers.below(65_536)).expect("in range");
                Value::ObjectLink(id(self), id(self))
            }
        }
    }

    fn id(&mut self) -> u16 {
        let limit = [3, 300, 65_535][usize::try_from(self.below(3)).expect("in range")];
        u16::try_from(self.below(limit)).expect("in range")
    }

    /// Some leaves within one object, typed as the model says.
    fn tree(&mut self) -> Vec<Entry> {
        let object = &model::OBJECTS[usize::try_from(self.below(6)).expect("in range")];
        let mut entries: Vec<Entry> = Vec::new();
        for _ in 0..self.below(3) {
            let instance = self.id();
            for resource in object.resources {
                let Some(kind) = resource.kind.filter(|_| self.below(3) == 0) else { continue };
                if resource.instances == model::Instances::Single {
                    let path = Path::resource(object.id, instance, resource.id);
                    entries.push(Entry { path, value: self.value(kind) });
                    continue;
                }
                for _ in 0..1 + self.below(3) {
                    let path = Path::resource_instance(object.id, instance, resource.id, self.id());
                    entries.push(Entry { path, value: self.value(kind) });
                }
            }
        }
        entries.sort_by_key(|entry| entry.path);
        entries.dedup_by_key(|entry| entry.path);
        entries
    }
}

const TREES: [ContentFormat; 4] =
    [ContentFormat::TLV, ContentFormat::SENML_JSON, ContentFormat::SENML_CBOR, ContentFormat::LWM2M_CBOR];

#[test]
fn a_tree_is_read_as_it_was_written_whatever_it_is_asked_by() {
    let mut numbers = Numbers(7);
    let mut compared = 0;
    for _ in 0..1_000 {
        let tree = numbers.tree();
        let Some(first) = tree.first().map(|entry| entry.path) else { continue };
        // About the object, the first instance, its first resource, its first leaf.
        for depth in 1..=first.depth() {
            let base = first.truncated(depth);
            let part: Vec<Entry> = tree.iter().filter(|entry| base.contains(&entry.path)).cloned().collect();
            for format in TREES {
                let body = content::encode(format, &base, &part).unwrap();
                assert_eq!(content::decode(format, &base, &body), Ok(part.clone()), "{format} {base}");
                compared += 1;
            }
        }
        let all = content::encode(ContentFormat::SENML_CBOR, &Path::ROOT, &tree).unwrap();
        assert_eq!(content::decode(ContentFormat::SENML_CBOR, &Path::ROOT, &all), Ok(tree));
    }
    assert!(compared > 3_000, "{compared}");
}

#[test]
fn one_value_is_read_as_it_was_written() {
    let mut numbers = Numbers(8);
    for _ in 0..2_000 {
        for entry in numbers.tree() {
            for format in [ContentFormat::TEXT, ContentFormat::CBOR] {
                let body = content::encode(format, &entry.path, std::slice::from_ref(&entry)).unwrap();
                assert_eq!(content::decode(format, &entry.path, &body), Ok(vec![entry.clone()]), "{format}");
            }
        }
    }
}

#[test]
fn floats_keep_each_bit_in_cbor_and_14_digits_in_json() {
    let mut numbers = Numbers(9);
    let at = Path::resource(3303, 0, 5700);
    for _ in 0..5_000 {
        let number = f64::from_bits(numbers.next());
        // One that is whole is an integer, where no type says otherwise.
        if !number.is_finite() || number.fract() == 0.0 {
            continue;
        }
        let entry = Entry { path: at, value: Value::Float(number) };
        let again = |format| {
            let body = content::encode(format, &at, std::slice::from_ref(&entry)).unwrap();
            let entries = content::decode(format, &at, &body).unwrap();
            entries[0].value.as_float().unwrap()
        };
        for format in [ContentFormat::SENML_CBOR, ContentFormat::LWM2M_CBOR, ContentFormat::CBOR] {
            assert_eq!(again(format).to_bits(), number.to_bits(), "{format} {number:e}");
        }
        // The JSON reader prefers speed in the last bits.
        if number.abs() > 1e-290 {
            assert!((again(ContentFormat::SENML_JSON) / number - 1.0).abs() < 1e-14, "{number:e}");
        }
    }
}

#[test]
fn a_damaged_body_is_refused_or_read_and_what_is_read_can_be_written() {
    let mut numbers = Numbers(10);
    let mut refused = 0;
    for _ in 0..1_000 {
        let tree = numbers.tree();
        let Some(base) = tree.first().map(|entry| entry.path.truncated(1)) else { continue };
        for format in TREES {
            let mut body = content::encode(format, &base, &tree).unwrap();
            for _ in 0..1 + numbers.below(4) {
                let at = usize::try_from(numbers.below(body.len() as u64)).unwrap();
                body[at] = u8::try_from(numbers.below(256)).unwrap();
            }
            match content::decode(format, &base, &body) {
                Ok(entries) => {
                    assert!(content::encode(ContentFormat::SENML_CBOR, &base, &entries).is_ok());
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 300, "{refused}");
}
