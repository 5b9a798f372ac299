//! JSON lines: an object a line, one document each.

use super::document::{Content, Document, strict_utf8};
use super::listing::Source;
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufRead, BufReader};

/// An open file of JSON lines.
pub(super) struct JsonLines<'a> {
    source: &'a Source,
    text_field: &'a str,
    reader: BufReader<File>,
    /// Lines and bytes read.
    line: u64,
    offset: u64,
    documents: u64,
}

impl<'a> JsonLines<'a> {
    pub(super) fn open(source: &'a Source, text_field: &'a str) -> Result<Self> {
        let file = File::open(&source.path).map_err(Error::io(&source.path))?;
        Ok(JsonLines { source, text_field, reader: BufReader::with_capacity(1 << 20, file), line: 0, offset: 0, documents: 0 })
    }

    /// The next line's document; lines of blanks are passed over.
    pub(super) fn next_document(&mut self) -> Result<Option<Document>> {
        let path = &self.source.path;
        loop {
            let mut bytes = Vec::new();
            let n = self.reader.read_until(b'\n', &mut bytes).map_err(Error::io(path))?;
            if n == 0 {
                if self.documents == 0 {
                    return Err(Error::file(path, "holds no document; leave it out of the corpus"));
                }
                return Ok(None);
            }
            let start = self.offset;
            self.offset += n as u64;
            self.line += 1;
            let line = strict_utf8(bytes, path, start)?;
            let line = if start == 0 { line.trim_start_matches('\u{feff}') } else { &line };
            if line.trim().is_empty() {
                continue;
            }
            self.documents += 1;
            return self.document(line).map(Some);
        }
    }

    fn document(&self, line: &str) -> Result<Document> {
        let (path, number) = (&self.source.path, self.line);
        let mut object: Map<String, Value> = serde_json::from_str(line).map_err(|e| Error::file(path, format!("line {number} is not a JSON object: {e}")))?;
        let text = match object.remove(self.text_field) {
            Some(Value::String(text)) => text,
            Some(_) => return Err(Error::file(path, format!("field \"{}\" of line {number} is not a string", self.text_field))),
            None => {
                let fields: Vec<&str> = object.keys().map(String::as_str).collect();
                let what =
                    format!("line {number} has no field \"{}\" but {}; name the one that holds the text with --text-field", self.text_field, fields.join(", "));
                return Err(Error::file(path, what));
            }
        };
        let id = match object.get("id") {
            None | Some(Value::Null) => format!("{}:{number}", self.source.name),
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            Some(_) => return Err(Error::file(path, format!("field \"id\" of line {number} is neither a string nor a number"))),
        };
        Ok(Document { id, content: Content::Text(text) })
    }
}
