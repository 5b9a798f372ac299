//! JSON as the field writes it: `NaN` and `Infinity` as bare words (Python's json) and as `{"__float__": "Infinity"}` (transformers 5).

use serde_json::Value;

/// The key under which transformers 5 writes a number that JSON has no word for.
const FLOAT: &str = "__float__";

/// Parses `text`; bare `NaN`, `Infinity` and `-Infinity` become `{"__float__": …}`.
///
/// # Errors
/// serde_json's, whose position is that of the text with those words replaced.
pub(crate) fn parse(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(&quote_words(text))
}

/// The number that `value` stands for, in either spelling; `None` where it is not a number.
pub(crate) fn number(value: &Value) -> Option<f64> {
    if let Some(x) = value.as_f64() {
        return Some(x);
    }
    let object = value.as_object().filter(|o| o.len() == 1)?;
    match object.get(FLOAT)?.as_str()? {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn quote_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = if in_string { None } else { ["NaN", "-Infinity", "Infinity"].into_iter().find(|w| rest.starts_with(w)) };
        if let Some(w) = word {
            out.push_str(&format!("{{\"{FLOAT}\":\"{w}\"}}"));
            rest = &rest[w.len()..];
            continue;
        }
        (in_string, escaped) = match (in_string, escaped, c) {
            (true, true, _) => (true, false),
            (true, false, '\\') => (true, true),
            (_, _, '"') => (!in_string, false),
            _ => (in_string, false),
        };
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_objects_are_numbers() {
        let v = parse(r#"{"a": [0.0, Infinity], "b": {"__float__": "-Infinity"}, "c": NaN, "d": "NaN \" Infinity"}"#).unwrap();
        assert_eq!(number(&v["a"][1]), Some(f64::INFINITY));
        assert_eq!(number(&v["b"]), Some(f64::NEG_INFINITY));
        assert!(number(&v["c"]).unwrap().is_nan());
        assert_eq!(v["d"], "NaN \" Infinity");
        assert_eq!(number(&v["d"]), None);
    }
}
