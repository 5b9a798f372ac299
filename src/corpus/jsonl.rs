//! JSON lines: an object a line, one document each.

use super::stream::{ByteStream, Passed, without_mark};
use super::unicode::{self, BadBytes, Mended};
use crate::error::{Error, Result};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// The field by which a row names itself.
const ID: &str = "id";

/// Which fields of a row are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowFields {
    /// The field that holds the text; `None` where rows have no single one.
    pub text: Option<String>,
    /// The field that says which group the row belongs to.
    pub group: Option<String>,
    /// What becomes of the others.
    pub rest: Rest,
}

/// What becomes of the fields that nobody asked for by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    /// They are passed over, unparsed.
    #[default]
    Drop,
    /// They are kept in their order.
    Keep,
}

/// A line's object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonRow {
    /// Number of the line in its file, from 1.
    pub line: u64,
    /// Its `id`, a string or a number as written; without one `name:line`.
    pub id: String,
    /// The text, null being an empty one; `None` where no field was asked for.
    pub text: Option<String>,
    /// The group, a string or a number as written; `None` where no field was asked for.
    pub label: Option<String>,
    /// With [`Rest::Keep`] all fields but `id` and the text, the group's among them, in their order.
    pub rest: Map<String, Value>,
}

/// An open file of JSON lines.
pub struct JsonLines {
    stream: ByteStream,
    name: String,
    fields: RowFields,
    bad: BadBytes,
    limit: u64,
    line: u64,
    buffer: Vec<u8>,
    mended: Mended,
}

impl JsonLines {
    /// Reads rows from a stream whose documents are called `name:line`; a line of more than `limit` bytes is an error.
    pub fn new(stream: ByteStream, name: &str, fields: RowFields, bad: BadBytes, limit: u64) -> Self {
        JsonLines { stream, name: name.to_string(), fields, bad, limit, line: 0, buffer: Vec::new(), mended: Mended::default() }
    }

    /// What was replaced so far in the rows read.
    pub fn mended(&self) -> Mended {
        self.mended
    }

    /// The next row; lines of blanks are passed over.
    ///
    /// # Errors
    /// As [`ByteStream::read_line`]; bytes that are not UTF-8, with [`BadBytes::Refuse`]; a line that is no JSON object, lacks a field that was asked for, or has something
    /// else than a string in the text's or than a string or number in the id's or the group's.
    pub fn next_row(&mut self) -> Result<Option<JsonRow>> {
        loop {
            let start = self.stream.offset();
            self.buffer.clear();
            if !self.stream.read_line(&mut self.buffer, self.limit)? {
                return Ok(None);
            }
            self.line += 1;
            let bytes = if start == 0 { without_mark(&self.buffer) } else { &self.buffer };
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let mark = (self.buffer.len() - bytes.len()) as u64;
            let (text, mut replaced) = unicode::text(bytes, self.bad, self.stream.path(), start + mark)?;
            let row = match (parse(&text, &self.fields), self.bad) {
                (Ok(row), _) => row,
                (Err(_), BadBytes::Refuse) => return Err(self.explain(&text)),
                (Err(_), BadBytes::Replace) => {
                    let (text, more) = unicode::mend_surrogates(&text);
                    replaced += more;
                    parse(&text, &self.fields).map_err(|_| self.explain(&text))?
                }
            };
            self.mended.count(replaced);
            return Ok(Some(self.named(row)));
        }
    }

    /// Passes over the next row without parsing it; false at the end of the file.
    ///
    /// # Errors
    /// As [`ByteStream::fill`].
    pub fn skip_row(&mut self) -> Result<bool> {
        loop {
            let passed = self.stream.skip_line()?;
            self.line += u64::from(passed != Passed::End);
            match passed {
                Passed::Blank => {}
                Passed::Filled => return Ok(true),
                Passed::End => return Ok(false),
            }
        }
    }

    fn named(&self, parsed: Parsed) -> JsonRow {
        let id = parsed.id.unwrap_or_else(|| format!("{}:{}", self.name, self.line));
        JsonRow { line: self.line, id, text: parsed.text, label: parsed.label, rest: parsed.rest }
    }

    /// Why a line is no row, in the words of its fields.
    fn explain(&self, text: &str) -> Error {
        let (path, line) = (self.stream.path(), self.line);
        let object: Map<String, Value> = match serde_json::from_str(text) {
            Ok(object) => object,
            Err(e) => return Error::file(path, format!("line {line} is not a JSON object: {}; every line is to hold one", of_one_line(&e))),
        };
        let lacks = |field: &str, option: &str| {
            let fields: Vec<&str> = object.keys().map(String::as_str).collect();
            format!("line {line} has no field \"{field}\" but {}; name the one that {option}", fields.join(", "))
        };
        let what = match (&self.fields.text, &self.fields.group) {
            (Some(field), _) if !object.contains_key(field) => lacks(field, "holds the text with --text-field"),
            (Some(field), _) if !object[field].is_string() && !object[field].is_null() => format!("field \"{field}\" of line {line} is not a string"),
            (_, Some(field)) if !object.contains_key(field) => lacks(field, "holds the group with --group-field"),
            (_, Some(field)) if scalar(&object[field]).is_none() => format!("field \"{field}\" of line {line} is neither a string nor a number"),
            _ => format!("field \"{ID}\" of line {line} is neither a string nor a number"),
        };
        Error::file(path, what)
    }
}

/// The parser's complaint with its place in the line; it counts the line itself as line 1.
fn of_one_line(e: &serde_json::Error) -> String {
    let said = e.to_string();
    let place = format!(" at line {} column {}", e.line(), e.column());
    match said.strip_suffix(&place) {
        Some(what) => format!("{what} at its byte {}", e.column()),
        None => said,
    }
}

/// What labels and names may be.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

/// What a line says; `id` is `None` where it is absent or null.
#[derive(Default)]
struct Parsed {
    id: Option<String>,
    text: Option<String>,
    label: Option<String>,
    rest: Map<String, Value>,
}

/// Parses a line, and of it only what is asked for.
fn parse(line: &str, fields: &RowFields) -> serde_json::Result<Parsed> {
    let mut parser = serde_json::Deserializer::from_str(line);
    let parsed = RowSeed(fields).deserialize(&mut parser)?;
    parser.end()?;
    Ok(parsed)
}

struct RowSeed<'f>(&'f RowFields);

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = Parsed;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parsed, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
        let fields = self.0;
        let is = |field: &Option<String>, key: &str| field.as_deref() == Some(key);
        let mut parsed = Parsed::default();
        while let Some(key) = map.next_key_seed(Key)? {
            // Of a key that comes twice the last counts, as in most of the parsers that people use.
            if is(&fields.text, &key) {
                let text = map.next_value::<Option<String>>()?.unwrap_or_default();
                if is(&fields.group, &key) {
                    parsed.label = Some(text.clone());
                }
                parsed.text = Some(text);
            } else if key == ID || is(&fields.group, &key) {
                let value: Value = map.next_value()?;
                let name = scalar(&value);
                if key == ID {
                    if name.is_none() && !value.is_null() {
                        return Err(A::Error::custom("id"));
                    }
                    parsed.id = name.clone();
                }
                if is(&fields.group, &key) {
                    parsed.label = name;
                }
                if key != ID && fields.rest == Rest::Keep {
                    parsed.rest.insert(key.into_owned(), value);
                }
            } else if fields.rest == Rest::Keep {
                parsed.rest.insert(key.into_owned(), map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if (fields.text.is_some() && parsed.text.is_none()) || (fields.group.is_some() && parsed.label.is_none()) {
            return Err(A::Error::custom("field"));
        }
        Ok(parsed)
    }
}

/// A key, borrowed from the line where it has no escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::Packing;
    use super::*;
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
    use serde_json::json;

    fn open(bytes: &[u8], fields: RowFields, bad: BadBytes) -> JsonLines {
        let stream = ByteStream::new("c.jsonl".as_ref(), Packing::Plain, std::io::Cursor::new(bytes.to_vec())).unwrap();
        JsonLines::new(stream, "c.jsonl", fields, bad, 1 << 20)
    }

    fn fields(text: &str, group: Option<&str>, rest: Rest) -> RowFields {
        RowFields { text: Some(text.into()), group: group.map(Into::into), rest }
    }

    fn rows(mut lines: JsonLines) -> Result<Vec<JsonRow>> {
        std::iter::from_fn(|| lines.next_row().transpose()).collect()
    }

    #[test]
    fn ids_texts_labels_and_the_rest() {
        let bytes = b"\xef\xbb\xbf{\"text\": \"a\\u00e9\", \"n\": 1}\r\n\n  \n{\"id\": \"x7\", \"n\": 2.50, \"b\": {\"k\": [1]}, \"text\": \"\", \"a\": null}\n{\"n\": \"u\", \"text\": null, \"id\": 12}";
        let read = rows(open(bytes, fields("text", Some("n"), Rest::Keep), BadBytes::Refuse)).unwrap();
        let short: Vec<_> = read.iter().map(|r| (r.line, r.id.as_str(), r.text.as_deref().unwrap(), r.label.as_deref().unwrap())).collect();
        assert_eq!(short, [(1, "c.jsonl:1", "a\u{e9}", "1"), (4, "x7", "", "2.5"), (5, "12", "", "u")]);
        assert_eq!(Value::from(read[1].rest.clone()).to_string(), json!({"n": 2.5, "b": {"k": [1]}, "a": null}).to_string());
        let dropped = rows(open(bytes, fields("text", None, Rest::Drop), BadBytes::Refuse)).unwrap();
        assert!(dropped.iter().all(|r| r.rest.is_empty() && r.label.is_none()));
        // Rows without a field of text, and an id that groups.
        let mut bare = RowFields { group: Some("id".into()), rest: Rest::Keep, ..Default::default() };
        let read = rows(open(b"{\"id\": 3, \"prompt\": \"p\"}", bare.clone(), BadBytes::Refuse)).unwrap();
        assert_eq!((read[0].id.as_str(), &read[0].text, read[0].label.as_deref(), read[0].rest["prompt"].as_str()), ("3", &None, Some("3"), Some("p")));
        bare.group = None;
        assert_eq!(rows(open(b"{}", bare, BadBytes::Refuse)).unwrap()[0].id, "c.jsonl:1");
    }

    #[test]
    fn bad_lines_are_named() {
        let say = |b: &str, group| rows(open(b.as_bytes(), fields("text", group, Rest::Drop), BadBytes::Refuse)).unwrap_err().to_string();
        assert_eq!(
            say("{\"text\": \"a\"}\n{\"text\": ", None),
            "c.jsonl: line 2 is not a JSON object: EOF while parsing a value at its byte 9; every line is to hold one"
        );
        assert!(say("[1]", None).contains("line 1 is not a JSON object"));
        assert!(say("{\"text\": \"a\"} {}", None).contains("line 1 is not a JSON object: trailing characters"));
        assert!(
            say("{\"body\": \"a\", \"n\": 1}", None).contains("line 1 has no field \"text\" but body, n; name the one that holds the text with --text-field")
        );
        assert!(say("{\"text\": 3}", None).contains("field \"text\" of line 1 is not a string"));
        assert!(say("{\"text\": \"\\ud800\"}", None).contains("line 1 is not a JSON object: "));
        assert!(say("{\"text\": \"a\", \"id\": [1]}", None).contains("field \"id\" of line 1 is neither a string nor a number"));
        assert!(say("{\"text\": \"a\"}", Some("g")).ends_with("line 1 has no field \"g\" but text; name the one that holds the group with --group-field"));
        assert!(say("{\"text\": \"a\", \"g\": null}", Some("g")).ends_with("field \"g\" of line 1 is neither a string nor a number"));
        assert!(say("{\"text\": \"a\"}\n{\"text\": \"\u{1}\"}", None).contains("line 2 is not a JSON object: control character"));
        let said = rows(open(b"{\"text\":\"a\"}\n{\"text\":\"\xff\"}\n", fields("text", None, Rest::Drop), BadBytes::Refuse)).unwrap_err().to_string();
        assert!(said.contains("c.jsonl: byte 22 (0xff)"), "{said}");
    }

    #[test]
    fn mended_rows_are_counted() {
        let bytes = b"{\"text\": \"a\xffb\xe2\x82\"}\n{\"text\": \"ok\"}\n{\"text\": \"\\ud800\\ud83d\\ude00\xff\"}\n";
        let mut lines = open(bytes, fields("text", None, Rest::Drop), BadBytes::Replace);
        let mut texts = Vec::new();
        while let Some(row) = lines.next_row().unwrap() {
            texts.extend(row.text);
        }
        assert_eq!(texts, ["a\u{fffd}b\u{fffd}", "ok", "\u{fffd}\u{1f600}\u{fffd}"]);
        assert_eq!(lines.mended(), Mended { documents: 2, bytes: 3 + 7 });
        assert!(rows(open(b"{\"text\": \xff}", fields("text", None, Rest::Drop), BadBytes::Replace)).is_err());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from), ".{0,12}".prop_map(Value::from)];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::vec(("[a-c\"\\\\é]{0,2}", inner), 0..3).prop_map(|v| Value::Object(v.into_iter().collect()))
            ]
        })
    }

    proptest! {
        /// The parser that reads only what is asked for says what a parse of everything says.
        #[test]
        fn rows_are_what_a_full_parse_gives(objects in prop::collection::vec((".{0,20}", prop::option::of("[a-z]{0,3}"), prop::collection::vec(("[d-g\"\\\\é]{0,2}", value()), 0..4), any::<bool>()), 0..6), skip: u64) {
            let lines: Vec<Map<String, Value>> = objects.iter().map(|(text, id, rest, first)| {
                let mut m = Map::new();
                if *first { m.insert("text".into(), text.clone().into()); }
                m.extend(rest.iter().cloned());
                m.insert("text".into(), text.clone().into());
                if let Some(id) = id { m.insert("id".into(), id.clone().into()); }
                m
            }).collect();
            let file: String = lines.iter().enumerate().map(|(i, m)| format!("{}{}", Value::from(m.clone()), ["\n", "\r\n", "\n \n"][i % 3])).collect();
            let read = rows(open(file.as_bytes(), fields("text", None, Rest::Keep), BadBytes::Refuse)).unwrap();
            prop_assert_eq!(read.len(), lines.len());
            for (row, mut m) in read.iter().zip(lines) {
                prop_assert_eq!(row.text.clone().map(Value::from), m.shift_remove("text"));
                let id = m.shift_remove("id").map_or(format!("c.jsonl:{}", row.line), |v| v.as_str().unwrap().to_string());
                prop_assert_eq!(&row.id, &id);
                prop_assert_eq!(Value::from(row.rest.clone()).to_string(), Value::from(m).to_string());
            }
            // Rows that are passed over count the same.
            let mut some = open(file.as_bytes(), fields("text", None, Rest::Keep), BadBytes::Refuse);
            for (i, want) in read.iter().enumerate() {
                if skip >> i & 1 == 1 {
                    prop_assert_eq!(some.skip_row().unwrap(), true);
                } else {
                    prop_assert_eq!(some.next_row().unwrap(), Some(want.clone()));
                }
            }
            prop_assert_eq!(some.skip_row().unwrap(), false);
        }
    }
}
