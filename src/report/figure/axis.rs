//! Axes: range, ticks and their labels.

/// How values are laid out along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences.
    Linear,
    /// Equal ratios, with ticks at powers of ten and their multiples. What is not positive has no place, nor what is below 1e-100 or above 1e100.
    Log,
    /// Equal ratios, with ticks at powers of two.
    Log2,
}

/// What has a place on a logarithmic axis: ratios and powers of such numbers are numbers.
const PLACES: std::ops::RangeInclusive<f64> = 1e-100..=1e100;

/// Powers of ten with a label each at most.
const MOST_POWERS: usize = 14;

/// An axis from `lo` to `hi`, both positive where it is logarithmic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub scale: Scale,
    pub lo: f64,
    pub hi: f64,
}

/// A tick; without a label it is a minor one.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    pub at: f64,
    pub label: Option<String>,
}

impl Scale {
    fn can_hold(self, value: f64) -> bool {
        value.is_finite() && (self == Scale::Linear || PLACES.contains(&value))
    }
}

impl Range {
    /// Covers all values that have a place, with room at both ends: `room` as a share of the axis' length. `None` where there are none.
    pub fn covering(scale: Scale, values: impl Iterator<Item = f64>, room: f64) -> Option<Self> {
        let linear = scale == Scale::Linear;
        let (lo, hi) = values.filter(|&v| scale.can_hold(v)).fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if lo > hi {
            return None;
        }
        if linear {
            // A single value gets half of itself around it.
            let by = if hi > lo { (hi - lo) * room } else { 0.5 * lo.abs().max(f64::MIN_POSITIVE) };
            return Some(Range { scale, lo: lo - by, hi: hi + by });
        }
        // A single value gets a factor of two around it.
        let stretch = ((hi / lo).ln() * room).max(if hi > lo { 0.05 } else { 2f64.ln() }).exp();
        Some(Range { scale, lo: lo / stretch, hi: hi * stretch })
    }

    /// What an axis without values shows.
    pub fn empty(scale: Scale) -> Self {
        Range { scale, lo: if scale == Scale::Linear { 0.0 } else { 0.5 }, hi: if scale == Scale::Linear { 1.0 } else { 2.0 } }
    }

    /// Where a value lies: 0 at `lo`, 1 at `hi`.
    pub fn position(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.lo) / (self.hi - self.lo),
            Scale::Log | Scale::Log2 => (value / self.lo).ln() / (self.hi / self.lo).ln(),
        }
    }

    /// Whether a value has a place on the axis.
    pub fn can_hold(&self, value: f64) -> bool {
        self.scale.can_hold(value)
    }

    /// The ticks of its scale, at most about `most` of them with labels.
    pub fn ticks(&self, most: usize) -> Vec<Tick> {
        match self.scale {
            Scale::Linear => self.steps(most.min(7)),
            Scale::Log => self.decades(),
            Scale::Log2 => self.powers_of_two(most),
        }
    }

    /// Multiples of 1, 2 or 5 times a power of ten, so many as `most` allows, all with labels.
    fn steps(&self, most: usize) -> Vec<Tick> {
        let length = self.hi - self.lo;
        let smallest = (length / most.max(1) as f64).log10().floor() as i32;
        let candidates = (smallest..=smallest + 1).flat_map(|e| [1.0, 2.0, 5.0].map(|m| (e, m * 10f64.powi(e))));
        let Some((exponent, step)) = candidates.into_iter().find(|(_, step)| length / step <= most as f64) else { return Vec::new() };
        let digits = (-exponent).max(0) as usize;
        let (first, last) = ((self.lo / step).ceil() as i64, (self.hi / step).floor() as i64);
        let named = |at: f64| format!("{at:.digits$}").replace('-', "−");
        (first..=last).map(|k| k as f64 * step).map(|at| Tick { at, label: Some(named(at)) }).collect()
    }

    fn holds(&self, value: f64) -> bool {
        (self.lo..=self.hi).contains(&value)
    }

    /// Powers of ten with labels and their multiples without; where fewer than two powers of ten are in sight, 2 and 5 have labels too,
    /// and where fewer than two of those, all multiples. Where more than [`MOST_POWERS`] are in sight only every second, third … has a label, and multiples have no ticks.
    fn decades(&self) -> Vec<Tick> {
        let exponents = self.lo.log10().floor() as i32..=self.hi.log10().ceil() as i32;
        let all: Vec<(i32, u32)> = exponents.flat_map(|e| (1..10).map(move |m| (e, m))).filter(|&(e, m)| self.holds(value(e, m))).collect();
        let labelled = [&[1][..], &[1, 2, 5], &[1, 2, 3, 4, 5, 6, 7, 8, 9]].into_iter();
        let enough = |set: &&[u32]| all.iter().filter(|(_, m)| set.contains(m)).count() >= if set.len() == 1 { 3 } else { 2 };
        let powers: Vec<i32> = all.iter().filter(|(_, m)| *m == 1).map(|(e, _)| *e).collect();
        if powers.len() > MOST_POWERS {
            let step = powers.len().div_ceil(MOST_POWERS) as i32;
            return powers.iter().map(|&e| Tick { at: value(e, 1), label: (e % step == 0).then(|| label(e, 1)) }).collect();
        }
        let set = labelled.clone().find(enough).unwrap_or(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        all.iter().map(|&(e, m)| Tick { at: value(e, m), label: set.contains(&m).then(|| label(e, m)) }).collect()
    }

    /// Powers of two, every one labelled or as many as `most` allows.
    fn powers_of_two(&self, most: usize) -> Vec<Tick> {
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

    fn log(lo: f64, hi: f64) -> Range {
        Range { scale: Scale::Log, lo, hi }
    }

    #[test]
    fn ticks_have_enough_labels() {
        let ticks = log(0.05, 300.0).ticks(9);
        assert_eq!(labels(&ticks), ["0.1", "1", "10", "100"]);
        assert_eq!(ticks.len(), 5 + 9 * 3 + 3);
        assert_eq!(labels(&log(1.5, 14.0).ticks(9)), ["2", "5", "10"]);
        assert_eq!(labels(&log(0.31, 0.46).ticks(9)), ["0.4"]);
        assert_eq!(labels(&log(3e-7, 3e-4).ticks(9)), ["10⁻⁶", "10⁻⁵", "0.0001"]);
        let far = log(0.5e-100, 2e100).ticks(9);
        assert_eq!((labels(&far).len(), labels(&far)[0], labels(&far)[6], far.len()), (13, "10⁻⁹⁰", "1", 201));
        let powers = Range { scale: Scale::Log2, lo: 1.9, hi: 70.0 };
        assert_eq!(labels(&powers.ticks(20)), ["2", "4", "8", "16", "32", "64"]);
        assert_eq!(labels(&powers.ticks(3)), ["2", "8", "32"]);
        let linear = |lo, hi| Range { scale: Scale::Linear, lo, hi };
        assert_eq!(labels(&linear(-0.31, 0.46).ticks(5)), ["−0.2", "0.0", "0.2", "0.4"]);
        assert_eq!(labels(&linear(0.0, 1.0).ticks(5)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&linear(2.1, 3.94).ticks(7)), ["2.5", "3.0", "3.5"]);
        assert_eq!(labels(&linear(-10.0, 1900.0).ticks(7)), ["0", "500", "1000", "1500"]);
    }

    #[test]
    fn ranges_cover_what_has_a_place() {
        let covering = |values: &[f64], scale| Range::covering(scale, values.iter().copied(), 0.1);
        let a = covering(&[-1.0, 0.0, f64::NAN, 2.0, 8.0], Scale::Log).unwrap();
        assert!(a.lo < 2.0 && a.hi > 8.0 && a.position(4.0) == 0.5);
        assert_eq!((covering(&[-1.0], Scale::Log), covering(&[1e-310, 1e300], Scale::Log)), (None, None));
        let one = covering(&[3.0], Scale::Log).unwrap();
        assert!(one.lo < 2.0 && one.hi > 5.0);
        let linear = covering(&[-1.0, f64::INFINITY, 3.0], Scale::Linear).unwrap();
        assert!(linear.lo == -1.4 && linear.hi == 3.4 && linear.position(1.0) == 0.5);
        let zero = covering(&[0.0], Scale::Linear).unwrap();
        assert!(zero.lo < 0.0 && zero.hi > 0.0);
    }
}
