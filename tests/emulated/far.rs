//! Every kernel on rows that lie more than 2³² numbers into a matrix: the same bits as on the first rows of a small one. Memory that nobody touches is not there, and of a grid only the
//! blocks run whose rows are looked at. Templates are run in float32 and bfloat16; float16 has the same source.

use super::numbers;
use bytemuck::{Pod, bytes_of, cast_slice};
use emulation::{Memory, Schedule, launch_some};
use half::bf16;
use hilberg::backend::cuda::TensorMap;
use hilberg::backend::cuda::attention::Target;
use hilberg::backend::cuda::params::{self, AttentionItem, AttentionMerge};
use hilberg::backend::cuda::tables::{self, ForestRun, ForestSegment, KeptRows, RESIDENT};
use std::ops::Range;

/// So many numbers lie before what is touched. Products of 32 bits, with or without a sign, wrap before.
const FAR: usize = (1 << 32) + (1 << 20);
/// Rows that are computed.
const ROWS: usize = 3;

/// A number as a kernel has it.
trait Number: Pod {
    const NAME: &'static str;
    fn of(value: f32) -> Self;
}

impl Number for f32 {
    const NAME: &'static str = "f32";
    fn of(value: f32) -> f32 {
        value
    }
}

impl Number for bf16 {
    const NAME: &'static str = "bf16";
    fn of(value: f32) -> bf16 {
        bf16::from_f32(value)
    }
}

fn some<T: Number>(seed: u64, n: usize) -> Vec<T> {
    numbers(seed, n).into_iter().map(T::of).collect()
}

/// So many numbers, with these from `at` on and zeros elsewhere.
fn holding<T: Pod>(all: usize, at: usize, values: &[T]) -> Memory {
    let mut memory = Memory::new(all * size_of::<T>());
    put(&mut memory, at, values);
    memory
}

fn put<T: Pod>(memory: &mut Memory, at: usize, values: &[T]) {
    let bytes: &[u8] = cast_slice(values);
    memory.bytes_mut()[at * size_of::<T>()..][..bytes.len()].copy_from_slice(bytes);
}

/// Bytes of `n` numbers from `at` on.
fn taken<T>(memory: &Memory, at: usize, n: usize) -> Vec<u8> {
    memory.bytes()[at * size_of::<T>()..(at + n) * size_of::<T>()].to_vec()
}

/// `blocks` of a grid of the kernel.
fn run(kernel: &str, grid: [usize; 3], blocks: [Range<usize>; 3], threads: u32, shared: usize, params: &[u8]) {
    let (grid, blocks) = (grid.map(|n| n as u32), blocks.map(|b| b.start as u32..b.end as u32));
    // SAFETY: every test keeps what it allocated until this returns.
    unsafe { launch_some(kernel, grid, blocks, threads, shared, params, Schedule::ALL[1]) }.unwrap();
}

/// What `run` gives for the first row 0, and for one beyond [`FAR`] numbers in rows of `width`, a multiple of `step`.
fn same(what: &str, width: usize, step: usize, run: impl Fn(usize) -> Vec<u8>) {
    let near = run(0);
    assert!(near.iter().any(|b| *b != 0), "{what}: nothing was written");
    assert!(run((FAR / width).next_multiple_of(step)) == near, "{what}: other bits far into a matrix");
}

const WIDTH: usize = 1024;
const STRIDE: usize = 1032;

fn norm<T: Number>(gathered: bool) {
    let kernel = format!("norm_{}", T::NAME);
    same(&kernel, WIDTH, 1, |row| {
        let (all, at) = ((row + ROWS) * WIDTH, row * WIDTH);
        let (x, weight) = (holding(all, at, &numbers(1, ROWS * WIDTH)), holding(WIDTH, 0, &numbers(2, WIDTH)));
        let which: Vec<u32> = (row..row + ROWS).map(|i| i as u32).collect();
        let (which, out) = (holding(row + ROWS, row, &which), Memory::new(all * size_of::<T>()));
        let p = params::Norm {
            x: x.address(),
            which: if gathered { which.address() } else { 0 },
            weight: weight.address(),
            bias: 0,
            out: out.address(),
            first: 0,
            width: WIDTH as u32,
            eps: 1e-5,
            center: 1,
            padding: 0,
        };
        run(&kernel, [row + ROWS, 1, 1], [row..row + ROWS, 0..1, 0..1], 256, 32, bytes_of(&p));
        taken::<T>(&out, at, ROWS * WIDTH)
    });
}

fn embed<T: Number>() {
    let kernel = format!("embed_{}", T::NAME);
    same(&kernel, WIDTH, 1, |row| {
        let (all, at, n) = ((row + ROWS) * WIDTH, row * WIDTH, ROWS * WIDTH);
        let (rows, added, out) = (holding(all, at, &some::<T>(1, n)), holding(all, at, &numbers(2, n)), Memory::new(4 * all));
        let p = params::Embed { rows: rows.address(), added: added.address(), out: out.address(), numbers: all as u64 };
        run(&kernel, [all / 256, 1, 1], [at / 256..all / 256, 0..1, 0..1], 256, 0, bytes_of(&p));
        taken::<f32>(&out, at, n)
    });
}

#[test]
fn rows() {
    norm::<f32>(false);
    norm::<bf16>(true);
    embed::<f32>();
    embed::<bf16>();
    same("gate_f32", WIDTH, 1, |row| {
        let (all, at) = ((row + ROWS) * WIDTH, row * WIDTH);
        let (y, z) = (holding(all, at, &numbers(1, ROWS * WIDTH)), holding((row + ROWS) * STRIDE, row * STRIDE, &numbers(2, ROWS * STRIDE)));
        let weight = holding(WIDTH, 0, &numbers(3, WIDTH));
        let p = params::Gate {
            y: y.address(),
            z: z.address(),
            weight: weight.address(),
            width: WIDTH as u32,
            z_stride: STRIDE as u32,
            groups: 2,
            norm_first: 0,
            act: 3,
            eps: 1e-5,
        };
        run("gate_f32", [row + ROWS, 2, 1], [row..row + ROWS, 0..2, 0..1], 256, 32, bytes_of(&p));
        taken::<f32>(&y, at, ROWS * WIDTH)
    });
    same("narrow_bf16", WIDTH, 1, |row| {
        let (all, at) = ((row + ROWS) * WIDTH, row * WIDTH);
        let (x, out) = (holding((row + ROWS) * STRIDE, row * STRIDE, &numbers(1, ROWS * STRIDE)), Memory::new(2 * all));
        let (stride, columns, to_stride) = (STRIDE as u32, WIDTH as u32 - 4, WIDTH as u32);
        let p = params::Narrow { x: x.address(), out: out.address(), numbers: all as u64, stride, columns, to_stride, padding: 0 };
        run("narrow_bf16", [all / 256, 1, 1], [at / 256..all / 256, 0..1, 0..1], 256, 0, bytes_of(&p));
        taken::<bf16>(&out, at, ROWS * WIDTH)
    });
    same("append_f32", WIDTH, 1, |row| {
        let (all, at) = ((row + ROWS) * WIDTH, row * WIDTH);
        let (x, history) = (holding((row + ROWS) * STRIDE, row * STRIDE, &numbers(1, ROWS * STRIDE)), Memory::new(4 * all));
        let p = params::Append { x: x.address(), history: history.address(), numbers: all as u64, x_stride: STRIDE as u32, width: WIDTH as u32 };
        run("append_f32", [all / 256, 1, 1], [at / 256..all / 256, 0..1, 0..1], 256, 0, bytes_of(&p));
        taken::<f32>(&history, at, ROWS * WIDTH)
    });
}

/// Heads, each with its keys and values, and their width: the last heads of a store lie beyond FAR where a head has FAR / WIDTH rows.
const HEADS: usize = 20;
const DIM: usize = 64;

/// A store `[HEADS, rows, DIM]` whose rows from `row` on have these, `[HEADS, n, DIM]`.
fn store<T: Pod>(rows: usize, row: usize, values: &[T]) -> Memory {
    let mut memory = Memory::new(HEADS * rows * DIM * size_of::<T>());
    for (head, values) in values.chunks_exact(values.len() / HEADS).enumerate() {
        put(&mut memory, (head * rows + row) * DIM, values);
    }
    memory
}

fn of_store<T>(memory: &Memory, rows: usize, row: usize, n: usize) -> Vec<u8> {
    (0..HEADS).flat_map(|head| taken::<T>(memory, (head * rows + row) * DIM, n * DIM)).collect()
}

fn rotary<T: Number>() {
    let kernel = format!("rotary_append_{}", T::NAME);
    let width = 3 * HEADS * DIM;
    same(&kernel, WIDTH, 8, |row| {
        let rows = row + ROWS;
        let qkv = holding(rows * width, row * width, &numbers(1, ROWS * width));
        let (table, norm) = (holding(8 * DIM, 0, &numbers(2, 8 * DIM)), holding(DIM, 0, &numbers(3, DIM)));
        let positions = holding(rows, row, &[5u32, 6, 7]);
        let [keys, values] = [0, 1].map(|_| Memory::new(HEADS * rows * DIM * size_of::<T>()));
        let p = params::Rotary {
            qkv: qkv.address(),
            table: table.address(),
            q_norm: norm.address(),
            k_norm: norm.address(),
            positions: positions.address(),
            keys: keys.address(),
            values: values.address(),
            store_rows: rows as u64,
            first_row: 0,
            rows: rows as u32,
            heads: HEADS as u32,
            kv_heads: HEADS as u32,
            head_dim: DIM as u32,
            v_head_dim: DIM as u32,
            dims: DIM as u32,
            eps: 1e-5,
        };
        let (all, at) = ((rows * 3 * HEADS).div_ceil(8), row * 3 * HEADS / 8);
        run(&kernel, [all, 1, 1], [at..all, 0..1, 0..1], 256, 0, bytes_of(&p));
        [taken::<f32>(&qkv, row * width, ROWS * width), of_store::<T>(&keys, rows, row, ROWS), of_store::<T>(&values, rows, row, ROWS)].concat()
    });
}

#[test]
fn stores() {
    rotary::<f32>();
    rotary::<bf16>();
    same("keep_words", WIDTH, 1, |row| {
        let (wave_rows, resident_rows) = (row + ROWS, row + ROWS + 2);
        let (wave, resident) = (store(wave_rows, row, &numbers(1, HEADS * ROWS * DIM)), Memory::new(4 * HEADS * resident_rows * DIM));
        let keeps = holding(1, 0, &[KeptRows { row: row as u32, resident: row as u32 + 1, length: ROWS as u32 }]);
        let p = params::Keep {
            keeps: keeps.address(),
            wave: wave.address(),
            resident: resident.address(),
            wave_rows: wave_rows as u64,
            resident_rows: resident_rows as u64,
            width: DIM as u32,
            padding: 0,
        };
        run("keep_words", [1, HEADS, 1], [0..1, 0..HEADS, 0..1], 256, 0, bytes_of(&p));
        of_store::<f32>(&resident, resident_rows, row + 1, ROWS)
    });
}

/// Three rows whose past is resident; queries, both stores and the result lie far in.
fn attention<T: Number>(past: usize, target: Option<Target>) {
    let kernel = target.map_or(format!("attention_{0}_{0}", T::NAME), |target| target.kernel(T::NAME, DIM));
    let width = HEADS * DIM;
    same(&kernel, WIDTH, 1, |row| {
        let (rows, kept_rows) = (row + ROWS, row + 1 + past);
        let q = holding(rows * (width + 8), row * (width + 8), &numbers(1, ROWS * (width + 8)));
        let wave = |seed| store(rows, row, &some::<T>(seed, HEADS * ROWS * DIM));
        let resident = |seed| store(kept_rows, row + 1, &some::<T>(seed, HEADS * past * DIM));
        let (keys, values) = ([wave(2), resident(3)], [wave(4), resident(5)]);
        let of = |stores: &[Memory; 2]| stores.each_ref().map(Memory::address);
        let (first_row, end_row, position) = (row as u32, rows as u32, past as u32);
        let runs = holding(1, 0, &[ForestRun { first_row, end_row, position, past_from: 0, past_to: 1, state: 0, saves_from: 0, saves_to: 0 }]);
        let segments = holding(1, 0, &[ForestSegment { row: (row as u32 + 1) | RESIDENT, position: 0, length: past as u32 }]);
        // All rows are of run 0.
        let run_of_row = Memory::new(4 * rows);
        let forest = tables::Forest { runs: runs.address(), segments: segments.address(), saves: 0, run_of_row: run_of_row.address() };
        let (sinks, out) = (holding(HEADS, 0, &numbers(6, HEADS)), Memory::new(rows * width * size_of::<T>()));
        let (store_rows, q_stride, heads, head_dim) = ([rows as u64, kept_rows as u64], (width + 8) as u32, HEADS as u32, DIM as u32);
        if let Some(target) = target {
            let items = holding(1, 0, &[AttentionItem { run: 0, first_row, rows: ROWS as u32, first_head: 0, heads: 1, segment: 0, part: u32::MAX }]);
            let p = params::Attention {
                q: q.address(),
                keys: of(&keys),
                values: of(&values),
                sinks: sinks.address(),
                items: items.address(),
                forest,
                out: out.address(),
                parts: 0,
                part_sums: 0,
                store_rows,
                block_row: 0,
                q_stride,
                heads,
                kv_heads: heads,
                head_dim,
                v_head_dim: head_dim,
                window: 0,
                scale: 0.125,
                softcap: 0.0,
                padding: 0,
            };
            let map = |address, rows| {
                let (sizes, strides) = ([DIM, rows, HEADS], [DIM, rows * DIM]);
                TensorMap(emulation::Planes { address, sizes, strides, of_box: target.of_box(DIM) }.map())
            };
            let maps = |of: [u64; 2]| [map(of[0], rows), map(of[1], kept_rows)];
            let wide = params::Attention90 { keys: maps(p.keys), values: maps(p.values), attention: p, block_end: end_row, padding: [0; 21] };
            let params = if target == Target::Sm90 { bytes_of(&wide) } else { bytes_of(&p) };
            run(&kernel, [1, HEADS, 1], [0..1, 0..HEADS, 0..1], target.threads() as u32, target.shared_bytes(DIM), params);
        } else {
            let p = params::PlainAttention {
                forest,
                q: q.address(),
                keys: of(&keys),
                values: of(&values),
                sinks: sinks.address(),
                out: out.address(),
                store_rows,
                first_row: 0,
                rows: rows as u32,
                q_stride,
                heads,
                kv_heads: heads,
                head_dim,
                v_head_dim: head_dim,
                window: 0,
                scale: 0.125,
                softcap: 0.0,
            };
            run(&kernel, [rows * HEADS / 4, 1, 1], [row * HEADS / 4..rows * HEADS / 4, 0..1, 0..1], 128, 0, bytes_of(&p));
        }
        taken::<T>(&out, row * width, ROWS * width)
    });
}

#[test]
fn attentions() {
    attention::<f32>(4, None);
    attention::<bf16>(4, None);
    attention::<bf16>(4, Some(Target::Sm80));
    // A tile of positions that comes as boxes, and rows that are gathered.
    attention::<bf16>(130, Some(Target::Sm90));
    same("attention_merge_bf16", WIDTH, 1, |row| {
        let n = 2 * ROWS * HEADS;
        let (parts, sums) = (holding(n * DIM, 0, &numbers(1, n * DIM)), holding(2 * n, 0, &numbers(2, 2 * n)));
        let merges = holding(1, 0, &[AttentionMerge { first_row: row as u32, rows: ROWS as u32, part: 0, segments: 2 }]);
        let out = Memory::new(2 * (row + ROWS) * HEADS * DIM);
        let p = params::AttentionMergeAll {
            merges: merges.address(),
            parts: parts.address(),
            part_sums: sums.address(),
            sinks: 0,
            out: out.address(),
            block_row: 0,
            heads: HEADS as u32,
            v_head_dim: DIM as u32,
            padding: 0,
        };
        run("attention_merge_bf16", [1, ROWS, HEADS], [0..1, 0..ROWS, 0..HEADS], 128, 0, bytes_of(&p));
        taken::<bf16>(&out, row * HEADS * DIM, ROWS * HEADS * DIM)
    });
}

/// A product's kernel: tiles of so many rows and columns, threads, shared memory, and whether its blocks come in bands of 16 rows of tiles.
struct Tiles {
    suffix: &'static str,
    rows: usize,
    columns: usize,
    threads: u32,
    shared: usize,
    banded: bool,
}

const PLAIN: Tiles = Tiles { suffix: "", rows: 64, columns: 64, threads: 256, shared: 2 * 16 * 68 * 4, banded: false };
const TENSOR: Tiles = Tiles { suffix: "", rows: 128, columns: 128, threads: 256, shared: 3 * 64 * 2 * 128 * 2, banded: true };
const WIDE: Tiles = Tiles { suffix: "_90", rows: 128, columns: 256, threads: 384, shared: 4 * (64 * 2 * 384 + 2 * 8), banded: true };
/// Rows of tiles of all kinds, and of a band, begin at its multiples.
const BAND_ROWS: usize = 16 * 128;

impl Tiles {
    /// The block that has this row in its tile, and is the column-th across, of a grid that ends with it.
    fn run(&self, kernel: &str, row: usize, column: usize, params: &[u8]) {
        let tile = row / self.rows;
        let at = if self.banded { [0, column, tile / 16] } else { [tile, column, 0] };
        run(&format!("{kernel}{}", self.suffix), at.map(|n| n + 1), at.map(|n| n..n + 1), self.threads, self.shared, params);
    }

    fn wide(&self) -> bool {
        self.suffix == WIDE.suffix
    }
}

fn map(address: u64, columns: usize, rows: usize, stride: usize) -> TensorMap {
    TensorMap(emulation::tensor_map(address, columns, rows, stride))
}

const STORE: u32 = 0;
const ADD: u32 = 1;
const GATED: u32 = 2;

/// Columns of a product that are looked at, and its inputs.
const COLUMNS: usize = 5;
const INPUTS: usize = 2048;

/// Rows from `row` on and columns from `column` on of a product with `outputs` columns.
fn product<T: Number>(tiles: &Tiles, epilogue: u32, row: usize, column: usize, inputs: usize, outputs: usize) -> Vec<u8> {
    let (rows, halves) = (row + ROWS, if epilogue == GATED { 2 } else { 1 });
    let stride = inputs + 8;
    let x = holding(rows * stride, row * stride, &some::<T>(1, ROWS * stride));
    let mut weight = Memory::new(halves * outputs * inputs * size_of::<T>());
    let mut bias = Memory::new(halves * outputs * 4);
    for half in 0..halves {
        put(&mut weight, (half * outputs + column) * inputs, &some::<T>(2 + half as u64, COLUMNS * inputs));
        put(&mut bias, half * outputs + column, &numbers(4 + half as u64, COLUMNS));
    }
    let narrow = epilogue != ADD && size_of::<T>() == 2;
    let size = if narrow { 2 } else { 4 };
    let mut out = Memory::new(rows * outputs * size);
    if epilogue == ADD {
        (0..ROWS).for_each(|i| put(&mut out, (row + i) * outputs + column, &numbers(6 + i as u64, COLUMNS)));
    }
    let p = params::Linear {
        x: x.address(),
        weight: weight.address(),
        bias: bias.address(),
        out: out.address(),
        rows: rows as u32,
        x_stride: stride as u32,
        inputs: inputs as u32,
        outputs: outputs as u32,
        epilogue,
        act: 3,
        narrow: narrow.into(),
        padding: 0,
    };
    // Gate and up of a column are of one tile where operands are short.
    let across = column / if tiles.banded { tiles.columns / halves } else { tiles.columns };
    let kernel = format!("linear_{}", T::NAME);
    if tiles.wide() {
        let (x_map, weight_map) = (map(p.x, inputs, rows, stride), map(p.weight, inputs, halves * outputs, inputs));
        tiles.run(&kernel, row, across, bytes_of(&params::Linear90 { x_map, weight_map, linear: p, padding: [0; 8] }));
    } else {
        tiles.run(&kernel, row, across, bytes_of(&p));
    }
    (0..ROWS).flat_map(|i| out.bytes()[((row + i) * outputs + column) * size..][..COLUMNS * size].to_vec()).collect()
}

fn products_of<T: Number>(tiles: &Tiles) {
    let name = |epilogue| format!("linear_{}{}, epilogue {epilogue}", T::NAME, tiles.suffix);
    for epilogue in [STORE, ADD] {
        same(&format!("rows of {}", name(epilogue)), WIDTH, BAND_ROWS, |row| product::<T>(tiles, epilogue, row, 0, WIDTH, STRIDE));
    }
    // The first half's rows of weights end beyond FAR, and the second's twice as far.
    same(&format!("columns of {}", name(GATED)), INPUTS, 256, |column| product::<T>(tiles, GATED, 0, column, INPUTS, column + COLUMNS));
}

#[test]
fn products() {
    products_of::<f32>(&PLAIN);
    products_of::<bf16>(&TENSOR);
    products_of::<bf16>(&WIDE);
}

/// Rows from `at` on of the head's product with ids from `at` on: sums of the last segment, and logits of targets.
fn head<T: Number>(tiles: &Tiles) {
    const SEGMENT: usize = 2048;
    let kernel = format!("head_segments_{}", T::NAME);
    same(&format!("{kernel}{}", tiles.suffix), WIDTH, SEGMENT.max(BAND_ROWS), |at| {
        let (rows, vocab, segment) = (at + ROWS, at + COLUMNS, at / SEGMENT);
        let (x, weight) = (holding(rows * WIDTH, at * WIDTH, &some::<T>(1, ROWS * WIDTH)), holding(vocab * WIDTH, at * WIDTH, &some::<T>(2, COLUMNS * WIDTH)));
        let bias = holding(vocab, at, &numbers(3, COLUMNS));
        let (ptr, targets) = (holding(rows + 1, at, &[0u32, 1, 2, 3]), holding(3, 0, &[0, 4, 2].map(|id| (at + id) as u32)));
        let (sums, picked) = (Memory::new(8 * (segment + 1) * rows), Memory::new(4 * ROWS));
        let p = params::Head {
            x: x.address(),
            weight: weight.address(),
            bias: bias.address(),
            ptr: ptr.address(),
            targets: targets.address(),
            sums: sums.address(),
            picked: picked.address(),
            rows: rows as u32,
            d: WIDTH as u32,
            vocab: vocab as u32,
            softcap: 0.0,
            scale: 1.0,
            padding: 0,
        };
        if tiles.wide() {
            let (x_map, weight_map) = (map(p.x, WIDTH, rows, WIDTH), map(p.weight, WIDTH, vocab, WIDTH));
            tiles.run(&kernel, at, segment, bytes_of(&params::Head90 { x_map, weight_map, head: p, padding: [0; 6] }));
        } else {
            tiles.run(&kernel, at, segment, bytes_of(&p));
        }
        [taken::<[f32; 2]>(&sums, segment * rows + at, ROWS), picked.bytes().to_vec()].concat()
    });
}

#[test]
fn heads() {
    head::<f32>(&PLAIN);
    head::<bf16>(&TENSOR);
    head::<bf16>(&WIDE);
    same("head_combine", 2, 8, |row| {
        const SEGMENTS: usize = 3;
        let rows = row + ROWS;
        let mut sums = Memory::new(8 * SEGMENTS * rows);
        for segment in 0..SEGMENTS {
            let pairs: Vec<[f32; 2]> = numbers(segment as u64, ROWS).iter().map(|largest| [*largest, 2.0 + largest]).collect();
            put(&mut sums, segment * rows + row, &pairs);
        }
        let (picked, ptr, logs) = (holding(ROWS, 0, &numbers(9, ROWS)), holding(rows + 1, row, &[0u32, 1, 2, 3]), Memory::new(4 * ROWS));
        let p = params::HeadCombine {
            sums: sums.address(),
            picked: picked.address(),
            ptr: ptr.address(),
            logs: logs.address(),
            greedy: 0,
            rows: rows as u32,
            segments: SEGMENTS as u32,
        };
        run("head_combine", [rows.div_ceil(8), 1, 1], [row / 8..rows.div_ceil(8), 0..1, 0..1], 256, 0, bytes_of(&p));
        logs.bytes().to_vec()
    });
}
