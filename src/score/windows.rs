//! Sliding windows: texts past a model's positions.

use crate::error::{Error, Result};
use std::ops::Range;

/// Windows of `size` tokens, each `stride` tokens after the one before.
///
/// As in the guide of transformers ("Perplexity of fixed-length models"): window k holds tokens
/// k·stride … k·stride + size − 1 of the text (the start token, where there is one, is the text's token 0, and goes before no other window), the last window ends with the text, and each scores the tokens that no
/// window before it held. So every token but the first is scored exactly once, given all tokens before it in its window: in the first window all there are,
/// in the others at least size − stride. (The guide's own loop weighs a window's mean by one token too few; here sums are added.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Windows {
    /// Tokens of a window, the start token counted.
    pub size: usize,
    /// Tokens from one window's beginning to the next's.
    pub stride: usize,
}

/// One window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// The tokens that it holds.
    pub tokens: Range<usize>,
    /// Those that it scores.
    pub scored: Range<usize>,
}

impl Windows {
    /// Windows for a model of so many positions.
    ///
    /// # Errors
    /// A stride that is 0 or leaves tokens without a context; a size past the positions.
    pub fn new(size: usize, stride: usize, positions: Option<usize>) -> Result<Self> {
        if stride == 0 || stride >= size {
            return Err(Error::input(format!("windows of {size} tokens cannot slide by {stride}: a stride lies between 1 and the window's tokens less 1")));
        }
        match positions {
            // The last token of a window is not fed.
            Some(most) if size > most + 1 => {
                Err(Error::input(format!("windows of {size} tokens are longer than the model's {most} positions and the token that they predict")))
            }
            _ => Ok(Windows { size, stride }),
        }
    }

    /// The windows of a text of `length` tokens; none where nothing is predicted.
    pub(super) fn of(&self, length: usize) -> Vec<Window> {
        let (mut out, mut begin, mut held) = (Vec::new(), 0, 1);
        while held < length {
            let end = length.min(begin + self.size);
            out.push(Window { tokens: begin..end, scored: held..end });
            held = end;
            begin += self.stride;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    #[test]
    fn they_are_those_of_the_guide() {
        let w = Windows::new(6, 2, Some(5)).unwrap();
        let of = |n| w.of(n).into_iter().map(|w| (w.tokens, w.scored)).collect::<Vec<_>>();
        assert_eq!(of(9), [(0..6, 1..6), (2..8, 6..8), (4..9, 8..9)]);
        assert_eq!(of(8), [(0..6, 1..6), (2..8, 6..8)]);
        assert_eq!(of(6), [(0..6, 1..6)]);
        assert_eq!(of(2), [(0..2, 1..2)]);
        assert_eq!((of(1), of(0)), (vec![], vec![]));
        for (size, stride) in [(6, 0), (6, 6), (6, 7), (1, 1)] {
            assert!(Windows::new(size, stride, None).is_err());
        }
        assert!(Windows::new(7, 2, Some(5)).unwrap_err().to_string().contains("5 positions"));
    }

    proptest! {
        #[test]
        fn every_token_is_scored_once(size in 2usize..40, stride in 1usize..40, length in 0usize..300) {
            let Ok(w) = Windows::new(size, stride.min(size - 1), None) else { return Ok(()) };
            let windows = w.of(length);
            let scored: Vec<usize> = windows.iter().flat_map(|w| w.scored.clone()).collect();
            prop_assert_eq!(scored, (1..length.max(1)).collect::<Vec<_>>());
            for (k, one) in windows.iter().enumerate() {
                prop_assert_eq!(one.tokens.clone(), k * w.stride..length.min(k * w.stride + size));
                let least = if k == 0 { 1 } else { size - w.stride };
                prop_assert!(one.scored.start - one.tokens.start >= least && !one.scored.is_empty());
            }
        }
    }
}
