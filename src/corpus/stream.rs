//! A file as the bytes that it stands for: as they are, or unpacked on the way.

use crate::error::{Error, Result};
use flate2::bufread::MultiGzDecoder;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// How a file is packed, known by its ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// `.gz` (RFC 1952), of one member or several.
    Gzip,
    /// `.zst` (RFC 8878), of one frame or several.
    Zstd,
}

impl Packing {
    /// By the path's ending, in any case.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase).as_deref() {
            Some("gz") => Packing::Gzip,
            Some("zst") => Packing::Zstd,
            _ => Packing::Plain,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Packing::Plain => "plain",
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
        }
    }
}

/// Bytes held of a file and of what it unpacks to: a stretch of both fits the second-level cache.
const BUFFER: usize = 256 << 10;

/// An open file, unpacked. Errors name it.
pub struct ByteStream {
    path: PathBuf,
    packing: Packing,
    inner: Box<dyn BufRead + Send>,
    offset: u64,
}

/// What a line of a stream is, where it is only passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// Only blanks.
    Blank,
    /// Something else, too.
    Filled,
    /// There was no line: the stream is over.
    End,
}

impl ByteStream {
    /// Opens a file, packed as its ending says.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        Self::new(path, Packing::of(path), file)
    }

    /// Any reader; `path` is what errors call it.
    ///
    /// # Errors
    /// No memory for a decoder.
    pub fn new(path: &Path, packing: Packing, reader: impl Read + Send + 'static) -> Result<Self> {
        let raw = BufReader::with_capacity(BUFFER, reader);
        let inner: Box<dyn BufRead + Send> = match packing {
            Packing::Plain => Box::new(raw),
            Packing::Gzip => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(raw))),
            Packing::Zstd => Box::new(BufReader::with_capacity(BUFFER, zstd::Decoder::with_buffer(raw).map_err(Error::io(path))?)),
        };
        Ok(ByteStream { path: path.to_path_buf(), packing, inner, offset: 0 })
    }

    /// A reader without a name that says how it is packed: by its first bytes, which no text begins with.
    ///
    /// # Errors
    /// What the system refuses; no memory for a decoder.
    pub fn sniffed(path: &Path, mut reader: impl Read + Send + 'static) -> Result<Self> {
        let mut first = Vec::new();
        reader.by_ref().take(4).read_to_end(&mut first).map_err(Error::io(path))?;
        let packing = match first[..] {
            [0x1f, 0x8b, ..] => Packing::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => Packing::Zstd,
            _ => Packing::Plain,
        };
        Self::new(path, packing, std::io::Cursor::new(first).chain(reader))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Unpacked bytes that were read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next unpacked bytes, some of them; none at the end.
    ///
    /// # Errors
    /// What the system refuses; a packed file that is damaged or cut off.
    pub fn fill(&mut self) -> Result<&[u8]> {
        let (path, packing) = (&self.path, self.packing);
        loop {
            match self.inner.fill_buf() {
                Ok(_) => break,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                // What a decoder objects to has no number of the system's.
                Err(e) if packing == Packing::Plain || e.raw_os_error().is_some() => return Err(Error::io(path)(e)),
                Err(e) => {
                    return Err(Error::file(path, format!("its {} data are damaged or cut off after {} unpacked bytes: {e}", packing.name(), self.offset)));
                }
            }
        }
        // What is buffered is handed out again, without a system call.
        self.inner.fill_buf().map_err(Error::io(path))
    }

    /// Takes `n` of the bytes that [`ByteStream::fill`] gave.
    pub fn consume(&mut self, n: usize) {
        self.inner.consume(n);
        self.offset += n as u64;
    }

    /// Appends the next line, its end included, to `line`; false at the end of the stream. No more than `limit` bytes are taken into memory.
    ///
    /// # Errors
    /// As [`ByteStream::fill`]; a line of more than `limit` bytes.
    pub fn read_line(&mut self, line: &mut Vec<u8>, limit: u64) -> Result<bool> {
        let start = self.offset;
        loop {
            let bytes = self.fill()?;
            if bytes.is_empty() {
                return Ok(self.offset > start);
            }
            let (n, over) = upto_line_end(bytes);
            if line.len() as u64 + n as u64 > limit {
                return Err(self.too_long(start, limit));
            }
            line.extend_from_slice(&bytes[..n]);
            self.consume(n);
            if over {
                return Ok(true);
            }
        }
    }

    /// What is said of a text that begins at byte `start` and has more than `limit` bytes.
    pub(super) fn too_long(&self, start: u64, limit: u64) -> Error {
        let size = if limit >= 1 << 30 && limit.is_multiple_of(1 << 30) { format!("{} GiB", limit >> 30) } else { format!("{limit} bytes") };
        Error::file(&self.path, format!("the document at byte {start} has more than {size}, the most that is read as one; split it"))
    }

    /// Passes over the next line without holding it. Blanks are the ASCII ones, and a byte-order mark at the stream's beginning is none of its bytes.
    ///
    /// # Errors
    /// As [`ByteStream::fill`].
    pub fn skip_line(&mut self) -> Result<Passed> {
        let mut passed = Passed::End;
        loop {
            let at_start = self.offset == 0;
            let bytes = self.fill()?;
            if bytes.is_empty() {
                return Ok(passed);
            }
            let (n, over) = upto_line_end(bytes);
            if passed != Passed::Filled {
                let line = if at_start { without_mark(&bytes[..n]) } else { &bytes[..n] };
                passed = if line.trim_ascii().is_empty() { Passed::Blank } else { Passed::Filled };
            }
            self.consume(n);
            if over {
                return Ok(passed);
            }
        }
    }

    /// All that is left. No more than `limit` bytes are taken into memory.
    ///
    /// # Errors
    /// As [`ByteStream::fill`]; more than `limit` bytes.
    pub fn read_rest(&mut self, limit: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            let bytes = self.fill()?;
            let n = bytes.len();
            if n == 0 {
                return Ok(out);
            }
            if out.len() as u64 + n as u64 > limit {
                return Err(self.too_long(0, limit));
            }
            out.extend_from_slice(bytes);
            self.consume(n);
        }
    }
}

/// Bytes up to the line's end, that included, and whether it is there.
fn upto_line_end(bytes: &[u8]) -> (usize, bool) {
    // The standard library's own search for a byte: `memchr` where the system has one.
    let mut rest = bytes;
    match rest.skip_until(b'\n') {
        Ok(n) => (n, bytes[n - 1] == b'\n'),
        Err(_) => (bytes.len(), false),
    }
}

/// The bytes without the UTF-8 byte-order mark, which some editors put before a text and which is no part of it.
pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
    use std::io::Write;

    pub fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn packed(packing: Packing, bytes: &[u8]) -> Vec<u8> {
        match packing {
            Packing::Plain => bytes.to_vec(),
            Packing::Gzip => gzip(bytes),
            Packing::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        }
    }

    const ALL: [Packing; 3] = [Packing::Plain, Packing::Gzip, Packing::Zstd];

    fn stream(packing: Packing, bytes: Vec<u8>) -> ByteStream {
        ByteStream::new("x".as_ref(), packing, std::io::Cursor::new(bytes)).unwrap()
    }

    fn lines(mut s: ByteStream) -> Result<Vec<Vec<u8>>> {
        let mut out = Vec::new();
        loop {
            let mut line = Vec::new();
            if !s.read_line(&mut line, u64::MAX)? {
                return Ok(out);
            }
            out.push(line);
        }
    }

    #[test]
    fn endings() {
        for (name, packing) in
            [("a.jsonl.gz", Packing::Gzip), ("a.GZ", Packing::Gzip), ("a.txt.zst", Packing::Zstd), ("a.txt", Packing::Plain), ("gz", Packing::Plain)]
        {
            assert_eq!(Packing::of(name.as_ref()), packing, "{name}");
        }
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_bytes(parts in prop::collection::vec(prop::collection::vec(prop::sample::select(&b"ab \r\n"[..]), 0..40), 1..4)) {
            let bytes = parts.concat();
            let want: Vec<Vec<u8>> = bytes.split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
            for packing in ALL {
                // A member or frame a part, one after the other.
                let file: Vec<u8> = parts.iter().flat_map(|p| packed(packing, p)).collect();
                prop_assert_eq!(&lines(stream(packing, file.clone())).unwrap(), &want);
                prop_assert_eq!(&stream(packing, file.clone()).read_rest(u64::MAX).unwrap(), &bytes);
                let mut s = stream(packing, file);
                for line in &want {
                    let blank = line.iter().all(u8::is_ascii_whitespace);
                    prop_assert_eq!(s.skip_line().unwrap(), if blank { Passed::Blank } else { Passed::Filled });
                }
                prop_assert_eq!(s.skip_line().unwrap(), Passed::End);
                prop_assert_eq!(s.offset(), bytes.len() as u64);
            }
        }

        #[test]
        fn what_is_cut_off_or_changed_is_not_taken_for_whole(bytes in prop::collection::vec(any::<u8>(), 1..2000), at: prop::sample::Index, bit in 0u32..8) {
            for packing in [Packing::Gzip, Packing::Zstd] {
                let file = match packing {
                    Packing::Zstd => {
                        let mut e = zstd::Encoder::new(Vec::new(), 1).unwrap();
                        e.include_checksum(true).unwrap();
                        e.write_all(&bytes).unwrap();
                        e.finish().unwrap()
                    }
                    _ => gzip(&bytes),
                };
                let cut = at.index(file.len() - 1) + 1;
                let said = stream(packing, file[..cut].to_vec()).read_rest(u64::MAX).unwrap_err().to_string();
                prop_assert!(said.starts_with("x: its ") && said.contains("damaged or cut off") && !said.contains('\n'), "{}", said);
                // Gzip's time stamp, flags of no effect and the like may change; the content may not.
                let mut changed = file.clone();
                changed[cut - 1] ^= 1 << bit;
                if let Ok(read) = stream(packing, changed).read_rest(u64::MAX) {
                    prop_assert_eq!(&read, &bytes);
                }
            }
        }
    }

    #[test]
    fn streams_say_how_they_are_packed() {
        for packing in ALL {
            let s = ByteStream::sniffed("x".as_ref(), std::io::Cursor::new(packed(packing, b"abc"))).unwrap();
            assert_eq!((s.packing, s.offset()), (packing, 0));
            assert_eq!({ s }.read_rest(9).unwrap(), b"abc");
        }
        assert_eq!(ByteStream::sniffed("x".as_ref(), &b""[..]).unwrap().read_rest(9).unwrap(), b"");
    }

    #[test]
    fn lines_longer_than_the_limit_are_refused_before_they_are_held() {
        // 64 MiB of zeros in a few kilobytes.
        for packing in [Packing::Gzip, Packing::Zstd] {
            let bomb = packed(packing, &vec![0; 64 << 20]);
            assert!(bomb.len() < 1 << 20);
            let mut line = Vec::new();
            let said = stream(packing, bomb.clone()).read_line(&mut line, 1 << 20).unwrap_err().to_string();
            assert_eq!(said, "x: the document at byte 0 has more than 1048576 bytes, the most that is read as one; split it");
            assert!(line.capacity() <= 2 << 20);
            let said = stream(packing, bomb).read_rest(1 << 20).unwrap_err().to_string();
            assert_eq!(said, "x: the document at byte 0 has more than 1048576 bytes, the most that is read as one; split it");
        }
        let mut line = Vec::new();
        assert!(stream(Packing::Plain, b"abc\n".to_vec()).read_line(&mut line, 4).unwrap());
        assert!(stream(Packing::Plain, b"abcd\n".to_vec()).read_line(&mut Vec::new(), 4).is_err());
        let said = stream(Packing::Plain, Vec::new()).too_long(7, 1 << 30).to_string();
        assert_eq!(said, "x: the document at byte 7 has more than 1 GiB, the most that is read as one; split it");
    }
}
