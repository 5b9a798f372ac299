//! What the tests of the verbs with a past share: forests, a walk over waves and blocks as the engine's, paths, and plain arithmetic.

use super::simd::Isa;
use super::{Mat, conv};
use crate::backend::{History, States};
use crate::forest::{Cut, Forest, Readout, TokenId, Wave, Waves};
use crate::rng::Rng;
use std::ops::{Add, Mul, Neg, Range};

/// Tokens of the test forests are below this.
pub const VOCABULARY: usize = 97;

/// Numbers of float32 or float64.
pub trait Real: Copy + Add<Output = Self> + Mul<Output = Self> + Neg<Output = Self> + std::ops::Div<Output = Self> + PartialOrd {
    fn of(x: f32) -> Self;
    fn exp(self) -> Self;
    fn ln_1p(self) -> Self;
    fn sqrt(self) -> Self;
    fn wide(self) -> f64;
}

impl Real for f32 {
    fn of(x: f32) -> f32 {
        x
    }
    fn exp(self) -> f32 {
        libm::expf(self)
    }
    fn ln_1p(self) -> f32 {
        libm::log1pf(self)
    }
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }
    fn wide(self) -> f64 {
        self as f64
    }
}

impl Real for f64 {
    fn of(x: f32) -> f64 {
        x as f64
    }
    fn exp(self) -> f64 {
        libm::exp(self)
    }
    fn ln_1p(self) -> f64 {
        libm::log1p(self)
    }
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }
    fn wide(self) -> f64 {
        self
    }
}

pub fn silu<R: Real>(x: R) -> R {
    x / (R::of(1.0) + (-x).exp())
}

pub fn softplus<R: Real>(x: R) -> R {
    if x > R::of(20.0) { x } else { x.exp().ln_1p() }
}

/// A matrix of normal numbers: mean, standard deviation.
pub fn normal(rows: usize, cols: usize, seed: u64, mean: f64, deviation: f64) -> Mat {
    let (mut m, mut rng) = (Mat::zeros(rows, cols).unwrap(), Rng::new(seed, 1));
    m.data_mut().iter_mut().for_each(|v| *v = (mean + deviation * rng.normal()) as f32);
    m
}

/// A forest of which everything is read.
pub struct Case {
    pub name: &'static str,
    pub forest: Forest,
    pub readout: Readout,
}

impl Case {
    fn new(name: &'static str, forest: Forest) -> Case {
        let mut readout = Readout::new();
        for s in 0..forest.spans().len() as u32 {
            let (id, span) = (crate::forest::SpanId(s), &forest.spans()[s as usize]);
            let from = u32::from(span.position == 0);
            if from < span.len() {
                readout.each(&forest, id, from..span.len()).unwrap();
            }
        }
        Case { name, forest, readout }
    }

    pub fn path(tokens: &[TokenId]) -> Case {
        let mut forest = Forest::new();
        // The last token of a path is never fed: one more.
        forest.root(&[tokens, &[0]].concat()).unwrap();
        Case::new("path", forest)
    }
}

fn tokens(rng: &mut Rng, n: usize) -> Vec<TokenId> {
    (0..n).map(|_| rng.below(VOCABULARY as u64) as TokenId).collect()
}

/// Chains, fans around chunk ends, wide forks, random trees with spans of one token and branches at both ends.
pub fn cases() -> Vec<Case> {
    let rng = &mut Rng::new(20, 1);
    let mut chain = Forest::new();
    let mut last = chain.root(&tokens(rng, 3)).unwrap();
    for i in 0..14 {
        let len = chain.span(last).len();
        let at = if i % 3 == 0 { len } else { rng.below(len as u64 + 1) as u32 };
        let n = 1 + rng.below(40) as usize;
        last = chain.branch(last, at, &tokens(rng, n)).unwrap();
    }
    let mut fan = Forest::new();
    let root = fan.root(&tokens(rng, 131)).unwrap();
    for at in (61..=67).chain(125..=131) {
        fan.branch(root, at, &tokens(rng, 5)).unwrap();
    }
    let mut wide = Forest::new();
    let root = wide.root(&tokens(rng, 70)).unwrap();
    for at in [0, 0, 70, 70, 70, 31, 31] {
        wide.branch(root, at, &tokens(rng, 66)).unwrap();
    }
    let mut random = Forest::new();
    let mut known = Vec::new();
    for i in 0..36 {
        let n = [1, 1, 2, 3, 10, 30, 64, 65, 100][rng.below(9) as usize];
        if i % 18 == 0 {
            known = vec![random.root(&tokens(rng, n)).unwrap()];
            continue;
        }
        let parent = known[rng.below(known.len() as u64) as usize];
        let len = random.span(parent).len();
        let at = [0, len, len, rng.below(len as u64 + 1) as u32][rng.below(4) as usize];
        known.push(random.branch(parent, at, &tokens(rng, n)).unwrap());
    }
    vec![Case::new("chain", chain), Case::new("fan", fan), Case::new("wide", wide), Case::new("random", random)]
}

/// For every span that is fed: the rows of its path, counted over all waves.
pub fn paths(case: &Case) -> (Vec<TokenId>, Vec<Vec<usize>>) {
    let whole = Waves::plan(&case.forest, &case.readout, Cut { rows: usize::MAX, reach: None, grain: None });
    assert_eq!(whole.len(), 1);
    let wave = &whole[0];
    let path = |run: &crate::forest::Run| {
        let past = &wave.segments[run.past.start as usize..run.past.end as usize];
        past.iter().flat_map(|s| s.row..s.row + s.len).chain(run.rows.clone()).map(|r| r as usize).collect()
    };
    (wave.tokens.clone(), wave.runs.iter().map(path).collect())
}

/// One layer with a past: which columns of its input are history, how large a state is, how wide its output.
#[derive(Clone)]
pub struct Layer<'a> {
    /// Input row of each token.
    pub table: &'a Mat,
    pub history: Range<usize>,
    pub state: usize,
    pub out: usize,
    pub cut: Cut,
}

/// Where a forest is cut, and by how many threads it is computed.
#[derive(Clone, Copy, Debug)]
pub struct How {
    pub threads: usize,
    pub rows: usize,
    pub block: usize,
}

impl How {
    /// Ways to compute that must not differ in a bit; the first is the reference.
    pub fn all() -> Vec<How> {
        // Every size of wave and every size of block, each with a small and a large one of the other.
        let pairs = [(100_000, 100_000), (1, 1), (7, 5), (64, 1), (1000, 5), (7, 1000), (64, 64), (1000, 64)];
        pairs.iter().enumerate().map(|(i, &(rows, block))| How { threads: 1 + i % 2, rows, block }).collect()
    }
}

impl Layer<'_> {
    /// Walks a forest's waves in blocks and returns the rows of all waves, one after another. What nobody has written is NaN.
    pub fn walk(&self, case: &Case, how: How, step: impl Fn(&Wave, Range<usize>, &Mat, &History<Mat>, &mut States<Mat>, &mut Mat) + Sync) -> Vec<Vec<f32>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(how.threads).build().unwrap();
        let waves = Waves::plan(&case.forest, &case.readout, Cut { rows: how.rows, ..self.cut });
        let blank = |rows: u32, cols: usize| {
            let mut m = Mat::zeros(rows as usize, cols).unwrap();
            m.data_mut().fill(f32::NAN);
            m
        };
        let mut resident = blank(waves.iter().map(|w| w.resident_rows).max().unwrap_or(0), self.history.len());
        let mut resident_states = blank(waves.iter().map(|w| w.resident_states).max().unwrap_or(0), self.state);
        let mut out = Vec::new();
        for wave in &waves {
            let rows = wave.tokens.len();
            let mut here = blank(rows as u32, self.history.len());
            let mut states = blank(wave.states, self.state);
            for start in (0..rows).step_by(how.block) {
                let block = start..rows.min(start + how.block);
                let mut x = Mat::zeros(block.len(), self.table.cols()).unwrap();
                for (i, &t) in wave.tokens[block.clone()].iter().enumerate() {
                    x.row_mut(i).copy_from_slice(self.table.row(t as usize));
                }
                let mut y = blank(block.len() as u32, self.out);
                pool.install(|| {
                    if !self.history.is_empty() {
                        conv::append(block.clone(), &x, self.history.start, &mut here).unwrap();
                    }
                    let history = History { wave: &mut here, resident: &resident };
                    let mut states = States { wave: &mut states, resident: &mut resident_states };
                    step(wave, block.clone(), &x, &history, &mut states, &mut y);
                });
                out.extend((0..block.len()).map(|i| y.row(i).to_vec()));
            }
            conv::keep(wave, 1, &here, &mut resident).unwrap();
        }
        out
    }

    /// The two tests of a verb with a past, on every instruction path and over every case: near `naive` in float64 (at most
    /// twice as far as `naive` in float32 is, plus four units of the largest number), and the same bits whatever the cuts,
    /// the threads and the company.
    pub fn check(
        &self,
        step: impl Fn(Isa, &Wave, Range<usize>, &Mat, &History<Mat>, &mut States<Mat>, &mut Mat) + Sync,
        narrow: impl Fn(&[&[f32]]) -> Vec<Vec<f32>>,
        wide: impl Fn(&[&[f32]]) -> Vec<Vec<f64>>,
    ) {
        for case in cases() {
            let (tokens, paths) = paths(&case);
            let mut truth: Vec<Vec<f64>> = vec![Vec::new(); tokens.len()];
            let (mut naive, mut largest) = (0.0f64, 0.0f64);
            for rows in &paths {
                let inputs: Vec<&[f32]> = rows.iter().map(|&r| self.table.row(tokens[r] as usize)).collect();
                let (narrow, wide) = (narrow(&inputs), wide(&inputs));
                for (i, (narrow, wide)) in narrow.iter().zip(wide).enumerate() {
                    naive = narrow.iter().zip(&wide).fold(naive, |m, (&a, &b)| m.max((a as f64 - b).abs()));
                    largest = wide.iter().fold(largest, |m, v| m.max(v.abs()));
                    truth[rows[i]] = wide;
                }
            }
            let budget = 2.0 * naive + 4.0 * f64::powi(2.0, -24) * largest;
            for isa in Isa::available() {
                let run = |case: &Case, how: How| self.walk(case, how, |w, b, x, h, s, y| step(isa, w, b, x, h, s, y));
                let ways = How::all();
                let reference = run(&case, ways[0]);
                assert_eq!(reference.len(), truth.len());
                let error = reference
                    .iter()
                    .flatten()
                    .zip(truth.iter().flatten())
                    .fold(0.0f64, |m, (&a, &b)| if a.is_nan() { f64::NAN } else { m.max((a as f64 - b).abs()) });
                assert!(error <= budget, "{} on {isa}: {error:e} from float64, naive float32 {naive:e}", case.name);
                let bits = |rows: &[Vec<f32>]| rows.iter().map(|r| r.iter().map(|v| v.to_bits()).collect::<Vec<_>>()).collect::<Vec<_>>();
                let reference = bits(&reference);
                for &how in &ways[1..] {
                    let got = bits(&run(&case, how));
                    for (i, (a, b)) in reference.iter().zip(&got).enumerate() {
                        assert!(a == b, "{} on {isa}, {how:?}: row {i} differs", case.name);
                    }
                    assert_eq!(reference.len(), got.len());
                }
                for (i, rows) in paths.iter().enumerate() {
                    let alone = Case::path(&rows.iter().map(|&r| tokens[r]).collect::<Vec<_>>());
                    let got = bits(&run(&alone, ways[i % ways.len()]));
                    for (p, (&r, b)) in rows.iter().zip(&got).enumerate() {
                        assert!(&reference[r] == b, "{} on {isa}: position {p} of path {i} differs when alone", case.name);
                    }
                }
            }
        }
    }
}

/// Causal depthwise convolution, one tap after the other: `[n, width]`.
pub fn naive_conv<R: Real>(inputs: &[&[f32]], weight: &Mat, bias: Option<&Mat>) -> Vec<Vec<R>> {
    let taps = weight.cols();
    let at = |t: usize, c: usize| {
        let mut sum = bias.map_or(R::of(0.0), |b| R::of(b.data()[c]));
        for k in (taps - 1).saturating_sub(t)..taps {
            sum = sum + R::of(weight.row(c)[k]) * R::of(inputs[t + k + 1 - taps][c]);
        }
        silu(sum)
    };
    (0..inputs.len()).map(|t| (0..weight.rows()).map(|c| at(t, c)).collect()).collect()
}
