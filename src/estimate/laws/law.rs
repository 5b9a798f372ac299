//! The laws as separable models: y(x) = Σ_j a_j φ_j(x; θ), linear in the a_j once θ is given (Golub and Pereyra 1973).

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// A law of information against length, or of loss against length. x is ℓ, t or c; y in nats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Law {
    /// A ℓ^β, A ≥ 0, −1 ≤ β ≤ 2.
    Power,
    /// A ℓ^β + c, A ≥ 0, c ≥ 0, 0.01 ≤ β ≤ 2.
    PowerConstant,
    /// a + b ln ℓ.
    Logarithm,
    /// I∞ (1 − (1 + ℓ/ℓ0)^−γ), I∞ ≥ 0, ¼ ≤ γ ≤ 8, ℓ0 from 1/64 of the smallest ℓ to 64 times the largest. γ → 0 is the logarithm once more: with γ ≥ ¼ what
    /// is missing of I∞ is halved by four doublings of a large ℓ at the latest.
    Saturating,
    /// h∞ + c t^(β−1) of the loss at position t (Hilberg 1990, as a rate), h∞ ≥ 0, c ≥ 0, −2 ≤ β ≤ 0.99.
    Hilberg,
    /// C0 + C c^−γ of the loss given c tokens of context, C0 ≥ 0, C ≥ 0, 0.01 ≤ γ ≤ 3.
    Context,
}

/// What a growing information is called by the law that it follows best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Growth {
    /// A power, with or without a constant.
    Power,
    /// A logarithm.
    Logarithm,
    /// It stays below a limit.
    Saturating,
}

/// Parameters of a law at most.
pub(super) const MOST_PARAMETERS: usize = 3;

/// γ and 1 − β from here on, and β where a constant stands beside it: below it x^θ and the constant are one column.
const LEAST_POWER: f64 = 0.01;

/// Bounds of a θ, and how many places of it the search looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub lo: f64,
    pub hi: f64,
    pub places: usize,
}

/// φ_1, φ_2 at one x, and their derivatives by each θ; unused entries are 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Basis {
    pub value: [f64; 2],
    pub by_theta: [[f64; 2]; 2],
}

impl Law {
    /// The laws of I(ℓ).
    pub const OF_INFORMATION: [Law; 4] = [Law::Power, Law::PowerConstant, Law::Logarithm, Law::Saturating];
    /// All of them.
    pub const ALL: [Law; 6] = [Law::Power, Law::PowerConstant, Law::Logarithm, Law::Saturating, Law::Hilberg, Law::Context];

    /// As options and files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Law::Power => "power",
            Law::PowerConstant => "power-constant",
            Law::Logarithm => "logarithm",
            Law::Saturating => "saturating",
            Law::Hilberg => "hilberg",
            Law::Context => "context",
        }
    }

    /// The law as it is written.
    pub fn formula(self) -> &'static str {
        match self {
            Law::Power => "A ℓ^β",
            Law::PowerConstant => "A ℓ^β + c",
            Law::Logarithm => "a + b ln ℓ",
            Law::Saturating => "I∞ (1 − (1 + ℓ/ℓ0)^−γ)",
            Law::Hilberg => "h∞ + c t^(β−1)",
            Law::Context => "C0 + C c^−γ",
        }
    }

    /// Names of its parameters, in the order in which fits give them: the linear ones first.
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            Law::Power => &["A", "β"],
            Law::PowerConstant => &["A", "c", "β"],
            Law::Logarithm => &["a", "b"],
            Law::Saturating => &["I∞", "ℓ0", "γ"],
            Law::Hilberg => &["h∞", "c", "β"],
            Law::Context => &["C0", "C", "γ"],
        }
    }

    /// Which parameter is its exponent, if any: β or γ.
    pub fn exponent(self) -> Option<&'static str> {
        self.parameters().iter().copied().find(|p| ["β", "γ"].contains(p))
    }

    /// The kind of growth that it stands for; `None` of laws of a loss.
    pub fn growth(self) -> Option<Growth> {
        match self {
            Law::Power | Law::PowerConstant => Some(Growth::Power),
            Law::Logarithm => Some(Growth::Logarithm),
            Law::Saturating => Some(Growth::Saturating),
            Law::Hilberg | Law::Context => None,
        }
    }

    /// Number of linear parameters.
    pub(super) fn linear(self) -> usize {
        match self {
            Law::Power | Law::Saturating => 1,
            _ => 2,
        }
    }

    /// Whether linear parameters may not be negative.
    pub(super) fn non_negative(self) -> bool {
        self != Law::Logarithm
    }

    /// The linear parameter without which θ says nothing, where there is a θ.
    pub(super) fn carrier(self) -> Option<usize> {
        match self {
            Law::Power | Law::PowerConstant | Law::Saturating => Some(0),
            Law::Logarithm => None,
            Law::Hilberg | Law::Context => Some(1),
        }
    }

    /// Where each θ is looked for, x lying between `least` and `most`.
    pub(super) fn ranges(self, least: f64, most: f64) -> Vec<Range> {
        match self {
            Law::Power => vec![Range { lo: -1.0, hi: 2.0, places: 97 }],
            Law::PowerConstant => vec![Range { lo: LEAST_POWER, hi: 2.0, places: 97 }],
            Law::Logarithm => Vec::new(),
            Law::Saturating => {
                let far = libm::log(64.0);
                vec![Range { lo: libm::log(least) - far, hi: libm::log(most) + far, places: 49 }, Range { lo: libm::log(0.25), hi: libm::log(8.0), places: 13 }]
            }
            Law::Hilberg => vec![Range { lo: -2.0, hi: 1.0 - LEAST_POWER, places: 97 }],
            Law::Context => vec![Range { lo: LEAST_POWER, hi: 3.0, places: 97 }],
        }
    }

    /// φ and its derivatives at x > 0.
    pub(super) fn basis(self, x: f64, theta: &[f64]) -> Basis {
        let ln_x = libm::log(x);
        let power = |e: f64| libm::exp(e * ln_x);
        match self {
            Law::Power => {
                let p = power(theta[0]);
                Basis { value: [p, 0.0], by_theta: [[p * ln_x, 0.0], [0.0; 2]] }
            }
            Law::PowerConstant => {
                let p = power(theta[0]);
                Basis { value: [p, 1.0], by_theta: [[p * ln_x, 0.0], [0.0; 2]] }
            }
            Law::Logarithm => Basis { value: [1.0, ln_x], ..Basis::default() },
            Law::Saturating => {
                let (gamma, ratio) = (libm::exp(theta[1]), libm::exp(ln_x - theta[0]));
                let s = libm::log1p(ratio);
                let left = libm::exp(-gamma * s);
                let by_ln_scale = -gamma * left * ratio / (1.0 + ratio);
                Basis { value: [-libm::expm1(-gamma * s), 0.0], by_theta: [[by_ln_scale, 0.0], [gamma * s * left, 0.0]] }
            }
            Law::Hilberg => {
                let p = power(theta[0] - 1.0);
                Basis { value: [1.0, p], by_theta: [[0.0, p * ln_x], [0.0; 2]] }
            }
            Law::Context => {
                let p = power(-theta[0]);
                Basis { value: [1.0, p], by_theta: [[0.0, -p * ln_x], [0.0; 2]] }
            }
        }
    }

    /// A θ as it is reported: ℓ0 and γ of the saturating law are searched for as logarithms.
    pub(super) fn told(self, theta: f64) -> f64 {
        if self == Law::Saturating { libm::exp(theta) } else { theta }
    }

    /// The law at x, given parameters in the order of [`Law::parameters`].
    pub fn at(self, x: f64, parameters: &[f64]) -> f64 {
        let linear = self.linear();
        let mut theta = [0.0; 2];
        for (t, &p) in theta.iter_mut().zip(parameters.iter().skip(linear)) {
            *t = if self == Law::Saturating { libm::log(p) } else { p };
        }
        let basis = self.basis(x, &theta);
        parameters.iter().take(linear).zip(basis.value).map(|(a, v)| a * v).sum()
    }
}

impl std::fmt::Display for Law {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Law {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        Law::ALL.into_iter().find(|l| l.name() == s).ok_or_else(|| {
            let names: Vec<_> = Law::ALL.iter().map(|l| l.name()).collect();
            Error::input(format!("no law is called {s:?}; there are {}", names.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every derivative against a central difference: of step h its error is about h²/6 of the third derivative, here below 1e-8 of a value of order 10.
    #[test]
    fn derivatives_are_those_of_the_basis() {
        for (law, theta) in
            [(Law::Power, vec![0.7]), (Law::PowerConstant, vec![0.4]), (Law::Saturating, vec![3.0, -0.4]), (Law::Hilberg, vec![0.5]), (Law::Context, vec![0.6])]
        {
            for x in [1.0, 7.0, 500.0] {
                let basis = law.basis(x, &theta);
                for j in 0..theta.len() {
                    let at = |h: f64| {
                        let mut moved = theta.clone();
                        moved[j] += h;
                        law.basis(x, &moved).value
                    };
                    let (above, below) = (at(1e-5), at(-1e-5));
                    for i in 0..2 {
                        let slope = (above[i] - below[i]) / 2e-5;
                        assert!((slope - basis.by_theta[j][i]).abs() < 1e-7 * (1.0 + slope.abs()), "{law} {x} θ{j} φ{i}: {slope} {:?}", basis.by_theta);
                    }
                }
            }
        }
    }

    #[test]
    fn names_lead_back() {
        for law in Law::ALL {
            assert_eq!(law.name().parse::<Law>().unwrap(), law);
            assert_eq!(law.parameters().len(), law.linear() + law.ranges(1.0, 2.0).len());
        }
        assert!("exponential".parse::<Law>().unwrap_err().to_string().contains("power-constant"));
        assert!((Law::Saturating.at(30.0, &[5.0, 10.0, 1.0]) - 5.0 * 0.75).abs() < 1e-14);
    }
}
