//! Which files a corpus consists of, in which order.

use super::document::{Documents, json_lines};
use super::jsonl::{JsonRow, RowFields};
use super::options::ReadOptions;
use super::source::{Format, KINDS, Source, is_stdin};
use super::walk::{self, Found};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A listed corpus: its files in reading order. Nothing is read yet, but for streams that are spooled.
#[derive(Clone, Debug)]
pub struct Corpus {
    sources: Vec<Source>,
    options: ReadOptions,
    notices: Vec<String>,
}

/// A corpus in the making.
#[derive(Default)]
struct Listing {
    sources: Vec<Source>,
    /// Files that were left out, by ending.
    skipped: BTreeMap<String, usize>,
    links: usize,
}

impl Corpus {
    /// Lists files, folders, patterns (`data/**/*.jsonl.gz`) and standard input (`-`): the arguments in their order, the files of a folder (at any depth) or pattern by the
    /// bytes of their paths. Hidden files and folders are left out silently, files of other endings in a folder or pattern and those that links lead to a second time with a notice.
    ///
    /// # Errors
    /// No argument, a missing path, a pattern without a file, a file named as argument whose ending is not known, the same file twice, nothing readable; a stream that cannot be spooled.
    pub fn open(paths: &[PathBuf], options: ReadOptions) -> Result<Self> {
        if paths.is_empty() {
            return Err(Error::input(format!("no corpus was given; name files, folders or patterns of {KINDS}, or - for standard input")));
        }
        let mut listing = Listing::default();
        for path in paths {
            listing.add(path, &options)?;
        }
        if listing.sources.is_empty() {
            return Err(Error::file(&paths[0], format!("holds no file of {KINDS}")));
        }
        listing.refuse_doubles()?;
        let notices = listing.notices();
        let mut sources = listing.sources;
        let names: BTreeSet<&str> = sources.iter().map(|s| s.name.as_str()).collect();
        if names.len() < sources.len() {
            for s in &mut sources {
                s.name = s.path.to_string_lossy().into_owned();
            }
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

    /// The same from number `first` on; those before are passed over as by [`Corpus::selected`].
    pub fn documents_from(&self, first: u64) -> Documents<'_> {
        self.documents().starting_at(first)
    }

    /// The documents of the given numbers, which ascend without repetition: number i is the i-th, from 0, of [`Corpus::documents`]. The others are passed over as cheaply as
    /// their format allows (files of one document are not opened, JSON lines not parsed, rows of tokens and of Parquet jumped over), and nothing is read after the last. They come in the
    /// order of their numbers; fewer come if the corpus has fewer than when it was read before.
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

impl Listing {
    fn add(&mut self, path: &Path, options: &ReadOptions) -> Result<()> {
        if is_stdin(path) {
            self.sources.push(Source::stream(path, options.stream_format, options.streams)?);
            return Ok(());
        }
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => self.found(path, walk::folder(path)?),
            Ok(meta) if meta.is_file() => {
                let format = Format::of(path).ok_or_else(|| Error::file(path, format!("this kind of file is not read; a corpus is made of {KINDS} files")))?;
                self.sources.push(Source::file(path.to_path_buf(), path, format)?);
                Ok(())
            }
            Ok(_) => {
                self.sources.push(Source::stream(path, Format::of(path).unwrap_or(options.stream_format), options.streams)?);
                Ok(())
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && walk::is_pattern(path) => {
                let (base, found) = walk::pattern(path)?;
                if found.files.is_empty() {
                    return Err(Error::file(path, "matches no file"));
                }
                self.found(&base, found)
            }
            Err(e) => Err(Error::io(path)(e)),
        }
    }

    /// Files that `argument` stands for.
    fn found(&mut self, argument: &Path, found: Found) -> Result<()> {
        self.links += found.links;
        for file in found.files {
            match Format::of(&file) {
                Some(format) => self.sources.push(Source::file(file, argument, format)?),
                None => *self.skipped.entry(ending(&file)).or_insert(0) += 1,
            }
        }
        Ok(())
    }

    fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if !self.skipped.is_empty() {
            let kinds: Vec<String> = self.skipped.iter().map(|(ending, n)| format!("{n} {ending}")).collect();
            notices.push(format!("skipped files of other kinds than {KINDS}: {}", kinds.join(", ")));
        }
        if self.links > 0 {
            notices.push(format!("left out {} symbolic {} to what is in the corpus anyway", self.links, if self.links == 1 { "link" } else { "links" }));
        }
        for source in &self.sources {
            if let Some(folder) = source.spooled() {
                notices.push(format!("{} ({} bytes) is kept in {} while it is needed", source.path.display(), source.size, folder.display()));
            }
        }
        notices
    }

    /// A text that is in a corpus twice would be its own foreign tail.
    fn refuse_doubles(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for s in &self.sources {
            if !seen.insert(s.real()?.unwrap_or_else(|| s.path.clone())) {
                return Err(Error::file(&s.path, "is in the corpus twice; name every file once"));
            }
        }
        Ok(())
    }
}

fn ending(path: &Path) -> String {
    match path.extension() {
        Some(e) => format!(".{}", e.to_string_lossy()),
        None => "without ending".into(),
    }
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

    fn names(corpus: &Corpus) -> Vec<&str> {
        corpus.sources().iter().map(|s| s.name.as_str()).collect()
    }

    #[test]
    fn folders_are_sorted_by_bytes_and_hidden_files_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path().join("texts");
        for name in ["b.txt", "a/z.txt", "a.txt.GZ", "B.TXT", ".hidden.txt", ".git/x.txt", "a/.h/y.txt", "c.npy.gz", "note.md", "x.md", "Makefile"] {
            write(&d, name, b"x");
        }
        let corpus = Corpus::open(std::slice::from_ref(&d), ReadOptions::default()).unwrap();
        assert_eq!(names(&corpus), ["texts/B.TXT", "texts/a.txt.GZ", "texts/a/z.txt", "texts/b.txt"]);
        assert_eq!(corpus.notices(), [format!("skipped files of other kinds than {KINDS}: 1 .gz, 2 .md, 1 without ending")]);
        assert!(corpus.needs_tokenizer());
        assert_eq!(corpus.size(), 4);
        // A pattern is its fixed beginning with fewer files.
        let corpus = Corpus::open(&[d.join("**/[a-z].txt")], ReadOptions::default()).unwrap();
        assert_eq!(names(&corpus), ["texts/a/z.txt", "texts/b.txt"]);
        assert_eq!(corpus.notices(), [] as [&str; 0]);
        let said = Corpus::open(&[d.join("*.fa")], ReadOptions::default()).unwrap_err().to_string();
        assert!(said.ends_with("*.fa: matches no file"), "{said}");
        // A name that looks like a pattern is a name first.
        let odd = write(&d, "[a].txt", b"x");
        assert_eq!(names(&Corpus::open(&[odd], ReadOptions::default()).unwrap()), ["[a].txt"]);
    }

    #[test]
    fn names_that_collide_become_paths() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (write(dir.path(), "a/x.txt", b"1"), write(dir.path(), "b/x.txt", b"2"));
        let corpus = Corpus::open(&[b.clone(), a.clone()], ReadOptions::default()).unwrap();
        assert_eq!(names(&corpus), [b.to_str().unwrap(), a.to_str().unwrap()]);
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
        assert!(say(&[md.parent().unwrap()]).ends_with(&format!("holds no file of {KINDS}")));
        assert!(say(&[txt.parent().unwrap(), &txt]).contains("is in the corpus twice"));
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_back_end() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "t/a.txt", b"x");
        std::os::unix::fs::symlink(dir.path().join("t"), dir.path().join("t/again")).unwrap();
        let corpus = Corpus::open(&[dir.path().join("t")], ReadOptions::default()).unwrap();
        assert_eq!((corpus.sources().len(), corpus.notices()), (1, &["left out 1 symbolic link to what is in the corpus anyway".to_string()][..]));
    }
}
