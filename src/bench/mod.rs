//! What this machine can do, measured, and how near the engine's verbs come to it.
//!
//! [`Ceilings`] are rates that nothing on the machine exceeds for long: multiply-adds, a packed product, exponentials, copies. [`Work`] is what a
//! verb's or a whole model's contract says must be computed and moved. Their quotient is the shortest time possible, and the share of a measured time
//! that it makes up says how much is left to gain.

pub mod ceilings;
pub mod count;
pub mod verbs;

pub use ceilings::Ceilings;
pub use count::Work;
pub use verbs::Case;

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
