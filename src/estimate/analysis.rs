//! Everything that one model's sums say: points, fits and counts, in the order and form in which they are written.

use super::bracket::{Bracket, brackets};
use super::contribution::{Contributions, Estimator, NgramCorrection};
use super::errors::{ErrorModel, Interval, Intervals, Resamples, Resampling};
use super::fit::{Fit, FitRange, Unfitted};
use super::laws::{Laws, LossByPosition};
use super::ngram::NgramEntropies;
use super::{Pairing, Sums};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Below this many documents every point says so.
pub const TOO_FEW_DOCUMENTS: usize = 10;
/// InfoNCE above this share of its ceiling ln(K + 1) is called saturated.
const SATURATED: f64 = 0.9;

/// Whether an estimate from groups of `members` chunks lies so near to a ceiling that no interval of it is to be quoted: nearly all groups then give the ceiling, the few
/// that do not decide, and neither a bootstrap nor a standard error knows of those that happened not to be drawn.
pub fn saturates(estimator: Estimator, value: f64, members: usize) -> bool {
    estimator == Estimator::Infonce && value > SATURATED * ceiling(members)
}

/// The most that InfoNCE from groups of `members` chunks can be, in nats: ln(K + 1).
fn ceiling(members: usize) -> f64 {
    libm::log(members as f64)
}

/// The interval to quote of an estimate; none where it [`saturates`], and none reaches above what there can be.
pub(super) fn quoted(estimator: Estimator, value: f64, members: usize, interval: Option<Interval>) -> Option<Interval> {
    let most = if estimator == Estimator::Infonce { ceiling(members) } else { f64::INFINITY };
    interval.filter(|_| !saturates(estimator, value, members)).map(|i| Interval { lo: i.lo, hi: i.hi.min(most) })
}

/// What to compute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Estimators, in any order.
    pub estimators: Vec<Estimator>,
    /// The n-gram correction of the direct estimate.
    pub ngram: NgramCorrection,
    /// Resamples, seed and level.
    pub resampling: Resampling,
    /// Splits that enter the fits.
    pub fit: FitRange,
}

impl Default for Options {
    /// All estimators, the published correction, 1,000 resamples, 95 %, all splits.
    fn default() -> Self {
        Options { estimators: Estimator::ALL.to_vec(), ngram: NgramCorrection::default(), resampling: Resampling::default(), fit: FitRange::All }
    }
}

/// What a reader of a point must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// Fewer than [`TOO_FEW_DOCUMENTS`] documents.
    TooFewDocuments,
    /// InfoNCE near ln(K + 1): it says no more than that I is about as large at least, and has no interval to quote.
    Saturated,
    /// L1Out above ln(K + 1): even if the model were the texts' law it would lie above I (see [`Bracket`]).
    NotTight,
    /// No error can be given: one group, or every two groups share a document.
    NoError,
    /// The n-gram entropy comes from a single document: its own error is unknown and not part of the interval.
    NoNgramError,
}

/// One estimate of I(ℓ; rℓ), in nats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// By which estimator.
    pub estimator: Estimator,
    /// r = L/ℓ.
    pub ratio: u32,
    /// ℓ.
    pub split: u32,
    /// The estimate.
    pub value: f64,
    /// Its standard error.
    pub se: Option<f64>,
    /// Lower end of the interval to quote (see [`Intervals::chosen`]).
    pub lo: Option<f64>,
    /// Its upper end.
    pub hi: Option<f64>,
    /// All intervals.
    pub intervals: Intervals,
    /// Groups behind it.
    pub groups: usize,
    /// Distinct documents behind it.
    pub documents: usize,
    /// Warnings.
    pub notes: Vec<Note>,
}

/// An estimator that was asked for and cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The estimator.
    pub estimator: Estimator,
    /// Why.
    pub why: String,
}

/// All that one model's sums say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// Pairing of the chunks.
    pub pairing: Pairing,
    /// Tokens of a chunk, or bytes.
    pub length: u32,
    /// Foreign tails of each trunk, K.
    pub foreign: usize,
    /// Complete groups.
    pub groups: usize,
    /// Chunks in them.
    pub chunks: usize,
    /// Distinct documents of these.
    pub documents: usize,
    /// Whether these are fewer than [`TOO_FEW_DOCUMENTS`].
    pub too_few_documents: bool,
    /// What errors take as independent.
    pub errors: ErrorModel,
    /// As asked for.
    pub options: Options,
    /// Block entropies used by the n-gram correction.
    pub ngram: Option<NgramEntropies>,
    /// The estimates: by estimator, then ratio, then split.
    pub points: Vec<Point>,
    /// [InfoNCE, L1Out] where both were asked for: by ratio, then split.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub brackets: Vec<Bracket>,
    /// The straight lines on logarithms: by estimator, then ratio.
    pub fits: Vec<Fit>,
    /// Where the points bear none, and no other law.
    pub unfitted: Vec<Unfitted>,
    /// The laws of I itself, compared: by estimator, then ratio.
    #[serde(default)]
    pub laws: Vec<Laws>,
    /// Where there is a line but no comparison.
    #[serde(default)]
    pub not_compared: Vec<Unfitted>,
    /// The loss by position; `None` where a group has no trunk.
    #[serde(default)]
    pub loss: Option<LossByPosition>,
    /// Estimators without points.
    pub skipped: Vec<Skipped>,
}

/// Estimates with errors, and fits, from recorded sums. The same input gives the same output, bit for bit, on any number of threads.
///
/// # Errors
/// Sums that contradict themselves or are not finite; no group; a level outside (0, 1); an n-gram correction outside n = 1 … 8 or weights 0 … 1.
pub fn analyse(sums: &Sums, options: &Options, ngram: Option<&NgramEntropies>) -> Result<Analysis> {
    if sums.groups.is_empty() {
        return Err(Error::input("there is no complete group to estimate from; measure more chunks"));
    }
    let level = options.resampling.level;
    if !(level > 0.0 && level < 1.0) {
        return Err(Error::input(format!("an interval cannot have level {level}; give one between 0 and 1, such as 0.95")));
    }
    if !(1..=8).contains(&options.ngram.n) || !(0.0..=1.0).contains(&options.ngram.weight) {
        return Err(Error::input(format!(
            "an n-gram correction of {} tokens with weight {} makes no sense; n is 1 to 8 and the weight 0 to 1",
            options.ngram.n, options.ngram.weight
        )));
    }
    let contributions = Contributions::new(sums, &options.estimators, options.ngram, ngram)?;
    let resamples = Resamples::new(sums, &contributions, options.resampling);
    let members = sums.groups[0].members.len();
    let ceiling = ceiling(members);
    let documents = resamples.documents;
    let too_few_documents = documents < TOO_FEW_DOCUMENTS;
    let points: Vec<Point> = contributions
        .cells
        .iter()
        .enumerate()
        .map(|(c, cell)| {
            let (value, se) = (resamples.mean[c], resamples.se[c]);
            let intervals = resamples.intervals(c);
            let mut notes = Vec::new();
            if too_few_documents {
                notes.push(Note::TooFewDocuments);
            }
            if saturates(cell.estimator, value, members) {
                notes.push(Note::Saturated);
            }
            if cell.estimator == Estimator::L1out && value > ceiling {
                notes.push(Note::NotTight);
            }
            if se.is_none() {
                notes.push(Note::NoError);
            }
            if cell.estimator == Estimator::DirectNgram && ngram.is_some_and(|h| h.0.iter().any(|e| e.se.is_none())) {
                notes.push(Note::NoNgramError);
            }
            let quoted = quoted(cell.estimator, value, members, intervals.chosen(resamples.units));
            Point {
                estimator: cell.estimator,
                ratio: cell.ratio,
                split: cell.split,
                value,
                se,
                lo: quoted.map(|i| i.lo),
                hi: quoted.map(|i| i.hi),
                intervals,
                groups: contributions.groups,
                documents,
                notes,
            }
        })
        .collect();
    let (mut fits, mut unfitted, mut laws, mut not_compared) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (e, r) in Estimator::ALL.into_iter().flat_map(|e| sums.ratios.iter().map(move |&r| (e, r))) {
        if contributions.cells.iter().any(|c| (c.estimator, c.ratio) == (e, r)) {
            match Fit::new(&contributions.cells, &resamples, e, r, options.fit) {
                Ok(fit) => {
                    match Laws::new(&contributions.cells, &resamples, &fit) {
                        Ok(l) => laws.push(l),
                        Err(why) => not_compared.push(why),
                    }
                    fits.push(fit);
                }
                Err(why) => unfitted.push(why),
            }
        }
    }
    let uses_ngram = contributions.cells.iter().any(|c| c.estimator == Estimator::DirectNgram);
    Ok(Analysis {
        pairing: sums.pairing,
        length: sums.length,
        foreign: members - 1,
        groups: contributions.groups,
        chunks: contributions.groups * members,
        documents,
        too_few_documents,
        errors: resamples.model,
        options: options.clone(),
        ngram: ngram.filter(|_| uses_ngram).cloned(),
        brackets: brackets(&points, ceiling),
        points,
        fits,
        unfitted,
        laws,
        not_compared,
        loss: LossByPosition::new(sums, options.resampling),
        skipped: contributions.refused.into_iter().map(|(estimator, why)| Skipped { estimator, why }).collect(),
    })
}

impl Analysis {
    /// The point of an estimator at (ℓ, r).
    pub fn point(&self, estimator: Estimator, split: u32, ratio: u32) -> Option<&Point> {
        self.points.iter().find(|p| (p.estimator, p.split, p.ratio) == (estimator, split, ratio))
    }

    /// The laws of an estimator at ratio r.
    pub fn laws_of(&self, estimator: Estimator, ratio: u32) -> Option<&Laws> {
        self.laws.iter().find(|l| (l.estimator, l.ratio) == (estimator, ratio))
    }

    /// The straight line of an estimator at ratio r.
    pub fn fit(&self, estimator: Estimator, ratio: u32) -> Option<&Fit> {
        self.fits.iter().find(|f| (f.estimator, f.ratio) == (estimator, ratio))
    }
}
