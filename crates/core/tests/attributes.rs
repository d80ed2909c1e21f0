//! Attributes: what goes in comes out, flat and sorted, and nothing beyond a limit goes in.

use updraft_core::attributes::{
    ATTRIBUTES_MAX, AttributeError, Attributes, DEPTH_MAX, ELEMENTS_MAX, NAME_BYTES_MAX, VALUE_BYTES_MAX,
    Value,
};

fn read(json: &str) -> Result<Attributes, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

#[test]
fn a_document_is_flattened_sorted_and_written_flat() {
    let table = [
        (r"{}", r"{}"),
        (r#"{"b":1,"a":"x"}"#, r#"{"a":"x","b":1}"#),
        (r#"{"a":{"b":{"c":1},"d":2},"e":3}"#, r#"{"a.b.c":1,"a.d":2,"e":3}"#),
        (r#"{"l":[1,"a",null,true,[2]]}"#, r#"{"l":[1,"a",null,true,[2]]}"#),
        (r#"{"l":[1,{"x":2,"y":{"z":3}}]}"#, r#"{"l":[1,null],"l.1.x":2,"l.1.y.z":3}"#),
        (r#"{"a":{},"b":[]}"#, r#"{"b":[]}"#),
        (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        (r#"{"a":-0.5,"b":1e3,"c":9007199254740992}"#, r#"{"a":-0.5,"b":1000,"c":9007199254740992}"#),
        (r#"{"a":1e300}"#, r#"{"a":1e+300}"#),
        (r#"{"":1}"#, ""),
    ];
    for (json, expected) in table {
        match read(json) {
            Ok(attributes) => {
                let written = serde_json::to_string(&attributes).unwrap();
                assert_eq!(written, expected, "{json}");
                assert_eq!(read(&written).as_ref(), Ok(&attributes), "{json}");
            }
            Err(error) => assert!(expected.is_empty(), "{json}: {error}"),
        }
    }
}

#[test]
fn every_attribute_is_found_among_few_and_among_many() {
    let mut attributes = Attributes::new();
    for index in (0..ATTRIBUTES_MAX).rev() {
        attributes.insert(&format!("name-{index}"), u32::try_from(index).unwrap()).unwrap();
    }
    assert_eq!(attributes.len(), ATTRIBUTES_MAX);
    for index in 0..ATTRIBUTES_MAX {
        let value = Value::from(u32::try_from(index).unwrap());
        assert_eq!(attributes.get(&format!("name-{index}")), Some(&value));
    }
    assert!(attributes.iter().map(|(name, _)| name).is_sorted());
    assert_eq!(attributes.get("name"), None);
    assert_eq!(attributes.remove("name-0"), Some(Value::Number(0.0)));
    assert_eq!((attributes.remove("name-0"), attributes.get("name-0")), (None, None));
    attributes.insert("name-1", "other").unwrap();
    assert_eq!(attributes.get("name-1").and_then(Value::as_str), Some("other"));
}

#[test]
fn what_is_beyond_a_limit_is_refused_and_changes_nothing() {
    let mut attributes = Attributes::new();
    let long = "x".repeat(VALUE_BYTES_MAX);
    attributes.insert("a", long.as_str()).unwrap();
    attributes.insert(&"n".repeat(NAME_BYTES_MAX), vec![Value::Null; ELEMENTS_MAX]).unwrap();
    let before = attributes.clone();
    let deep = (0..=DEPTH_MAX).fold(Value::Null, |inner, _| Value::List(vec![inner]));
    let name = || "a".to_owned();
    let table = [
        ("", Value::Null, AttributeError::NameEmpty),
        ("a", Value::from(long.clone() + "x"), AttributeError::ValueTooLong { name: name() }),
        (
            "a",
            Value::from(vec![Value::from(long), Value::from("x")]),
            AttributeError::ValueTooLong { name: name() },
        ),
        ("a", Value::from(vec![Value::Null; ELEMENTS_MAX + 1]), AttributeError::ListTooLong { name: name() }),
        ("a", deep, AttributeError::TooDeep { name: name() }),
        ("a", Value::from(f64::NAN), AttributeError::NotFinite { name: name() }),
        ("a", Value::from(f64::INFINITY), AttributeError::NotFinite { name: name() }),
    ];
    for (name, value, expected) in table {
        assert_eq!(attributes.insert(name, value), Err(expected));
    }
    let bytes = NAME_BYTES_MAX + 1;
    assert_eq!(attributes.insert(&"n".repeat(bytes), 1), Err(AttributeError::NameTooLong { bytes }));
    assert_eq!(attributes, before);
    for index in attributes.len()..ATTRIBUTES_MAX {
        attributes.insert(&index.to_string(), true).unwrap();
    }
    assert_eq!(attributes.insert("one more", true), Err(AttributeError::TooMany));
}

#[test]
fn a_hostile_document_is_refused_with_the_limit_it_passed() {
    let deep = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    let deep_list = |levels: usize| format!(r#"{{"a":{}1{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let many = (0..=ATTRIBUTES_MAX).map(|index| format!("\"{index}\":1")).collect::<Vec<_>>().join(",");
    let table = [
        (format!("{{{many}}}"), "too many attributes"),
        (deep(DEPTH_MAX + 2), "nested deeper"),
        (deep(100), "nested deeper"),
        (deep_list(DEPTH_MAX + 2), "nested deeper"),
        (format!(r#"{{"a":"{}"}}"#, "x".repeat(VALUE_BYTES_MAX + 1)), "bytes of text"),
        (format!(r#"{{"{}":1}}"#, "x".repeat(NAME_BYTES_MAX + 1)), "bytes"),
        (format!(r#"{{"{0}":{{"{0}":1}}}}"#, "x".repeat(NAME_BYTES_MAX / 2)), "with its enclosing objects"),
        (format!(r#"{{"a":[{}1]}}"#, "1,".repeat(ELEMENTS_MAX)), "list elements"),
        (format!(r#"{{"a":[[{0}1],[{0}1]]}}"#, "1,".repeat(ELEMENTS_MAX / 2)), "list elements"),
        ("[]".to_owned(), "an object with the device's attributes"),
        ("1".to_owned(), "an object with the device's attributes"),
        (r#"{"a":1"#.to_owned(), "EOF"),
    ];
    for (json, expected) in table {
        let error = read(&json).expect_err(&json);
        assert!(error.contains(expected), "{error}");
    }
    assert!(read(&deep(DEPTH_MAX)).is_ok() && read(&deep_list(DEPTH_MAX - 1)).is_ok());
}

#[test]
fn a_single_value_is_read_without_objects() {
    for json in ["null", "true", "1.5", "7", "\"a\"", "[1,[\"b\"]]"] {
        let value: Value = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), json);
    }
    for json in ["{}", r#"{"a":1}"#, r#"[{"a":1}]"#] {
        assert!(serde_json::from_str::<Value>(json).is_err(), "{json}");
    }
}

#[test]
fn a_value_is_shown_as_a_policy_writes_it() {
    let mut attributes = Attributes::new();
    attributes
        .insert("a", vec![Value::Null, Value::from(1), Value::from(0.5), Value::from("it's"), true.into()])
        .unwrap();
    attributes.insert("b", "'\"\n\\").unwrap();
    assert_eq!(format!("{attributes:?}"), r#"{"a": [null, 1, 0.5, "it's", true], "b": '\'"\n\\'}"#);
}

#[test]
fn a_text_knows_whether_it_is_a_version() {
    for (text, expected) in
        [("1.2.3", true), ("1.2.3-rc.1+b", true), ("1.2", false), ("v1.2.3", false), ("", false)]
    {
        let Value::Text(text) = Value::from(text) else { panic!("a text is a text") };
        assert_eq!(text.is_version(), expected, "{text}");
    }
}
