//! What each estimator expects of a source: closed forms and enumerations where there are such, else a Monte Carlo mean with its standard error.
//!
//! An *expectation* is of the estimate itself, with the source's own law in the model's place and under matched pairing with K foreign heads; it is not I
//! wherever the estimator is a bound. Sampled ones draw groups of K + 1 documents, as a measurement does, and put them through [`Contributions`]. Where
//! other estimators of the same (ℓ, r) are known in closed form, they serve as control variates: y − Σ b_i (c_i − E c_i) with b by least squares has the
//! same mean, up to a bias of order 1/groups, and the residuals' variance (Owen, Monte Carlo theory, methods and examples, 2013, section 8.9).

use super::exact::Process;
use crate::error::{Error, Result};
use crate::estimate::{Cell, Contributions, Estimator, Group, Marginal, Member, NgramCorrection, NgramEntropies, NgramEntropy, Pairing, Sums};
use crate::rng::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Chunks of more tokens are not drawn for an expectation.
pub const LONGEST_SAMPLED: u32 = 1 << 18;

/// Most foreign heads of a tail, and most groups, for which an expectation is sampled.
const MOST_FOREIGN: u32 = 1024;
const MOST_GROUPS: u32 = 10_000_000;

/// Makes other streams of a seed than those of [`draw`](super::draw): an expectation must not be made of the very texts that are held against it.
const APART: u64 = 0x5a2f_3e90_c1d4_7b68;

/// Groups that one task draws: fixed, so that the number of threads changes nothing.
const BATCH: u64 = 16;

/// A number that is known, in nats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// The number.
    pub value: f64,
    /// Its standard error where it was sampled; `None` where it is exact up to rounding.
    pub se: Option<f64>,
}

impl Expectation {
    /// A number known exactly.
    pub fn exact(value: f64) -> Self {
        Expectation { value, se: None }
    }
}

/// How an expectation is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// K, the foreign heads of a tail.
    pub foreign: u32,
    /// Groups drawn where no closed form is at hand, at least 8.
    pub groups: u32,
    /// Seed of these draws; they are other ones than [`sample_sums`] and [`draw`](super::draw) make of it.
    pub seed: u64,
    /// The correction of [`Estimator::DirectNgram`].
    pub correction: NgramCorrection,
}

impl Default for Asked {
    fn default() -> Self {
        Asked { foreign: 1, groups: 4000, seed: 0, correction: NgramCorrection::default() }
    }
}

/// Which sums a group is drawn for: those of [`Sums`], matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Tokens of a chunk.
    pub length: u32,
    /// ℓ, ascending from 1.
    pub splits: Vec<u32>,
    /// r, ascending from 2.
    pub ratios: Vec<u32>,
    /// K.
    pub foreign: u32,
}

impl Grid {
    /// The smallest grid that has all of `cells`.
    ///
    /// # Errors
    /// No cell, a split of 0, a ratio below 2, no foreign head or more than 1,024, chunks past [`LONGEST_SAMPLED`].
    pub fn of(cells: &[Cell], foreign: u32) -> Result<Self> {
        let sorted = |mut x: Vec<u32>| {
            x.sort_unstable();
            x.dedup();
            x
        };
        let (splits, ratios) = (sorted(cells.iter().map(|c| c.split).collect()), sorted(cells.iter().map(|c| c.ratio).collect()));
        let length = cells.iter().map(|c| c.split as u64 * c.ratio as u64).max().unwrap_or(0);
        if splits.first().is_none_or(|&l| l == 0) || ratios.first().is_none_or(|&r| r < 2) {
            return Err(Error::input("splits start at 1 token and ratios at 2"));
        }
        if !(1..=MOST_FOREIGN).contains(&foreign) {
            return Err(Error::input(format!("a drawn tail has 1 to {MOST_FOREIGN} foreign heads, not {foreign}")));
        }
        if length > LONGEST_SAMPLED as u64 {
            return Err(Error::input(format!("texts of {length} tokens are too long to be drawn for an expectation; {LONGEST_SAMPLED} is the most")));
        }
        Ok(Grid { length: length as u32, splits, ratios, foreign })
    }

    /// Whether the pair (ℓ, r) fits into a chunk.
    pub fn fits(&self, split: u32, ratio: u32) -> bool {
        split as u64 * ratio as u64 <= self.length as u64
    }

    /// Sums with these groups.
    fn sums(&self, groups: Vec<Group>) -> Sums {
        Sums { pairing: Pairing::Matched, length: self.length, splits: self.splits.clone(), ratios: self.ratios.clone(), groups }
    }
}

/// Draws the group of a number from a seed: groups of different numbers are independent.
pub type Sampler<'a> = Box<dyn Fn(u64, u64) -> Result<Group> + Sync + 'a>;

/// A source of texts (or of numbers with densities) and the law that scores them.
pub trait Known: Sync {
    /// I(ℓ; rℓ) of what is drawn, in nats, where there is a closed form or an enumeration. `None`: sampled as direct's expectation, which it is then.
    fn information(&self, split: u32, ratio: u32) -> Option<f64>;

    /// What an estimator expects, in nats, where there is a closed form or an enumeration.
    fn closed(&self, cell: Cell, foreign: u32, correction: NgramCorrection) -> Option<f64>;

    /// Whether the source gives an estimator at all.
    fn gives(&self, estimator: Estimator) -> bool {
        let _ = estimator;
        true
    }

    /// An estimator that has the same expectation and may be known better.
    fn expects_as(&self, estimator: Estimator) -> Estimator {
        estimator
    }

    /// Entropy of blocks of n consecutive tokens over documents and offsets, in nats; `None` where there are no tokens.
    fn block_entropy(&self, n: u32) -> Option<f64>;

    /// Draws groups with their sums.
    ///
    /// # Errors
    /// A grid that the source cannot fill.
    fn sampler(&self, grid: &Grid) -> Result<Sampler<'_>>;
}

/// Groups 0 … `groups` − 1 of a seed, scored: what a measurement of this source would record.
///
/// # Errors
/// As [`Known::sampler`].
pub fn sample_sums(source: &dyn Known, grid: &Grid, groups: u32, seed: u64) -> Result<Sums> {
    let sampler = source.sampler(grid)?;
    let groups: Vec<Result<Group>> = (0..groups as u64).into_par_iter().map(|g| sampler(seed, g)).collect();
    Ok(grid.sums(groups.into_iter().collect::<Result<_>>()?))
}

/// What each cell expects; `None` where the source does not give it (a profile of a source that is not stationary, or of a ratio other than 2; n-grams of
/// numbers). The same cells, source and question give the same bits on any number of threads.
///
/// # Errors
/// No foreign head; where cells are sampled, as [`Grid::of`] and [`Known::sampler`], and fewer than 8 groups or more than 10 million.
pub fn expectations(source: &dyn Known, cells: &[Cell], asked: Asked) -> Result<Vec<Option<Expectation>>> {
    if asked.foreign == 0 {
        return Err(Error::input("a tail has at least one foreign head"));
    }
    let given = |c: &Cell| source.gives(c.estimator) && (c.estimator != Estimator::Profile || c.ratio == 2);
    let closed = |c: &Cell| source.closed(*c, asked.foreign, asked.correction);
    let mut out: Vec<Option<Expectation>> = cells.iter().map(|c| closed(c).filter(|_| given(c)).map(Expectation::exact)).collect();
    let drawn = |c: &Cell| Cell { estimator: source.expects_as(c.estimator), ..*c };
    let open: Vec<Cell> = cells.iter().zip(&out).filter(|(c, known)| known.is_none() && given(c)).map(|(c, _)| drawn(c)).collect();
    if open.is_empty() {
        return Ok(out);
    }
    if !(8..=MOST_GROUPS).contains(&asked.groups) {
        return Err(Error::input(format!("an expectation is sampled from 8 to {MOST_GROUPS} groups, not {}", asked.groups)));
    }
    let columns = sampled(source, &open, asked)?;
    let column = |c: &Cell| columns.cells.iter().position(|x| x == c).map(|i| columns.values.iter().skip(i).step_by(columns.cells.len()).copied());
    for (cell, slot) in cells.iter().zip(&mut out).filter(|(c, slot)| slot.is_none() && given(c)) {
        let cell = drawn(cell);
        let controls = [Estimator::Direct, Estimator::Vclub].iter().filter_map(|&estimator| {
            let control = Cell { estimator, ..cell };
            let expected = closed(&control).filter(|_| control != cell)?;
            Some((column(&control)?.collect(), expected))
        });
        *slot = column(&cell).map(|y| regressed(y.collect(), controls.collect()));
    }
    Ok(out)
}

/// The entropies of n-grams that the corrected direct estimate takes, which are the source's own.
pub(super) fn entropies(source: &dyn Known, correction: NgramCorrection) -> NgramEntropies {
    let entropy = |n: u32| source.block_entropy(n).map(|h| NgramEntropy { n, grassberger: h, plug_in: h, se: None, blocks: 0, distinct: 0 });
    NgramEntropies((1..=correction.n).filter_map(entropy).collect())
}

/// Contributions of the asked number of groups to the open cells and to those that may serve as controls.
fn sampled(source: &dyn Known, open: &[Cell], asked: Asked) -> Result<Contributions> {
    let grid = Grid::of(open, asked.foreign)?;
    let sampler = source.sampler(&grid)?;
    let estimators: Vec<Estimator> =
        Estimator::ALL.into_iter().filter(|e| open.iter().any(|c| c.estimator == *e) || [Estimator::Direct, Estimator::Vclub].contains(e)).collect();
    let ngram = if estimators.contains(&Estimator::DirectNgram) { entropies(source, asked.correction) } else { NgramEntropies(Vec::new()) };
    let batches = (asked.groups as u64).div_ceil(BATCH);
    let rows: Vec<Result<Contributions>> = (0..batches)
        .into_par_iter()
        .map(|b| {
            let groups = b * BATCH..((b + 1) * BATCH).min(asked.groups as u64);
            let groups: Vec<Group> = groups.map(|g| sampler(asked.seed ^ APART, g)).collect::<Result<_>>()?;
            Contributions::new(&grid.sums(groups), &estimators, asked.correction, Some(&ngram))
        })
        .collect();
    let mut rows = rows.into_iter().collect::<Result<Vec<_>>>()?.into_iter();
    let mut all = rows.next().ok_or_else(|| Error::input("no group was drawn"))?;
    for more in rows {
        all.values.extend(more.values);
        all.groups += more.groups;
    }
    Ok(all)
}

/// The mean of `y` with its standard error, after regression on controls (their values and their exact means).
fn regressed(mut y: Vec<f64>, controls: Vec<(Vec<f64>, f64)>) -> Expectation {
    let n = y.len() as f64;
    let center = |x: &mut Vec<f64>| {
        let mean = x.iter().sum::<f64>() / n;
        x.iter_mut().for_each(|v| *v -= mean);
        mean
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut value = center(&mut y);
    let mut basis: Vec<(Vec<f64>, f64, f64)> = Vec::new();
    for (mut c, expected) in controls {
        let mut off = center(&mut c) - expected;
        let before = dot(&c, &c);
        for (b, b_off, square) in &basis {
            let slope = dot(&c, b) / square;
            c.iter_mut().zip(b).for_each(|(c, b)| *c -= slope * b);
            off -= slope * b_off;
        }
        let square = dot(&c, &c);
        // What is left of a control that the others already hold is rounding.
        if square <= 1e-12 * before || square == 0.0 {
            continue;
        }
        let slope = dot(&y, &c) / square;
        y.iter_mut().zip(&c).for_each(|(y, c)| *y -= slope * c);
        value -= slope * off;
        basis.push((c, off, square));
    }
    let freedom = n - 1.0 - basis.len() as f64;
    Expectation { value, se: Some((dot(&y, &y) / freedom / n).sqrt()) }
}

/// One group of a process: documents from streams g(K + 1) … g(K + 1) + K of the seed, scored by the process' own conditionals.
///
/// # Errors
/// A token of probability 0.
pub fn process_group<P: Process>(process: &P, grid: &Grid, seed: u64, group: u64) -> Result<Group> {
    let members = grid.foreign as u64 + 1;
    let length = grid.length as usize;
    let texts: Vec<_> = (0..members).map(|i| process.draw(length, &mut Rng::new(seed, group * members + i))).collect();
    let mut start = process.begin();
    process.push(&mut start, process.start_token());
    // Of every text the state after each split's head.
    let mut heads = Vec::with_capacity(texts.len());
    let mut scored = Vec::with_capacity(texts.len());
    for text in &texts {
        let mut state = start.clone();
        let mut trunk = Vec::with_capacity(length);
        let mut after = Vec::with_capacity(grid.splits.len());
        for (t, &token) in text.iter().enumerate() {
            if grid.splits.binary_search(&(t as u32)).is_ok() {
                after.push(state.clone());
            }
            trunk.push(finite(process.log_q(&state, token))? as f32);
            process.push(&mut state, token);
        }
        heads.push(after);
        scored.push(trunk);
    }
    let tail = |text: &[u32], s: usize, state: &P::State| -> Result<Marginal> {
        let split = grid.splits[s];
        let mut values = Vec::new();
        let far = grid.ratios.iter().rev().find(|&&r| grid.fits(split, r)).map_or(split, |&r| r * split);
        let mut state = state.clone();
        for &token in &text[split as usize..far as usize] {
            values.push(finite(process.log_q(&state, token))?);
            process.push(&mut state, token);
        }
        Ok(marginal(grid, split, &values))
    };
    let splits = |s: &usize| grid.fits(grid.splits[*s], grid.ratios[0]);
    let mut out = Vec::with_capacity(texts.len());
    for (j, (text, trunk)) in texts.iter().zip(scored).enumerate() {
        let on_its_own = (0..grid.splits.len()).filter(splits).map(|s| tail(text, s, &start)).collect::<Result<Vec<_>>>()?;
        let foreign = (0..texts.len()).filter(|&i| i != j);
        let cross = foreign.map(|i| (0..grid.splits.len()).filter(splits).map(|s| Ok(tail(text, s, &heads[i][s])?.by_ratio)).collect::<Result<Vec<_>>>());
        out.push(member(grid, (group * members) as u32 + j as u32, trunk, on_its_own, cross.collect::<Result<_>>()?));
    }
    Ok(Group { members: out })
}

/// A member; splits that fit no ratio get NaN, as in a record.
pub(super) fn member(grid: &Grid, document: u32, trunk: Vec<f32>, mut on_its_own: Vec<Marginal>, mut cross: Vec<Vec<Vec<f64>>>) -> Member {
    let none = vec![f64::NAN; grid.ratios.len()];
    on_its_own.resize(grid.splits.len(), Marginal { by_ratio: none.clone(), first: [f64::NAN; 8] });
    cross.iter_mut().for_each(|c| c.resize(grid.splits.len(), none.clone()));
    Member { document, trunk, cuts: Vec::new(), marginal: on_its_own, cross }
}

/// Sums of a tail's log-probabilities at every ratio and after its first 1 … 8.
pub(super) fn marginal(grid: &Grid, split: u32, values: &[f64]) -> Marginal {
    let upto = |n: usize| if n <= values.len() { values[..n].iter().sum() } else { f64::NAN };
    let by_ratio = grid.ratios.iter().map(|&r| if grid.fits(split, r) { upto(((r - 1) * split) as usize) } else { f64::NAN }).collect();
    let mut first = [f64::NAN; 8];
    first.iter_mut().enumerate().for_each(|(n, f)| *f = upto(n + 1));
    Marginal { by_ratio, first }
}

fn finite(v: f64) -> Result<f64> {
    if v.is_finite() { Ok(v) } else { Err(Error::input("a drawn token has probability 0 under the law that scores it")) }
}
