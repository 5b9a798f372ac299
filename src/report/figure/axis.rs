//! Logarithmic axes: range, ticks and their labels.

/// A logarithmic axis from `lo` to `hi` (both positive).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogAxis {
    pub lo: f64,
    pub hi: f64,
}

/// A tick; without a label it is a minor one.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    pub at: f64,
    pub label: Option<String>,
}

impl LogAxis {
    /// Covers all values, with room at both ends: `room` as a share of the axis' length.
    pub fn covering(values: impl Iterator<Item = f64>, room: f64) -> Option<Self> {
        let (lo, hi) = values.filter(|v| v.is_finite() && *v > 0.0).fold((f64::INFINITY, 0.0f64), |(a, b), v| (a.min(v), b.max(v)));
        if hi == 0.0 {
            return None;
        }
        // A single value gets a factor of two around it.
        let stretch = ((hi / lo).ln() * room).max(if hi > lo { 0.05 } else { 2f64.ln() }).exp();
        Some(LogAxis { lo: lo / stretch, hi: hi * stretch })
    }

    /// Where a value lies: 0 at `lo`, 1 at `hi`.
    pub fn position(&self, value: f64) -> f64 {
        (value / self.lo).ln() / (self.hi / self.lo).ln()
    }

    fn holds(&self, value: f64) -> bool {
        (self.lo..=self.hi).contains(&value)
    }

    /// Powers of ten with labels and their multiples without; where fewer than two powers of ten are in sight, 2 and 5 have labels too,
    /// and where fewer than two of those, all multiples.
    pub fn decades(&self) -> Vec<Tick> {
        let exponents = self.lo.log10().floor() as i32..=self.hi.log10().ceil() as i32;
        let all: Vec<(i32, u32)> = exponents.flat_map(|e| (1..10).map(move |m| (e, m))).filter(|&(e, m)| self.holds(value(e, m))).collect();
        let labelled = [&[1][..], &[1, 2, 5], &[1, 2, 3, 4, 5, 6, 7, 8, 9]].into_iter();
        let enough = |set: &&[u32]| all.iter().filter(|(_, m)| set.contains(m)).count() >= if set.len() == 1 { 3 } else { 2 };
        let set = labelled.clone().find(enough).unwrap_or(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        all.iter().map(|&(e, m)| Tick { at: value(e, m), label: set.contains(&m).then(|| label(e, m)) }).collect()
    }

    /// Powers of two, every one labelled or as many as `most` allows.
    pub fn powers_of_two(&self, most: usize) -> Vec<Tick> {
        let exponents: Vec<i32> = (self.lo.log2().ceil() as i32..=self.hi.log2().floor() as i32).collect();
        let step = exponents.len().div_ceil(most).max(1);
        let tick = |(i, e): (usize, &i32)| Tick { at: 2f64.powi(*e), label: (i % step == 0).then(|| plain(2f64.powi(*e))) };
        exponents.iter().enumerate().map(tick).collect()
    }
}

fn value(exponent: i32, multiple: u32) -> f64 {
    multiple as f64 * 10f64.powi(exponent)
}

fn label(exponent: i32, multiple: u32) -> String {
    if (-4..=4).contains(&exponent) {
        return if exponent < 0 { format!("{:.*}", -exponent as usize, value(exponent, multiple)) } else { plain(value(exponent, multiple)) };
    }
    let power: String = exponent.to_string().chars().map(superscript).collect();
    if multiple == 1 { format!("10{power}") } else { format!("{multiple}·10{power}") }
}

fn plain(value: f64) -> String {
    if value >= 1.0 { format!("{value:.0}") } else { value.to_string() }
}

fn superscript(c: char) -> char {
    match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '0' => '⁰',
        c => char::from_u32('⁰' as u32 + c.to_digit(10).unwrap_or(0)).unwrap_or(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().filter_map(|t| t.label.as_deref()).collect()
    }

    #[test]
    fn ticks_have_enough_labels() {
        let ticks = LogAxis { lo: 0.05, hi: 300.0 }.decades();
        assert_eq!(labels(&ticks), ["0.1", "1", "10", "100"]);
        assert_eq!(ticks.len(), 5 + 9 * 3 + 3);
        assert_eq!(labels(&LogAxis { lo: 1.5, hi: 14.0 }.decades()), ["2", "5", "10"]);
        assert_eq!(labels(&LogAxis { lo: 0.31, hi: 0.46 }.decades()), ["0.4"]);
        assert_eq!(labels(&LogAxis { lo: 3e-7, hi: 3e-4 }.decades()), ["10⁻⁶", "10⁻⁵", "0.0001"]);
        assert_eq!(labels(&LogAxis { lo: 1.9, hi: 70.0 }.powers_of_two(20)), ["2", "4", "8", "16", "32", "64"]);
        assert_eq!(labels(&LogAxis { lo: 1.9, hi: 70.0 }.powers_of_two(3)), ["2", "8", "32"]);
    }

    #[test]
    fn ranges_cover_what_has_a_logarithm() {
        let a = LogAxis::covering([-1.0, 0.0, f64::NAN, 2.0, 8.0].into_iter(), 0.1).unwrap();
        assert!(a.lo < 2.0 && a.hi > 8.0 && a.position(4.0) == 0.5);
        assert_eq!(LogAxis::covering([-1.0].into_iter(), 0.1), None);
        let one = LogAxis::covering([3.0].into_iter(), 0.1).unwrap();
        assert!(one.lo < 2.0 && one.hi > 5.0);
    }
}
