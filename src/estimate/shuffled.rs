//! Pairs as they would be without any dependence: the second tokens of all pairs in a random order.
//!
//! An information that is estimated from these is the estimate's bias at that number of pairs and those single tokens, since the truth is none. What the
//! tokens are does not matter, only how often each occurs; so the order is drawn from the counts of counts alone, without the texts. The
//! order is a bijection of 0 … N − 1 that is computed place by place and never stored: a Feistel network of four rounds (Luby and Rackoff 1988) over
//! the smallest power of two that holds N, walked on until it comes back below N (Black and Rogaway 2002).

use super::ngram::CountOfCounts;
use super::tally::{FoldTally, total};
use crate::rng::mix;
use rayon::prelude::*;

/// How often each count occurs among the shuffled pairs of tokens whose counts are `first` and `second`, which have the same total. The same seed
/// gives the same pairs.
pub fn shuffled(first: &[(u64, u64)], second: &[(u64, u64)], seed: u64) -> CountOfCounts {
    let order = Order::new(total(second), seed);
    let seconds = Seconds::new(second);
    let tasks = Task::of(first);
    let tally = |task: &Task| {
        let (mut tally, mut at) = (FoldTally::new(1, &[]), task.place);
        let (mut times, mut met) = (vec![0u32; seconds.kinds], Vec::new());
        for _ in 0..task.kinds {
            for place in at..at + task.count {
                let kind = seconds.kind(order.of(place));
                if times[kind] == 0 {
                    met.push(kind);
                }
                times[kind] += 1;
            }
            at += task.count;
            for kind in met.drain(..) {
                tally.add(&[(0, u64::from(std::mem::take(&mut times[kind])))]);
            }
        }
        tally
    };
    let sum = tasks.par_iter().map(tally).reduce(
        || FoldTally::new(1, &[]),
        |mut a, b| {
            a.absorb(&b);
            a
        },
    );
    sum.counts().all
}

/// First tokens of one count that are paired at one time.
struct Task {
    /// The first place that is theirs.
    place: u64,
    /// How many there are.
    kinds: u64,
    /// How often each occurs.
    count: u64,
}

impl Task {
    /// Places of a task, unless one token alone has more.
    const PLACES: u64 = 1 << 16;

    fn of(first: &[(u64, u64)]) -> Vec<Task> {
        let (mut tasks, mut place) = (Vec::new(), 0);
        for &(count, mut left) in first {
            while left > 0 {
                let kinds = (Task::PLACES / count.max(1)).clamp(1, left);
                tasks.push(Task { place, kinds, count });
                (place, left) = (place + kinds * count, left - kinds);
            }
        }
        tasks
    }
}

/// Which of the second tokens has a place, where equal ones lie side by side, the rarest first.
struct Seconds {
    kinds: usize,
    /// First place, first token and count of each class of tokens that occur equally often.
    classes: Vec<(u64, u64, u64)>,
    /// For each 2^shift places the class of the first of them.
    guide: Vec<u32>,
    shift: u32,
}

impl Seconds {
    /// About so many entries in the guide.
    const GUIDE: u32 = 14;

    fn new(second: &[(u64, u64)]) -> Self {
        let (mut place, mut kind) = (0, 0);
        let classes: Vec<(u64, u64, u64)> = second
            .iter()
            .map(|&(count, many)| {
                let class = (place, kind, count);
                (place, kind) = (place + count * many, kind + many);
                class
            })
            .collect();
        let shift = (u64::BITS - place.leading_zeros()).saturating_sub(Self::GUIDE);
        let guide = (0..=place >> shift).map(|g| classes.partition_point(|c| c.0 <= g << shift).saturating_sub(1) as u32).collect();
        Seconds { kinds: kind as usize, classes, guide, shift }
    }

    fn kind(&self, place: u64) -> usize {
        let mut at = self.guide[(place >> self.shift) as usize] as usize;
        while self.classes.get(at + 1).is_some_and(|next| next.0 <= place) {
            at += 1;
        }
        let (start, kind, count) = self.classes[at];
        (kind + (place - start) / count) as usize
    }
}

/// A bijection of 0 … n − 1.
struct Order {
    n: u64,
    bits: u32,
    keys: [u64; 4],
}

impl Order {
    fn new(n: u64, seed: u64) -> Self {
        let mut state = seed;
        // Two halves of at least one bit.
        let bits = (u64::BITS - n.saturating_sub(1).leading_zeros()).max(2);
        Order { n, bits, keys: std::array::from_fn(|_| mix(&mut state)) }
    }

    fn of(&self, place: u64) -> u64 {
        let mut x = self.once(place);
        while x >= self.n {
            x = self.once(x);
        }
        x
    }

    /// A bijection of all numbers of so many bits. Each round adds a function of one half to the other, and changes their places.
    fn once(&self, mut x: u64) -> u64 {
        let (mut high, mut low) = (self.bits / 2, self.bits - self.bits / 2);
        for key in self.keys {
            let (left, right) = (x >> low, x & ((1 << low) - 1));
            let mut h = (right ^ key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            h = (h ^ (h >> 32)).wrapping_mul(0xd134_2543_de82_ef95);
            x = right << high | (left ^ (h >> (u64::BITS - high)));
            (high, low) = (low, high);
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::plug_in;
    use crate::rng::Rng;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn every_place_is_taken_once() {
        for n in (1..70).chain([1000, 4096, 5000]) {
            let order = Order::new(n, 5);
            assert_eq!((0..n).map(|i| order.of(i)).collect::<BTreeSet<_>>(), (0..n).collect(), "{n}");
        }
    }

    #[test]
    fn places_have_their_tokens() {
        let counts = [(1, 3), (2, 2), (70_000, 1), (80_000, 2)];
        let seconds = Seconds::new(&counts);
        let mut times = vec![0u64; 8];
        (0..total(&counts)).for_each(|p| times[seconds.kind(p)] += 1);
        assert_eq!(times, [1, 1, 1, 2, 2, 70_000, 80_000, 80_000]);
    }

    /// The entropy of shuffled pairs is that of a list that is really shuffled, as far as 400 draws of both can tell.
    #[test]
    fn like_a_shuffled_list() {
        let counts = [(1, 20), (3, 10), (10, 5), (50, 2)];
        let list: Vec<usize> = counts.iter().flat_map(|&(n, many)| vec![n; many as usize]).enumerate().flat_map(|(kind, n)| vec![kind; n as usize]).collect();
        let by_list = |seed: u64| {
            let (mut second, mut pairs) = (list.clone(), BTreeMap::new());
            Rng::new(seed, 9).shuffle(&mut second);
            list.iter().zip(&second).for_each(|p| *pairs.entry(p).or_insert(0u64) += 1);
            let mut of: BTreeMap<u64, u64> = BTreeMap::new();
            pairs.values().for_each(|&n| *of.entry(n).or_default() += 1);
            plug_in(&of.into_iter().collect::<Vec<_>>())
        };
        let by_counts = |seed: u64| {
            let pairs = shuffled(&counts, &counts, seed);
            assert_eq!(total(&pairs), list.len() as u64);
            plug_in(&pairs)
        };
        let moments = |h: &dyn Fn(u64) -> f64| {
            let h: Vec<f64> = (0..400).map(h).collect();
            let mean = h.iter().sum::<f64>() / 400.0;
            (mean, h.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 399.0)
        };
        let ((a, va), (b, vb)) = (moments(&by_list), moments(&by_counts));
        // Five standard errors of the difference of two means; a ratio of sample variances of 400 draws lies within e^(5·√(4/400)) of 1 as surely.
        assert!((a - b).abs() < 5.0 * ((va + vb) / 400.0).sqrt(), "{a} and {b}");
        assert!((va / vb).ln().abs() < 0.5, "{va} and {vb}");
    }
}
