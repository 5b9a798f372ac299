//! What this machine can do, measured, and how near the engine's verbs come to it.
//!
//! [`Ceilings`] are rates that nothing on the machine exceeds for long: multiply-adds, a packed product, exponentials, copies. [`Work`] is what a
//! verb's or a whole model's contract says must be computed and moved. Their quotient is the shortest time possible, and the share of a measured time
//! that it makes up says how much is left to gain.

pub mod ceilings;
pub mod count;
pub mod gpu;
pub mod run;
pub mod verbs;

use crate::backend::Backend;
use crate::error::Result;
pub use ceilings::Ceilings;
pub use count::Work;
pub use verbs::{Case, Prepared};

/// How much verbs are timed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Rows of a residual.
    pub wave: usize,
    /// Tokens of the text that scans and convolutions run over.
    pub text: usize,
    /// Rows of a block, at most [`Backend::block_rows`].
    pub block: usize,
    /// What a GPU's rates are measured by.
    pub load: Load,
}

/// How much a GPU is given to measure its rates by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Blocks of 256 threads that repeat an instruction.
    pub blocks: usize,
    /// How often the slowest of them is repeated.
    pub steps: u32,
    /// Bytes of a copy, a multiple of 16.
    pub copied: usize,
    /// Launches of a loop that are timed as one.
    pub launches: usize,
}

/// A backend whose machine can be measured.
pub trait Machine: Backend {
    /// What measures its ceilings.
    type Loops;

    /// What its verbs are timed on.
    fn sizes(&self) -> Sizes;
    /// Makes what measures the ceilings that matter to these cases.
    ///
    /// # Errors
    /// Not enough memory, or the device fails.
    fn loops(&self, cases: &[Case], sizes: &Sizes) -> Result<Self::Loops>;
    /// Measures them once.
    ///
    /// # Errors
    /// The device fails.
    fn ceilings(&self, loops: &mut Self::Loops) -> Result<Ceilings>;
    /// Waits until all that verbs have handed over is done.
    ///
    /// # Errors
    /// The device fails.
    fn finish(&self) -> Result<()> {
        Ok(())
    }
    /// The machine's own library of products, which products and the head are held against, in a line; `None` where there is none to ask for.
    ///
    /// # Errors
    /// Why it cannot be used, in a line.
    fn library(&self) -> Option<Result<String, String>> {
        None
    }
    /// A case's product alone by that library, without what our verb does besides; `None` where the case is no product.
    ///
    /// # Errors
    /// Not enough memory, or the library cannot multiply such matrices.
    fn library_product<'c>(&'c self, case: &Case, sizes: Sizes) -> Result<Option<Prepared<'c>>> {
        let _ = (case, sizes);
        Ok(None)
    }
    /// The least seconds that the ceilings leave for a case's work.
    fn least_seconds(&self, case: &Case, work: &Work, at: &Ceilings) -> f64 {
        let _ = case;
        work.least_seconds(at)
    }
}

/// Median, least and largest of some times or rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Spread {
    /// The middle one (of an even number, the upper of the two in the middle).
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The largest.
    pub largest: f64,
}

impl Spread {
    /// Of any number of values; zeros of none.
    pub fn of(values: &[f64]) -> Spread {
        let mut v = values.to_vec();
        v.sort_by(f64::total_cmp);
        match v.last() {
            Some(&largest) => Spread { median: v[v.len() / 2], least: v[0], largest },
            None => Spread::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_both_ends() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Spread { median: 2.0, least: 1.0, largest: 3.0 });
        assert_eq!(Spread::of(&[]), Spread::default());
    }
}
