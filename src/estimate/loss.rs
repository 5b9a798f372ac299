//! How well a model predicts the texts: the mean loss of their tokens.

use super::data::Sums;
use super::errors::standard_error;
use serde::{Deserialize, Serialize};

/// Mean of −ln q over the tokens of all trunks, in nats a token; every group counts alike.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeanLoss {
    /// Nats a token.
    pub nats_per_token: f64,
    /// Its standard error, clustered by document as those of estimates are; `None` where it cannot be had.
    pub se: Option<f64>,
}

impl MeanLoss {
    /// Of sums with at least one group.
    pub fn of(sums: &Sums) -> Self {
        let of_group = |trunks: &mut dyn Iterator<Item = &[f32]>| {
            let (nats, tokens) = trunks.flatten().fold((0.0, 0u64), |(nats, n), &ln_q| (nats - ln_q as f64, n + 1));
            nats / tokens as f64
        };
        let values: Vec<f64> = sums.groups.iter().map(|g| of_group(&mut g.members.iter().map(|m| &m.trunk[..]))).collect();
        MeanLoss { nats_per_token: values.iter().sum::<f64>() / values.len() as f64, se: standard_error(&sums.documents(), &values) }
    }

    /// In bits a byte of text, with the standard error, for so many bytes a token.
    pub fn bits_per_byte(self, bytes_per_token: f64) -> (f64, Option<f64>) {
        let by = std::f64::consts::LN_2 * bytes_per_token;
        (self.nats_per_token / by, self.se.map(|se| se / by))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Group, Member, Pairing};
    use super::*;

    #[test]
    fn groups_count_alike() {
        let member = |document, trunk: &[f32]| Member { document, trunk: trunk.to_vec(), cuts: Vec::new(), marginal: Vec::new(), cross: Vec::new() };
        let group = |members: Vec<Member>| Group { members };
        let groups = vec![group(vec![member(0, &[-1.0, -2.0]), member(1, &[])]), group(vec![member(2, &[-3.0]), member(3, &[-1.0, -2.0, -4.0])])];
        let sums = Sums { pairing: Pairing::Matched, length: 2, splits: vec![1], ratios: vec![2], groups };
        let loss = MeanLoss::of(&sums);
        // Groups of 1.5 and 2.5 nats: their mean, and s/√2 with s² = ½.
        assert_eq!((loss.nats_per_token, loss.se), (2.0, Some(0.5)));
        assert_eq!(loss.bits_per_byte(2.0 / std::f64::consts::LN_2), (1.0, Some(0.25)));
    }
}
