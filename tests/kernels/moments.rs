//! Sums over samples of hidden states. A product of two float32 is exact in float64 and rows come one after another, so nothing is allowed to differ by a bit.

use super::*;
use hilberg::backend::moments_len;

struct Moments {
    rows: usize,
    width: usize,
    /// Rows of the first of two blocks.
    cut: usize,
    /// Whether sums go on from others.
    begun: bool,
}

impl Case for Moments {
    fn name(&self) -> String {
        format!("moments {} × {}, cut at {}, begun {}", self.rows, self.width, self.cut, self.begun)
    }

    fn run<B: Backend>(&self, b: &B) -> Vec<f64> {
        let x = uniform(1, self.rows * self.width, 3.0);
        let begun: Vec<f64> = uniform(2, moments_len(self.width), 100.0).into_iter().map(|v| v as f64 / 3.0).collect();
        let mut moments = b.moments(self.width, if self.begun { &begun } else { &[] }).unwrap();
        for of in [&x[..self.cut * self.width], &x[self.cut * self.width..]] {
            if !of.is_empty() {
                // Rows beyond those that count.
                let more = [of, &vec![f32::MAX; self.width]].concat();
                b.accumulate(&b.upload(&more, self.width).unwrap(), of.len() / self.width, &mut moments).unwrap();
            }
        }
        b.moments_taken(&moments).unwrap()
    }

    fn budget(&self, truth: &[f64]) -> Vec<f64> {
        vec![0.0; truth.len()]
    }
}

#[test]
fn sums_have_the_bits_of_the_reference_however_rows_are_cut() {
    for (rows, width) in [(1, 1), (5, 7), (33, 8), (17, 65), (40, 64), (3, 130), (300, 9)] {
        let of = |cut, begun| Moments { rows, width, cut, begun };
        let whole = hold(&of(rows, false));
        for cut in [0, 1, rows / 2] {
            let parts = hold(&of(cut, false));
            assert!(whole.iter().zip(&parts).all(|(a, b)| same_bits(a, b)), "{}", of(cut, false).name());
        }
        hold(&of(rows / 3, true));
    }
    // With short operands states are float32 all the same.
    for rounding in [Rounding::Bf16, Rounding::F16] {
        rounding.hold(&Moments { rows: 21, width: 19, cut: 4, begun: true });
    }
}
