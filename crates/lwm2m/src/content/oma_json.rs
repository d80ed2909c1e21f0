//! OMA's JSON of LwM2M 1.0: SenML before it was SenML (1.0 §6.4.4). Devices of 1.0 answer with it; nothing writes it here.

use serde::Deserialize;
use serde_json::Number;

use super::senml::{self, Record};
use super::{FormatError, senml_json};
use crate::model;
use crate::path::Path;
use crate::value::{Kind, Value};

/// The body: base fields and the array `e`.
#[derive(Deserialize)]
struct Body {
    bn: Option<String>,
    bt: Option<f64>,
    #[serde(default)]
    e: Vec<Element>,
}

/// One value: `v`, `sv`, `bv` or `ov`.
#[derive(Deserialize)]
struct Element {
    n: Option<String>,
    t: Option<f64>,
    v: Option<Number>,
    sv: Option<String>,
    bv: Option<bool>,
    ov: Option<String>,
}

/// Reads a body about `base`, which is the base name where the body has none.
pub(super) fn decode(base: &Path, body: &[u8]) -> Result<Vec<Record>, FormatError> {
    let body: Body =
        serde_json::from_slice(body).map_err(|_| FormatError::Malformed("the JSON is none of LwM2M"))?;
    let named = body.e.iter().any(|element| element.n.as_ref().is_some_and(|name| !name.is_empty()));
    let base_name = body.bn.unwrap_or_else(|| if named { format!("{base}/") } else { base.to_string() });
    // Names of 1.0 often lack the first slash.
    let slash = if base_name.starts_with('/') { "" } else { "/" };
    let mut records = Vec::new();
    for element in body.e {
        let name = format!("{slash}{base_name}{}", element.n.as_deref().unwrap_or_default());
        let mut record = Record { time: element.t, ..Record::default() };
        if records.is_empty() {
            record.base_time = body.bt;
        }
        if let Some(number) = element.v {
            record.set_value(senml_json::number(&number)?)?;
        }
        if let Some(text) = element.sv {
            record.set_value(text_value(&name, text)?)?;
        }
        if let Some(truth) = element.bv {
            record.set_value(Value::Boolean(truth))?;
        }
        if let Some(link) = element.ov {
            record.set_value(senml_json::link(&link)?)?;
        }
        record.base_name = Some(String::new());
        record.name = Some(name);
        senml::push(&mut records, record)?;
    }
    Ok(records)
}

/// Bytes come as base64 in a text value, and only the model says so.
fn text_value(name: &str, text: String) -> Result<Value, FormatError> {
    let kind = name.parse().ok().and_then(|path: Path| model::kind(&path));
    if kind == Some(Kind::Opaque) { senml_json::unarmour(&text) } else { Ok(Value::Text(text)) }
}
