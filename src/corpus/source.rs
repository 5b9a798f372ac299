//! One file of a corpus: what it is, what it is called, and where its bytes are.

use super::options::Streams;
use super::stream::{ByteStream, Packing};
use crate::error::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How a file is read, known by its ending, before which `.gz` or `.zst` may stand behind text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.txt`: UTF-8, one document.
    Text,
    /// `.jsonl`, `.ndjson`, `.json`: a JSON object a line, one document each.
    JsonLines,
    /// `.fa`, `.fasta`, `.fna`, `.faa`: FASTA, a document a record.
    Fasta,
    /// `.parquet`: a document a row.
    Parquet,
    /// `.npy`: token ids; one dimension is one document, two are one document a row.
    Npy,
    /// `.bin`: raw little-endian token ids, one document.
    Raw,
}

/// What is read, for people.
pub(super) const KINDS: &str = ".txt, .jsonl, .ndjson, .json, .fa, .fasta, .fna, .faa (each also .gz or .zst), .parquet, .npy and .bin";

impl Format {
    /// By the path's ending, in any case.
    pub fn of(path: &Path) -> Option<Self> {
        let packed = Packing::of(path) != Packing::Plain;
        let name = if packed { Path::new(path.file_stem()?) } else { path };
        let ending = name.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "txt" => Some(Format::Text),
            "jsonl" | "ndjson" | "json" => Some(Format::JsonLines),
            "fa" | "fasta" | "fna" | "faa" => Some(Format::Fasta),
            "parquet" if !packed => Some(Format::Parquet),
            "npy" if !packed => Some(Format::Npy),
            "bin" if !packed => Some(Format::Raw),
            _ => None,
        }
    }

    /// Whether its documents are text, for which a tokenizer is needed.
    pub fn is_text(self) -> bool {
        !matches!(self, Format::Npy | Format::Raw)
    }

    /// Whether it is read from its beginning to its end.
    fn streams(self) -> bool {
        !matches!(self, Format::Parquet | Format::Npy)
    }

    /// Whether its documents have fields, one of which may say their group.
    pub(super) fn has_fields(self) -> bool {
        matches!(self, Format::JsonLines | Format::Parquet)
    }
}

/// One file of a corpus.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it lies; `standard input` is called so.
    pub path: PathBuf,
    /// What its documents are called: the path from the folder that holds the argument on, so that it does not depend on where a corpus lies;
    /// the path as given where two arguments would give the same names; `stdin`.
    pub name: String,
    /// How it is read.
    pub format: Format,
    /// Its bytes when it was listed; 0 where nobody knows.
    pub size: u64,
    /// What [`GroupBy::Folder`](super::GroupBy::Folder) calls its documents.
    pub(super) folder: String,
    input: Input,
}

/// Where a source's bytes are.
#[derive(Clone, Debug)]
enum Input {
    /// In the file at its path.
    File,
    /// In a file without a name.
    Spooled(Arc<Mutex<File>>),
    /// In a stream, until it is taken.
    Once(Arc<AtomicBool>),
}

impl Source {
    /// A regular file. Its name starts where the argument's last part does.
    pub(super) fn file(path: PathBuf, argument: &Path, format: Format) -> Result<Self> {
        let size = fs::metadata(&path).map_err(Error::io(&path))?.len();
        let named = match argument.file_name() {
            Some(_) => path.strip_prefix(argument.parent().unwrap_or(Path::new(""))),
            None => path.strip_prefix(argument),
        };
        let name = named.unwrap_or(&path).to_string_lossy().into_owned();
        let folder = folder(&path, argument)?;
        Ok(Source { path, name, format, size, folder, input: Input::File })
    }

    /// Standard input (`-`) or a pipe.
    pub(super) fn stream(path: &Path, format: Format, streams: Streams) -> Result<Self> {
        let (path, name, folder) = match is_stdin(path) {
            true => (PathBuf::from(STDIN), "stdin".to_string(), "stdin".to_string()),
            false => (path.to_path_buf(), path.to_string_lossy().into_owned(), folder(path, path)?),
        };
        if !format.streams() {
            return Err(Error::file(&path, "is a pipe, and its format needs a file that can be read at any place; save it first"));
        }
        let (input, size) = match streams {
            Streams::Once => (Input::Once(Arc::default()), 0),
            Streams::Spooled => {
                let (file, size) = spool(open_stream(&path)?, &path)?;
                (Input::Spooled(Arc::new(Mutex::new(file))), size)
            }
        };
        Ok(Source { path, name, format, size, folder, input })
    }

    /// The file itself, whose real place tells whether two are one; `None` for a stream.
    pub(super) fn real(&self) -> Result<Option<PathBuf>> {
        match self.input {
            Input::File => fs::canonicalize(&self.path).map(Some).map_err(Error::io(&self.path)),
            _ => Ok(None),
        }
    }

    /// Where it was put for the time of the run, if it was.
    pub(super) fn spooled(&self) -> Option<PathBuf> {
        matches!(self.input, Input::Spooled(_)).then(std::env::temp_dir)
    }

    /// Its bytes, unpacked.
    ///
    /// # Errors
    /// A file that cannot be opened; a stream that was taken before.
    pub fn open(&self) -> Result<ByteStream> {
        match &self.input {
            Input::File => ByteStream::open(&self.path),
            Input::Spooled(file) => ByteStream::sniffed(&self.path, Spooled { file: file.clone(), at: 0 }),
            Input::Once(taken) if taken.swap(true, Ordering::Relaxed) => {
                Err(Error::file(&self.path, "can be read only once, and was; save it to a file first"))
            }
            Input::Once(_) => ByteStream::sniffed(&self.path, open_stream(&self.path)?),
        }
    }
}

/// What errors call standard input.
const STDIN: &str = "standard input";

/// Whether an argument stands for standard input.
pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn open_stream(path: &Path) -> Result<Box<dyn Read + Send>> {
    Ok(if path.as_os_str() == STDIN { Box::new(std::io::stdin()) } else { Box::new(File::open(path).map_err(Error::io(path))?) })
}

/// The first folder below the argument on the way to the file, or else the one that holds it.
fn folder(path: &Path, argument: &Path) -> Result<String> {
    let mut below = path.strip_prefix(argument).unwrap_or(Path::new("")).components();
    let name = match (below.next(), below.next()) {
        (Some(first), Some(_)) => first.as_os_str().to_owned(),
        _ => {
            let holds = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let holds = fs::canonicalize(holds).map_err(Error::io(holds))?;
            holds.file_name().map_or_else(|| holds.clone().into_os_string(), ToOwned::to_owned)
        }
    };
    Ok(name.to_string_lossy().into_owned())
}

/// Copies a stream into a file that has no name any more, so that nothing is left of it however the process ends; with its size.
fn spool(mut stream: impl Read, path: &Path) -> Result<(File, u64)> {
    let folder = std::env::temp_dir();
    let failed =
        |e: std::io::Error| Error::file(path, format!("cannot be kept in {} for a second reading: {e}; name a roomier folder with TMPDIR", folder.display()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let (mut file, name) = (0u32..)
        .find_map(|n| {
            let name = folder.join(format!(".hilberg-{}-{n}", std::process::id()));
            match options.open(&name) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && n < 1000 => None,
                opened => Some(opened.map(|file| (file, name))),
            }
        })
        .expect("the search ends at the thousandth name")
        .map_err(failed)?;
    fs::remove_file(&name).map_err(failed)?;
    let size = std::io::copy(&mut stream, &mut file).map_err(failed)?;
    Ok((file, size))
}

/// A reader of its own of a file that others read, too.
struct Spooled {
    file: Arc<Mutex<File>>,
    at: u64,
}

impl Read for Spooled {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.at))?;
        let n = file.read(into)?;
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spooled_streams_are_read_again_and_side_by_side() {
        let bytes: Vec<u8> = (0..2_000_000u32).map(|i| (i % 251) as u8).collect();
        let (file, size) = spool(&bytes[..], "x".as_ref()).unwrap();
        assert_eq!(size, bytes.len() as u64);
        let source =
            Source { path: "x".into(), name: "x".into(), format: Format::Text, size, folder: String::new(), input: Input::Spooled(Arc::new(Mutex::new(file))) };
        let mut first = source.open().unwrap();
        let n = first.fill().unwrap().len();
        first.consume(n);
        assert_eq!(source.open().unwrap().read_rest(u64::MAX).unwrap(), bytes);
        assert_eq!(first.read_rest(u64::MAX).unwrap(), bytes[n..]);
    }
}
