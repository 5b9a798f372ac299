//! What each group says of I(ℓ; L), estimator by estimator (formulas and sources at [`Estimator`]).

use super::ngram::NgramEntropies;
use super::special::log_sum_exp;
use super::{Group, Member, Pairing, Sums};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Estimators of I(X; Y), X the first ℓ tokens, Y the (r − 1)ℓ tokens after them. Order is that of all output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Estimator {
    /// Mean of ln q(Y|X) − ln q(Y).
    Direct,
    /// Direct, with the model's first n terms of ln q(Y) drawn towards the corpus' n-gram entropy (Chen et al. 2025, L²M).
    DirectNgram,
    /// Mean of ln q(Y|X) − mean over foreign X' of ln q(Y|X') (Cheng et al. 2020, vCLUB). With q = p an upper bound.
    Vclub,
    /// Mean of ln q(Y|X) − ln mean over foreign X' of q(Y|X') (Poole et al. 2019, leave-one-out). With q = p an upper bound, never above vCLUB.
    L1out,
    /// InfoNCE with critic ln q(Y|X) (van den Oord et al. 2018; Poole et al. 2019): as L1Out with the own X among the heads. A lower bound for
    /// any q, at most ln(K + 1).
    Infonce,
    /// Σ_{t ≤ ℓ} h(t) − h(t + ℓ), h(t) the mean loss at position t; r = 2. With q = p it is I for a stationary source.
    Profile,
}

impl Estimator {
    /// All of them, in order.
    pub const ALL: [Estimator; 6] = [Estimator::Direct, Estimator::DirectNgram, Estimator::Vclub, Estimator::L1out, Estimator::Infonce, Estimator::Profile];

    /// As options and files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Estimator::Direct => "direct",
            Estimator::DirectNgram => "direct-ngram",
            Estimator::Vclub => "vclub",
            Estimator::L1out => "l1out",
            Estimator::Infonce => "infonce",
            Estimator::Profile => "profile",
        }
    }

    /// Whether it reads foreign tails.
    pub fn needs_cross(self) -> bool {
        matches!(self, Estimator::Vclub | Estimator::L1out | Estimator::Infonce)
    }
}

impl std::fmt::Display for Estimator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Estimator {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        Estimator::ALL.into_iter().find(|e| e.name() == s).ok_or_else(|| {
            let names: Vec<_> = Estimator::ALL.iter().map(|e| e.name()).collect();
            Error::input(format!("no estimator is called {s:?}; there are {}", names.join(", ")))
        })
    }
}

/// How the direct estimate's start-of-text terms are repaired.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NgramCorrection {
    /// How many of the tail's first terms are replaced (1 … 3; fewer where the tail is shorter).
    pub n: u32,
    /// Weight of the n-gram entropy; the rest stays with the model.
    pub weight: f64,
}

impl Default for NgramCorrection {
    /// As published: n = 2, weight 4/5.
    fn default() -> Self {
        NgramCorrection { n: 2, weight: 0.8 }
    }
}

/// One number to be estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// By which estimator.
    pub estimator: Estimator,
    /// r = L/ℓ.
    pub ratio: u32,
    /// ℓ.
    pub split: u32,
}

/// Every group's contribution to every cell; an estimate is a mean over groups.
#[derive(Clone, Debug)]
pub struct Contributions {
    /// The columns: by estimator, then ratio, then split.
    pub cells: Vec<Cell>,
    /// `[groups, cells]`, row-major, in nats; all finite.
    pub values: Vec<f64>,
    /// Number of groups.
    pub groups: usize,
    /// For each cell the standard error of a term that all groups share (the n-gram entropy's, times its weight), else 0.
    pub shared_error: Vec<f64>,
    /// Estimators asked for that these sums do not give, and why.
    pub refused: Vec<(Estimator, String)>,
}

impl Contributions {
    /// Computes the contributions of the estimators asked for.
    ///
    /// # Errors
    /// Sums whose shapes contradict each other, or that are not finite where they should be.
    pub fn new(sums: &Sums, estimators: &[Estimator], correction: NgramCorrection, ngram: Option<&NgramEntropies>) -> Result<Self> {
        check(sums)?;
        let mut refused = Vec::new();
        let mut cells = Vec::new();
        let mut shared_error = Vec::new();
        for estimator in Estimator::ALL.into_iter().filter(|e| estimators.contains(e)) {
            if let Some(why) = refusal(sums, estimator, correction, ngram) {
                refused.push((estimator, why));
                continue;
            }
            for &ratio in sums.ratios.iter().filter(|&&r| estimator != Estimator::Profile || r == 2) {
                for &split in sums.splits.iter().filter(|&&l| sums.fits(l, ratio)) {
                    cells.push(Cell { estimator, ratio, split });
                    shared_error.push(match (estimator, ngram) {
                        (Estimator::DirectNgram, Some(h)) => {
                            let n = block(correction, split, ratio);
                            correction.weight * h.get(n).and_then(|e| e.se).unwrap_or(0.0)
                        }
                        _ => 0.0,
                    });
                }
            }
        }
        let mut values = Vec::with_capacity(sums.groups.len() * cells.len());
        for (g, group) in sums.groups.iter().enumerate() {
            let view = GroupView::new(sums, group);
            for cell in &cells {
                let v = view.value(*cell, correction, ngram);
                if !v.is_finite() {
                    return Err(Error::input(format!(
                        "the recorded sums of group {g} are not finite for {} at a split of {} and ratio {}",
                        cell.estimator, cell.split, cell.ratio
                    )));
                }
                values.push(v);
            }
        }
        Ok(Contributions { cells, values, groups: sums.groups.len(), shared_error, refused })
    }

    /// What each tail of one group says at one cell, in member order (published pairs have one tail); their mean is the group's
    /// contribution. Empty where (ℓ, r) does not fit into a chunk.
    pub fn tails(sums: &Sums, group: usize, cell: Cell, correction: NgramCorrection, ngram: Option<&NgramEntropies>) -> Vec<f64> {
        GroupView::new(sums, &sums.groups[group]).tails(cell, correction, ngram)
    }

    /// One group's row.
    pub fn row(&self, group: usize) -> &[f64] {
        &self.values[group * self.cells.len()..(group + 1) * self.cells.len()]
    }

    /// Means over groups, added in group order.
    pub fn means(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.cells.len()];
        for g in 0..self.groups {
            for (m, v) in mean.iter_mut().zip(self.row(g)) {
                *m += v;
            }
        }
        mean.iter_mut().for_each(|m| *m /= self.groups as f64);
        mean
    }
}

/// Why an estimator cannot be had, if so.
fn refusal(sums: &Sums, estimator: Estimator, correction: NgramCorrection, ngram: Option<&NgramEntropies>) -> Option<String> {
    let published = sums.pairing == Pairing::Published;
    match estimator {
        Estimator::L1out | Estimator::Infonce if published => Some("both of its terms need the same tail: not with published pairing".into()),
        Estimator::Profile if published => Some("it needs chunks that are a fair sample of positions: not with published pairing".into()),
        Estimator::Profile if !sums.ratios.contains(&2) => Some("it is defined for the ratio 2 alone".into()),
        Estimator::Direct | Estimator::DirectNgram if !has_marginal(sums) => Some("no tails on their own were scored".into()),
        e if e.needs_cross() && !has_cross(sums) => Some("no foreign tails were scored".into()),
        Estimator::DirectNgram if sums.groups.iter().flat_map(|g| &g.members).any(|m| !m.cuts.is_empty()) => {
            Some("its n-grams are of tokens, and lengths here are bytes".into())
        }
        Estimator::DirectNgram => match ngram {
            None => Some("n-gram entropies are missing".into()),
            Some(h) => (1..=correction.n).find(|&n| h.get(n).is_none()).map(|n| format!("the entropy of {n}-grams is missing")),
        },
        _ => None,
    }
}

fn has_marginal(sums: &Sums) -> bool {
    sums.groups.iter().all(|g| g.members.iter().skip(usize::from(sums.pairing == Pairing::Published)).all(|m| !m.marginal.is_empty()))
}

fn has_cross(sums: &Sums) -> bool {
    sums.groups.iter().all(|g| g.members.iter().skip(usize::from(sums.pairing == Pairing::Published)).all(|m| !m.cross.is_empty()))
}

/// Tokens of the n-gram block that fits into the tail of (ℓ, r).
fn block(correction: NgramCorrection, split: u32, ratio: u32) -> u32 {
    (correction.n as u64).min(split as u64 * (ratio as u64 - 1)) as u32
}

/// A group with the running sums of its trunks.
struct GroupView<'a> {
    sums: &'a Sums,
    marks: Vec<u32>,
    members: &'a [Member],
    /// `[member][t]`: Σ of the trunk's first t log-probabilities.
    running: Vec<Vec<f64>>,
}

impl<'a> GroupView<'a> {
    fn new(sums: &'a Sums, group: &'a Group) -> Self {
        let running = group
            .members
            .iter()
            .map(|m| {
                let mut sum = 0.0;
                std::iter::once(0.0)
                    .chain(m.trunk.iter().map(|&x| {
                        sum += x as f64;
                        sum
                    }))
                    .collect()
            })
            .collect();
        GroupView { sums, marks: sums.marks(), members: &group.members, running }
    }

    /// Σ of member `i`'s trunk from place `from` to place `to`, each 0 or one of the marks.
    fn trunk(&self, i: usize, from: usize, to: usize) -> f64 {
        let cuts = &self.members[i].cuts;
        let tokens = |place: usize| match self.marks.binary_search(&(place as u32)) {
            Ok(mark) if !cuts.is_empty() => cuts[mark] as usize,
            _ => place,
        };
        self.running[i][tokens(to)] - self.running[i][tokens(from)]
    }

    fn tails(&self, cell: Cell, correction: NgramCorrection, ngram: Option<&NgramEntropies>) -> Vec<f64> {
        let (l, end) = (cell.split as usize, cell.split as usize * cell.ratio as usize);
        if end > self.sums.length as usize {
            return Vec::new();
        }
        match self.sums.pairing {
            // The joint term of the first piece stands against the other terms of the second.
            Pairing::Published => vec![self.tail(1, self.trunk(0, l, end), cell, correction, ngram)],
            Pairing::Matched => (0..self.members.len()).map(|j| self.tail(j, self.trunk(j, l, end), cell, correction, ngram)).collect(),
        }
    }

    fn value(&self, cell: Cell, correction: NgramCorrection, ngram: Option<&NgramEntropies>) -> f64 {
        let tails = self.tails(cell, correction, ngram);
        tails.iter().sum::<f64>() / tails.len() as f64
    }

    /// The contribution of the tail of member `j`, given the joint term that it is held against.
    fn tail(&self, j: usize, joint: f64, cell: Cell, correction: NgramCorrection, ngram: Option<&NgramEntropies>) -> f64 {
        let member = &self.members[j];
        let (Ok(s), Ok(r)) = (self.sums.splits.binary_search(&cell.split), self.sums.ratios.binary_search(&cell.ratio)) else { return f64::NAN };
        let cross = || member.cross.iter().map(move |head| head[s][r]);
        match cell.estimator {
            Estimator::Direct => joint - member.marginal[s].by_ratio[r],
            Estimator::DirectNgram => {
                let n = block(correction, cell.split, cell.ratio);
                let h = ngram.and_then(|h| h.get(n)).map_or(f64::NAN, |e| e.grassberger);
                let marginal = &member.marginal[s];
                joint - (marginal.by_ratio[r] + correction.weight * (-h - marginal.first[n as usize - 1]))
            }
            Estimator::Vclub => joint - cross().sum::<f64>() / member.cross.len() as f64,
            Estimator::L1out => joint - (log_sum_exp(cross()) - libm::log(member.cross.len() as f64)),
            Estimator::Infonce => joint - (log_sum_exp(cross().chain(std::iter::once(joint))) - libm::log(member.cross.len() as f64 + 1.0)),
            Estimator::Profile => {
                let l = cell.split as usize;
                self.trunk(j, l, 2 * l) - self.trunk(j, 0, l)
            }
        }
    }
}

/// Shapes as [`Sums`] promises them.
fn check(sums: &Sums) -> Result<()> {
    let broken = |what: String| Err(Error::input(format!("the recorded sums contradict themselves: {what}")));
    let ascending = |x: &[u32]| x.windows(2).all(|w| w[0] < w[1]);
    if !ascending(&sums.splits) || !ascending(&sums.ratios) || sums.splits.first() == Some(&0) || sums.ratios.first().is_some_and(|&r| r < 2) {
        return broken("splits and ratios must ascend, from 1 and 2".into());
    }
    let members = sums.groups.first().map_or(0, |g| g.members.len());
    let marks = sums.marks().len();
    if sums.pairing == Pairing::Published && members != 2 && !sums.groups.is_empty() {
        return broken(format!("published pairs have two pieces, not {members}"));
    }
    for (g, group) in sums.groups.iter().enumerate() {
        if group.members.len() != members || members == 0 {
            return broken(format!("group {g} has {} chunks, the first has {members}", group.members.len()));
        }
        for (i, m) in group.members.iter().enumerate() {
            let head_only = sums.pairing == Pairing::Published && i == 0;
            let tail_only = sums.pairing == Pairing::Published && i == 1 && m.trunk.is_empty();
            if !m.cuts.is_empty() && (m.cuts.len() != marks || !m.cuts.is_sorted()) {
                return broken(format!("chunk {i} of group {g} is cut at other places than the splits"));
            }
            let tokens = m.cuts.last().copied().unwrap_or(sums.length);
            if m.trunk.len() != tokens as usize && !tail_only {
                return broken(format!("chunk {i} of group {g} has {} trunk values, not {tokens}", m.trunk.len()));
            }
            if head_only {
                continue;
            }
            let marginal_fits = m.marginal.is_empty() || m.marginal.len() == sums.splits.len();
            if !marginal_fits || m.marginal.iter().any(|x| x.by_ratio.len() != sums.ratios.len()) {
                return broken(format!("chunk {i} of group {g} lacks marginal sums"));
            }
            let heads_fit = m.cross.is_empty() || m.cross.len() == members - 1;
            if !heads_fit || m.cross.iter().any(|h| h.len() != sums.splits.len() || h.iter().any(|x| x.len() != sums.ratios.len())) {
                return broken(format!("chunk {i} of group {g} lacks cross sums"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::{Marginal, NgramEntropy};

    const NAN: f64 = f64::NAN;

    /// Two chunks of 4 tokens, splits 1 and 2, ratios 2 and 3: every number chosen by hand.
    fn pair() -> Sums {
        let member = |document, trunk: [f32; 4], marginal: [[f64; 2]; 2], cross: [[f64; 2]; 2]| Member {
            document,
            trunk: trunk.to_vec(),
            cuts: Vec::new(),
            marginal: marginal.iter().map(|m| Marginal { by_ratio: m.to_vec(), first: [m[0], m[0] - 1.0, NAN, NAN, NAN, NAN, NAN, NAN] }).collect(),
            cross: vec![cross.iter().map(|c| c.to_vec()).collect()],
        };
        let members = vec![
            member(0, [-1.0, -2.0, -3.0, -4.0], [[-5.0, -9.0], [-12.0, NAN]], [[-6.0, -10.0], [-14.0, NAN]]),
            member(1, [-2.0, -1.0, -1.0, -0.5], [[-2.0, -4.0], [-3.0, NAN]], [[-3.0, -5.0], [-2.0, NAN]]),
        ];
        Sums { pairing: Pairing::Matched, length: 4, splits: vec![1, 2], ratios: vec![2, 3], groups: vec![Group { members }] }
    }

    fn entropies() -> NgramEntropies {
        let e = |n, grassberger| NgramEntropy { n, grassberger, plug_in: 0.0, se: Some(0.5), blocks: 1, distinct: 1 };
        NgramEntropies(vec![e(1, 3.0), e(2, 5.0)])
    }

    #[test]
    fn every_formula_by_hand() {
        let c = Contributions::new(&pair(), &Estimator::ALL, NgramCorrection::default(), Some(&entropies())).unwrap();
        let at = |e, r, l| c.values[c.cells.iter().position(|c| *c == Cell { estimator: e, ratio: r, split: l }).unwrap()];
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(at(Estimator::Direct, 2, 1), ((-2.0 + 5.0) + (-1.0 + 2.0)) / 2.0);
        near(at(Estimator::Direct, 3, 1), ((-5.0 + 9.0) + (-2.0 + 4.0)) / 2.0);
        near(at(Estimator::Direct, 2, 2), ((-7.0 + 12.0) + (-1.5 + 3.0)) / 2.0);
        near(at(Estimator::Vclub, 2, 2), ((-7.0 + 14.0) + (-1.5 + 2.0)) / 2.0);
        assert_eq!(at(Estimator::L1out, 2, 2), at(Estimator::Vclub, 2, 2));
        let ln2 = std::f64::consts::LN_2;
        near(at(Estimator::Infonce, 2, 2), ((ln2 - (1.0 + (-7.0f64).exp()).ln()) + (ln2 - (1.0 + (-0.5f64).exp()).ln())) / 2.0);
        near(at(Estimator::Profile, 2, 2), ((-7.0 + 3.0) + (-1.5 + 3.0)) / 2.0);
        // ℓ = 1, r = 2 has a tail of one token: H_1 stands for H_2. first[0] is −5 and −2.
        near(at(Estimator::DirectNgram, 2, 1), ((-2.0 - (0.8 * -3.0 + 0.2 * -5.0)) + (-1.0 - (0.8 * -3.0 + 0.2 * -2.0))) / 2.0);
        // ℓ = 2: the first two marginal terms are −13 of −12 (by hand, not by law), −4 of −3.
        near(at(Estimator::DirectNgram, 2, 2), ((-7.0 - (-12.0 + 13.0 - 0.8 * 5.0 - 0.2 * 13.0)) + (-1.5 - (-3.0 + 4.0 - 0.8 * 5.0 - 0.2 * 4.0))) / 2.0);
        assert!(c.cells.iter().zip(&c.shared_error).all(|(c, &s)| s == if c.estimator == Estimator::DirectNgram { 0.4 } else { 0.0 }));
        // Ratio 3 does not fit at ℓ = 2.
        assert!(!c.cells.iter().any(|c| (c.split, c.ratio) == (2, 3)));
    }

    #[test]
    fn published_pairs_cross_their_texts() {
        let sums = pair().as_published().unwrap();
        let c = Contributions::new(&sums, &Estimator::ALL, NgramCorrection::default(), None).unwrap();
        let cells: Vec<_> = c.cells.iter().map(|c| (c.estimator, c.ratio, c.split)).collect();
        let (d, v) = (Estimator::Direct, Estimator::Vclub);
        assert_eq!(cells, [(d, 2, 1), (d, 2, 2), (d, 3, 1), (v, 2, 1), (v, 2, 2), (v, 3, 1)]);
        assert_eq!(c.values, [-2.0 + 2.0, -7.0 + 3.0, -5.0 + 4.0, -2.0 + 3.0, -7.0 + 2.0, -5.0 + 5.0]);
        let refused: Vec<_> = c.refused.iter().map(|r| r.0).collect();
        assert_eq!(refused, [Estimator::DirectNgram, Estimator::L1out, Estimator::Infonce, Estimator::Profile]);
    }

    #[test]
    fn broken_sums_are_errors() {
        let says = |change: &dyn Fn(&mut Sums), what: &str| {
            let mut s = pair();
            change(&mut s);
            let e = Contributions::new(&s, &Estimator::ALL, NgramCorrection::default(), None).unwrap_err().to_string();
            assert!(e.contains(what), "{e}");
        };
        says(&|s| s.groups[0].members[1].marginal[0].by_ratio[0] = NAN, "not finite");
        says(&|s| s.groups[0].members[0].trunk.truncate(3), "trunk");
        says(&|s| s.groups[0].members[0].marginal.truncate(1), "marginal");
        says(&|s| s.groups[0].members[0].cross[0].truncate(1), "cross");
        says(&|s| s.splits = vec![2, 1], "ascend");
    }
}
