//! JSON as the field writes it: `NaN` and `Infinity` as bare words (Python's json) and as `{"__float__": "Infinity"}` (transformers 5). A key that an object
//! has twice is an error: which of the two values is meant, readers do not agree on.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The key under which transformers 5 writes a number that JSON has no word for.
const FLOAT: &str = "__float__";

/// Parses `text`; bare `NaN`, `Infinity` and `-Infinity` become `{"__float__": …}`.
///
/// # Errors
/// serde_json's, whose position is that of the text with those words replaced; a key twice in one object.
pub(crate) fn parse(text: &str) -> serde_json::Result<Value> {
    let text = quote_words(text);
    refuse_doubles(&text)?;
    serde_json::from_str(&text)
}

/// Demands JSON in which no object has a key twice.
///
/// # Errors
/// serde_json's; a key twice in one object.
pub(crate) fn refuse_doubles(text: &str) -> serde_json::Result<()> {
    let mut read = serde_json::Deserializer::from_str(text);
    Keys.deserialize(&mut read)?;
    read.end()
}

/// Walks through any value and keeps nothing of it but the keys of the objects that are open.
struct Keys;

impl<'de> DeserializeSeed<'de> for Keys {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keys {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Keys)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut seen: HashSet<Cow<str>> = HashSet::new();
        while let Some(key) = object.next_key::<Cow<str>>()? {
            object.next_value_seed(Keys)?;
            if let Some(twice) = seen.replace(key) {
                return Err(A::Error::custom(format!("the key `{twice}` is there twice")));
            }
        }
        Ok(())
    }
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

    #[test]
    fn keys_that_are_there_twice_are_refused() {
        let said = parse(r#"{"a": [{"b": 1, "c": NaN, "\u0062": 2}]}"#).unwrap_err().to_string();
        assert!(said.starts_with("the key `b` is there twice"), "{said}");
        parse(r#"{"a": {"a": [{"a": 1}, {"a": 1}]}}"#).unwrap();
    }
}
