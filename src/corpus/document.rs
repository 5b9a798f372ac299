//! The stream of documents of a corpus.

use super::jsonl::JsonLines;
use super::listing::{Format, ReadOptions, Source};
use super::token_files::{NpyRows, read_raw};
use crate::error::{Error, Result};
use std::path::Path;

/// What a document consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text, to be tokenised.
    Text(String),
    /// Token ids.
    Tokens(Vec<u32>),
}

/// A source file or row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The file's name in the corpus; `name:line` for a JSON line, unless it has an `id` of its own; `name[row]` for a row of a `.npy` file.
    pub id: String,
    /// Text or tokens.
    pub content: Content,
}

/// The documents of a corpus in order; see [`Corpus::documents`](super::Corpus::documents). After an error it ends.
pub struct Documents<'a> {
    sources: std::slice::Iter<'a, Source>,
    options: &'a ReadOptions,
    rows: Rows<'a>,
}

/// The open file of several documents, if any.
enum Rows<'a> {
    None,
    Json(JsonLines<'a>),
    Npy(NpyRows<'a>),
}

impl<'a> Documents<'a> {
    pub(super) fn new(sources: &'a [Source], options: &'a ReadOptions) -> Self {
        Documents { sources: sources.iter(), options, rows: Rows::None }
    }

    fn step(&mut self) -> Result<Option<Document>> {
        loop {
            let row = match &mut self.rows {
                Rows::None => None,
                Rows::Json(lines) => lines.next_document()?,
                Rows::Npy(rows) => rows.next_document()?,
            };
            if row.is_some() {
                return Ok(row);
            }
            self.rows = Rows::None;
            let Some(source) = self.sources.next() else { return Ok(None) };
            match source.format {
                Format::Text => return Ok(Some(Document { id: source.name.clone(), content: Content::Text(read_text(&source.path)?) })),
                Format::Raw => {
                    let tokens = read_raw(&source.path, self.options.token_width)?;
                    return Ok(Some(Document { id: source.name.clone(), content: Content::Tokens(tokens) }));
                }
                Format::JsonLines => self.rows = Rows::Json(JsonLines::open(source, &self.options.text_field)?),
                Format::Npy => self.rows = Rows::Npy(NpyRows::open(source)?),
            }
        }
    }
}

impl Iterator for Documents<'_> {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.rows = Rows::None;
            self.sources = [].iter();
        }
        step.transpose()
    }
}

/// The UTF-8 byte-order mark, which some editors put before a text and which is no part of it.
const BOM: char = '\u{feff}';

fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let mut text = strict_utf8(bytes, path, 0)?;
    if text.starts_with(BOM) {
        text.drain(..BOM.len_utf8());
    }
    if text.is_empty() {
        return Err(Error::file(path, "is empty; leave it out of the corpus"));
    }
    Ok(text)
}

/// The bytes as text, where they are; `start` is their place in the file.
pub(super) fn strict_utf8(bytes: Vec<u8>, path: &Path, start: u64) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::file(path, format!("byte {} (0x{:02x}) is not UTF-8; convert the file first", start + at as u64, e.as_bytes()[at]))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Corpus;
    use super::*;

    /// The documents of one file of the given name and bytes.
    fn read(name: &str, bytes: &[u8]) -> Result<Vec<Document>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Corpus::open(&[path], ReadOptions::default())?.documents().collect()
    }

    fn text(name: &str, bytes: &[u8]) -> Vec<(String, String)> {
        let documents = read(name, bytes).unwrap();
        documents.into_iter().map(|d| (d.id, if let Content::Text(t) = d.content { t } else { panic!("tokens") })).collect()
    }

    #[test]
    fn text_is_kept_byte_for_byte_but_for_its_mark() {
        assert_eq!(text("a.txt", b"\xef\xbb\xbfone\r\ntwo\n"), [("a.txt".into(), "one\r\ntwo\n".into())]);
        // A mark anywhere else is a character of the text.
        assert_eq!(text("a.txt", "a\u{feff}b".as_bytes())[0].1, "a\u{feff}b");
    }

    #[test]
    fn bad_bytes_are_named_by_their_place() {
        let say = |name: &str, b: &[u8]| read(name, b).unwrap_err().to_string();
        assert!(say("a.txt", b"abc\xff").ends_with("a.txt: byte 3 (0xff) is not UTF-8; convert the file first"));
        // A character cut off by the end of the file; a surrogate; an overlong form.
        assert!(say("a.txt", b"ab\xe2\x82").contains("byte 2 (0xe2)"));
        assert!(say("a.txt", b"\xed\xa0\x80").contains("byte 0 (0xed)"));
        assert!(say("a.txt", b"x\xc0\xaf").contains("byte 1 (0xc0)"));
        // The mark counts.
        assert!(say("a.txt", b"\xef\xbb\xbfx\xff").contains("byte 4 (0xff)"));
        assert!(say("a.jsonl", b"{\"text\":\"a\"}\n{\"text\":\"\xff\"}\n").contains("a.jsonl: byte 22 (0xff)"));
        for empty in [&b""[..], b"\xef\xbb\xbf"] {
            assert!(say("a.txt", empty).ends_with("a.txt: is empty; leave it out of the corpus"));
        }
    }

    #[test]
    fn json_lines() {
        let lines = b"\xef\xbb\xbf{\"text\": \"a\\u00e9\", \"n\": 1}\r\n\n  \n{\"id\": \"x7\", \"text\": \"\"}\n{\"text\": \"b\", \"id\": 12}";
        let want = [("c.jsonl:1", "a\u{e9}"), ("x7", ""), ("12", "b")].map(|(a, b)| (a.to_string(), b.to_string()));
        assert_eq!(text("c.jsonl", lines), want);
    }

    #[test]
    fn bad_json_lines_are_named() {
        let say = |b: &str| read("c.jsonl", b.as_bytes()).unwrap_err().to_string();
        assert!(say("{\"text\": \"a\"}\n{\"text\": ").contains("c.jsonl: line 2 is not a JSON object: "));
        assert!(say("[1]").contains("line 1 is not a JSON object"));
        assert!(say("{\"body\": \"a\", \"n\": 1}").contains("line 1 has no field \"text\" but body, n; name the one that holds the text with --text-field"));
        assert!(say("{\"text\": 3}").contains("field \"text\" of line 1 is not a string"));
        assert!(say("{\"text\": \"\\ud800\"}").contains("line 1 is not a JSON object: "));
        assert!(say("{\"text\": \"a\", \"id\": [1]}").contains("field \"id\" of line 1 is neither a string nor a number"));
        assert!(say("\n \n").contains("holds no document"));
    }

    #[test]
    fn after_an_error_nothing_comes() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("a.txt", &b"a"[..]), ("b.txt", b"\xff"), ("c.txt", b"c")] {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let corpus = Corpus::open(&[dir.path().to_path_buf()], ReadOptions::default()).unwrap();
        assert_eq!(corpus.documents().map(|d| d.is_ok()).collect::<Vec<_>>(), [true, false]);
    }
}
