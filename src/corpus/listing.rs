//! Which files a corpus consists of, in which order.

use super::document::Documents;
use super::token_files::TokenWidth;
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// How a file is read, known by its ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.txt`: UTF-8, one document.
    Text,
    /// `.jsonl`: a JSON object a line, one document each.
    JsonLines,
    /// `.npy`: token ids; one dimension is one document, two are one document a row.
    Npy,
    /// `.bin`: raw little-endian token ids, one document.
    Raw,
}

impl Format {
    /// By the path's ending, in any case.
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "txt" => Some(Format::Text),
            "jsonl" => Some(Format::JsonLines),
            "npy" => Some(Format::Npy),
            "bin" => Some(Format::Raw),
            _ => None,
        }
    }

    /// Whether its documents are text, for which a tokenizer is needed.
    pub fn is_text(self) -> bool {
        matches!(self, Format::Text | Format::JsonLines)
    }
}

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
}

/// How files are read where they leave a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// The field of a JSON line that holds the text.
    pub text_field: String,
    /// Bytes of a token in `.bin` files.
    pub token_width: TokenWidth,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions { text_field: "text".into(), token_width: TokenWidth::U16 }
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
            return Err(Error::input("no corpus was given; name .txt, .jsonl, .npy or .bin files, or folders of them"));
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
                let format = Format::of(path)
                    .ok_or_else(|| Error::file(path, "this kind of file is not read; a corpus is made of .txt, .jsonl, .npy and .bin files"))?;
                sources.push(source(path.clone(), path, format)?);
            }
        }
        if sources.is_empty() {
            return Err(Error::file(&paths[0], "holds no .txt, .jsonl, .npy or .bin file"));
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
            notices.push(format!("skipped files of other kinds than .txt, .jsonl, .npy and .bin: {}", kinds.join(", ")));
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
        Documents::new(&self.sources, &self.options)
    }
}

fn source(path: PathBuf, argument: &Path, format: Format) -> Result<Source> {
    let size = fs::metadata(&path).map_err(Error::io(&path))?.len();
    let named = match argument.file_name() {
        Some(_) => path.strip_prefix(argument.parent().unwrap_or(Path::new(""))),
        None => path.strip_prefix(argument),
    };
    let name = named.unwrap_or(&path).to_string_lossy().into_owned();
    Ok(Source { path, name, format, size })
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
        assert_eq!(corpus.notices(), ["skipped files of other kinds than .txt, .jsonl, .npy and .bin: 2 .md, 1 without ending"]);
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
        assert!(say(&[md.parent().unwrap()]).ends_with("holds no .txt, .jsonl, .npy or .bin file"));
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
