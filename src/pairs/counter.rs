//! Documents in, counts of pairs out: segments that fill the memory, one run of each where there are several, and the merge of them.

use super::PARTS;
use super::dense::Dense;
use super::rows::{Gather, Row, Tallies};
use super::runs::{Place, Reached, Rows, Runs, put};
use super::segment::{Groups, Inverted, MOST_PIECES, Segment};
use crate::error::{Error, Result};
use crate::estimate::{FOLDS, PairCounts};
use crate::files::Scratch;
use rayon::prelude::*;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What is to be counted, and in what.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Number of symbols, V: all are below it.
    pub kinds: usize,
    /// Distances, ascending, from 1 on.
    pub distances: Vec<u64>,
    /// Number of documents; document i is in fold i mod min([`FOLDS`], documents).
    pub documents: u64,
    /// Bytes of memory, of which little more are taken; runs go to disk.
    pub memory: usize,
    /// Set by whoever wants it to end.
    pub stop: Option<Arc<AtomicBool>>,
}

/// Places of a segment at most, whatever the memory: a minute or two of work, which is what an interruption may lose.
const MOST_PLACES: usize = 1 << 27;

impl Limits {
    /// Folds of documents.
    pub fn folds(&self) -> usize {
        (FOLDS as u64).min(self.documents).max(1) as usize
    }

    /// Symbols that a place sees ahead.
    fn reach(&self) -> usize {
        self.distances.last().map_or(0, |&d| usize::try_from(d).unwrap_or(usize::MAX))
    }

    /// Bytes that a table of all pairs may take.
    fn table(&self) -> usize {
        self.memory / 4
    }

    /// Places of a segment.
    fn places(&self) -> Result<usize> {
        let threads = rayon::current_num_threads();
        // A row, which of it is not 0, its links' heads, and tallies of 24 rows of 512 counts, three a distance.
        let a_thread = 12 * self.kinds + 3 * 24 * 512 * 8 * (self.distances.len() + 1);
        let fixed = threads.saturating_mul(a_thread) + 8 * self.kinds + if self.kinds <= Dense::MOST_KINDS { self.table() } else { 0 };
        // What a thread has in hand of a run: of a 64th of the places some 4 bytes at each distance.
        let a_place = Segment::A_PLACE + threads.min(PARTS) * (4 * self.distances.len()).div_ceil(PARTS).max(1) * 2;
        let ahead = self.reach().saturating_mul(4);
        let places = self.memory.saturating_sub(fixed).saturating_sub(ahead) / a_place;
        if places < 1024 || ahead > self.memory / 2 {
            let mib = |bytes: usize| bytes.div_ceil(1 << 20);
            return Err(Error::memory(format!(
                "pairs of {} symbols at distances up to {} take {} MiB of memory at the least, and {} MiB are left for them; give --memory more, or fewer --threads",
                self.kinds,
                self.distances.last().copied().unwrap_or(0),
                mib(fixed.saturating_add(2 * ahead.max(512 * a_place))),
                mib(self.memory)
            )));
        }
        Ok(places.min(MOST_PLACES))
    }
}

/// Counts the pairs of documents that come one after the other.
pub struct PairCounter {
    limits: Limits,
    folds: usize,
    most: usize,
    segment: Segment,
    runs: Runs,
    /// Where the next symbol to be taken is.
    next: Reached,
}

/// What one thread works with.
struct Worker {
    row: Row,
    gather: Gather,
    /// By distance, from 0 on.
    tallies: Vec<Tallies>,
}

/// Workers that threads take and put back: what each of them has counted adds up in any order.
struct Workers<'a> {
    limits: &'a Limits,
    distances: usize,
    idle: Mutex<Vec<Worker>>,
}

impl<'a> Workers<'a> {
    fn new(limits: &'a Limits, distances: usize) -> Self {
        Workers { limits, distances, idle: Mutex::default() }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Worker) -> Result<T>) -> Result<T> {
        if self.limits.stop.as_ref().is_some_and(|s| s.load(Ordering::Relaxed)) {
            return Err(Error::Interrupted);
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let (kinds, folds) = (self.limits.kinds, self.limits.folds());
        let mut worker = idle.unwrap_or_else(|| Worker {
            row: Row::new(kinds),
            gather: Gather::new(kinds, folds),
            tallies: (0..self.distances).map(|_| Tallies::new(folds)).collect(),
        });
        let done = work(&mut worker);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        done
    }

    /// What all of them counted.
    fn tallies(self) -> Vec<Tallies> {
        let mut sum: Vec<Tallies> = (0..self.distances).map(|_| Tallies::new(self.limits.folds())).collect();
        for worker in self.idle.into_inner().unwrap_or_else(PoisonError::into_inner) {
            sum.iter_mut().zip(&worker.tallies).for_each(|(a, b)| a.absorb(b));
        }
        sum
    }
}

impl PairCounter {
    /// Begins, or goes on with the runs that are in `folder`, which were counted of the same documents at the same distances. Without a folder they
    /// are in a file without a name in the system's folder for temporary files.
    ///
    /// # Errors
    /// Less memory than it takes; a damaged run; what the system refuses.
    pub fn open(limits: Limits, folder: Option<&Path>) -> Result<Self> {
        debug_assert!(limits.distances.is_sorted_by(|a, b| a < b) && limits.distances.first() != Some(&0));
        let place = match folder {
            Some(folder) => Place::Folder(folder.to_path_buf()),
            None => Place::Scratch(Mutex::new(Scratch::create(&std::env::temp_dir())?)),
        };
        let runs = Runs::open(place, limits.distances.len() + 1)?;
        Ok(PairCounter { folds: limits.folds(), most: limits.places()?, segment: Segment::default(), next: runs.reached(), runs, limits })
    }

    /// The number of the document to go on with; `None` where all are counted.
    pub fn next_document(&self) -> Option<u64> {
        (!self.next.all).then_some(self.next.document)
    }

    /// Takes the next document, whose symbols are below [`Limits::kinds`].
    ///
    /// # Errors
    /// What the system refuses; an interruption.
    pub fn add(&mut self, symbols: &[u32]) -> Result<()> {
        let fold = (self.next.document % self.folds as u64) as usize;
        let reach = self.limits.reach();
        let mut at = (self.next.offset as usize).min(symbols.len());
        while at < symbols.len() {
            if self.segment.own() == self.most || self.segment.pieces() == MOST_PIECES {
                self.next.offset = at as u64;
                self.spill()?;
            }
            let own = (symbols.len() - at).min(self.most - self.segment.own());
            self.segment.push(symbols, at, own, reach, fold, self.most + reach);
            at += own;
        }
        self.next = Reached { document: self.next.document + 1, offset: 0, all: false };
        Ok(())
    }

    /// The counts at all distances, 0 first. All documents were taken. What `known` says of a distance is not counted again from runs; `keep` is
    /// told each distance's counts once they are there.
    ///
    /// # Errors
    /// What the system refuses; an interruption; those of `known` and `keep`.
    pub fn finish(mut self, known: impl Fn(u64) -> Result<Option<PairCounts>>, mut keep: impl FnMut(&PairCounts) -> Result<()>) -> Result<Vec<PairCounts>> {
        let distances: Vec<u64> = std::iter::once(0).chain(self.limits.distances.iter().copied()).collect();
        if self.runs.count() == 0 {
            let counts: Vec<PairCounts> = distances.iter().zip(self.direct(&distances)?).map(|(&distance, t)| counts(distance, &t)).collect();
            counts.iter().try_for_each(&mut keep)?;
            return Ok(counts);
        }
        if !self.next.all {
            self.next.all = true;
            self.spill()?;
        }
        // Its memory is the readers' now.
        self.segment = Segment::default();
        let (limits, runs) = (&self.limits, &self.runs);
        let memory = limits.memory / 2 / rayon::current_num_threads();
        let merge = |(index, &distance): (usize, &u64)| {
            if let Some(counts) = known(distance)? {
                return Ok(counts);
            }
            let workers = Workers::new(limits, 1);
            (0..PARTS).into_par_iter().try_for_each(|part| {
                workers.with(|Worker { gather, tallies, .. }| runs.gather(part, index, memory, gather, limits.kinds, |g| g.close(&mut tallies[0])))
            })?;
            let counts = workers.tallies().first().map(|t| counts(distance, t)).unwrap_or_default();
            keep(&counts)?;
            Ok(counts)
        };
        let all = distances.iter().enumerate().map(merge).collect::<Result<Vec<_>>>()?;
        self.runs.remove()?;
        Ok(all)
    }

    /// Counts the only segment.
    fn direct(&mut self, distances: &[u64]) -> Result<Vec<Tallies>> {
        let table = Table::of(&mut self.segment, &self.limits, distances);
        let workers = Workers::new(&self.limits, distances.len());
        (0..PARTS).into_par_iter().with_max_len(1).try_for_each(|part| {
            workers.with(|Worker { row, gather, tallies }| {
                for symbol in table.symbols_of(part) {
                    for (distance, tallies) in tallies.iter_mut().enumerate() {
                        table.pairs(symbol, distance, row, gather);
                        gather.close(tallies);
                    }
                }
                Ok(())
            })
        })?;
        Ok(workers.tallies())
    }

    /// Writes the segment's run, and empties it.
    fn spill(&mut self) -> Result<()> {
        let PairCounter { limits, segment, runs, next, .. } = self;
        let distances: Vec<u64> = std::iter::once(0).chain(limits.distances.iter().copied()).collect();
        let table = Table::of(segment, limits, &distances);
        let workers = Workers::new(limits, 0);
        let rows_of = |part: usize| {
            workers.with(|worker| {
                let mut rows: Vec<Rows> = distances.iter().map(|_| Rows::default()).collect();
                for symbol in table.symbols_of(part) {
                    for (distance, rows) in rows.iter_mut().enumerate() {
                        let before = rows.0.len();
                        put(&mut rows.0, symbol as u64 + 1);
                        let begun = rows.0.len();
                        table.pairs(symbol, distance, &mut worker.row, rows);
                        if rows.0.len() == begun {
                            rows.0.truncate(before);
                        } else {
                            rows.0.push(0);
                        }
                    }
                }
                Ok(rows.into_iter().map(|r| r.0).collect::<Vec<_>>())
            })
        };
        let parts: Vec<usize> = (0..PARTS).collect();
        runs.add(*next, |write| {
            // As many parts as there are threads are in memory at one time.
            for parts in parts.chunks(rayon::current_num_threads()) {
                let rows: Vec<Result<Vec<Vec<u8>>>> = parts.par_iter().with_max_len(1).map(|&part| rows_of(part)).collect();
                rows.into_iter().try_for_each(|rows| write(&rows?))?;
            }
            Ok(())
        })?;
        segment.clear();
        Ok(())
    }
}

/// The pairs of a segment, by first symbol and distance.
enum Table<'a> {
    /// Counted.
    Dense(Dense, usize),
    /// Looked up when they are asked for.
    Inverted(Inverted<'a>, usize, &'a [u64]),
}

impl<'a> Table<'a> {
    fn of(segment: &'a mut Segment, limits: &Limits, distances: &'a [u64]) -> Self {
        match Dense::count(segment, limits.kinds, limits.folds(), distances, limits.table()) {
            Some(dense) => Table::Dense(dense, limits.kinds),
            None => Table::Inverted(segment.invert(limits.kinds), limits.kinds, distances),
        }
    }

    /// The symbols of a part that occur.
    fn symbols_of(&self, part: usize) -> impl Iterator<Item = usize> + '_ {
        let kinds = match self {
            Table::Dense(_, kinds) | Table::Inverted(_, kinds, _) => *kinds,
        };
        let occurs = |symbol: &usize| match self {
            Table::Dense(dense, _) => dense.occurs(*symbol),
            Table::Inverted(inverted, ..) => inverted.occurs(*symbol) > 0,
        };
        (part..kinds).step_by(PARTS).filter(occurs)
    }

    /// As [`Inverted::pairs`], by the distance's index.
    fn pairs(&self, symbol: usize, distance: usize, row: &mut Row, groups: &mut impl Groups) {
        match self {
            Table::Dense(dense, _) => dense.pairs(symbol, distance, row, groups),
            Table::Inverted(inverted, _, distances) => inverted.pairs(symbol, distances[distance], row, groups),
        }
    }
}

fn counts(distance: u64, tallies: &Tallies) -> PairCounts {
    PairCounts { distance, first: tallies.first.counts(), second: tallies.second.counts(), joint: tallies.joint.counts(), shuffled: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::{FoldCounts, first_folds};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Things<'a> = dyn Fn(&[u32]) -> Vec<(u32, u32)> + 'a;

    /// The same by the shortest program: a map per fold.
    fn naive(documents: &[Vec<u32>], distance: usize) -> PairCounts {
        let folds = FOLDS.min(documents.len()).max(1);
        let keep = |things: &Things<'_>| {
            let of = |wanted: &dyn Fn(usize) -> bool| {
                let (mut times, mut counts) = (BTreeMap::new(), BTreeMap::new());
                for (_, tokens) in documents.iter().enumerate().filter(|d| wanted(d.0 % folds)) {
                    things(tokens).into_iter().for_each(|t| *times.entry(t).or_insert(0u64) += 1);
                }
                times.values().for_each(|&n| *counts.entry(n).or_insert(0u64) += 1);
                counts.into_iter().collect::<Vec<_>>()
            };
            let left_out = if folds > 1 { (0..folds).map(|f| of(&|g| g != f)).collect() } else { Vec::new() };
            FoldCounts { all: of(&|_| true), left_out, first: first_folds(folds).into_iter().map(|n| of(&|g| g < n)).collect() }
        };
        let pairs = |t: &[u32]| (distance..t.len()).map(|i| (t[i - distance], t[i])).collect::<Vec<_>>();
        let nothing = distance == 0;
        PairCounts {
            distance: distance as u64,
            first: if nothing { keep(&|_| Vec::new()) } else { keep(&|t| pairs(t).iter().map(|p| (p.0, 0)).collect()) },
            second: keep(&|t| pairs(t).iter().map(|p| (p.1, 0)).collect()),
            joint: if nothing { keep(&|_| Vec::new()) } else { keep(&pairs) },
            shuffled: None,
        }
    }

    fn limits(documents: &[Vec<u32>], kinds: usize, distances: &[u64]) -> Limits {
        Limits { kinds, distances: distances.to_vec(), documents: documents.len() as u64, memory: 64 << 20, stop: None }
    }

    fn count(documents: &[Vec<u32>], limits: Limits, most: usize, folder: Option<&Path>) -> Vec<PairCounts> {
        let mut counter = PairCounter::open(limits, folder).unwrap();
        counter.most = most;
        documents.iter().try_for_each(|d| counter.add(d)).unwrap();
        counter.finish(|_| Ok(None), |_| Ok(())).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn equal_to_a_brute_force_count(
            documents in prop::collection::vec(prop::collection::vec(0u32..7, 0..60), 1..50),
            wide in any::<bool>(), most in 30usize..600, mut distances in prop::collection::btree_set(1u64..70, 1..5),
        ) {
            // More than 256 symbols are inverted, fewer are a table.
            let spread = if wide { 100 } else { 1 };
            let documents: Vec<Vec<u32>> = documents.into_iter().map(|d| d.into_iter().map(|t| t * spread).collect()).collect();
            distances.insert(1);
            let distances: Vec<u64> = distances.into_iter().collect();
            let of = limits(&documents, 6 * spread as usize + 1, &distances);
            let got = count(&documents, of.clone(), usize::MAX, None);
            for (counts, d) in got.iter().zip(std::iter::once(0).chain(distances.iter().copied())) {
                prop_assert_eq!(counts, &naive(&documents, d as usize));
            }
            // In runs of a segment's places each, in a file without a name and in a folder.
            let folder = tempfile::tempdir().unwrap();
            prop_assert_eq!(&count(&documents, of.clone(), most, None), &got);
            prop_assert_eq!(&count(&documents, of, most, Some(folder.path())), &got);
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    fn texts(documents: usize, length: usize, kinds: u64) -> Vec<Vec<u32>> {
        let text = |i| {
            let mut rng = crate::rng::Rng::new(4, i);
            (0..length).map(|_| rng.below(kinds).min(rng.below(kinds)) as u32).collect()
        };
        (0..documents as u64).map(text).collect()
    }

    #[test]
    fn the_same_whatever_the_threads() {
        let documents = texts(30, 400, 1000);
        let of = limits(&documents, 1000, &[1, 2, 100]);
        let by = |threads, most| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| count(&documents, of.clone(), most, None))
        };
        let one = by(1, usize::MAX);
        for (threads, most) in [(2, usize::MAX), (7, usize::MAX), (1, 1000), (5, 777)] {
            assert_eq!(by(threads, most), one);
        }
    }

    #[test]
    fn goes_on_from_its_runs() {
        let documents = texts(30, 400, 50);
        let of = limits(&documents, 50, &[1, 64]);
        let whole = count(&documents, of.clone(), usize::MAX, None);
        let folder = tempfile::tempdir().unwrap();
        let begin = |most| {
            let mut counter = PairCounter::open(of.clone(), Some(folder.path())).unwrap();
            counter.most = most;
            counter
        };
        // Ended in the middle of a document, twice, and in the merge; each time with another memory.
        let mut counter = begin(1500);
        documents[..9].iter().try_for_each(|d| counter.add(d)).unwrap();
        let mut counter = begin(900);
        assert_eq!(counter.next_document(), Some(7));
        documents[7..].iter().try_for_each(|d| counter.add(d)).unwrap();
        let ended = counter.finish(|_| Ok(None), |c| if c.distance == 1 { Err(Error::Interrupted) } else { Ok(()) });
        assert!(matches!(ended, Err(Error::Interrupted)));
        let counter = begin(1);
        assert_eq!(counter.next_document(), None);
        assert_eq!(counter.finish(|d| Ok((d == 0).then(|| whole[0].clone())), |_| Ok(())).unwrap(), whole);
    }

    #[test]
    fn damaged_runs_are_sentences() {
        let documents = texts(4, 300, 9);
        let of = limits(&documents, 9, &[1, 3]);
        let folder = tempfile::tempdir().unwrap();
        let write = || {
            let mut counter = PairCounter::open(of.clone(), Some(folder.path())).unwrap();
            counter.most = 500;
            documents.iter().try_for_each(|d| counter.add(d)).unwrap();
        };
        write();
        let path = folder.path().join("run-000000.pairs");
        let whole = std::fs::read(&path).unwrap();
        let mut rng = crate::rng::Rng::new(8, 0);
        let mut refused = 0;
        for n in 0..300 {
            let mut bytes = whole.clone();
            if n % 3 == 0 {
                bytes.truncate(rng.below(whole.len() as u64) as usize);
            } else {
                let at = rng.below(whole.len() as u64) as usize;
                bytes[at] ^= 1 << rng.below(8);
            }
            std::fs::write(&path, &bytes).unwrap();
            // Another count is still a count; what is no run is refused, and nothing ends the process.
            let done = PairCounter::open(of.clone(), Some(folder.path())).and_then(|c| c.finish(|_| Ok(None), |_| Ok(())));
            refused += u32::from(done.is_err_and(|e| e.to_string().contains("run-000000.pairs: is damaged")));
            std::fs::remove_file(&path).unwrap_or_default();
            let _ = std::fs::remove_file(folder.path().join("run-000001.pairs"));
        }
        assert!(refused > 150, "{refused} of 300");
    }

    #[test]
    fn too_little_memory_is_said() {
        let of = Limits { memory: 1 << 20, ..limits(&[], 1 << 20, &[1]) };
        let said = PairCounter::open(of, None).err().unwrap().to_string();
        assert!(said.starts_with("pairs of 1048576 symbols") && said.contains("--memory"), "{said}");
    }
}
