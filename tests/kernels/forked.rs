//! Verbs with a past: over forests cut into waves and blocks in several ways, whose rows must come out the same.

use super::*;
use hilberg::backend::{Act, AttentionOp, ConvOp, History, OnDevice, RotaryOp, SSD_CHUNK, ScanOp, SsdOp, States};
use hilberg::forest::{Cut, Forest, Readout, SpanId, Wave, Waves};
use std::collections::BTreeMap;
use std::ops::Range;

/// Where the forest is cut, and how many rows a block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Walk {
    rows: usize,
    block: usize,
}

/// Everything at once; blocks that end anywhere; waves that end anywhere; a row a wave.
const WALKS: [Walk; 4] = [Walk { rows: 1 << 20, block: 1 << 20 }, Walk { rows: 1 << 20, block: 37 }, Walk { rows: 90, block: 41 }, Walk { rows: 1, block: 1 }];

/// A trunk across several tiles and chunks, branches everywhere (at 0, at the end, of one token), a deep chain, a second tree.
fn forest() -> (Forest, Readout) {
    let mut forest = Forest::new();
    let mut grow = |parent: Option<(SpanId, u32)>, n: u32| {
        let next = forest.all_tokens().len() as u32;
        let tokens: Vec<u32> = (next..next + n).collect();
        match parent {
            None => forest.root(&tokens).unwrap(),
            Some((p, at)) => forest.branch(p, at, &tokens).unwrap(),
        }
    };
    let trunk = grow(None, 150);
    for (at, n) in [(1, 2), (63, 5), (64, 70), (65, 2), (100, 40), (128, 3), (150, 20), (150, 2), (150, 2)] {
        let s = grow(Some((trunk, at)), n);
        grow(Some((s, 0)), 3);
        grow(Some((s, n)), 2);
    }
    let mut at = trunk;
    let mut len = 150;
    for _ in 0..12 {
        at = grow(Some((at, len)), 1);
        len = 1;
    }
    let small = grow(None, 3);
    grow(Some((small, 2)), 66);
    let mut readout = Readout::new();
    for (i, s) in forest.spans().iter().enumerate() {
        readout.sum(&forest, SpanId(i as u32), u32::from(s.position == 0)..s.len()).unwrap();
    }
    (forest, readout)
}

/// A token's row of inputs, the same wherever the token lies.
fn features(token: u32, width: usize, scale: f32) -> Vec<f32> {
    uniform(1000 + token as u64, width, scale)
}

/// Rows of `block` on the device.
fn rows_of<B: Backend>(b: &B, wave: &Wave, block: &Range<usize>, width: usize, scale: f32) -> B::Mat {
    let values: Vec<f32> = wave.tokens[block.clone()].iter().flat_map(|&t| features(t, width, scale)).collect();
    b.upload(&values, width).unwrap()
}

/// A verb, or two, on one layer.
trait Layer: Sync {
    fn reach(&self) -> Option<u32>;
    fn grain(&self) -> Option<u32> {
        None
    }
    /// Heads of the histories.
    fn stored_heads(&self) -> usize {
        1
    }
    /// Widths of the histories, and of a state.
    fn widths(&self) -> (Vec<usize>, usize);
    /// Rows of a history of such a width.
    fn history<B: Backend>(&self, b: &B, rows: usize, width: usize) -> B::Mat {
        b.mat(rows, width).unwrap()
    }
    /// One block; gives its output rows.
    fn block<B: Backend>(&self, b: &B, on: &OnDevice<B::Tables>, block: Range<usize>, stores: &mut Stores<B>) -> Vec<f64>;
    fn budget(&self, truth: &[f64]) -> Vec<f64>;
}

/// Histories as (wave, resident), and states.
struct Stores<B: Backend> {
    histories: Vec<(B::Mat, B::Mat)>,
    /// Of a wave.
    rows: usize,
    states: (B::Mat, B::Mat),
}

struct Forked<'a, L>(&'a str, &'a L, Walk);

impl<L: Layer> Case for Forked<'_, L> {
    fn name(&self) -> String {
        format!("{}, {:?}", self.0, self.2)
    }

    /// Output rows by token, whatever the cut.
    fn run<B: Backend>(&self, b: &B) -> Vec<f64> {
        let Forked(_, layer, walk) = self;
        let (forest, readout) = forest();
        let waves = Waves::plan(&forest, &readout, Cut { rows: walk.rows, reach: layer.reach(), grain: layer.grain() });
        let most = |f: fn(&Wave) -> usize| waves.iter().map(f).max().unwrap().max(1);
        let (rows, kept) = (most(|w| w.tokens.len()), most(|w| w.resident_rows as usize));
        let (widths, state) = layer.widths();
        let mut stores = Stores::<B> {
            histories: widths.iter().map(|&w| [rows, kept].map(|n| layer.history(b, layer.stored_heads() * n, w)).into()).collect(),
            rows,
            states: (b.mat(most(|w| w.states as usize), state).unwrap(), b.mat(most(|w| w.resident_states as usize), state).unwrap()),
        };
        let mut out = BTreeMap::new();
        for wave in &waves {
            let tables = b.tables(wave).unwrap();
            let on = OnDevice { wave, tables: &tables };
            for first in (0..wave.tokens.len()).step_by(walk.block) {
                let block = first..wave.tokens.len().min(first + walk.block);
                let values = layer.block(b, &on, block.clone(), &mut stores);
                let width = values.len() / block.len();
                out.extend(wave.tokens[block].iter().zip(values.chunks_exact(width)).map(|(&t, v)| (t, v.to_vec())));
            }
            for (history, resident) in &mut stores.histories {
                b.keep(&on, layer.stored_heads(), history, resident).unwrap();
            }
        }
        out.into_values().flatten().collect()
    }

    fn budget(&self, truth: &[f64]) -> Vec<f64> {
        self.1.budget(truth)
    }

    /// One walk of each layer that cuts its trees.
    fn watched(&self) -> bool {
        self.2 == WALKS[2]
    }
}

/// All walks against the truth and, bit by bit, against the first.
fn hold_forked(name: &str, layer: &impl Layer) {
    hold_forked_in(devices(), name, layer, Dtype::F32);
}

/// As [`hold_in`].
fn hold_forked_in(devices: &[[Cpu; 2]], name: &str, layer: &impl Layer, precision: Dtype) {
    let mut first = None;
    for walk in WALKS {
        let got = hold_in(devices, &Forked(name, layer, walk), precision);
        let first = first.get_or_insert_with(|| got.clone());
        for (a, b) in first.iter().zip(&got) {
            assert!(same_bits(a, b), "{name}: {walk:?} differs from {:?}", WALKS[0]);
        }
    }
}

struct Attention {
    /// Without its sinks.
    op: AttentionOp<'static, ()>,
    /// Of each head; none where there are none.
    sinks: &'static [f32],
    dims: usize,
    qk_norm: bool,
    /// Size of queries, keys and values.
    size: f32,
    /// Half a unit in the last place of 1 of what is multiplied; float32's for float32.
    rounding: f64,
}

impl Attention {
    /// Numbers of a row: queries, keys, values, what comes out.
    fn numbers(&self) -> [usize; 4] {
        let op = &self.op;
        [op.heads * op.head_dim, op.kv_heads * op.head_dim, op.kv_heads * op.v_head_dim, op.heads * op.v_head_dim]
    }
}

impl Layer for Attention {
    fn reach(&self) -> Option<u32> {
        self.op.window.map(|w| w as u32 - 1)
    }

    fn stored_heads(&self) -> usize {
        self.op.kv_heads
    }

    fn widths(&self) -> (Vec<usize>, usize) {
        (vec![self.op.head_dim, self.op.v_head_dim], 1)
    }

    fn history<B: Backend>(&self, b: &B, rows: usize, width: usize) -> B::Mat {
        b.operand(rows, width).unwrap()
    }

    /// Turned queries, turned keys, attention.
    fn block<B: Backend>(&self, b: &B, on: &OnDevice<B::Tables>, block: Range<usize>, stores: &mut Stores<B>) -> Vec<f64> {
        let op = &self.op;
        let ([q, k, v, width], n) = (self.numbers(), block.len());
        let mut qkv = rows_of(b, on.wave, &block, q + k + v, self.size);
        let angles: Vec<f32> = (0..300 * (self.dims / 2)).map(|i| (i / (self.dims / 2)) as f32 * 0.3f32.powi((i % (self.dims / 2)) as i32)).collect();
        let table: Vec<f32> = angles.chunks(self.dims.max(2) / 2).flat_map(|a| a.iter().map(|x| x.cos()).chain(a.iter().map(|x| x.sin()))).collect();
        let table = (self.dims > 0).then(|| b.upload(&table, self.dims).unwrap());
        let norms = [16, 17].map(|s| b.upload(&uniform(s, op.head_dim, 2.0), op.head_dim).unwrap());
        let rotary = RotaryOp {
            heads: op.heads,
            kv_heads: op.kv_heads,
            head_dim: op.head_dim,
            v_head_dim: op.v_head_dim,
            dims: self.dims,
            table: table.as_ref(),
            qk_norm: self.qk_norm.then_some((&norms[0], &norms[1], 1e-6)),
        };
        let [keys, values] = &mut stores.histories[..] else { unreachable!() };
        b.rotary_append(&rotary, on, block.clone(), &mut qkv, &mut keys.0, &mut values.0).unwrap();
        let sinks = (!self.sinks.is_empty()).then(|| b.upload(self.sinks, op.heads).unwrap());
        let &AttentionOp { heads, kv_heads, head_dim, v_head_dim, scale, window, softcap, .. } = op;
        let op = &AttentionOp { heads, kv_heads, head_dim, v_head_dim, scale, window, softcap, sinks: sinks.as_ref() };
        let mut out = b.operand(n, width).unwrap();
        let history = |(wave, resident): &mut (B::Mat, B::Mat), f: &mut dyn FnMut(&History<B::Mat>)| f(&History { wave, resident });
        history(keys, &mut |keys| history(values, &mut |values| b.attention(op, on, block.clone(), &qkv, keys, values, &mut out).unwrap()));
        let (turned, mixed) = (b.download(&qkv, 0..n).unwrap(), b.download(&out, 0..n).unwrap());
        let of = stores.rows;
        let rows = block.flat_map(|row| (0..op.kv_heads).map(move |h| h * of + row));
        let kept: Vec<f64> = rows.flat_map(|r| b.download(&keys.0, r..r + 1).unwrap()).collect();
        let row = |i: usize| [&turned[i * (q + k + v)..][..q], &kept[i * k..][..k], &mixed[i * width..][..width]].concat();
        (0..n).flat_map(row).collect()
    }

    /// Turned numbers: a norm's γ(d + 3)/2 and a few roundings, at the size of the pair. Attention: a score is off by
    /// γ(d + 2) Σ|q||k| and by the errors of q and k; a softmax weight relatively by twice that; sums over at most 300 keys. A sink's power has an argument with one
    /// rounding, and changes the largest score and all that it scales: each once rounded. Where operands are rounded, a query, a key, a weight, a value and the result are, once each.
    fn budget(&self, truth: &[f64]) -> Vec<f64> {
        let op = &self.op;
        let ([q, k, _, width], d) = (self.numbers(), op.head_dim);
        let most = truth.chunks_exact(q + k + width).flat_map(|r| &r[..q + k]).fold(0.0f64, |m, v| m.max(v.abs()));
        let short = if self.rounding > U { self.rounding } else { 0.0 };
        let turned = 2.0 * most * (6.0 * U + if self.qk_norm { gamma(d + 3) / 2.0 + 6.0 * U } else { 0.0 }) + most * short;
        let largest = d as f64 * most * most * op.scale as f64;
        let capped = op.softcap.map_or(largest, |c| largest.min(c as f64));
        let score = gamma(d + 2) * largest + 2.0 * d as f64 * most * turned * op.scale as f64 + 16.0 * U * capped;
        let sinks = if self.sinks.is_empty() { 0.0 } else { 16.0 * U };
        let mixed = self.size as f64 * (2.0 * score + 2.0 * gamma(300) + 64.0 * U + sinks + 3.1 * short);
        truth.chunks_exact(q + k + width).flat_map(|_| [vec![turned; q + k], vec![mixed; width]].concat()).collect()
    }
}

const BASE: AttentionOp<()> = AttentionOp { heads: 2, kv_heads: 2, head_dim: 16, v_head_dim: 16, scale: 0.25, window: None, softcap: None, sinks: None };
const PLAIN: Attention = Attention { op: BASE, sinks: &[], dims: 16, qk_norm: false, size: 1.0, rounding: U };
/// None, as large as scores, and far above all.
const SINKS: &[f32] = &[f32::NEG_INFINITY, 0.5, 3.0, 30.0, 1e30, -4.0];

#[test]
fn attention() {
    let (base, plain) = (BASE, PLAIN);
    hold_forked("attention", &plain);
    hold_forked("peaked, no rope", &Attention { dims: 0, size: 8.0, ..plain });
    hold_forked(
        "grouped, windowed, odd widths, wide values, sinks",
        &Attention { op: AttentionOp { heads: 6, kv_heads: 2, head_dim: 10, v_head_dim: 33, window: Some(70), ..base }, sinks: SINKS, dims: 4, ..plain },
    );
    hold_forked("window of one", &Attention { op: AttentionOp { window: Some(1), ..base }, ..plain });
    hold_forked(
        "capped, normed, narrow values, sinks",
        &Attention {
            op: AttentionOp { heads: 4, kv_heads: 1, head_dim: 32, v_head_dim: 5, softcap: Some(5.0), ..base },
            sinks: &SINKS[..4],
            dims: 32,
            qk_norm: true,
            size: 3.0,
            ..plain
        },
    );
}

/// By hand: all scores are 0, so beside a sink of ln 3 a row that sees n keys gives each the weight 1 / (n + 3).
#[test]
fn sinks_by_hand() {
    fn run<B: Backend>(b: &B) -> Vec<f64> {
        let (mut forest, mut readout) = (Forest::new(), Readout::new());
        let root = forest.root(&[0, 1, 2]).unwrap();
        readout.sum(&forest, root, 1..3).unwrap();
        let wave = Waves::plan(&forest, &readout, Cut { rows: 9, reach: None, grain: None }).remove(0);
        let tables = b.tables(&wave).unwrap();
        let on = OnDevice { wave: &wave, tables: &tables };
        // Two rows: two queries and a key of one 0, and a value of two numbers.
        let qkv = b.upload(&[0.0, 0.0, 0.0, 8.0, 4.0, 0.0, 0.0, 0.0, 12.0, 1.0], 5).unwrap();
        let (mut keys, mut values, none, mut out) = (b.mat(2, 1).unwrap(), b.mat(2, 2).unwrap(), b.mat(0, 1).unwrap(), b.mat(2, 4).unwrap());
        b.append(0..2, &qkv, 3, &mut values).unwrap();
        let sinks = b.upload(&[3.0f32.ln(), f32::NEG_INFINITY], 2).unwrap();
        let op = AttentionOp { heads: 2, kv_heads: 1, head_dim: 1, v_head_dim: 2, scale: 1.0, window: None, softcap: None, sinks: Some(&sinks) };
        let (keys, values) = (History { wave: &mut keys, resident: &none }, History { wave: &mut values, resident: &none });
        b.attention(&op, &on, 0..2, &qkv, &keys, &values, &mut out).unwrap();
        b.download(&out, 0..2).unwrap()
    }
    let want = [2.0, 1.0, 8.0, 4.0, 4.0, 1.0, 10.0, 2.5];
    let all = std::iter::once(run(&Reference)).chain(devices().iter().map(|[one, _]| one.enter(|| run(one))));
    for got in all {
        // ln 3 is rounded to float32, and a few roundings follow.
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() <= 16.0 * U * want), "{got:?}");
    }
}

/// By tensor cores.
#[test]
fn attention_in_16_bits() {
    let op = AttentionOp { heads: 4, kv_heads: 1, v_head_dim: 24, ..BASE };
    hold_forked_in(&[], "wide values, sinks", &Attention { op, sinks: &SINKS[..4], rounding: 1.0 / 256.0, ..PLAIN }, Dtype::Bf16);
}

struct Conv {
    width: usize,
    taps: usize,
    bias: bool,
    act: Act,
}

/// Weights of a convolution `[width, taps]` and its bias.
fn conv_params<B: Backend>(b: &B, width: usize, taps: usize) -> (B::Mat, B::Mat) {
    (b.upload(&uniform(18, width * taps, 1.0), taps).unwrap(), b.upload(&uniform(19, width, 1.0), width).unwrap())
}

impl Layer for Conv {
    fn reach(&self) -> Option<u32> {
        Some(self.taps as u32 - 1)
    }
    fn widths(&self) -> (Vec<usize>, usize) {
        (vec![self.width], 1)
    }
    fn block<B: Backend>(&self, b: &B, on: &OnDevice<B::Tables>, block: Range<usize>, stores: &mut Stores<B>) -> Vec<f64> {
        let x = rows_of(b, on.wave, &block, self.width + 4, 1.0);
        let (wave, resident) = &mut stores.histories[0];
        b.append(block.clone(), &x, 3, wave).unwrap();
        let (weight, bias) = conv_params(b, self.width, self.taps);
        let op = ConvOp { taps: self.taps, weight: &weight, bias: self.bias.then_some(&bias), act: self.act };
        let mut out = b.mat(block.len(), self.width).unwrap();
        b.conv(&op, on, block.clone(), &History { wave, resident }, &mut out).unwrap();
        b.download(&out, 0..block.len()).unwrap()
    }
    /// All operands lie within ±1: Σ|w||x| + |b| ≤ K + 1. Then a slope of at most 1.13 and 16 u of the activation.
    fn budget(&self, truth: &[f64]) -> Vec<f64> {
        let most = self.taps as f64 + 1.0;
        vec![(1.13 * gamma(self.taps + 2) + 16.0 * U) * most; truth.len()]
    }
}

#[test]
fn convolutions() {
    for (width, taps) in [(1, 4), (16, 1), (17, 2), (33, 4), (64, 7)] {
        hold_forked("convolution", &Conv { width, taps, bias: width % 2 == 1, act: if width % 2 == 1 { Act::Silu } else { Act::None } });
    }
}

/// Steps of dt lie in −3 … 0 before the softplus, so Δ ≤ ln 2; A_log in −2 … 0, so |ΔA| ≤ ln 2.
const STEP: f64 = std::f64::consts::LN_2;
/// The longest path of the forest is shorter.
const LONGEST: f64 = 256.0;

/// Numbers below 0 and above −`depth`.
fn below_zero(seed: u64, n: usize, depth: f32) -> Vec<f32> {
    uniform(seed, n, depth).iter().map(|v| -v.abs()).collect()
}

fn absolute(values: Vec<f32>, yes: bool) -> Vec<f32> {
    if yes { values.iter().map(|v| v.abs()).collect() } else { values }
}

struct Scan {
    d_inner: usize,
    d_state: usize,
    /// All factors by their absolute values: what errors are measured by.
    absolute: bool,
}

impl Layer for Scan {
    fn reach(&self) -> Option<u32> {
        Some(0)
    }
    fn grain(&self) -> Option<u32> {
        Some(1)
    }
    fn widths(&self) -> (Vec<usize>, usize) {
        (vec![], self.d_inner * self.d_state)
    }
    fn block<B: Backend>(&self, b: &B, on: &OnDevice<B::Tables>, block: Range<usize>, stores: &mut Stores<B>) -> Vec<f64> {
        let (d, n) = (self.d_inner, self.d_state);
        let tokens = &on.wave.tokens[block.clone()];
        let of = |salt: u32, width: usize| -> Vec<f32> { tokens.iter().flat_map(|&t| absolute(features(t + salt, width, 1.0), self.absolute)).collect() };
        let dt: Vec<f32> = tokens.iter().flat_map(|&t| below_zero(5_000_000 + t as u64, d, 3.0)).collect();
        let (x, bc, z, dt) = (b.upload(&of(10_000, d), d), b.upload(&of(20_000, 2 * n + 3), 2 * n + 3), b.upload(&of(30_000, d + 1), d + 1), b.upload(&dt, d));
        let a_log = b.upload(&below_zero(20, d * n, 2.0), n).unwrap();
        let d_skip = b.upload(&absolute(uniform(21, d, 1.0), self.absolute), d).unwrap();
        let op = ScanOp { d_inner: d, d_state: n, a_log: &a_log, d_skip: &d_skip, act: Act::Silu };
        let mut states = States { wave: &mut stores.states.0, resident: &mut stores.states.1 };
        let mut out = b.mat(block.len(), d).unwrap();
        b.scan(&op, on, block.clone(), &x.unwrap(), &dt.unwrap(), (&bc.unwrap(), 3), (&z.unwrap(), 1), &mut states, &mut out).unwrap();
        b.download(&out, 0..block.len()).unwrap()
    }
    /// Relative to the same sum of absolute values: each of at most T steps rounds a few times and takes an exponential whose argument
    /// (at most ln 2) is off by 8 u; then N products, the gate.
    fn budget(&self, _: &[f64]) -> Vec<f64> {
        let whole = Scan { absolute: true, ..*self };
        let most = Forked("", &whole, WALKS[0]).run(&Reference);
        most.iter().map(|m| m * U * (LONGEST * (8.0 + 8.0 * STEP) + self.d_state as f64 + 32.0)).collect()
    }
}

#[test]
fn selective_scans() {
    for (d_inner, d_state) in [(1, 1), (5, 16), (16, 4), (33, 17)] {
        hold_forked("scan", &Scan { d_inner, d_state, absolute: false });
    }
}

struct Ssd {
    heads: usize,
    head_dim: usize,
    groups: usize,
    d_state: usize,
    absolute: bool,
    /// Half a unit in the last place of 1 of what is multiplied; float32's for float32.
    rounding: f64,
}

impl Layer for Ssd {
    fn reach(&self) -> Option<u32> {
        Some(SSD_CHUNK as u32 - 1 + 3)
    }
    fn grain(&self) -> Option<u32> {
        Some(SSD_CHUNK as u32)
    }
    fn widths(&self) -> (Vec<usize>, usize) {
        let d_inner = self.heads * self.head_dim;
        (vec![d_inner + 2 * self.groups * self.d_state + self.heads], d_inner * self.d_state)
    }
    fn block<B: Backend>(&self, b: &B, on: &OnDevice<B::Tables>, block: Range<usize>, stores: &mut Stores<B>) -> Vec<f64> {
        let (d_inner, history) = (self.heads * self.head_dim, self.widths().0[0]);
        let width = history - self.heads;
        let row = |&t: &u32| [absolute(features(t, width, 1.0), self.absolute), below_zero(5_000_000 + t as u64, self.heads, 3.0)].concat();
        let x = b.upload(&on.wave.tokens[block.clone()].iter().flat_map(row).collect::<Vec<_>>(), history).unwrap();
        let (wave, resident) = &mut stores.histories[0];
        b.append(block.clone(), &x, 0, wave).unwrap();
        let params = [(18, width * 4, 4), (19, width, width), (21, self.heads, self.heads)];
        let [weight, bias, d_skip] = params.map(|(seed, n, cols)| b.upload(&absolute(uniform(seed, n, 1.0), self.absolute), cols).unwrap());
        let [dt_bias, a_log] = [(22, 0.0), (20, 2.0)].map(|(seed, depth)| b.upload(&below_zero(seed, self.heads, depth), self.heads).unwrap());
        let op = SsdOp {
            heads: self.heads,
            head_dim: self.head_dim,
            groups: self.groups,
            d_state: self.d_state,
            conv: ConvOp { taps: 4, weight: &weight, bias: Some(&bias), act: Act::Silu },
            dt_bias: &dt_bias,
            a_log: &a_log,
            d_skip: &d_skip,
            dt_limit: (0.0, f32::INFINITY),
        };
        let mut states = States { wave: &mut stores.states.0, resident: &mut stores.states.1 };
        let mut out = b.mat(block.len(), d_inner).unwrap();
        b.ssd(&op, on, block.clone(), &History { wave, resident }, &mut states, &mut out).unwrap();
        b.download(&out, 0..block.len()).unwrap()
    }
    /// As the scan; besides, decays within a chunk are differences of cumulated sums, each off by γ(chunk) times its size, and x, B and C come
    /// out of a convolution: its rounding relative to silu of the absolute sum is at most 2 · 1.13 · (K + 18) u each. Where operands are rounded, a term of the longest
    /// kind has C, S, B, x and Δ x e^… rounded once each.
    fn budget(&self, _: &[f64]) -> Vec<f64> {
        let whole = Ssd { absolute: true, ..*self };
        let most = Forked("", &whole, WALKS[0]).run(&Reference);
        let chunk = SSD_CHUNK as f64;
        let conv = 3.0 * 2.0 * 1.13 * 22.0;
        let float32 = U * (LONGEST * (8.0 + 8.0 * STEP) + 2.0 * chunk * chunk * STEP + conv + self.d_state as f64 + 64.0);
        let rounded = if self.rounding > U { (1.0 + self.rounding).powi(5) - 1.0 } else { 0.0 };
        most.iter().map(|m| m * (float32 + rounded)).collect()
    }
}

#[test]
fn duals() {
    for (heads, head_dim, groups, d_state) in [(1, 1, 1, 1), (2, 8, 1, 16), (4, 5, 2, 7), (3, 16, 3, 33)] {
        hold_forked("dual", &Ssd { heads, head_dim, groups, d_state, absolute: false, rounding: U });
    }
}

/// In tensor cores: heads in more than one slice, states of each width that there is a kernel for, several groups; and sizes that they do not take.
#[test]
fn duals_in_16_bits() {
    for (precision, rounding) in [(Dtype::Bf16, 1.0 / 256.0), (Dtype::F16, 1.0 / 2048.0)] {
        for (heads, head_dim, groups, d_state) in [(2, 8, 1, 16), (2, 72, 2, 72), (1, 16, 1, 136), (3, 5, 1, 7)] {
            if precision == Dtype::Bf16 || d_state == 16 {
                hold_forked_in(&[], "dual", &Ssd { heads, head_dim, groups, d_state, absolute: false, rounding }, precision);
            }
        }
    }
}
