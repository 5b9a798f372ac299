//! Counting n-gram blocks over a stream of documents in bounded memory: sorted runs, on disk where there are several, and one merge of them.

use super::ngram::{FOLDS, MAX_N, NgramCounts};
use super::tally::{FoldCounts, FoldTally};
use crate::error::Result;
use crate::files::Scratch;
use rayon::prelude::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};

/// Counts blocks of 1 … [`MAX_N`] tokens at every offset inside documents, never across them. Document d is in fold d mod min([`FOLDS`], documents).
pub struct NgramCounter {
    folds: usize,
    next: u64,
    runs: Vec<Runs>,
}

impl NgramCounter {
    /// For `documents` documents of ids below `vocab`. Takes about `memory` bytes; what goes beyond lies in a file without a name in `folder`, at most
    /// 24 bytes a token for each n. Without a folder everything stays in memory, at 8 bytes a token for each n, or 16 where a block and its fold do not fit into 64 bits.
    pub fn new(documents: u64, vocab: usize, spill: Option<(&Path, usize)>) -> Self {
        let folds = (FOLDS as u64).min(documents).max(1) as usize;
        let token_bits = usize::BITS - vocab.saturating_sub(1).leading_zeros();
        let fold_bits = usize::BITS - (folds - 1).leading_zeros();
        let run = |n: usize| {
            let layout = Layout { n, token_bits: token_bits.max(1), fold_bits };
            // Half for the keys of one run and half for the readers of all of them, shared by the n's.
            let room = spill.map_or(usize::MAX, |(_, memory)| memory / 2 / MAX_N);
            if layout.bits() <= u64::BITS { Runs::Narrow(Sorted::new(layout, room, spill)) } else { Runs::Wide(Sorted::new(layout, room, spill)) }
        };
        NgramCounter { folds, next: 0, runs: (1..=MAX_N).map(run).collect() }
    }

    /// Takes the next document.
    ///
    /// # Errors
    /// What the system refuses of the file.
    pub fn add(&mut self, tokens: &[u32]) -> Result<()> {
        let fold = (self.next % self.folds as u64) as u32;
        self.next += 1;
        self.runs.iter_mut().try_for_each(|runs| match runs {
            Runs::Narrow(r) => r.add(tokens, fold),
            Runs::Wide(r) => r.add(tokens, fold),
        })
    }

    /// The counts over all documents taken.
    ///
    /// # Errors
    /// What the system refuses of the file.
    pub fn finish(self) -> Result<Vec<NgramCounts>> {
        let folds = self.folds;
        let counts = (1..).zip(self.runs).map(|(n, runs)| {
            let mut tally = Tally::new(folds);
            match runs {
                Runs::Narrow(r) => r.merge(&mut tally)?,
                Runs::Wide(r) => r.merge(&mut tally)?,
            }
            Ok(tally.counts(n))
        });
        counts.collect()
    }
}

/// The same for documents at hand; in memory.
pub fn count_ngrams<D: AsRef<[u32]>>(documents: &[D]) -> Vec<NgramCounts> {
    let vocab = documents.iter().flat_map(|d| d.as_ref()).max().map_or(1, |&t| t as usize + 1);
    let mut counter = NgramCounter::new(documents.len() as u64, vocab, None);
    let counted = documents.iter().try_for_each(|d| counter.add(d.as_ref())).and_then(|()| counter.finish());
    counted.expect("without a file nothing is refused")
}

enum Runs {
    Narrow(Sorted<u64>),
    Wide(Sorted<u128>),
}

/// How a block and its fold lie in a key: first token highest, fold lowest.
#[derive(Clone, Copy)]
struct Layout {
    n: usize,
    token_bits: u32,
    fold_bits: u32,
}

impl Layout {
    fn bits(self) -> u32 {
        self.n as u32 * self.token_bits + self.fold_bits
    }
}

/// An unsigned integer wide enough for a block and its fold.
trait Key: Copy + Ord + Send {
    const BYTES: usize;
    const ZERO: Self;
    fn push(self, bits: u32, value: u32) -> Self;
    fn split(self, bits: u32) -> (u128, usize);
    fn write(self, out: &mut Vec<u8>);
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! key {
    ($t:ty) => {
        impl Key for $t {
            const BYTES: usize = size_of::<$t>();
            const ZERO: Self = 0;
            fn push(self, bits: u32, value: u32) -> Self {
                self << bits | value as $t
            }
            fn split(self, bits: u32) -> (u128, usize) {
                ((self >> bits) as u128, (self & (((1 as $t) << bits) - 1)) as usize)
            }
            fn write(self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
            fn read(bytes: &[u8]) -> Self {
                let mut all = [0; Self::BYTES];
                all.copy_from_slice(&bytes[..Self::BYTES]);
                <$t>::from_le_bytes(all)
            }
        }
    };
}
key!(u64);
key!(u128);

/// Keys in runs, each sorted, of different keys with their counts.
struct Sorted<K> {
    layout: Layout,
    keys: Vec<K>,
    /// Keys of a run at the most.
    most: usize,
    folder: Option<PathBuf>,
    file: Option<Scratch>,
    /// First byte and end of every run in the file.
    runs: Vec<(u64, u64)>,
    /// Bytes that the readers of all runs may take together.
    readers: usize,
}

/// Bytes written at once.
const BLOCK: usize = 1 << 16;

impl<K: Key> Sorted<K> {
    fn new(layout: Layout, room: usize, spill: Option<(&Path, usize)>) -> Self {
        let folder = spill.map(|(folder, _)| folder.to_path_buf());
        Sorted { layout, keys: Vec::new(), most: (room / K::BYTES).max(1), folder, file: None, runs: Vec::new(), readers: room }
    }

    fn add(&mut self, tokens: &[u32], fold: u32) -> Result<()> {
        let Layout { n, token_bits, fold_bits } = self.layout;
        for block in tokens.windows(n) {
            if self.keys.len() == self.most {
                self.spill()?;
            }
            if self.keys.len() == self.keys.capacity() {
                // Doubling would go beyond the bound.
                self.keys.reserve_exact(self.keys.len().max(1024).min(self.most - self.keys.len()));
            }
            let key = block.iter().fold(K::ZERO, |k, &t| k.push(token_bits, t));
            self.keys.push(key.push(fold_bits, fold));
        }
        Ok(())
    }

    /// Writes the keys as a run.
    fn spill(&mut self) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Scratch::create(folder)?),
        };
        self.keys.par_sort_unstable();
        let start = file.length();
        let mut bytes = Vec::with_capacity(BLOCK + 32);
        for equal in self.keys.chunk_by(|a, b| a == b) {
            equal[0].write(&mut bytes);
            bytes.extend((equal.len() as u64).to_le_bytes());
            if bytes.len() >= BLOCK {
                file.append(&bytes)?;
                bytes.clear();
            }
        }
        file.append(&bytes)?;
        self.runs.push((start, file.length()));
        self.keys.clear();
        Ok(())
    }

    /// Tells `tally` all blocks in their order.
    fn merge(mut self, tally: &mut Tally) -> Result<()> {
        let bits = self.layout.fold_bits;
        let Some(file) = self.file.take() else {
            self.keys.par_sort_unstable();
            for equal in self.keys.chunk_by(|a, b| a == b) {
                tally.add(equal[0].split(bits), equal.len() as u64);
            }
            tally.close();
            return Ok(());
        };
        self.file = Some(file);
        self.spill()?;
        self.keys = Vec::new();
        let Some(file) = &self.file else { return Ok(()) };
        let room = (self.readers / self.runs.len()).clamp(1 << 12, 1 << 20);
        let mut readers: Vec<Reader<'_>> = self.runs.iter().map(|&(at, end)| Reader { file, at, end, room, bytes: Vec::new(), read: 0 }).collect();
        let mut heads = BinaryHeap::new();
        for (i, reader) in readers.iter_mut().enumerate() {
            heads.extend(reader.next::<K>()?.map(|(key, count)| Reverse((key, i, count))));
        }
        while let Some(Reverse((key, i, count))) = heads.pop() {
            tally.add(key.split(bits), count);
            heads.extend(readers[i].next::<K>()?.map(|(key, count)| Reverse((key, i, count))));
        }
        tally.close();
        Ok(())
    }
}

/// Reads one run.
struct Reader<'a> {
    file: &'a Scratch,
    at: u64,
    end: u64,
    room: usize,
    bytes: Vec<u8>,
    read: usize,
}

impl Reader<'_> {
    fn next<K: Key>(&mut self) -> Result<Option<(K, u64)>> {
        let entry = K::BYTES + 8;
        if self.read == self.bytes.len() {
            let n = ((self.end - self.at) as usize).min(self.room / entry * entry);
            if n == 0 {
                return Ok(None);
            }
            self.bytes.resize(n, 0);
            self.file.read(self.at, &mut self.bytes)?;
            (self.at, self.read) = (self.at + n as u64, 0);
        }
        let bytes = &self.bytes[self.read..self.read + entry];
        self.read += entry;
        Ok(Some((K::read(bytes), u64::read(&bytes[K::BYTES..]))))
    }
}

/// Counts of counts, over all folds and with each left out, from (block, fold) pairs that come in order.
struct Tally {
    blocks: FoldTally,
    block: Option<u128>,
    /// How often the present block occurs in each fold that has it, ascending.
    in_fold: Vec<(usize, u64)>,
}

impl Tally {
    fn new(folds: usize) -> Self {
        Tally { blocks: FoldTally::new(folds, &[]), block: None, in_fold: Vec::new() }
    }

    /// Takes `count` occurrences of a block in a fold; blocks ascend, and folds within them.
    fn add(&mut self, (block, fold): (u128, usize), count: u64) {
        if self.block != Some(block) {
            self.close();
            self.block = Some(block);
        }
        match self.in_fold.last_mut() {
            Some((last, c)) if *last == fold => *c += count,
            _ => self.in_fold.push((fold, count)),
        }
    }

    /// The present block will not come again.
    fn close(&mut self) {
        self.blocks.add(&self.in_fold);
        self.in_fold.clear();
    }

    fn counts(self, n: u32) -> NgramCounts {
        let FoldCounts { all, left_out, .. } = self.blocks.counts();
        NgramCounts { n, all, left_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn runs_on_disk_give_the_same_counts(documents in prop::collection::vec(prop::collection::vec(0u32..5, 0..40), 1..30), memory in 0usize..2000, wide: bool) {
            let vocab = if wide { 1 << 31 } else { 5 };
            let folder = tempfile::tempdir().unwrap();
            let mut counter = NgramCounter::new(documents.len() as u64, vocab, Some((folder.path(), memory)));
            documents.iter().try_for_each(|d| counter.add(d)).unwrap();
            prop_assert_eq!(counter.finish().unwrap(), count_ngrams(&documents));
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}
