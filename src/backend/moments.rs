//! How sums over a sample of rows lie: on the host packed, on devices square.
//!
//! Packed: Σ x (width numbers), then the upper triangle of Σ x xᵀ, row after row. Square: Σ x, then Σ x xᵀ `[width, width]`, whose lower triangle is zero.

use crate::error::{Error, Result};
use std::ops::Range;

/// Float64 numbers of packed sums over rows of `width`.
pub fn moments_len(width: usize) -> usize {
    width + width * (width + 1) / 2
}

/// Where the part of row `j` of Σ x xᵀ from its diagonal on lies in packed sums.
pub fn packed_row(width: usize, j: usize) -> Range<usize> {
    let first = width + j * width - j * j.saturating_sub(1) / 2;
    first..first + width - j
}

/// So many zeros.
///
/// # Errors
/// [`Error::Memory`].
pub(super) fn float64s(n: usize) -> Result<Vec<f64>> {
    let mut out = Vec::new();
    out.try_reserve_exact(n).map_err(|_| Error::memory(format!("there is no memory left for {n} sums over hidden states")))?;
    out.resize(n, 0.0);
    Ok(out)
}

/// Square sums as packed ones.
pub(super) fn packed(width: usize, square: &[f64]) -> Result<Vec<f64>> {
    let mut out = float64s(moments_len(width))?;
    out[..width].copy_from_slice(&square[..width]);
    for j in 0..width {
        out[packed_row(width, j)].copy_from_slice(&square[width + j * width + j..width + (j + 1) * width]);
    }
    Ok(out)
}

/// Packed sums as square ones.
pub(super) fn unpacked(width: usize, values: &[f64]) -> Result<Vec<f64>> {
    let mut out = float64s(width * (width + 1))?;
    out[..width].copy_from_slice(&values[..width]);
    for j in 0..width {
        out[width + j * width + j..width + (j + 1) * width].copy_from_slice(&values[packed_row(width, j)]);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_and_back() {
        let square = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 7.0, 8.0, 0.0, 0.0, 9.0];
        let flat = packed(3, &square).unwrap();
        assert_eq!(flat, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        assert_eq!(unpacked(3, &flat).unwrap(), square);
        assert_eq!((packed_row(3, 0), packed_row(3, 2), moments_len(3), moments_len(0)), (3..6, 8..9, 9, 0));
    }
}
