//! One row of the table of pairs at a time: how often a symbol is followed by each other one.

use crate::estimate::{FoldTally, first_folds};

/// How often each symbol is the second of a pair, of one first symbol and one fold.
pub(super) struct Row {
    times: Vec<u32>,
    /// The symbols that are not 0 times: the first `many`, and room for one more.
    met: Vec<u32>,
    many: usize,
    looked_up: [u32; AT_ONCE],
}

/// Symbols that are looked up together.
const AT_ONCE: usize = 256;

impl Row {
    /// An empty row of `kinds` symbols.
    pub fn new(kinds: usize) -> Self {
        Row { times: vec![0; kinds], met: vec![0; kinds + 1], many: 0, looked_up: [0; AT_ONCE] }
    }

    /// Counts what lies `distance` symbols on from the places `firsts`.
    pub fn count(&mut self, symbols: &[u32], firsts: &[u32], distance: usize) {
        let Row { times, met, many, looked_up } = self;
        for firsts in firsts.chunks(AT_ONCE) {
            // All together, and then counted: what is counted waits for its symbol, and that for memory.
            let seconds = &mut looked_up[..firsts.len()];
            seconds.iter_mut().zip(firsts).for_each(|(second, &place)| *second = symbols[place as usize + distance]);
            for &second in &*seconds {
                let times = &mut times[second as usize];
                // Whether a symbol is new cannot be foretold, so nothing branches on it: it is noted in any case, and stays if it is.
                met[*many] = second;
                *many += usize::from(*times == 0);
                *times += 1;
            }
        }
    }

    /// Counts a pair that is not in it, `times` times.
    pub fn put(&mut self, second: u32, times: u32) {
        self.times[second as usize] = times;
        self.met[self.many] = second;
        self.many += 1;
    }

    /// How many different symbols are in it.
    pub fn len(&self) -> usize {
        self.many
    }

    /// Empties it into `take`, which is told a symbol and how often it is there.
    pub fn drain(&mut self, mut take: impl FnMut(u32, u32)) {
        for &second in &self.met[..std::mem::take(&mut self.many)] {
            take(second, std::mem::take(&mut self.times[second as usize]));
        }
    }
}

/// Tallies of one distance: first symbols, second symbols, and pairs.
pub(super) struct Tallies {
    pub first: FoldTally,
    pub second: FoldTally,
    pub joint: FoldTally,
}

impl Tallies {
    /// Empty ones.
    pub fn new(folds: usize) -> Self {
        let none = FoldTally::new(folds, &first_folds(folds));
        Tallies { first: none.clone(), second: none.clone(), joint: none }
    }

    /// Takes what others took.
    pub fn absorb(&mut self, other: &Tallies) {
        self.first.absorb(&other.first);
        self.second.absorb(&other.second);
        self.joint.absorb(&other.joint);
    }
}

/// The row of one first symbol over all folds, which may come in pieces.
pub(super) struct Gather {
    /// Of each second symbol its latest link, counted from 1; 0 for none.
    head: Vec<u32>,
    links: Vec<Link>,
    met: Vec<u32>,
    first: Vec<u64>,
    second: Vec<u64>,
    /// By fold, pairs that occur once in it and in no other.
    once: Vec<u64>,
    /// Of one pair, the folds that have it.
    in_fold: Vec<(usize, u64)>,
}

struct Link {
    count: u64,
    fold: u32,
    /// The one before, of the same symbol.
    before: u32,
}

impl Gather {
    /// Nothing yet, of `kinds` symbols.
    pub fn new(kinds: usize, folds: usize) -> Self {
        Gather {
            head: vec![0; kinds],
            links: Vec::new(),
            met: Vec::new(),
            first: vec![0; folds],
            second: vec![0; folds],
            once: vec![0; folds],
            in_fold: Vec::new(),
        }
    }

    /// Number of folds.
    pub fn folds(&self) -> usize {
        self.first.len()
    }

    /// Takes `count` pairs with a second symbol.
    #[inline]
    pub fn pair(&mut self, fold: usize, second: u32, count: u64) {
        self.first[fold] += count;
        let head = &mut self.head[second as usize];
        if *head == 0 {
            self.met.push(second);
        } else if let Some(link) = self.links.get_mut(*head as usize - 1).filter(|l| l.fold == fold as u32) {
            link.count += count;
            return;
        }
        self.links.push(Link { count, fold: fold as u32, before: *head });
        *head = self.links.len() as u32;
    }

    /// Takes how often the symbol is itself the second.
    pub fn seconds(&mut self, fold: usize, times: u64) {
        self.second[fold] += times;
    }

    /// The row is whole: tells the tallies, and is empty again.
    pub fn close(&mut self, tallies: &mut Tallies) {
        for second in self.met.drain(..) {
            let mut at = std::mem::take(&mut self.head[second as usize]);
            // Most pairs of a text are these.
            if let Some(Link { count: 1, fold, before: 0 }) = self.links.get(at as usize - 1) {
                self.once[*fold as usize] += 1;
                continue;
            }
            while let Some(link) = (at as usize).checked_sub(1).map(|i| &self.links[i]) {
                at = link.before;
                let fold = link.fold as usize;
                // Runs bring a fold more than once.
                match self.in_fold.iter_mut().find(|f| f.0 == fold) {
                    Some(f) => f.1 += link.count,
                    None => self.in_fold.push((fold, link.count)),
                }
            }
            tallies.joint.add(&self.in_fold);
            self.in_fold.clear();
        }
        self.links.clear();
        for (fold, many) in self.once.iter_mut().enumerate().filter(|f| *f.1 > 0) {
            tallies.joint.add_many(&[(fold, 1)], std::mem::take(many));
        }
        for (of, tally) in [(&mut self.first, &mut tallies.first), (&mut self.second, &mut tallies.second)] {
            self.in_fold.extend(of.iter_mut().map(std::mem::take).enumerate().filter(|f| f.1 > 0));
            tally.add(&self.in_fold);
            self.in_fold.clear();
        }
    }
}

impl super::segment::Groups for Gather {
    fn group(&mut self, fold: usize, seconds: u64, row: &mut Row) {
        self.seconds(fold, seconds);
        row.drain(|second, times| self.pair(fold, second, times.into()));
    }
}
