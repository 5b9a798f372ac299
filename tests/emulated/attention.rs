//! kernels/forest_attention.cu and forest_attention90.cu, over waves that the program's own forest gives.

use super::{Launch, number};
use emulation::{Memory, Planes, Schedule};
use half::{bf16, f16};
use hilberg::backend::cuda::attention::{self, Target, WIDTHS};
use hilberg::backend::cuda::{TensorMap, params, tables};
use hilberg::forest::{Cut, Forest, Readout, Run, SpanId, Store, Wave, Waves};
use std::collections::BTreeMap;
use std::ops::Range;

#[derive(Clone, Copy)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    v_head_dim: usize,
    window: Option<usize>,
    softcap: f32,
    /// Of head after head, over and over; none where there are none.
    sinks: &'static [f32],
    scale: f32,
}

const PLAIN: Shape = Shape { heads: 2, kv_heads: 1, head_dim: 64, v_head_dim: 64, window: None, softcap: 0.0, sinks: &[], scale: 0.125 };

impl Shape {
    fn sink(&self, head: usize) -> Option<f32> {
        self.sinks.get(head % self.sinks.len().max(1)).copied()
    }
}

/// A number of 16 bits.
trait Half: bytemuck::Pod + PartialEq + std::fmt::Debug {
    const NAME: &'static str;
    /// Unit in the last place of numbers about 1.
    const UNIT: f64;
    fn of(v: f32) -> Self;
    fn wide(self) -> f32;
}

impl Half for bf16 {
    const NAME: &'static str = "bf16";
    const UNIT: f64 = 1.0 / 128.0;
    fn of(v: f32) -> Self {
        bf16::from_f32(v)
    }
    fn wide(self) -> f32 {
        self.to_f32()
    }
}

impl Half for f16 {
    const NAME: &'static str = "f16";
    const UNIT: f64 = 1.0 / 1024.0;
    fn of(v: f32) -> Self {
        f16::from_f32(v)
    }
    fn wide(self) -> f32 {
        self.to_f32()
    }
}

/// What a row's queries, keys and values are drawn from: its path, and nothing else.
type Path = u64;

/// A path whose keys and values are no numbers.
const STRANGE: Path = u64::MAX;

/// Both stores as far as they are filled: the wave's rows, and the resident ones.
#[derive(Default)]
struct Stores {
    wave: Vec<Path>,
    resident: Vec<Path>,
}

impl Stores {
    fn at(&self, wave: &Wave, run: &Run, position: u32) -> Path {
        if position >= run.position {
            return self.wave[(run.rows.start + position - run.position) as usize];
        }
        let past = &wave.segments[run.past.start as usize..run.past.end as usize];
        let s = past.iter().find(|s| (s.position..s.position + s.len).contains(&position)).unwrap();
        let row = (s.row + position - s.position) as usize;
        if s.store == Store::Wave { self.wave[row] } else { self.resident[row] }
    }

    /// Rows of the next wave.
    fn enter(&mut self, wave: &Wave) {
        self.resident.resize(wave.resident_rows as usize, 0);
        self.wave.clear();
        for run in &wave.runs {
            for row in run.rows.clone() {
                let position = run.position + row - run.rows.start;
                let before = if position == 0 { 1 } else { self.at(wave, run, position - 1) };
                self.wave.push((before ^ u64::from(wave.tokens[row as usize])).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (before >> 23));
            }
        }
    }

    fn leave(&mut self, wave: &Wave) {
        for k in &wave.keeps {
            for i in 0..k.len {
                self.resident[(k.resident + i) as usize] = self.wave[(k.row + i) as usize];
            }
        }
    }
}

/// A path's key (kind 1) or value (2) of a head, or its query (0).
fn vector(path: Path, kind: usize, head: usize, head_dim: usize) -> Vec<f32> {
    let at = |i| if path == STRANGE { f32::INFINITY } else { number(path, (kind * 1000 + head) * 1000 + i) };
    (0..head_dim).map(at).collect()
}

/// `[kv_heads, rows, width]`
fn store<T: Half>(shape: &Shape, paths: &[Path], kind: usize, width: usize) -> Memory {
    let all: Vec<T> = (0..shape.kv_heads).flat_map(|h| paths.iter().flat_map(move |p| vector(*p, kind, h, width))).map(T::of).collect();
    Memory::of(bytemuck::cast_slice(&all))
}

/// Attention of rows `block`, by the kernels: `[rows, heads · v_head_dim]`.
fn attend<T: Half>(target: Target, shape: &Shape, wave: &Wave, stores: &Stores, block: Range<usize>, schedule: Schedule) -> Vec<T> {
    let Shape { heads, kv_heads, head_dim, v_head_dim, .. } = *shape;
    let work = attention::work(wave, block.clone(), heads / kv_heads, shape.window, target.queries());
    let (runs, segments, ..) = tables::of(wave);
    // Other columns than the queries' are there, too.
    let q_stride = heads * head_dim + 8;
    let mut q = Vec::new();
    for &path in &stores.wave[block.clone()] {
        q.extend((0..heads).flat_map(|h| vector(path, 0, h, head_dim)));
        q.resize(q.len().next_multiple_of(q_stride), f32::NAN);
    }
    let q = Memory::of(bytemuck::cast_slice(&q));
    let both = |kind, width| [store::<T>(shape, &stores.wave, kind, width), store::<T>(shape, &stores.resident, kind, width)];
    let (keys, values) = (both(1, head_dim), both(2, v_head_dim));
    let sinks: Vec<f32> = (0..heads).filter_map(|h| shape.sink(h)).collect();
    let on_device = Memory::of(bytemuck::cast_slice(&sinks));
    let sinks = if sinks.is_empty() { 0 } else { on_device.address() };
    let (items, merges) = (Memory::of(bytemuck::cast_slice(&work.items)), Memory::of(bytemuck::cast_slice(&work.merges)));
    let (runs, segments) = (Memory::of(bytemuck::cast_slice(&runs)), Memory::of(bytemuck::cast_slice(&segments)));
    let (parts, part_sums) = (Memory::new(4 * work.part_rows as usize * heads * v_head_dim), Memory::new(8 * work.part_rows as usize * heads));
    let out = Memory::new(size_of::<T>() * block.len() * heads * v_head_dim);
    let attend = params::Attention {
        q: q.address(),
        keys: [keys[0].address(), keys[1].address()],
        values: [values[0].address(), values[1].address()],
        sinks,
        items: items.address(),
        forest: tables::Forest { runs: runs.address(), segments: segments.address(), saves: 0, run_of_row: 0 },
        out: out.address(),
        parts: parts.address(),
        part_sums: part_sums.address(),
        store_rows: [stores.wave.len() as u64, stores.resident.len() as u64],
        block_row: block.start as u32,
        q_stride: q_stride as u32,
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        head_dim: head_dim as u32,
        v_head_dim: v_head_dim as u32,
        window: shape.window.unwrap_or(0) as u32,
        scale: shape.scale,
        softcap: shape.softcap,
        padding: 0,
    };
    let merge = params::AttentionMergeAll {
        merges: merges.address(),
        parts: parts.address(),
        part_sums: part_sums.address(),
        sinks,
        out: out.address(),
        block_row: block.start as u32,
        heads: heads as u32,
        v_head_dim: v_head_dim as u32,
        padding: 0,
    };
    let width = WIDTHS.into_iter().find(|w| *w >= head_dim.max(v_head_dim)).unwrap();
    let names = [target.kernel(T::NAME, width), format!("attention_merge_{}", T::NAME)];
    let first: Launch = (&names[0], [work.items.len() as u32, kv_heads as u32, 1], target.threads() as u32, target.shared_bytes(width));
    let maps = |of: [u64; 2], columns: usize| {
        let map = |address, rows| {
            let (sizes, strides) = ([columns, rows, kv_heads], [columns, rows * columns]);
            TensorMap(Planes { address, sizes, strides, of_box: Target::Sm90.of_box(width) }.map())
        };
        [map(of[0], stores.wave.len()), map(of[1], stores.resident.len())]
    };
    let (keys, values) = (maps(attend.keys, head_dim), maps(attend.values, v_head_dim));
    let attend90 = params::Attention90 { keys, values, attention: attend, block_end: block.end as u32, padding: [0; 21] };
    let most = work.merges.iter().map(|m| m.rows).max().unwrap_or(0);
    let second: Launch = (&names[1], [work.merges.len() as u32, most, heads as u32], 128, 0);
    let mut launches = vec![(first, if target == Target::Sm90 { bytemuck::bytes_of(&attend90) } else { bytemuck::bytes_of(&attend) })];
    if most > 0 {
        launches.push((second, bytemuck::bytes_of(&merge)));
    }
    super::run(&launches, schedule).unwrap_or_else(|fault| panic!("{schedule:?}: {fault}"));
    bytemuck::cast_slice(out.bytes()).to_vec()
}

/// A row's head in float64, and as plain loops give it that round what the kernel rounds: q, the weights, the result.
fn oracle<T: Half>(shape: &Shape, sink: Option<f32>, q: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>]) -> (Vec<f64>, Vec<f64>) {
    let cap = |s: f64| if shape.softcap == 0.0 { s } else { shape.softcap as f64 * (s / shape.softcap as f64).tanh() };
    let stored = |v: &f32| T::of(*v).wide() as f64;
    let mix = |q: &dyn Fn(usize) -> f64, weight: &dyn Fn(f64) -> f64| -> Vec<f64> {
        let scores: Vec<f64> = keys.iter().map(|k| cap((0..k.len()).map(|i| q(i) * stored(&k[i])).sum::<f64>() * shape.scale as f64)).collect();
        let most = scores.iter().copied().fold(sink.map_or(f64::NEG_INFINITY, f64::from), f64::max);
        let total: f64 = scores.iter().copied().chain(sink.map(f64::from)).map(|s| (s - most).exp()).sum();
        (0..shape.v_head_dim).map(|i| scores.iter().zip(values).map(|(s, v)| weight((s - most).exp() / total) * stored(&v[i])).sum()).collect()
    };
    let round = |v: f64| T::of(v as f32).wide() as f64;
    let truth = mix(&|i| q[i] as f64, &|w| w);
    let near = mix(&|i| stored(&q[i]), &round).into_iter().map(round).collect();
    (truth, near)
}

/// Holds every row of every wave against float64, under every schedule.
fn check<T: Half>(target: Target, shape: &Shape, forest: &Forest, rows: usize, block: usize, schedules: &[Schedule]) {
    let mut readout = Readout::new();
    for span in 0..forest.spans().len() {
        let n = forest.tokens(SpanId(span as u32)).len() as u32;
        readout.sum(forest, SpanId(span as u32), u32::from(forest.spans()[span].position == 0)..n).unwrap();
    }
    let mut stores = Stores::default();
    for wave in Waves::plan(forest, &readout, Cut { rows, reach: shape.window.map(|w| w as u32), grain: None }) {
        stores.enter(&wave);
        let n = wave.tokens.len();
        for start in (0..n).step_by(block) {
            let block = start..n.min(start + block);
            let got = attend::<T>(target, shape, &wave, &stores, block.clone(), schedules[0]);
            for &schedule in &schedules[1..] {
                assert_eq!(attend::<T>(target, shape, &wave, &stores, block.clone(), schedule), got, "{schedule:?}");
            }
            for row in block.clone() {
                let run = wave.runs.iter().find(|r| r.rows.contains(&(row as u32))).unwrap();
                let position = run.position + row as u32 - run.rows.start;
                let from = shape.window.map_or(0, |w| (position + 1).saturating_sub(w as u32));
                let paths: Vec<Path> = (from..=position).map(|p| stores.at(&wave, run, p)).collect();
                for head in 0..shape.heads {
                    let kv = head / (shape.heads / shape.kv_heads);
                    let of = |kind, width| -> Vec<Vec<f32>> { paths.iter().map(|p| vector(*p, kind, kv, width)).collect() };
                    let q = vector(stores.wave[row], 0, head, shape.head_dim);
                    let (truth, near) = oracle::<T>(shape, shape.sink(head), &q, &of(1, shape.head_dim), &of(2, shape.v_head_dim));
                    let most = |off: &dyn Fn(usize) -> f64| (0..shape.v_head_dim).map(off).fold(0.0, f64::max);
                    let (naive, size) = (most(&|i| (near[i] - truth[i]).abs()), most(&|i| truth[i].abs()));
                    let at = ((row - block.start) * shape.heads + head) * shape.v_head_dim;
                    let off = most(&|i| (got[at + i].wide() as f64 - truth[i]).abs());
                    // The kernel rounds weights before they are divided by their sum, the plain loops after: as far off at the most.
                    let budget = 2.0 * naive + T::UNIT * size;
                    assert!(
                        off <= budget,
                        "{}, position {position}, head {head}: off by {off:.1e}, plain loops {naive:.1e}, rounding {:.1e}",
                        T::NAME,
                        T::UNIT * size
                    );
                }
            }
        }
        stores.leave(&wave);
    }
}

fn tokens(n: usize, seed: u32) -> Vec<u32> {
    (0..n as u32).map(|i| i * 31 % 97 + seed).collect()
}

/// A trunk with branches at all kinds of places, a chain of forks, spans of one token.
fn forest() -> Forest {
    let mut f = Forest::new();
    let trunk = f.root(&tokens(150, 0)).unwrap();
    for (i, at) in [1, 63, 64, 65, 128, 149].into_iter().enumerate() {
        f.branch(trunk, at, &tokens([2, 1, 70, 3, 20, 5][i], 200 + i as u32)).unwrap();
    }
    let mut span = f.root(&tokens(3, 7)).unwrap();
    for i in 0..9 {
        span = f.branch(span, if i % 2 == 0 { 2 } else { 1 }, &tokens(3, 300 + i)).unwrap();
    }
    f.root(&tokens(2, 9)).unwrap();
    f
}

/// A test on either target.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod on_sm_80 { $(#[test] fn $name() { super::$name(super::Target::Sm80); })* }
        mod on_sm_90a { $(#[test] fn $name() { super::$name(super::Target::Sm90); })* }
    };
}
on_both! {
    every_schedule_gives_the_same_bits_near_to_float64 shapes_of_heads widths_of_values sinks sinks_by_hand many_tiles resident_pasts strangers_are_not_touched a_path_alone_and_in_company
}

fn every_schedule_gives_the_same_bits_near_to_float64(target: Target) {
    check::<bf16>(target, &PLAIN, &forest(), 4096, 4096, &Schedule::ALL);
    check::<f16>(target, &PLAIN, &forest(), 4096, 100, &Schedule::ALL[..2]);
}

fn shapes_of_heads(target: Target) {
    let some = &Schedule::ALL[..1];
    let same = |heads, kv_heads, width| Shape { heads, kv_heads, head_dim: width, v_head_dim: width, ..PLAIN };
    check::<bf16>(target, &Shape { scale: 0.5, ..same(6, 2, 128) }, &forest(), 4096, 4096, some);
    check::<f16>(target, &Shape { softcap: 5.0, scale: 0.3, ..same(3, 3, 80) }, &forest(), 4096, 77, some);
    check::<bf16>(target, &Shape { softcap: 50.0, scale: 0.0625, ..same(2, 1, 256) }, &forest(), 4096, 4096, some);
    check::<f16>(target, &Shape { window: Some(70), scale: 0.1, ..same(2, 2, 168) }, &forest(), 100, 70, some);
    check::<bf16>(target, &Shape { window: Some(33), scale: 1.0, ..same(4, 1, 40) }, &forest(), 4096, 4096, some);
    check::<bf16>(target, &Shape { scale: 1.0, ..same(71, 1, 8) }, &forest(), 4096, 4096, &Schedule::ALL[1..2]);
}

/// Values narrower and wider than queries and keys: multi-head latent attention's 192 and 128, and others.
fn widths_of_values(target: Target) {
    let some = &Schedule::ALL[3..];
    let of = |head_dim, v_head_dim| Shape { head_dim, v_head_dim, ..PLAIN };
    check::<bf16>(target, &of(192, 128), &forest(), 4096, 4096, some);
    check::<f16>(target, &of(64, 96), &forest(), 64, 50, some);
    check::<bf16>(target, &Shape { heads: 3, kv_heads: 3, sinks: &[0.5, -1.0, 2.0], ..of(8, 72) }, &forest(), 4096, 4096, some);
}

/// Sinks that no row notices, that are as large as scores, and that leave next to nothing of the values; scores here are within ±8.
fn sinks(target: Target) {
    const SINKS: &[f32] = &[f32::NEG_INFINITY, -8.0, 0.0, 3.0, 30.0];
    let shape = Shape { heads: 5, kv_heads: 1, sinks: SINKS, ..PLAIN };
    check::<bf16>(target, &shape, &forest(), 4096, 4096, &Schedule::ALL[1..3]);
    check::<f16>(target, &Shape { heads: 6, kv_heads: 3, window: Some(40), softcap: 2.0, ..shape }, &forest(), 100, 70, &Schedule::ALL[..1]);
}

/// By hand: a sink takes its part of the softmax and nothing else. Over a first token, whose own weight would be 1, it leaves 1 / (1 + e^(sink − score)).
fn sinks_by_hand(target: Target) {
    let mut f = Forest::new();
    let root = f.root(&tokens(70, 0)).unwrap();
    let mut readout = Readout::new();
    readout.sum(&f, root, 1..70).unwrap();
    let wave = Waves::plan(&f, &readout, Cut { rows: 100, reach: None, grain: None }).remove(0);
    let mut stores = Stores::default();
    stores.enter(&wave);
    let attend = |shape: &Shape| attend::<bf16>(target, shape, &wave, &stores, 0..wave.tokens.len(), Schedule::ALL[0]);
    let without = attend(&PLAIN);
    assert_eq!(attend(&Shape { sinks: &[f32::NEG_INFINITY], ..PLAIN }), without, "a sink of −∞ is none");
    assert!(attend(&Shape { sinks: &[1e30], ..PLAIN }).iter().all(|v| v.wide() == 0.0), "beside a sink of 10³⁰ nothing has weight");
    // All scores are 0 where the scale is.
    let flat = Shape { scale: 0.0, ..PLAIN };
    let (with, without) = (attend(&Shape { sinks: &[2.0], ..flat }), attend(&flat));
    for row in 0..wave.tokens.len() {
        let seen = row as f32 + 1.0;
        let share = seen / (seen + 2.0f32.exp());
        for i in row * 128..(row + 1) * 128 {
            // Two roundings of the results to half a unit in the last place each.
            let (got, want) = (with[i].wide(), without[i].wide() * share);
            assert!((got - want).abs() <= 1.01 * want.abs() / 128.0, "row {row}: {got}, not {want}");
        }
    }
}

/// So many tiles that stages are used again, by boxes and by rows that are gathered.
fn many_tiles(target: Target) {
    let mut forest = Forest::new();
    let trunk = forest.root(&tokens(280, 0)).unwrap();
    forest.branch(trunk, 270, &tokens(3, 1)).unwrap();
    check::<bf16>(target, &Shape { heads: 1, head_dim: 136, v_head_dim: 136, ..PLAIN }, &forest, 4096, 4096, &[Schedule::ALL[0], Schedule::ALL[5]]);
}

/// Trees that are cut go on over the resident store.
fn resident_pasts(target: Target) {
    check::<bf16>(target, &PLAIN, &forest(), 64, 64, &Schedule::ALL[..1]);
    check::<bf16>(target, &Shape { window: Some(40), ..PLAIN }, &forest(), 50, 20, &Schedule::ALL[..1]);
}

/// Rows of other paths may hold anything: the bits of a run's rows are the same where all other rows are infinite.
fn strangers_are_not_touched(target: Target) {
    for (shape, rows) in [(PLAIN, 4096), (Shape { head_dim: 136, v_head_dim: 144, ..PLAIN }, 100)] {
        let (forest, mut readout) = (forest(), Readout::new());
        for span in 0..forest.spans().len() {
            let n = forest.tokens(SpanId(span as u32)).len() as u32;
            readout.sum(&forest, SpanId(span as u32), n - 1..n).unwrap();
        }
        let mut stores = Stores::default();
        for wave in Waves::plan(&forest, &readout, Cut { rows, reach: None, grain: None }) {
            stores.enter(&wave);
            for run in &wave.runs {
                let mut seen = Stores { wave: vec![STRANGE; stores.wave.len()], resident: vec![STRANGE; stores.resident.len()] };
                let past = &wave.segments[run.past.start as usize..run.past.end as usize];
                let own = past.iter().map(|s| (s.store, s.row..s.row + s.len)).chain([(Store::Wave, run.rows.clone())]);
                for (store, rows) in own {
                    let (to, from) = if store == Store::Wave { (&mut seen.wave, &stores.wave) } else { (&mut seen.resident, &stores.resident) };
                    let rows = rows.start as usize..rows.end as usize;
                    to[rows.clone()].copy_from_slice(&from[rows]);
                }
                let block = run.rows.start as usize..run.rows.end as usize;
                let [got, want] = [&seen, &stores].map(|s| attend::<bf16>(target, &shape, &wave, s, block.clone(), Schedule::ALL[1]));
                assert_eq!(got, want, "rows {block:?}");
                // Were the rest of a run's block not there yet, it would not matter either.
                let half = block.start..block.end.min(block.start + 40);
                seen.wave[half.end..block.end].fill(STRANGE);
                assert_eq!(
                    attend::<bf16>(target, &shape, &wave, &seen, half.clone(), Schedule::ALL[1])[..],
                    want[..half.len() * shape.heads * shape.v_head_dim]
                );
            }
            stores.leave(&wave);
        }
    }
}

/// Rows alone and in company, in whichever wave and block: the same bits, pasts of several segments among them.
fn a_path_alone_and_in_company(target: Target) {
    // One head without a sink, one with.
    let shape = &Shape { head_dim: 16, v_head_dim: 24, sinks: &[f32::NEG_INFINITY, 4.0], ..PLAIN };
    let width = shape.heads * shape.v_head_dim;
    let trunk = tokens(2100, 0);
    let ends = [(2040, tokens(30, 500)), (2048, tokens(3, 600)), (2090, tokens(9, 700))];
    let mut together = Forest::new();
    let root = together.root(&trunk).unwrap();
    for (at, end) in &ends {
        together.branch(root, *at, end).unwrap();
    }
    let mut alone = Forest::new();
    for (at, end) in &ends {
        alone.root(&[&trunk[..*at as usize], end].concat()).unwrap();
    }
    // The rows from 2,030 on, of all waves of a forest, by path.
    let late = |forest: &Forest, rows: usize, step: usize| -> BTreeMap<Path, Vec<bf16>> {
        let mut readout = Readout::new();
        for span in (0..forest.spans().len()).map(|s| SpanId(s as u32)) {
            let n = forest.tokens(span).len() as u32;
            readout.sum(forest, span, n - 2..n).unwrap();
        }
        let (mut stores, mut found) = (Stores::default(), BTreeMap::new());
        for wave in Waves::plan(forest, &readout, Cut { rows, reach: None, grain: None }) {
            stores.enter(&wave);
            let n = wave.tokens.len();
            for start in (0..n).step_by(step) {
                let block = start..n.min(start + step);
                if wave.positions[block.clone()].iter().all(|p| *p < 2030) {
                    continue;
                }
                let got = attend::<bf16>(target, shape, &wave, &stores, block.clone(), Schedule::ALL[1]);
                for (i, row) in block.enumerate().filter(|&(_, row)| wave.positions[row] >= 2030) {
                    found.insert(stores.wave[row], got[i * width..(i + 1) * width].to_vec());
                }
            }
            stores.leave(&wave);
        }
        found
    };
    let want = late(&together, 1 << 16, 64);
    for (forest, rows, step) in [(&together, 700, 50), (&alone, 1 << 16, 33), (&alone, 1 << 16, 1)] {
        let got = late(forest, rows, step);
        let shared: Vec<_> = got.keys().filter(|p| want.contains_key(p)).collect();
        assert!(shared.len() >= 40, "{} paths in both", shared.len());
        for path in shared {
            assert_eq!(got[path], want[path]);
        }
    }
}
