//! Special functions and quantiles, as small as they can be: ψ, the normal law, Student's t.

/// ψ(x) for x > 0, within 1e-13 (relative or absolute, whichever is larger): recurrence up to 10, then the asymptotic series
/// (Abramowitz and Stegun 6.3.5, 6.3.18).
pub fn digamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 10.0 {
        shift -= 1.0 / x;
        x += 1.0;
    }
    // B_2k / 2k for k = 1 … 7; the first term left out is below 5e-17 at x = 10.
    const SERIES: [f64; 7] = [1.0 / 12.0, -1.0 / 120.0, 1.0 / 252.0, -1.0 / 240.0, 1.0 / 132.0, -691.0 / 32760.0, 1.0 / 12.0];
    let y = 1.0 / (x * x);
    let tail = SERIES.iter().rev().fold(0.0, |s, &c| (s + c) * y);
    shift + libm::log(x) - 0.5 / x - tail
}

/// Φ(x).
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// Φ⁻¹(p), infinite at 0 and 1. Rational first guess (Acklam 2003, relative error 1.2e-9), then one step of Halley's method.
pub fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    const A: [f64; 6] = [-3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2, 1.38357751867269e2, -3.066479806614716e1, 2.506628277459239];
    const B: [f64; 6] = [-5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1, -1.328068155288572e1, 1.0];
    const C: [f64; 6] = [-7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838, -2.549732539343734, 4.374664141464968, 2.938163982698783];
    const D: [f64; 5] = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1.0];
    let poly = |c: &[f64], x: f64| c.iter().fold(0.0, |s, &a| s * x + a);
    let x = if p < 0.02425 {
        let q = (-2.0 * libm::log(p)).sqrt();
        poly(&C, q) / poly(&D, q)
    } else {
        let q = p - 0.5;
        q * poly(&A, q * q) / poly(&B, q * q)
    };
    let e = normal_cdf(x) - p;
    let u = e * std::f64::consts::TAU.sqrt() * libm::exp(0.5 * x * x);
    x - u / (1.0 + 0.5 * x * u)
}

/// P(T > t) for Student's t with `df` > 0 degrees of freedom, t ≥ 0.
fn student_upper(t: f64, df: f64) -> f64 {
    0.5 * incomplete_beta(0.5 * df, 0.5, df / (df + t * t), t * t / (df + t * t))
}

/// Regularised incomplete beta function I_x(a, b) with y = 1 − x given apart, by its continued fraction (Lentz's method;
/// DLMF 8.17.22).
fn incomplete_beta(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if y <= 0.0 {
        return 1.0;
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, y, x);
    }
    let ln_front = a * libm::log(x) + b * libm::log(y) - libm::log(a) - (libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b));
    let floor = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let (mut f, mut c, mut d) = (1.0, 1.0, 0.0);
    for i in 0..2000 {
        let m = (i / 2) as f64;
        let term = match i {
            0 => 1.0,
            _ if i % 2 == 0 => m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            _ => -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        };
        d = 1.0 / floor(1.0 + term * d);
        c = floor(1.0 + term / c);
        f *= c * d;
        if (1.0 - c * d).abs() < 1e-15 {
            break;
        }
    }
    libm::exp(ln_front) * (f - 1.0)
}

/// The p-quantile of Student's t with `df` degrees of freedom (0 < p < 1), by bisection.
pub fn student_quantile(p: f64, df: f64) -> f64 {
    if p < 0.5 {
        return -student_quantile(1.0 - p, df);
    }
    let upper = 1.0 - p;
    let (mut lo, mut hi) = (0.0, 1.0);
    while student_upper(hi, df) > upper {
        hi *= 2.0;
        if hi > 1e300 {
            return f64::INFINITY;
        }
    }
    for _ in 0..200 {
        let mid = 0.5 * (lo + hi);
        if mid <= lo || mid >= hi {
            break;
        }
        if student_upper(mid, df) > upper { lo = mid } else { hi = mid }
    }
    0.5 * (lo + hi)
}

/// ln Σ exp x_i, stable; −∞ of nothing.
pub fn log_sum_exp(x: impl Iterator<Item = f64> + Clone) -> f64 {
    let max = x.clone().fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return max;
    }
    max + libm::log(x.map(|v| libm::exp(v - max)).sum::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digamma_at_known_points() {
        const EULER: f64 = 0.577_215_664_901_532_9;
        let ln2 = std::f64::consts::LN_2;
        for (x, want) in [
            (1.0, -EULER),
            (0.5, -EULER - 2.0 * ln2),
            (2.0, 1.0 - EULER),
            (1.5, 2.0 - EULER - 2.0 * ln2),
            (0.25, -EULER - std::f64::consts::FRAC_PI_2 - 3.0 * ln2),
            // ψ(n) = H_{n−1} − γ
            (101.0, (1..=100).rev().map(|k| 1.0 / k as f64).sum::<f64>() - EULER),
        ] {
            assert!((digamma(x) - want).abs() < 1e-12, "ψ({x}) = {}, not {want}", digamma(x));
        }
        // ψ(x + 1) = ψ(x) + 1/x over the switch to the series.
        for i in 1..400 {
            let x = i as f64 * 0.05;
            assert!((digamma(x + 1.0) - digamma(x) - 1.0 / x).abs() < 1e-12);
        }
    }

    #[test]
    fn normal_quantile_inverts_the_cdf() {
        for (p, want) in [(0.975, 1.959_963_984_540_054), (0.995, 2.575_829_303_548_901), (0.5, 0.0), (1e-6, -4.753_424_308_822_899)] {
            assert!((normal_quantile(p) - want).abs() < 1e-11, "{p}: {}", normal_quantile(p));
        }
        for i in 1..200 {
            let p = i as f64 / 200.0;
            assert!((normal_cdf(normal_quantile(p)) - p).abs() < 1e-14);
        }
    }

    #[test]
    fn student_quantiles_from_the_tables() {
        let cauchy = (std::f64::consts::PI * 0.475).tan();
        for (p, df, want) in [
            (0.975, 1.0, cauchy),
            // df = 2 in closed form: t = (2p − 1) √(2 / (4p(1 − p)))
            (0.975, 2.0, 0.95 * (2.0f64 / (4.0 * 0.975 * 0.025)).sqrt()),
            (0.975, 10.0, 2.228_138_851_964_939),
            (0.995, 30.0, 2.749_995_653_567_231),
            (0.025, 10.0, -2.228_138_851_964_939),
        ] {
            assert!((student_quantile(p, df) - want).abs() < 1e-9 * want.abs(), "{p} {df}: {}", student_quantile(p, df));
        }
        assert!((student_quantile(0.99, 1e7) - normal_quantile(0.99)).abs() < 1e-6);
    }

    #[test]
    fn log_sum_exp_of_far_values() {
        let x = [-1000.0, -1001.0];
        let want = -1000.0 + libm::log(1.0 + libm::exp(-1.0));
        assert!((log_sum_exp(x.iter().copied()) - want).abs() < 1e-12);
        assert_eq!(log_sum_exp([-3.25].into_iter()), -3.25);
    }
}
