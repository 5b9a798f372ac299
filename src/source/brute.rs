//! The expectation of every estimator by the definition of each: all groups of K + 1 documents, for tests of what is computed in other ways.

use super::exact::Process;
use crate::estimate::Estimator;
use crate::estimate::special::log_sum_exp;
use crate::forest::TokenId;

/// ln q of a tail after ⊥ and a head.
pub fn score<P: Process>(q: &P, head: &[TokenId], tail: &[TokenId]) -> f64 {
    let mut state = q.begin();
    q.push(&mut state, q.start_token());
    head.iter().for_each(|&t| q.push(&mut state, t));
    tail.iter()
        .map(|&t| {
            let v = q.log_q(&state, t);
            q.push(&mut state, t);
            v
        })
        .sum()
}

/// All texts of `length` tokens below `symbols` that a law of texts makes possible.
pub fn texts(symbols: u32, length: usize, law: impl Fn(&[TokenId]) -> f64) -> Vec<(f64, Vec<TokenId>)> {
    let mut all = vec![Vec::new()];
    for _ in 0..length {
        all = all.into_iter().flat_map(|t: Vec<TokenId>| (0..symbols).map(move |s| [&t[..], &[s]].concat())).collect();
    }
    all.into_iter().map(|t| (law(&t), t)).filter(|(p, _)| *p > 0.0).collect()
}

/// What an estimator expects of these texts (with their probabilities, summing to 1) under q, X the first `split` tokens.
pub fn expected<P: Process>(q: &P, texts: &[(f64, Vec<TokenId>)], split: usize, estimator: Estimator, foreign: usize) -> f64 {
    let mut heads: Vec<(f64, Vec<TokenId>)> = Vec::new();
    for (p, t) in texts {
        match heads.iter_mut().find(|h| h.1 == t[..split]) {
            Some(h) => h.0 += p,
            None => heads.push((*p, t[..split].to_vec())),
        }
    }
    let mut sum = 0.0;
    for (p, t) in texts {
        let joint = score(q, &t[..split], &t[split..]);
        let crosses: Vec<f64> = heads.iter().map(|h| score(q, &h.1, &t[split..])).collect();
        sum += p * match estimator {
            Estimator::Direct => joint - score(q, &[], &t[split..]),
            // r = 2: what the second half loses less than the first on its own.
            Estimator::Profile => joint - score(q, &[], &t[..split]),
            Estimator::DirectNgram => f64::NAN,
            _ => {
                // Every choice of K heads, counted like the digits of a number.
                let mut mean = 0.0;
                for choice in 0..heads.len().pow(foreign as u32) {
                    let of = |i: usize| choice / heads.len().pow(i as u32) % heads.len();
                    let weight: f64 = (0..foreign).map(|i| heads[of(i)].0).product();
                    let cross = (0..foreign).map(|i| crosses[of(i)]);
                    let term = match estimator {
                        Estimator::Vclub => cross.sum::<f64>() / foreign as f64,
                        Estimator::L1out => log_sum_exp(cross) - (foreign as f64).ln(),
                        _ => log_sum_exp(cross.chain([joint])) - (foreign as f64 + 1.0).ln(),
                    };
                    mean += weight * (joint - term);
                }
                mean
            }
        };
    }
    sum
}
