//! Laws against closed forms, SciPy, brute force, and their own coverage.

use super::search::{Place, Search};
use super::*;
use crate::estimate::Resampling;
use crate::estimate::special::normal_quantile;
use crate::rng::Rng;

const LENGTHS: [f64; 8] = [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// A curve's law.
type Shape = fn(f64) -> f64;

fn none() -> Resampling {
    Resampling { resamples: 0, ..Default::default() }
}

fn values(fit: &LawFit) -> Vec<f64> {
    fit.parameters.iter().map(|p| p.quantity.value).collect()
}

/// Points on a law give its parameters back: the sum of squares is 0 to rounding, and its square root, 1e-8 or so, bounds what is left of the error; the
/// iteration goes on to where the gradient is 0.
#[test]
fn exact_laws_come_back() {
    for (law, want) in [
        (Law::Power, vec![1.5, 0.7]),
        (Law::PowerConstant, vec![1.5, 2.0, 0.7]),
        (Law::Logarithm, vec![-0.5, 0.8]),
        (Law::Saturating, vec![6.0, 20.0, 0.9]),
        (Law::Hilberg, vec![1.2, 4.0, 0.4]),
        (Law::Context, vec![1.9, 6.0, 0.6]),
    ] {
        let y: Vec<f64> = LENGTHS.iter().map(|&x| law.at(x, &want)).collect();
        let curve = Curve::measured(&LENGTHS, &y, Some(Covariance::diagonal(&[0.1; 8])), none()).unwrap();
        let fit = curve.fit(law).unwrap();
        for (got, want) in values(&fit).iter().zip(&want) {
            assert!((got / want - 1.0).abs() < 1e-9, "{law}: {fit:?}");
        }
        assert!(fit.chi_squared < 1e-20 && (fit.at(100.0) - law.at(100.0, &want)).abs() < 1e-9 && (fit.r_squared - 1.0).abs() < 1e-12);
    }
}

/// ln ℓ = 0, 1, 2; y = 0, 0, 3; the first two correlated by ½: W = [[4/3, −2/3, 0], [−2/3, 4/3, 0], [0, 0, 1]], JᵀWJ = [[7/3, 8/3], [8/3, 16/3]],
/// JᵀWy = (3, 6), so a = 0, b = 9/8, variances 1 and 7/16, χ² = 9/4.
#[test]
fn generalised_least_squares_by_hand() {
    let x: Vec<f64> = (0..3).map(|i| libm::exp(f64::from(i))).collect();
    let rows = [vec![1.0, 0.5, 0.0], vec![0.5, 1.0, 0.0], vec![0.0, 0.0, 1.0]];
    let covariance = Covariance::given(&rows, None).unwrap();
    let curve = Curve::measured(&x, &[0.0, 0.0, 3.0], Some(covariance.clone()), Resampling { resamples: 4000, ..Default::default() }).unwrap();
    let fit = curve.fit(Law::Logarithm).unwrap();
    let got = values(&fit);
    assert!(got[0].abs() < 1e-14 && (got[1] - 1.125).abs() < 1e-14 && (fit.chi_squared - 2.25).abs() < 1e-13, "{fit:?}");
    assert!((fit.criterion - 6.25).abs() < 1e-13 && fit.freedom == 1);
    let weights = covariance.whitening().unwrap();
    let places: Vec<Place> = x.iter().map(|&x| Place(vec![(x, 1.0)])).collect();
    let search = Search::new(Law::Logarithm, &places, &weights);
    let (_, variances) = search.sensitivity(&search.fit(&[0.0, 0.0, 3.0])).unwrap();
    assert!((variances[0] - 1.0).abs() < 1e-14 && (variances[1] - 7.0 / 16.0).abs() < 1e-14);
    // The standard deviation of 4,000 normal numbers is off by 1/√8000 of itself: five of these.
    for (p, v) in fit.parameters.iter().zip(variances) {
        assert!((p.quantity.se.unwrap() / v.sqrt() - 1.0).abs() < 5.0 / 8000f64.sqrt(), "{p:?}");
    }
    // A covariance that was estimated from 23 units counts (23 − 3 − 2) / 22 of it.
    let estimated = Covariance::given(&rows, Some(23)).unwrap();
    let fit = Curve::measured(&x, &[0.0, 0.0, 3.0], Some(estimated), none()).unwrap().fit(Law::Logarithm).unwrap();
    assert!((fit.chi_squared - 2.25 * 18.0 / 22.0).abs() < 1e-13);
}

/// `tools/fit_reference.py` printed what is compared here, to ten decimals. SciPy stops within about 1e-8 of the minimum (its steps there are relative to the rounding of the sum of
/// squares), so 1e-6 of a value is asked for.
#[test]
fn the_fits_are_scipys() {
    let near = |got: f64, want: f64| assert!((got / want - 1.0).abs() < 1e-6, "{got} {want}");
    let c = [8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 128.0, 256.0, 512.0];
    let loss = [3.9531, 3.5390, 3.28283, 2.99618, 2.83873, 2.65246, 2.53125, 2.36169, 2.21765, 2.12716];
    let fit = Curve::measured(&c, &loss, None, none()).unwrap().fit(Law::Context).unwrap();
    let want = [(1.9629140927, 0.0123223284), (6.8541067908, 0.1107758749), (0.5938328625, 0.0091210930)];
    for (p, (value, se)) in fit.parameters.iter().zip(want) {
        near(p.quantity.value, value);
        near(p.quantity.se.unwrap(), se);
    }
    // Ten decimals of it are seven digits.
    assert!((fit.chi_squared - 0.0004881036).abs() < 1e-10);

    let y = [0.85, 1.4, 2.3, 3.2, 4.0, 4.8, 5.2, 5.6];
    let errors = [0.05, 0.07, 0.1, 0.12, 0.15, 0.17, 0.2, 0.22];
    let rows: Vec<Vec<f64>> =
        (0..8).map(|i: i32| (0..8).map(|j: i32| 0.8f64.powi((i - j).abs()) * errors[i as usize] * errors[j as usize]).collect()).collect();
    let curve = Curve::measured(&LENGTHS, &y, Some(Covariance::given(&rows, None).unwrap()), none()).unwrap();
    for (law, parameters, chi_squared) in [
        (Law::Power, &[0.7101032097, 0.3682540965][..], 226.8644776385),
        (Law::Logarithm, &[0.1594268737, 0.9983401412], 46.8279462130),
        (Law::Saturating, &[6.2190436918, 8.2573662727, 0.6644372252], 6.2300558537),
    ] {
        let fit = curve.fit(law).unwrap();
        values(&fit).iter().zip(parameters).for_each(|(got, want)| near(*got, *want));
        near(fit.chi_squared, chi_squared);
    }
    // What is concave in ln ℓ wants no constant.
    let constant = curve.fit(Law::PowerConstant).unwrap();
    assert_eq!((constant.parameter("c").unwrap().bound, constant.parameter("β").unwrap().bound), (Some(0.0), None));
    near(constant.parameter("β").unwrap().quantity.value, 0.3682540965);
    assert_eq!(curve.compare(&Law::OF_INFORMATION).unwrap().growth(), Some(Growth::Saturating));
}

/// Of noisy curves of all shapes, no place of a grid ten times as fine has a smaller χ² than the fit.
#[test]
fn no_grid_finds_less() {
    let places: Vec<Place> = LENGTHS.iter().map(|&x| Place(vec![(x, 1.0)])).collect();
    let weights = Covariance::diagonal(&[0.3; 8]).whitening().unwrap();
    let mut rng = Rng::new(303, 0);
    let search = Search::new(Law::Saturating, &places, &weights);
    let shapes: [Shape; 4] = [|x| x.powf(0.5), |x| 1.0 + x.ln(), |x| 4.0 - 4.0 / (1.0 + x), |_| 3.0];
    let noisy: Vec<Vec<f64>> = shapes.iter().flat_map(|f| [f, f]).map(|f| LENGTHS.iter().map(|&x| f(x) + 0.3 * rng.normal()).collect()).collect();
    let (from, to) = (2f64.ln() - 64f64.ln(), 256f64.ln() + 64f64.ln());
    let mut least = vec![f64::INFINITY; noisy.len()];
    for i in 0..=480 {
        let scale = (from + (to - from) * f64::from(i) / 480.0).exp();
        for j in 0..=120 {
            let gamma = (0.25f64.ln() + 32f64.ln() * f64::from(j) / 120.0).exp();
            let column = weights.apply(&LENGTHS.map(|x| Law::Saturating.at(x, &[1.0, scale, gamma])));
            for (least, y) in least.iter_mut().zip(&noisy) {
                let y = weights.apply(y);
                let (squares, product) = column.iter().zip(&y).fold((0.0, 0.0), |(s, p), (c, y)| (s + c * c, p + c * y));
                let a = (product / squares).max(0.0);
                *least = least.min(column.iter().zip(&y).map(|(c, y)| (y - a * c) * (y - a * c)).sum());
            }
        }
    }
    for (least, y) in least.iter().zip(&noisy) {
        let found = search.fit(y).chi_squared;
        assert!(found <= least * (1.0 + 1e-12), "{found} {least}");
    }
}

/// Curves without noise are taken for what they are, each with errors a hundredth of its size, and so is a power with a constant.
#[test]
fn growth_is_told() {
    let laws: [(Growth, Shape); 4] = [
        (Growth::Power, |x| 0.8 * x.powf(0.5)),
        (Growth::Power, |x| 0.8 * x.powf(0.6) + 1.0),
        (Growth::Logarithm, |x| 0.5 + 0.9 * x.ln()),
        (Growth::Saturating, |x| 5.0 - 5.0 / (1.0 + x / 6.0)),
    ];
    for (want, law) in laws {
        let y = LENGTHS.map(law);
        let comparison =
            Curve::measured(&LENGTHS, &y, Some(Covariance::diagonal(&y.map(|y| 0.01 * y))), none()).unwrap().compare(&Law::OF_INFORMATION).unwrap();
        assert_eq!(comparison.growth(), Some(want), "{comparison:?}");
        assert!((comparison.weights.iter().sum::<f64>() - 1.0).abs() < 1e-14);
        let slope = comparison.slopes[2].slope.value;
        assert!((slope - (y[3] / y[2]).log2()).abs() < 1e-14 && (comparison.slopes[2].from, comparison.slopes[2].to) == (8.0, 16.0));
        // Eight points, three parameters at most: four may go.
        assert_eq!(comparison.without_smallest.iter().map(|w| w.left_out).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
}

#[test]
fn what_bears_no_law_says_why() {
    let how = none();
    let plain = |x: &[f64], y: &[f64]| Curve::measured(x, y, None, how).unwrap();
    assert_eq!(plain(&[2.0, 4.0, 8.0], &[1.0, 2.0, 3.0]).fit(Law::Saturating).unwrap_err(), "3 points are too few for 3 parameters");
    assert!(plain(&[2.0, 4.0, 8.0], &[-1.0, -2.0, -3.0]).fit(Law::Power).unwrap_err().starts_with("A would be 0"));
    assert!(Curve::measured(&[2.0, 2.0], &[1.0, 2.0], None, how).unwrap_err().contains("must ascend"));
    assert!(Curve::measured(&[0.0, 2.0], &[1.0, 2.0], None, how).unwrap_err().contains("point 1"));
    assert!(Curve::measured(&[1.0, 2.0], &[1.0, 2.0], Some(Covariance::diagonal(&[1.0; 3])), how).unwrap_err().contains("not of 2 points"));
    assert!(Curve::measured(&[2.0, 4.0, 8.0], &[1e200, 2e200, 3e200], None, how).unwrap_err().contains("in a unit"));
    let given = |y: [f64; 3], errors: [f64; 3]| Curve::measured(&[2.0, 4.0, 8.0], &y, Some(Covariance::diagonal(&errors)), how).map(|_| ());
    assert!(given([1.0, 5.0, 2.0], [1e-120; 3]).unwrap_err().contains("errors go from"));
    assert!(given([1.0, 5.0, 2.0], [1e-8, 0.1, 0.1]).unwrap_err().contains("differ by a factor of 1e6 at most"));
    assert!(given([0.0; 3], [0.1; 3]).unwrap_err().contains("all values are 0") && given([1.0, 5.0, 2.0], [1e-6, 0.9, 0.1]).is_ok());
    assert!(Curve::measured(&[1e-120, 4.0, 8.0], &[1.0, 2.0, 3.0], None, how).unwrap_err().contains("x = 1e-120"));
    // Errors without which the values are many.
    let sure = Curve::measured(&[2.0, 4.0, 8.0], &[1e99, 5e99, 2e99], Some(Covariance::diagonal(&[1e-99; 3])), how).unwrap();
    assert!(sure.fit(Law::Power).unwrap_err().contains("too large or too small"));
    let few = Covariance::given(&[vec![1.0, 0.0, 0.0], vec![0.0, 1.0, 0.0], vec![0.0, 0.0, 1.0]], Some(5)).unwrap();
    let curve = Curve::measured(&[2.0, 4.0, 8.0], &[1.0, 2.0, 3.0], Some(few), how).unwrap();
    assert!(curve.compare(&[Law::Power]).unwrap_err().starts_with("5 independent units"));
}

/// Sixty units whose values at the ℓ are sums of independent steps, as those of nested splits are; means 1.5 ℓ^0.6. The 90 % intervals of A and β cover within
/// simultaneous 99 % binomial bounds, 400 times.
#[test]
fn intervals_cover() {
    let (replicates, level, units) = (400u64, 0.9, 60usize);
    let x = [2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
    let mut hits = [0usize; 2];
    for replicate in 0..replicates {
        let mut rng = Rng::new(304, replicate);
        let mut values = Vec::new();
        for _ in 0..units {
            let mut noise = 0.0;
            for (i, x) in x.iter().enumerate() {
                noise += (1.0 + i as f64) * rng.normal();
                values.push(1.5 * libm::pow(*x, 0.6) + noise);
            }
        }
        let documents: Vec<Vec<u32>> = (0..units as u32).map(|d| vec![d]).collect();
        let resamples = Resamples::of(&documents, &values, &[0.0; 6], Resampling { resamples: 300, seed: replicate, level });
        let fit = Curve::resampled(&x, &resamples, &[0, 1, 2, 3, 4, 5]).fit(Law::Power).unwrap();
        for ((hit, p), want) in hits.iter_mut().zip(&fit.parameters).zip([1.5, 0.6]) {
            *hit += usize::from(p.quantity.lo.unwrap() <= want && want <= p.quantity.hi.unwrap());
        }
    }
    let bound = normal_quantile(1.0 - 0.005 / hits.len() as f64) * (level * (1.0 - level) / replicates as f64).sqrt();
    for hit in hits {
        let covered = hit as f64 / replicates as f64;
        assert!((covered - level).abs() <= bound, "{covered}: {level} ± {bound}");
    }
}

/// What has its limit from the first point on takes ℓ0 to its smallest and γ to its largest, and both are named as bounds, to the last bit.
#[test]
fn bounds_are_met_exactly() {
    let x: Vec<f64> = (0..6).map(|k| f64::from(1 << k)).collect();
    let curve = Curve::measured(&x, &[5.0; 6], Some(Covariance::diagonal(&[0.1; 6])), Resampling { resamples: 50, ..Resampling::default() }).unwrap();
    let fit = curve.fit(Law::Saturating).unwrap();
    let of = |name: &str| fit.parameter(name).unwrap();
    for (name, bound) in [("ℓ0", 1.0 / 64.0), ("γ", 8.0)] {
        let p = of(name);
        assert!(p.bound.is_some_and(|b| b == p.quantity.value && (b - bound).abs() < 1e-14 * bound), "{p:?}");
    }
    assert_eq!(of("I∞").bound, None);
    // Values whose squares are none, or have no end, are refused.
    for scale in [1e-170, 1e170] {
        let y: Vec<f64> = x.iter().map(|x| x * scale).collect();
        assert!(Curve::measured(&x, &y, None, Resampling::default()).unwrap_err().contains("in a unit"));
    }
}

/// χ² of 3 degrees of freedom is above 16.27 in one case of a thousand, of 10 above 29.59 (tables; Wilson and Hilferty's approximation is 0.3 and 0.2 above).
#[test]
fn misfits_are_one_in_a_thousand() {
    let fit = |chi_squared, freedom| LawFit { law: Law::Power, parameters: Vec::new(), chi_squared, freedom, criterion: 0.0, r_squared: 0.0 };
    assert!(!fit(16.27, 3).misfits() && fit(16.6, 3).misfits() && !fit(29.59, 10).misfits() && fit(29.8, 10).misfits());
}
