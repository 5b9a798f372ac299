//! The stream of documents of a corpus.

use super::fasta::Fasta;
use super::jsonl::{JsonLines, Rest, RowFields};
use super::notes::Notes;
use super::options::{GroupBy, ReadOptions};
use super::parquet_texts::ParquetTexts;
use super::source::{Format, Source};
use super::stream::without_mark;
use super::token_files::{NpyRows, RawTokens};
use super::unicode::{self, Mended};
use crate::error::{Error, Result};

/// What a document consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text, to be tokenised.
    Text(String),
    /// Token ids.
    Tokens(Vec<u32>),
}

impl Content {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Content::Text(text) => text.is_empty(),
            Content::Tokens(tokens) => tokens.is_empty(),
        }
    }
}

/// A source file or row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The file's name in the corpus; for a JSON line its `id`, else `name:line`; for a row of a Parquet file its `id`, else `name[row]`; for a FASTA record its
    /// header's first word; `name[row]` for a row of a `.npy` file. Rows count from 0, lines from 1.
    pub id: String,
    /// The group that it belongs to, where [`ReadOptions::group`] asks for one.
    pub label: Option<String>,
    /// Text or tokens.
    pub content: Content,
}

/// The documents of a file, one after the other.
pub(super) trait Records {
    /// The next one; `None` at the end.
    fn next(&mut self) -> Result<Option<Document>>;

    /// Passes over `n` documents, or as many as there are, as cheaply as the format allows; how many it were.
    fn skip(&mut self, n: u64) -> Result<u64>;

    /// What was replaced so far.
    fn mended(&self) -> Mended {
        Mended::default()
    }
}

/// The documents of a corpus in order; see [`Corpus::documents`](super::Corpus::documents) and [`Corpus::selected`](super::Corpus::selected). After an
/// error it ends.
pub struct Documents<'a> {
    sources: std::slice::Iter<'a, Source>,
    options: &'a ReadOptions,
    open: Option<(&'a Source, Box<dyn Records + 'a>)>,
    wanted: Option<std::slice::Iter<'a, u64>>,
    /// Where none are wanted by number, the first one.
    first: u64,
    /// Documents read or passed over.
    number: u64,
    notes: Notes,
}

impl<'a> Documents<'a> {
    /// All documents, or those whose numbers are `wanted`.
    pub(super) fn new(sources: &'a [Source], options: &'a ReadOptions, wanted: Option<&'a [u64]>) -> Self {
        Documents { sources: sources.iter(), options, open: None, wanted: wanted.map(<[u64]>::iter), first: 0, number: 0, notes: Notes::default() }
    }

    /// All documents from number `first` on.
    pub(super) fn starting_at(self, first: u64) -> Self {
        Documents { first, ..self }
    }

    /// What the person who gave the corpus should know of what was read so far, one sentence each: empty documents, ids that came again, bytes that
    /// were replaced. Whole once the iterator has ended (`&mut documents` iterates, too).
    pub fn notices(&self) -> Vec<String> {
        self.notes.said(self.open.as_ref().map_or(Mended::default(), |(_, records)| records.mended()))
    }

    fn step(&mut self) -> Result<Option<Document>> {
        let target = match &mut self.wanted {
            None => self.number.max(self.first),
            Some(wanted) => match wanted.next() {
                Some(&target) => target,
                None => return Ok(None),
            },
        };
        loop {
            if let Some((source, records)) = &mut self.open {
                self.number += records.skip(target.saturating_sub(self.number))?;
                if self.number >= target
                    && let Some(mut document) = records.next()?
                {
                    self.number += 1;
                    if self.options.group == GroupBy::Folder {
                        document.label = Some(source.folder.clone());
                    }
                    self.notes.take(&document);
                    return Ok(Some(document));
                }
                self.notes.close(records.mended());
            }
            self.open = None;
            let Some(source) = self.sources.next() else { return Ok(None) };
            self.open = Some((source, open(source, self.options)?));
        }
    }
}

fn open<'a>(source: &'a Source, options: &'a ReadOptions) -> Result<Box<dyn Records + 'a>> {
    if matches!(options.group, GroupBy::Field(_)) && !source.format.has_fields() {
        return Err(Error::file(&source.path, "has no fields, so --group-field cannot be found in it; group by folders with --group-by folder"));
    }
    Ok(match source.format {
        Format::Text => Box::new(Text { source, options, over: false, mended: Mended::default() }),
        Format::JsonLines => Box::new(json_lines(source, options, options.fields())?),
        Format::Fasta => Box::new(Fasta::new(source.open()?, &source.name, options.bad_bytes, options.document_limit)),
        Format::Parquet => Box::new(ParquetTexts::open(source, options)?),
        Format::Npy => Box::new(NpyRows::open(source)?),
        Format::Raw => Box::new(RawTokens::new(source, options)),
    })
}

/// The rows of a file of JSON lines.
pub(super) fn json_lines(source: &Source, options: &ReadOptions, fields: RowFields) -> Result<JsonLines> {
    Ok(JsonLines::new(source.open()?, &source.name, fields, options.bad_bytes, options.document_limit))
}

impl ReadOptions {
    /// What of a row makes a document.
    fn fields(&self) -> RowFields {
        let group = if let GroupBy::Field(name) = &self.group { Some(name.clone()) } else { None };
        RowFields { text: Some(self.text_field.clone()), group, rest: Rest::Drop }
    }
}

impl Records for JsonLines {
    fn next(&mut self) -> Result<Option<Document>> {
        let document = |row: super::JsonRow| Document { id: row.id, label: row.label, content: Content::Text(row.text.unwrap_or_default()) };
        Ok(self.next_row()?.map(document))
    }

    fn skip(&mut self, n: u64) -> Result<u64> {
        let mut done = 0;
        while done < n && self.skip_row()? {
            done += 1;
        }
        Ok(done)
    }

    fn mended(&self) -> Mended {
        JsonLines::mended(self)
    }
}

/// A file that is one document of text.
struct Text<'a> {
    source: &'a Source,
    options: &'a ReadOptions,
    over: bool,
    mended: Mended,
}

impl Records for Text<'_> {
    fn next(&mut self) -> Result<Option<Document>> {
        if std::mem::replace(&mut self.over, true) {
            return Ok(None);
        }
        let mut bytes = self.source.open()?.read_rest(self.options.document_limit)?;
        let mark = bytes.len() - without_mark(&bytes).len();
        bytes.drain(..mark);
        let (text, replaced) = unicode::owned(bytes, self.options.bad_bytes, &self.source.path, mark as u64)?;
        self.mended.count(replaced);
        Ok(Some(Document { id: self.source.name.clone(), label: None, content: Content::Text(text) }))
    }

    fn skip(&mut self, n: u64) -> Result<u64> {
        Ok(if n > 0 && !std::mem::replace(&mut self.over, true) { 1 } else { 0 })
    }

    fn mended(&self) -> Mended {
        self.mended
    }
}

impl Iterator for Documents<'_> {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.open = None;
            self.sources = [].iter();
            self.wanted = None;
        }
        step.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BadBytes, Corpus};
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
        for empty in [&b""[..], b"\xef\xbb\xbf"] {
            assert_eq!(text("a.txt", empty)[0].1, "");
        }
    }

    #[test]
    fn bad_bytes_are_named_by_their_place() {
        let say = |name: &str, b: &[u8]| read(name, b).unwrap_err().to_string();
        assert!(say("a.txt", b"abc\xff").contains("a.txt: byte 3 (0xff) is not UTF-8; convert the file first"));
        // The mark counts.
        assert!(say("a.txt", b"\xef\xbb\xbfx\xff").contains("byte 4 (0xff)"));
        assert!(say("a.jsonl", b"{\"text\":\"a\"}\n{\"text\":\"\xff\"}\n").contains("a.jsonl: byte 22 (0xff)"));
        assert!(say("a.jsonl", b"\xef\xbb\xbf{\"text\":\"\xff\"}\n").contains("a.jsonl: byte 12 (0xff)"));
    }

    #[test]
    fn after_an_error_nothing_comes() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("a.txt", &b"a"[..]), ("b.txt", b"\xff"), ("c.txt", b"c")] {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let corpus = Corpus::open(&[dir.path().to_path_buf()], ReadOptions::default()).unwrap();
        assert_eq!(corpus.documents().map(|d| d.is_ok()).collect::<Vec<_>>(), [true, false]);
        // What is passed over is not opened.
        assert_eq!(corpus.selected(&[0, 2]).map(|d| d.is_ok()).collect::<Vec<_>>(), [true, true]);
    }

    #[test]
    fn selected_documents_are_those_of_all() {
        let dir = tempfile::tempdir().unwrap();
        let rows = |n: usize, of: &str| (0..n).map(|i| format!("{{\"text\": \"{of}{i}\"}}\n{}", ["", "\n"][i % 2])).collect::<String>();
        let npy = b"\x93NUMPY\x01\x00\x39\x00{'descr': '<u2', 'fortran_order': False, 'shape': (3, 1)}\x01\x00\x02\x00\x03\x00";
        let files: [(&str, Vec<u8>); 7] = [
            ("a.txt", b"a".to_vec()),
            ("b.jsonl", rows(3, "b").into()),
            ("c.jsonl.zst", zstd::encode_all(rows(4, "c").as_bytes(), 1).unwrap()),
            ("d.bin", vec![7, 0]),
            ("e.ndjson", vec![]),
            ("f.npy", npy.to_vec()),
            ("g.txt", vec![]),
        ];
        for (name, bytes) in &files {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let corpus = Corpus::open(&[dir.path().to_path_buf()], ReadOptions::default()).unwrap();
        let all: Vec<Document> = corpus.documents().map(Result::unwrap).collect();
        assert_eq!(all.len(), 1 + 3 + 4 + 1 + 3 + 1);
        for mask in 0..1u64 << all.len() {
            let numbers: Vec<u64> = (0..all.len() as u64).filter(|i| mask >> i & 1 == 1).collect();
            let selected: Vec<Document> = corpus.selected(&numbers).map(Result::unwrap).collect();
            assert!(selected.iter().eq(numbers.iter().map(|&i| &all[i as usize])), "{numbers:?}");
        }
        assert_eq!(corpus.selected(&[12, 13, 20]).count(), 1);
    }

    #[test]
    fn what_is_odd_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.txt"), "").unwrap();
        std::fs::write(dir.path().join("b.jsonl"), b"{\"id\": 1, \"text\": \"\"}\n{\"id\": \"1\", \"text\": \"x\xff\"}\n").unwrap();
        std::fs::write(dir.path().join("c.txt"), b"\xe2\x82").unwrap();
        let options = ReadOptions { bad_bytes: BadBytes::Replace, ..Default::default() };
        let corpus = Corpus::open(&[dir.path().to_path_buf()], options).unwrap();
        let mut documents = corpus.documents();
        assert_eq!(documents.by_ref().map(Result::unwrap).count(), 4);
        let name = dir.path().file_name().unwrap().to_str().unwrap();
        let want = [
            format!("2 documents empty, the first {name}/a.txt"),
            "1 document with an id that another has, too; the first is 1".into(),
            "2 documents with bytes that are not UTF-8: 3 bytes were read as U+FFFD".into(),
        ];
        assert_eq!(documents.notices(), want);
    }

    #[test]
    fn labels() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["en/a/x.jsonl", "en/y.jsonl", "z.jsonl"] {
            let path = dir.path().join("c").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "{\"text\": \"t\", \"year\": 1850}").unwrap();
        }
        let labels = |paths: &[&str], group| {
            let paths: Vec<_> = paths.iter().map(|p| dir.path().join(p)).collect();
            let corpus = Corpus::open(&paths, ReadOptions { group, ..Default::default() }).unwrap();
            corpus.documents().map(|d| d.unwrap().label.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(labels(&["c"], GroupBy::Field("year".into())), ["1850"; 3]);
        assert_eq!(labels(&["c"], GroupBy::Folder), ["en", "en", "c"]);
        assert_eq!(labels(&["c/en", "c/z.jsonl"], GroupBy::Folder), ["a", "en", "c"]);
        std::fs::write(dir.path().join("t.txt"), "t").unwrap();
        let corpus = Corpus::open(&[dir.path().join("t.txt")], ReadOptions { group: GroupBy::Field("year".into()), ..Default::default() }).unwrap();
        assert!(corpus.documents().next().unwrap().unwrap_err().to_string().contains("t.txt: has no fields"));
    }
}
