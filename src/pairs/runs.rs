//! Runs on disk: the rows of a segment, by part, distance and first symbol.
//!
//! A row is its symbol + 1, then its folds, then 0. A fold is its number + 1, how often the symbol is the second of a pair in it, the number of its
//! pairs' second symbols, and of each of these the symbol and its count. All numbers are in base 128, lowest digit first, the high bit set where
//! another digit follows. The rows of a part and distance end where the next's begin: a list of these places closes the run, and after it
//! how far the texts are counted, whether that is all, and what this is.

use super::PARTS;
use super::rows::{Gather, Row};
use crate::error::{Error, Result};
use crate::files::{self, Scratch};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Ends every run: a name, and a version.
const MARK: [u8; 8] = *b"hilbpr\x00\x01";

/// How far texts are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// Number of the document to go on with.
    pub document: u64,
    /// The symbol in it.
    pub offset: u64,
    /// Whether there is nothing more.
    pub all: bool,
}

/// No count is larger: a segment has fewer places. Sums of smaller ones do not overflow.
const MOST: usize = 1 << 32;

/// Bytes after the list of places.
const TAIL: u64 = 8 + 8 + 1 + 8;

/// Where runs lie.
pub(super) enum Place {
    /// In files of a folder, where another process finds them again.
    Folder(PathBuf),
    /// In a file without a name.
    Scratch(Mutex<Scratch>),
}

/// All runs.
pub(super) struct Runs {
    place: Place,
    distances: usize,
    /// First byte and end of each.
    ends: Vec<(u64, u64)>,
    reached: Reached,
}

/// Puts numbers into bytes.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The rows of one part and distance in the making.
#[derive(Default)]
pub(super) struct Rows(pub Vec<u8>);

impl super::segment::Groups for Rows {
    fn group(&mut self, fold: usize, seconds: u64, row: &mut Row) {
        if seconds == 0 && row.len() == 0 {
            return;
        }
        put(&mut self.0, fold as u64 + 1);
        put(&mut self.0, seconds);
        put(&mut self.0, row.len() as u64);
        row.drain(|second, times| {
            put(&mut self.0, second.into());
            put(&mut self.0, times.into());
        });
    }
}

impl Runs {
    /// None yet, of so many distances; or those that an earlier process left in the folder.
    ///
    /// # Errors
    /// A damaged run.
    pub fn open(place: Place, distances: usize) -> Result<Self> {
        let mut runs = Runs { place, distances, ends: Vec::new(), reached: Reached::default() };
        while let Place::Folder(folder) = &runs.place {
            let path = name(folder, runs.ends.len());
            if !path.exists() {
                break;
            }
            let length = path.metadata().map_err(Error::io(&path))?.len();
            let (run, least) = (runs.ends.len(), TAIL + runs.list());
            runs.ends.push((0, length));
            let mut tail = [0; TAIL as usize];
            if length < least {
                return Err(damaged(&path));
            }
            runs.read(run, length - TAIL, &mut tail)?;
            let number = |at: usize| tail[at..at + 8].iter().rev().fold(0, |n, &b| n << 8 | u64::from(b));
            let reached = Reached { document: number(0), offset: number(8), all: tail[16] == 1 };
            let places = runs.places(run)?;
            let goes_on = (reached.document, reached.offset) >= (runs.reached.document, runs.reached.offset) && !runs.reached.all;
            if tail[17..] != MARK || tail[16] > 1 || !places.is_sorted() || places.last() != Some(&(length - least)) || !goes_on {
                return Err(damaged(&path));
            }
            runs.reached = reached;
        }
        Ok(runs)
    }

    /// Bytes of the list of places.
    fn list(&self) -> u64 {
        8 * (PARTS * self.distances + 1) as u64
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// How far the texts are counted in them.
    pub fn reached(&self) -> Reached {
        self.reached
    }

    /// Adds a run that is whole or not there: `fill` gives the rows of one part after the other, by distance.
    ///
    /// # Errors
    /// What the system refuses, and those of `fill`.
    pub fn add(&mut self, reached: Reached, fill: impl FnOnce(&mut dyn FnMut(&[Vec<u8>]) -> Result<()>) -> Result<()>) -> Result<()> {
        let mut places = vec![0u64];
        let write = |out: &mut dyn FnMut(&[u8]) -> Result<()>| -> Result<()> {
            fill(&mut |rows: &[Vec<u8>]| {
                for of_distance in rows {
                    out(of_distance)?;
                    places.push(places[places.len() - 1] + of_distance.len() as u64);
                }
                Ok(())
            })?;
            debug_assert_eq!(places.len(), PARTS * self.distances + 1);
            let mut tail: Vec<u8> = places.iter().flat_map(|p| p.to_le_bytes()).collect();
            tail.extend([reached.document, reached.offset].iter().flat_map(|n| n.to_le_bytes()));
            tail.push(reached.all.into());
            tail.extend(MARK);
            out(&tail)
        };
        let bounds = match &mut self.place {
            Place::Folder(folder) => {
                let path = name(folder, self.ends.len());
                files::write_whole(&path, |file| write(&mut |bytes| file.write_all(bytes).map_err(Error::io(&path))))?;
                (0, path.metadata().map_err(Error::io(&path))?.len())
            }
            Place::Scratch(scratch) => {
                let scratch = scratch.get_mut().unwrap_or_else(PoisonError::into_inner);
                let start = scratch.length();
                write(&mut |bytes| scratch.append(bytes))?;
                (start, scratch.length())
            }
        };
        self.ends.push(bounds);
        self.reached = reached;
        Ok(())
    }

    /// Fills `bytes` from byte `at` of a run on.
    fn read(&self, run: usize, at: u64, bytes: &mut [u8]) -> Result<()> {
        let at = self.ends[run].0 + at;
        match &self.place {
            Place::Folder(folder) => {
                let path = name(folder, run);
                let mut file = File::open(&path).map_err(Error::io(&path))?;
                file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(bytes)).map_err(Error::io(&path))
            }
            Place::Scratch(scratch) => scratch.lock().unwrap_or_else(PoisonError::into_inner).read(at, bytes),
        }
    }

    /// A run's list of places.
    fn places(&self, run: usize) -> Result<Vec<u64>> {
        let (start, end) = self.ends[run];
        self.numbers(run, end - start - TAIL - self.list(), PARTS * self.distances + 1)
    }

    fn numbers(&self, run: usize, at: u64, many: usize) -> Result<Vec<u64>> {
        let mut bytes = vec![0; 8 * many];
        self.read(run, at, &mut bytes)?;
        Ok(bytes.chunks_exact(8).map(|b| b.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))).collect())
    }

    /// Reads the rows of a part and distance from all runs, and tells `whole` of every symbol's that it is gathered. Takes about `memory` bytes.
    ///
    /// # Errors
    /// What the system refuses; a damaged run.
    pub fn gather(&self, part: usize, distance: usize, memory: usize, gather: &mut Gather, kinds: usize, mut whole: impl FnMut(&mut Gather)) -> Result<()> {
        let room = (memory / self.count().max(1)).clamp(1 << 12, 1 << 18);
        let at = (part * self.distances + distance) as u64;
        let mut readers = Vec::with_capacity(self.count());
        for run in 0..self.count() {
            let (start, end) = self.ends[run];
            let bounds = self.numbers(run, end - start - TAIL - self.list() + 8 * at, 2)?;
            let mut reader = Reader { runs: self, run, at: bounds[0], end: bounds[1], room, bytes: Vec::new(), read: 0 };
            let next = reader.symbol(part, kinds)?;
            readers.push((next, reader));
        }
        while let Some(symbol) = readers.iter().filter_map(|r| r.0).min() {
            for (next, reader) in readers.iter_mut().filter(|r| r.0 == Some(symbol)) {
                reader.row(gather, kinds)?;
                *next = reader.symbol(part, kinds)?.filter(|&n| n > symbol);
                // Rows ascend, and so end.
                if next.is_none() && !reader.is_over() {
                    return Err(self.damaged(reader.run));
                }
            }
            whole(gather);
        }
        Ok(())
    }

    fn damaged(&self, run: usize) -> Error {
        match &self.place {
            Place::Folder(folder) => damaged(&name(folder, run)),
            Place::Scratch(_) => Error::input("a temporary file was changed by someone else; start again"),
        }
    }

    /// Removes the files of all runs, which are not needed any more.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn remove(self) -> Result<()> {
        if let Place::Folder(folder) = &self.place {
            // The last first: what is left of an interrupted removal is still a beginning.
            for path in (0..self.ends.len()).rev().map(|run| name(folder, run)) {
                std::fs::remove_file(&path).map_err(Error::io(&path))?;
            }
        }
        Ok(())
    }
}

fn name(folder: &Path, run: usize) -> PathBuf {
    folder.join(format!("run-{run:06}.pairs"))
}

fn damaged(path: &Path) -> Error {
    Error::file(path, "is damaged; remove it and the later ones, and start the same command again")
}

/// Reads the rows of one run's part and distance.
struct Reader<'a> {
    runs: &'a Runs,
    run: usize,
    at: u64,
    end: u64,
    room: usize,
    bytes: Vec<u8>,
    read: usize,
}

impl Reader<'_> {
    fn is_over(&self) -> bool {
        self.read == self.bytes.len() && self.at >= self.end
    }

    fn number(&mut self) -> Result<u64> {
        let (mut number, mut shift) = (0u64, 0);
        loop {
            if self.read == self.bytes.len() {
                let n = (self.end.saturating_sub(self.at)).min(self.room as u64) as usize;
                if n == 0 {
                    return Err(self.runs.damaged(self.run));
                }
                self.bytes.resize(n, 0);
                self.runs.read(self.run, self.at, &mut self.bytes)?;
                (self.at, self.read) = (self.at + n as u64, 0);
            }
            let byte = self.bytes[self.read];
            self.read += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
            if shift > 56 {
                return Err(self.runs.damaged(self.run));
            }
        }
    }

    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> Result<usize> {
        let number = self.number()?;
        usize::try_from(number).ok().filter(|&n| n < limit).ok_or_else(|| self.runs.damaged(self.run))
    }

    /// The next row's symbol.
    fn symbol(&mut self, part: usize, kinds: usize) -> Result<Option<usize>> {
        if self.is_over() {
            return Ok(None);
        }
        let symbol = self.below(kinds + 1)?.checked_sub(1).filter(|s| s % PARTS == part);
        symbol.map(Some).ok_or_else(|| self.runs.damaged(self.run))
    }

    /// The rest of a row.
    fn row(&mut self, gather: &mut Gather, kinds: usize) -> Result<()> {
        let folds = gather.folds();
        while let Some(fold) = self.below(folds + 1)?.checked_sub(1) {
            let seconds = self.below(MOST)? as u64;
            gather.seconds(fold, seconds);
            for _ in 0..self.number()? {
                let second = self.below(kinds)? as u32;
                let count = self.below(MOST)? as u64;
                gather.pair(fold, second, count);
            }
        }
        Ok(())
    }
}
