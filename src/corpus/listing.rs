//! Which files a corpus consists of, in which order.

use super::document::{Documents, json_lines};
use super::jsonl::{JsonRow, RowFields};
use super::stream::{ByteStream, Packing};
use super::token_files::TokenWidth;
use super::unicode::BadBytes;
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// How a file is read, known by its ending, before which `.gz` or `.zst` may stand behind text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.txt`: UTF-8, one document.
    Text,
    /// `.jsonl`, `.ndjson`, `.json`: a JSON object a line, one document each.
    JsonLines,
    /// `.npy`: token ids; one dimension is one document, two are one document a row.
    Npy,
    /// `.bin`: raw little-endian token ids, one document.
    Raw,
}

impl Format {
    /// By the path's ending, in any case.
    pub fn of(path: &Path) -> Option<Self> {
        let packed = Packing::of(path) != Packing::Plain;
        let name = if packed { Path::new(path.file_stem()?) } else { path };
        let ending = name.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "txt" => Some(Format::Text),
            "jsonl" | "ndjson" | "json" => Some(Format::JsonLines),
            "npy" if !packed => Some(Format::Npy),
            "bin" if !packed => Some(Format::Raw),
            _ => None,
        }
    }

    /// Whether its documents are text, for which a tokenizer is needed.
    pub fn is_text(self) -> bool {
        matches!(self, Format::Text | Format::JsonLines)
    }
}

/// What is read, for people.
const KINDS: &str = ".txt, .jsonl, .ndjson, .json (each also .gz or .zst), .npy or .bin";

/// One file of a corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it lies.
    pub path: PathBuf,
    /// What its documents are called: the path from the folder that holds the argument on, so that it does not depend on where a corpus lies;
    /// the path as given where two arguments would give the same names.
    pub name: String,
    /// How it is read.
    pub format: Format,
    /// Its bytes when it was listed.
    pub size: u64,
    /// What [`GroupBy::Folder`] calls its documents.
    pub folder: String,
}

impl Source {
    /// Its bytes, unpacked.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open(&self) -> Result<ByteStream> {
        ByteStream::open(&self.path)
    }
}

/// By what documents are grouped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum GroupBy {
    /// They are not.
    #[default]
    Nothing,
    /// By the value of a field of their row, a string or a number.
    Field(String),
    /// By the first folder below the argument that they came with; by the folder that holds them where there is none.
    Folder,
}

/// How files are read where they leave a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// The field of a JSON line that holds the text.
    pub text_field: String,
    /// Bytes of a token in `.bin` files.
    pub token_width: TokenWidth,
    /// Where documents have their labels from.
    pub group: GroupBy,
    /// What becomes of bytes that are not UTF-8.
    pub bad_bytes: BadBytes,
    /// The largest document that is read, in unpacked bytes of the file or line that holds it; a larger one is an error before it is in memory.
    pub document_limit: u64,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            text_field: "text".into(),
            token_width: TokenWidth::U16,
            group: GroupBy::default(),
            bad_bytes: BadBytes::default(),
            document_limit: 1 << 30,
        }
    }
}

/// A listed corpus: its files in reading order. Nothing is read yet.
#[derive(Clone, Debug)]
pub struct Corpus {
    sources: Vec<Source>,
    options: ReadOptions,
    notices: Vec<String>,
}

impl Corpus {
    /// Lists files and folders: the arguments in their order, a folder's files (at any depth) by the bytes of their paths. Hidden files and folders are
    /// left out silently, files of other endings inside a folder with a notice.
    ///
    /// # Errors
    /// No argument, a missing path, a file named as argument whose ending is not known, the same file twice, nothing readable.
    pub fn open(paths: &[PathBuf], options: ReadOptions) -> Result<Self> {
        if paths.is_empty() {
            return Err(Error::input(format!("no corpus was given; name {KINDS} files, or folders of them")));
        }
        let mut sources = Vec::new();
        let mut skipped = BTreeMap::new();
        for path in paths {
            let meta = fs::metadata(path).map_err(Error::io(path))?;
            if meta.is_dir() {
                let mut files = Vec::new();
                walk(path, &mut Vec::new(), &mut files)?;
                files.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
                for file in files {
                    match Format::of(&file) {
                        Some(format) => sources.push(source(file, path, format)?),
                        None => *skipped.entry(ending(&file)).or_insert(0usize) += 1,
                    }
                }
            } else {
                let format = Format::of(path).ok_or_else(|| Error::file(path, format!("this kind of file is not read; a corpus is made of {KINDS} files")))?;
                sources.push(source(path.clone(), path, format)?);
            }
        }
        if sources.is_empty() {
            return Err(Error::file(&paths[0], format!("holds no {KINDS} file")));
        }
        refuse_doubles(&sources)?;
        let names: BTreeSet<&str> = sources.iter().map(|s| s.name.as_str()).collect();
        if names.len() < sources.len() {
            for s in &mut sources {
                s.name = s.path.to_string_lossy().into_owned();
            }
        }
        let mut notices = Vec::new();
        if !skipped.is_empty() {
            let kinds: Vec<String> = skipped.iter().map(|(ending, n)| format!("{n} {ending}")).collect();
            notices.push(format!("skipped files of other kinds than {KINDS}: {}", kinds.join(", ")));
        }
        Ok(Corpus { sources, options, notices })
    }

    /// The files, in reading order.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// What the person who gave the corpus should know: one sentence each.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Whether some file holds text.
    pub fn needs_tokenizer(&self) -> bool {
        self.sources.iter().any(|s| s.format.is_text())
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.sources.iter().map(|s| s.size).sum()
    }

    /// Reads the documents one after the other, from the beginning.
    pub fn documents(&self) -> Documents<'_> {
        Documents::new(&self.sources, &self.options, None)
    }

    /// The documents of the given numbers, which ascend without repetition: number i is the i-th, from 0, of [`Corpus::documents`]. The others are passed over as cheaply as
    /// their format allows (files of one document are not opened, JSON lines not parsed, rows of tokens jumped over), and nothing is read after the last. They come in the order of their
    /// numbers; fewer come if the corpus has fewer than when it was read before.
    pub fn selected<'a>(&'a self, numbers: &'a [u64]) -> Documents<'a> {
        debug_assert!(numbers.is_sorted_by(|a, b| a < b), "numbers ascend");
        Documents::new(&self.sources, &self.options, Some(numbers))
    }

    /// The rows of all files, each with the file that holds it, with the fields that are asked for: for those whose rows are more than one text each. [`ReadOptions::text_field`] and
    /// [`ReadOptions::group`] play no part.
    ///
    /// # Errors
    /// A file of another format than JSON lines; the iterator gives what [`JsonLines::next_row`](super::JsonLines::next_row) refuses, and ends there.
    pub fn rows(&self, fields: RowFields) -> Result<impl Iterator<Item = Result<(&Source, JsonRow)>>> {
        if let Some(other) = self.sources.iter().find(|s| s.format != Format::JsonLines) {
            return Err(Error::file(&other.path, "has no rows of fields; give JSON lines (.jsonl, .ndjson or .json, each also .gz or .zst)"));
        }
        let (mut sources, mut open) = (self.sources.iter(), None);
        let mut step = move || -> Result<Option<(&Source, JsonRow)>> {
            loop {
                let (source, lines) = match &mut open {
                    Some((source, lines)) => (*source, lines),
                    None => match sources.next() {
                        Some(source) => {
                            let (_, lines) = open.insert((source, json_lines(source, &self.options, fields.clone())?));
                            (source, lines)
                        }
                        None => return Ok(None),
                    },
                };
                match lines.next_row() {
                    Ok(None) => open = None,
                    Ok(Some(row)) => return Ok(Some((source, row))),
                    Err(e) => {
                        (sources, open) = ([].iter(), None);
                        return Err(e);
                    }
                }
            }
        };
        Ok(std::iter::from_fn(move || step().transpose()))
    }
}

fn source(path: PathBuf, argument: &Path, format: Format) -> Result<Source> {
    let size = fs::metadata(&path).map_err(Error::io(&path))?.len();
    let named = match argument.file_name() {
        Some(_) => path.strip_prefix(argument.parent().unwrap_or(Path::new(""))),
        None => path.strip_prefix(argument),
    };
    let name = named.unwrap_or(&path).to_string_lossy().into_owned();
    let folder = folder(&path, argument)?;
    Ok(Source { path, name, format, size, folder })
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

/// Files below `folder`; `above` holds the folders on the way down, by which a symbolic link that leads back up is known.
fn walk(folder: &Path, above: &mut Vec<PathBuf>, files: &mut Vec<PathBuf>) -> Result<()> {
    let real = fs::canonicalize(folder).map_err(Error::io(folder))?;
    if above.contains(&real) {
        return Ok(());
    }
    above.push(real);
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        let meta = fs::metadata(&path).map_err(Error::io(&path))?;
        if meta.is_dir() {
            walk(&path, above, files)?;
        } else if meta.is_file() {
            files.push(path);
        }
    }
    above.pop();
    Ok(())
}

fn ending(path: &Path) -> String {
    match path.extension() {
        Some(e) => format!(".{}", e.to_string_lossy()),
        None => "without ending".into(),
    }
}

/// A text that is in a corpus twice would be its own foreign tail.
fn refuse_doubles(sources: &[Source]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for s in sources {
        let real = fs::canonicalize(&s.path).map_err(Error::io(&s.path))?;
        if !seen.insert(real) {
            return Err(Error::file(&s.path, "is in the corpus twice; name every file once"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn folders_are_sorted_by_bytes_and_hidden_files_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path().join("texts");
        for name in ["b.txt", "a/z.txt", "a.txt", "B.TXT", ".hidden.txt", ".git/x.txt", "a/.h/y.txt", "note.md", "x.md", "Makefile"] {
            write(&d, name, b"x");
        }
        let corpus = Corpus::open(&[d], ReadOptions::default()).unwrap();
        let names: Vec<&str> = corpus.sources().iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["texts/B.TXT", "texts/a.txt", "texts/a/z.txt", "texts/b.txt"]);
        assert_eq!(corpus.notices(), [format!("skipped files of other kinds than {KINDS}: 2 .md, 1 without ending")]);
        assert!(corpus.needs_tokenizer());
        assert_eq!(corpus.size(), 4);
    }

    #[test]
    fn names_that_collide_become_paths() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (write(dir.path(), "a/x.txt", b"1"), write(dir.path(), "b/x.txt", b"2"));
        let corpus = Corpus::open(&[b.clone(), a.clone()], ReadOptions::default()).unwrap();
        let names: Vec<&str> = corpus.sources().iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, [b.to_str().unwrap(), a.to_str().unwrap()]);
    }

    #[test]
    fn bad_arguments_are_sentences() {
        let dir = tempfile::tempdir().unwrap();
        let md = write(dir.path(), "e/read.md", b"x");
        let txt = write(dir.path(), "t/a.txt", b"x");
        let say = |paths: &[&Path]| Corpus::open(&paths.iter().map(|p| p.to_path_buf()).collect::<Vec<_>>(), ReadOptions::default()).unwrap_err().to_string();
        assert!(say(&[]).starts_with("no corpus was given"));
        assert!(say(&[&dir.path().join("gone")]).contains("gone: "));
        assert!(say(&[&md]).contains("read.md: this kind of file is not read"));
        assert!(say(&[md.parent().unwrap()]).ends_with(&format!("holds no {KINDS} file")));
        assert!(say(&[txt.parent().unwrap(), &txt]).contains("is in the corpus twice"));
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_back_end() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "t/a.txt", b"x");
        std::os::unix::fs::symlink(dir.path().join("t"), dir.path().join("t/again")).unwrap();
        assert_eq!(Corpus::open(&[dir.path().join("t")], ReadOptions::default()).unwrap().sources().len(), 1);
    }
}
