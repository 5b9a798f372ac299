//! From recorded sums to I(ℓ), its errors and its exponent: pure functions; no model, no device, no file.
//!
//! [`analyse`] is the front door. It computes every group's contribution to every estimator at every (ℓ, r), their means with
//! standard errors and intervals, and the laws that they follow; the same sums and options give the same bytes.

mod analysis;
mod bracket;
mod contribution;
mod data;
mod decay;
pub mod density;
mod entropies;
mod errors;
mod fit;
mod jackknife;
pub mod laws;
mod loss;
mod ngram;
mod ngram_count;
mod paired;
mod power;
mod shuffled;
pub mod special;
pub mod spectrum;
mod stopping;
mod tally;
mod two_point;

pub use analysis::{Analysis, Note, Options, Point, Skipped, TOO_FEW_DOCUMENTS, analyse, saturates};
pub use bracket::{Bracket, End};
pub use contribution::{Cell, Contributions, Estimator, NgramCorrection};
pub use data::{Group, Marginal, Member, Pairing, Sums};
pub use decay::{Decay, DecayPoint, Fitted, StraightLine};
pub use entropies::{EntropyEstimator, chao_shen, miller_madow};
pub use errors::{ErrorModel, Interval, Intervals, Resamples, Resampling};
pub(crate) use fit::line as straight_line;
pub use fit::{Fit, FitRange, LawDraws, Quantity, Unfitted, power_line};
pub use jackknife::{Estimate, Jackknife};
pub use loss::MeanLoss;
pub use ngram::{CountOfCounts, FOLDS, MAX_N, NgramCounts, NgramEntropies, NgramEntropy, grassberger, plug_in};
pub use ngram_count::{NgramCounter, count_ngrams};
pub use paired::{Bin, Exponent, Information, Paired, Profile, compare, geometric_bins};
pub use power::{Behind, Outpaces, PowerLaw, Size, growth, outpaces};
pub use shuffled::shuffled;
pub use stopping::{FEWEST_GROUPS, Stopping};
pub use tally::{FoldCounts, FoldTally};
pub use two_point::{Marginals, PairCounts, TwoPoint, TwoPointAt, TwoPointLaw, TwoPointOptions, TwoPointValue, first_folds};
