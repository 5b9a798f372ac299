//! Files of token ids: NumPy's `.npy` and raw little-endian `.bin`.
//!
//! The `.npy` format (numpy/lib/format.py; versions 1 to 3): the magic `\x93NUMPY`, two version bytes, the header's length (u16 in version 1, else u32,
//! little endian), a header that is a Python dict literal with exactly the keys `descr`, `fortran_order` and `shape`, and then the elements.

use super::document::{Content, Document, Records};
use super::options::ReadOptions;
use super::source::Source;
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{BufReader, Read};

/// Bytes of a token in a `.bin` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenWidth {
    /// Two: vocabularies up to 65,536.
    U16,
    /// Four.
    U32,
}

/// A `.bin` file: one document.
pub(super) struct RawTokens<'a> {
    source: &'a Source,
    options: &'a ReadOptions,
    over: bool,
}

impl<'a> RawTokens<'a> {
    /// Opens nothing yet.
    pub(super) fn new(source: &'a Source, options: &'a ReadOptions) -> Self {
        RawTokens { source, options, over: false }
    }
}

impl Records for RawTokens<'_> {
    fn next(&mut self) -> Result<Option<Document>> {
        if std::mem::replace(&mut self.over, true) {
            return Ok(None);
        }
        let path = &self.source.path;
        let bytes = self.source.open()?.read_rest(u64::MAX)?;
        let (kind, name) = match self.options.token_width {
            TokenWidth::U16 => (Kind::U16, "u16"),
            TokenWidth::U32 => (Kind::U32, "u32"),
        };
        if bytes.len() % kind.size() != 0 {
            let what = format!("its {} bytes are no whole number of {name} tokens; say what they are with --token-dtype u16 or u32", bytes.len());
            return Err(Error::file(path, what));
        }
        let tokens = kind.decode(&bytes).map_err(|(at, value)| Error::file(path, format!("token {at} is {value}, which is no token id")))?;
        Ok(Some(Document { id: self.source.name.clone(), label: None, content: Content::Tokens(tokens) }))
    }

    fn skip(&mut self, n: u64) -> Result<u64> {
        Ok(if n > 0 && !std::mem::replace(&mut self.over, true) { 1 } else { 0 })
    }
}

/// Element types that can hold token ids, little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    U16,
    U32,
    I32,
    U64,
    I64,
}

impl Kind {
    fn of(descr: &str) -> Option<Self> {
        Some(match descr {
            "<u2" => Kind::U16,
            "<u4" => Kind::U32,
            "<i4" => Kind::I32,
            "<u8" => Kind::U64,
            "<i8" => Kind::I64,
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Kind::U16 => 2,
            Kind::U32 | Kind::I32 => 4,
            Kind::U64 | Kind::I64 => 8,
        }
    }

    /// The ids; else the first element that is none, with its index.
    fn decode(self, bytes: &[u8]) -> std::result::Result<Vec<u32>, (usize, i128)> {
        let mut out = Vec::with_capacity(bytes.len() / self.size());
        for (i, element) in bytes.chunks_exact(self.size()).enumerate() {
            let mut wide = [0u8; 8];
            wide[..element.len()].copy_from_slice(element);
            let value = match self {
                Kind::I32 => i32::from_le_bytes([wide[0], wide[1], wide[2], wide[3]]) as i128,
                Kind::I64 => i64::from_le_bytes(wide) as i128,
                Kind::U16 | Kind::U32 | Kind::U64 => u64::from_le_bytes(wide) as i128,
            };
            out.push(u32::try_from(value).map_err(|_| (i, value))?);
        }
        Ok(out)
    }
}

/// An open `.npy` file: a document a row, or one document.
pub(super) struct NpyRows<'a> {
    source: &'a Source,
    reader: BufReader<File>,
    kind: Kind,
    /// Documents and tokens of one; whether ids carry the row.
    rows: usize,
    width: usize,
    named: bool,
    next: usize,
}

impl<'a> NpyRows<'a> {
    /// Reads the header and holds it against the file's size.
    pub(super) fn open(source: &'a Source) -> Result<Self> {
        let path = &source.path;
        let file = File::open(path).map_err(Error::io(path))?;
        let size = file.metadata().map_err(Error::io(path))?.len();
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let no = |what: &str| Error::file(path, format!("is no .npy file that can be read: {what}"));
        let mut start = [0u8; 8];
        reader.read_exact(&mut start).map_err(|_| no("it ends inside its header"))?;
        if &start[..6] != b"\x93NUMPY" {
            return Err(no("it does not start with NumPy's magic bytes"));
        }
        let count_bytes = match start[6] {
            1 => 2,
            2 | 3 => 4,
            v => return Err(no(&format!("format version {v} is not known"))),
        };
        let mut count = [0u8; 4];
        reader.read_exact(&mut count[..count_bytes]).map_err(|_| no("it ends inside its header"))?;
        let length = u32::from_le_bytes(count) as u64;
        let data = 8 + count_bytes as u64 + length;
        if data > size {
            return Err(no("it ends inside its header"));
        }
        let mut header = vec![0u8; length as usize];
        reader.read_exact(&mut header).map_err(|_| no("it ends inside its header"))?;
        let header = Header::parse(&header).map_err(|e| no(&e))?;
        let kind = Kind::of(&header.descr)
            .ok_or_else(|| Error::file(path, format!("its elements are {:?}; token ids are u16, u32, i32, u64 or i64, little endian", header.descr)))?;
        let (rows, width, named) = match header.shape[..] {
            [n] => (1, n, false),
            [rows, width] => (rows, width, true),
            _ => return Err(Error::file(path, format!("has {} dimensions; token files have one (a document) or two (a document a row)", header.shape.len()))),
        };
        if header.fortran_order && named {
            return Err(Error::file(path, "is stored column by column; save it with numpy.ascontiguousarray"));
        }
        let want = (rows as u128) * (width as u128) * kind.size() as u128;
        if want != (size - data) as u128 {
            let what = format!("its header promises {want} bytes of tokens and {} follow; the file is cut off or damaged", size - data);
            return Err(Error::file(path, what));
        }
        Ok(NpyRows { source, reader, kind, rows, width, named, next: 0 })
    }
}

impl Records for NpyRows<'_> {
    fn next(&mut self) -> Result<Option<Document>> {
        if self.next == self.rows {
            return Ok(None);
        }
        let path = &self.source.path;
        let mut bytes = vec![0u8; self.width * self.kind.size()];
        self.reader.read_exact(&mut bytes).map_err(Error::io(path))?;
        let row = self.next;
        self.next += 1;
        let tokens =
            self.kind.decode(&bytes).map_err(|(at, value)| Error::file(path, format!("element {} is {value}, which is no token id", row * self.width + at)))?;
        let id = if self.named { format!("{}[{row}]", self.source.name) } else { self.source.name.clone() };
        Ok(Some(Document { id, label: None, content: Content::Tokens(tokens) }))
    }

    fn skip(&mut self, n: u64) -> Result<u64> {
        let n = n.min((self.rows - self.next) as u64);
        // The header was held against the file's size, so that this is within it.
        self.reader.seek_relative(n as i64 * (self.width * self.kind.size()) as i64).map_err(Error::io(&self.source.path))?;
        self.next += n as usize;
        Ok(n)
    }
}

/// The dict of a `.npy` header.
#[derive(Debug, PartialEq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Parses the dict literal and nothing more general.
    fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "its header is not text".to_string())?;
        let mut p = Parser(text);
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        p.expect('{')?;
        while !p.take('}') {
            let key = p.string()?;
            p.expect(':')?;
            let fresh = match key {
                "descr" => descr.replace(p.string()?.to_string()).is_none(),
                "fortran_order" => fortran_order.replace(p.boolean()?).is_none(),
                "shape" => shape.replace(p.tuple()?).is_none(),
                _ => return Err(format!("its header has an unknown key {key:?}")),
            };
            if !fresh {
                return Err(format!("its header has the key {key:?} twice"));
            }
            if !p.take(',') {
                p.expect('}')?;
                break;
            }
        }
        if !p.0.trim_start().is_empty() {
            return Err("something follows the dict of its header".into());
        }
        match (descr, fortran_order, shape) {
            (Some(descr), Some(fortran_order), Some(shape)) => Ok(Header { descr, fortran_order, shape }),
            _ => Err("its header lacks descr, fortran_order or shape".into()),
        }
    }
}

/// What is left of a header.
struct Parser<'a>(&'a str);

impl<'a> Parser<'a> {
    fn take(&mut self, c: char) -> bool {
        let rest = self.0.trim_start();
        match rest.strip_prefix(c) {
            Some(after) => {
                self.0 = after;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, c: char) -> std::result::Result<(), String> {
        if self.take(c) { Ok(()) } else { Err(format!("its header lacks a {c:?} where one belongs")) }
    }

    fn string(&mut self) -> std::result::Result<&'a str, String> {
        let quote =
            if self.take('\'') { '\'' } else { self.expect('"').map(|()| '"').map_err(|_| "its header lacks a string where one belongs".to_string())? };
        let (inside, after) = self.0.split_once(quote).ok_or("a string of its header does not end")?;
        self.0 = after;
        Ok(inside)
    }

    fn boolean(&mut self) -> std::result::Result<bool, String> {
        let rest = self.0.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(after) = rest.strip_prefix(word) {
                self.0 = after;
                return Ok(value);
            }
        }
        Err("fortran_order in its header is neither True nor False".into())
    }

    fn tuple(&mut self) -> std::result::Result<Vec<usize>, String> {
        self.expect('(')?;
        let mut out = Vec::new();
        while !self.take(')') {
            let rest = self.0.trim_start();
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            out.push(rest[..digits].parse().map_err(|_| "the shape in its header is no tuple of sizes".to_string())?);
            self.0 = &rest[digits..];
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Corpus, ReadOptions};
    use super::*;

    /// A file as numpy.lib.format writes it.
    fn npy(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut out = b"\x93NUMPY".to_vec();
        out.extend([version, 0]);
        match version {
            1 => out.extend((header.len() as u16).to_le_bytes()),
            _ => out.extend((header.len() as u32).to_le_bytes()),
        }
        out.extend(header.as_bytes());
        out.extend(data);
        out
    }

    fn dict(descr: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}          \n")
    }

    fn read(name: &str, bytes: &[u8], width: TokenWidth) -> Result<Vec<(String, Vec<u32>)>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let corpus = Corpus::open(&[path], ReadOptions { token_width: width, ..Default::default() })?;
        corpus.documents().map(|d| d.map(|d| (d.id, if let Content::Tokens(t) = d.content { t } else { panic!("text") }))).collect()
    }

    #[test]
    fn every_element_type_and_version() {
        let want = vec![("t.npy".to_string(), vec![7u32, 0, 65_535])];
        for version in 1..=3 {
            for (descr, size) in [("<u2", 2), ("<u4", 4), ("<i4", 4), ("<u8", 8), ("<i8", 8)] {
                let data: Vec<u8> = [7u64, 0, 65_535].iter().flat_map(|v| v.to_le_bytes()[..size].to_vec()).collect();
                assert_eq!(read("t.npy", &npy(version, &dict(descr, "(3,)"), &data), TokenWidth::U16).unwrap(), want, "{descr} {version}");
            }
        }
    }

    #[test]
    fn a_row_is_a_document() {
        let data: Vec<u8> = (0u16..6).flat_map(u16::to_le_bytes).collect();
        let want = vec![("t.npy[0]".to_string(), vec![0, 1, 2]), ("t.npy[1]".to_string(), vec![3, 4, 5])];
        assert_eq!(read("t.npy", &npy(1, &dict("<u2", "(2, 3)"), &data), TokenWidth::U16).unwrap(), want);
        let empty = |shape| read("t.npy", &npy(1, &dict("<u2", shape), &[]), TokenWidth::U16).unwrap().len();
        assert_eq!([empty("(0,)"), empty("(0, 3)"), empty("(2, 0)")], [1, 0, 2]);
    }

    #[test]
    fn raw_files() {
        let data = [1u8, 0, 2, 1, 0, 0, 1, 0];
        assert_eq!(read("t.bin", &data, TokenWidth::U16).unwrap(), [("t.bin".to_string(), vec![1, 258, 0, 1])]);
        assert_eq!(read("t.bin", &data, TokenWidth::U32).unwrap(), [("t.bin".to_string(), vec![258 * 65_536 + 1, 65_536])]);
        let say = |b: &[u8], w| read("t.bin", b, w).unwrap_err().to_string();
        assert!(
            say(&data[..3], TokenWidth::U16).ends_with("t.bin: its 3 bytes are no whole number of u16 tokens; say what they are with --token-dtype u16 or u32")
        );
        assert!(say(&data[..6], TokenWidth::U32).contains("its 6 bytes are no whole number of u32 tokens"));
        assert_eq!(read("t.bin", b"", TokenWidth::U16).unwrap(), [("t.bin".to_string(), vec![])]);
    }

    #[test]
    fn bad_npy_files_are_sentences() {
        let say = |bytes: &[u8]| read("t.npy", bytes, TokenWidth::U16).unwrap_err().to_string();
        let good = npy(1, &dict("<u2", "(2,)"), &[1, 0, 2, 0]);
        assert!(say(b"").contains("ends inside its header"));
        assert!(say(b"PK\x03\x04abcdefg").contains("magic"));
        assert!(say(&good[..20]).contains("ends inside its header"));
        assert!(say(&good[..good.len() - 1]).contains("promises 4 bytes of tokens and 3 follow"));
        assert!(say(&[good, vec![0]].concat()).contains("promises 4 bytes of tokens and 5 follow"));
        assert!(say(&npy(4, "", &[])).contains("format version 4 is not known"));
        assert!(say(&npy(1, &dict("<f4", "(1,)"), &[0; 4])).contains("its elements are \"<f4\""));
        assert!(say(&npy(1, &dict(">u2", "(1,)"), &[0; 2])).contains("its elements are \">u2\""));
        assert!(say(&npy(1, &dict("<u2", "(1, 1, 1)"), &[0; 2])).contains("has 3 dimensions"));
        assert!(say(&npy(1, "{'descr': '<u2', 'fortran_order': True, 'shape': (1, 1)}", &[0; 2])).contains("column by column"));
        assert!(say(&npy(1, "{'descr': '<u2', 'shape': (1,)}", &[0; 2])).contains("lacks descr, fortran_order or shape"));
        assert!(say(&npy(1, &dict("<u2", "(99999999999999999999,)"), &[])).contains("no tuple of sizes"));
        assert!(say(&npy(1, &dict("<u8", "(9999999999999999999, 3)"), &[0; 2])).contains("promises 239999999999999999976 bytes"));
        assert!(say(&npy(1, &dict("<i8", "(2,)"), &[[0xff; 8], [0; 8]].concat())).contains("element 0 is -1, which is no token id"));
        assert!(say(&npy(1, &dict("<u8", "(2, 1)"), &[[0; 8], [0xff; 8]].concat())).contains("element 1 is 18446744073709551615"));
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80), version in 1u8..4) {
            let _ = Header::parse(&bytes);
            let _ = read("t.npy", &npy(version, &String::from_utf8_lossy(&bytes), &bytes), TokenWidth::U16);
        }
    }
}
