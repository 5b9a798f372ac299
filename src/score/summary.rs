//! What a scored corpus comes to.

use crate::estimate::special::student_quantile;

/// Totals and means over documents.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Documents, or rows of prompt and completions, those without a scored token included.
    pub documents: u64,
    /// Scored tokens.
    pub tokens: u64,
    /// Bytes of text that the scored tokens stand for; `None` where a document came as tokens.
    pub bytes: Option<u64>,
    /// Σ ln q over all scored tokens, in nats.
    pub sum: f64,
    /// −sum / tokens; `None` where no token was scored, as are the following.
    pub nats_per_token: Option<f64>,
    /// Standard error of `nats_per_token` (see [`Tally`]); `None` with fewer than two scored documents.
    pub nats_per_token_error: Option<f64>,
    /// −sum / (bytes · ln 2).
    pub bits_per_byte: Option<f64>,
    /// Standard error of `bits_per_byte`.
    pub bits_per_byte_error: Option<f64>,
    /// exp(nats per token).
    pub perplexity: Option<f64>,
    /// 95 % interval of `perplexity`: exp(nats per token ± t · standard error), t the 0.975 quantile of Student's law with one degree of freedom fewer than scored
    /// documents. By the delta method ln is taken first, so that the interval lies above 0.
    pub perplexity_interval: Option<[f64; 2]>,
    /// The windows by which texts were scored; `None` where each was scored whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<Windowed>,
    /// Of prompts and completions; `None` for documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completions: Option<Completions>,
}

/// What is said of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Windowed {
    /// Tokens of a window, the start token counted.
    pub size: usize,
    /// Tokens from one window's beginning to the next's.
    pub stride: usize,
    /// Documents that took more than one.
    pub documents: u64,
}

/// What is said of prompts and completions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Completions {
    /// How many completions.
    pub completions: u64,
    /// How many of them greedy decoding would give.
    pub greedy: u64,
    /// Tokens of all prompts, start tokens counted, each prompt once.
    pub prompt_tokens: u64,
    /// How many of them were computed: the others lie in beginnings that prompts share.
    pub prompt_tokens_fed: u64,
}

/// Adds up documents.
///
/// *Standard error.* Documents are the independent units; a document d brings S_d = −Σ ln q over n_d tokens, and nats per token are the ratio
/// R = Σ S_d / Σ n_d. To first order R − E R = Σ (S_d − R n_d) / Σ n_d, a mean of independent terms, so that with D documents
///
/// SE(R)² = D/(D−1) · Σ_d (S_d − R n_d)² / (Σ_d n_d)²
///
/// (the ratio estimator of Cochran, Sampling Techniques, 3rd ed. 1977, 6.4, with documents as clusters). Tokens of a document are correlated, and this needs
/// no independence among them. With equally long documents it is the standard error of the mean of the documents' means. Bits per byte
/// have bytes in the place of tokens. The sums are kept about the first document's ratio, so that the small residuals are not lost in large squares.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    documents: u64,
    scored: u64,
    sum: f64,
    per_token: Ratio,
    per_byte: Ratio,
    without_bytes: bool,
}

impl Tally {
    /// Takes a document: Σ ln q over `tokens` scored tokens, which stand for `bytes` bytes of its text.
    pub fn add(&mut self, sum: f64, tokens: u64, bytes: Option<u64>) {
        self.documents += 1;
        self.without_bytes |= bytes.is_none();
        if tokens > 0 {
            self.scored += 1;
            self.sum += sum;
            self.per_token.add(-sum, tokens as f64);
            self.per_byte.add(-sum, bytes.unwrap_or(0) as f64);
        }
    }

    /// Everything that was taken so far.
    pub fn summary(&self) -> Summary {
        let nats_per_token = self.per_token.value();
        let bytes = (!self.without_bytes).then_some(&self.per_byte);
        let bits = |nats: f64| nats / std::f64::consts::LN_2;
        let error = self.per_token.error(self.scored);
        let interval = |nats: f64, error: f64| {
            let t = student_quantile(0.975, self.scored as f64 - 1.0);
            [libm::exp(nats - t * error), libm::exp(nats + t * error)]
        };
        Summary {
            documents: self.documents,
            tokens: self.per_token.sizes as u64,
            bytes: bytes.map(|b| b.sizes as u64),
            sum: self.sum,
            nats_per_token,
            nats_per_token_error: error,
            bits_per_byte: bytes.and_then(Ratio::value).map(bits),
            bits_per_byte_error: bytes.and_then(|b| b.error(self.scored)).map(bits),
            perplexity: nats_per_token.map(libm::exp),
            perplexity_interval: nats_per_token.zip(error).map(|(n, e)| interval(n, e)),
            windows: None,
            completions: None,
        }
    }
}

/// R = Σ S / Σ n with the moments of the residuals e = S − r n about a fixed r.
#[derive(Clone, Debug, Default)]
struct Ratio {
    about: Option<f64>,
    values: f64,
    sizes: f64,
    ee: f64,
    en: f64,
    nn: f64,
}

impl Ratio {
    fn add(&mut self, value: f64, size: f64) {
        let about = *self.about.get_or_insert(if size > 0.0 { value / size } else { 0.0 });
        let e = value - about * size;
        self.values += value;
        self.sizes += size;
        self.ee += e * e;
        self.en += e * size;
        self.nn += size * size;
    }

    fn value(&self) -> Option<f64> {
        (self.sizes > 0.0).then(|| self.values / self.sizes)
    }

    fn error(&self, documents: u64) -> Option<f64> {
        let (r, about) = (self.value()?, self.about?);
        if documents < 2 {
            return None;
        }
        // S − R n = e − δ n with δ = R − r.
        let delta = r - about;
        let squares = (self.ee - 2.0 * delta * self.en + delta * delta * self.nn).max(0.0);
        let d = documents as f64;
        Some((d / (d - 1.0) * squares).sqrt() / self.sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn direct(documents: &[(f64, f64)]) -> (f64, f64) {
        let (s, n) = documents.iter().fold((0.0, 0.0), |a, d| (a.0 + d.0, a.1 + d.1));
        let r = s / n;
        let squares: f64 = documents.iter().map(|d| (d.0 - r * d.1).powi(2)).sum();
        let d = documents.len() as f64;
        (r, (d / (d - 1.0) * squares).sqrt() / n)
    }

    #[test]
    fn it_is_the_formula() {
        let mut rng = Rng::new(5, 0);
        let documents: Vec<(f64, u64, u64)> = (0..200)
            .map(|_| {
                let n = 1 + rng.below(100_000);
                (n as f64 * (3.0 + 0.01 * rng.normal()), n, 4 * n + rng.below(n))
            })
            .collect();
        let mut t = Tally::default();
        documents.iter().for_each(|d| t.add(-d.0, d.1, Some(d.2)));
        let s = t.summary();
        let (r, se) = direct(&documents.iter().map(|d| (d.0, d.1 as f64)).collect::<Vec<_>>());
        approx::assert_relative_eq!(s.nats_per_token.unwrap(), r, max_relative = 1e-12);
        approx::assert_relative_eq!(s.nats_per_token_error.unwrap(), se, max_relative = 1e-9);
        let (r, se) = direct(&documents.iter().map(|d| (d.0 / std::f64::consts::LN_2, d.2 as f64)).collect::<Vec<_>>());
        approx::assert_relative_eq!(s.bits_per_byte.unwrap(), r, max_relative = 1e-12);
        approx::assert_relative_eq!(s.bits_per_byte_error.unwrap(), se, max_relative = 1e-9);
        approx::assert_relative_eq!(s.perplexity.unwrap(), s.nats_per_token.unwrap().exp(), max_relative = 1e-14);
        // t(0.975, 199) = 1.97196 (tables of Student's law).
        let [low, high] = s.perplexity_interval.unwrap();
        approx::assert_relative_eq!((high / low).ln() / 2.0, 1.97196 * s.nats_per_token_error.unwrap(), max_relative = 1e-5);
        approx::assert_relative_eq!((high * low).sqrt(), s.perplexity.unwrap(), max_relative = 1e-12);
    }

    #[test]
    fn equal_lengths_give_the_error_of_a_mean() {
        let means = [2.0, 3.0, 5.0, 3.5];
        let mut t = Tally::default();
        means.iter().for_each(|m| t.add(-m * 10.0, 10, None));
        let mean = means.iter().sum::<f64>() / 4.0;
        let variance = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / 3.0;
        approx::assert_relative_eq!(t.summary().nats_per_token_error.unwrap(), (variance / 4.0).sqrt(), max_relative = 1e-12);
    }

    #[test]
    fn it_covers_the_truth() {
        // Documents of unequal length, each with an offset of its own shared by all its tokens. 2,000 corpora of 40; |R − 3| < 2 SE should hold in about
        // 95 % (Student with about 39 degrees of freedom: 94.8 %); the skewed lengths cost a little. The bounds are 92 % and 97.5 %.
        let mut rng = Rng::new(11, 0);
        let mut held = 0;
        for _ in 0..2000 {
            let mut t = Tally::default();
            for _ in 0..40 {
                let n = 50 + rng.below(100);
                t.add(-(n as f64) * (3.0 + 0.2 * rng.normal()), n, None);
            }
            let s = t.summary();
            held += u32::from((s.nats_per_token.unwrap() - 3.0).abs() < 2.0 * s.nats_per_token_error.unwrap());
        }
        assert!((1840..=1950).contains(&held), "{held}");
    }

    #[test]
    fn what_cannot_be_said_is_none() {
        let mut t = Tally::default();
        let s = t.summary();
        assert_eq!((s.documents, s.tokens, s.bytes, s.nats_per_token, s.perplexity), (0, 0, Some(0), None, None));
        t.add(-7.0, 2, Some(8));
        t.add(0.0, 0, Some(0));
        let s = t.summary();
        assert_eq!((s.documents, s.tokens, s.bytes, s.nats_per_token, s.nats_per_token_error), (2, 2, Some(8), Some(3.5), None));
        t.add(-7.0, 2, None);
        let s = t.summary();
        assert_eq!((s.bytes, s.bits_per_byte, s.nats_per_token_error), (None, None, Some(0.0)));
    }
}
