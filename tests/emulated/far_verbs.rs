//! Verbs on rows and states that lie more than 2³² numbers into a matrix: the same bits as near its beginning.

use super::device::{Emulated, emulated};
use super::numbers;
use emulation::Schedule;
use hilberg::backend::cuda::{Cuda, Mat};
use hilberg::backend::{Act, Backend, ConvOp, Epilogue, GateOp, History, NormOp, OnDevice, Operand, ScanOp, SsdOp, States};
use hilberg::forest::{Keep, Run, Segment, StateRef, StateSave, Store, Wave};
use hilberg::tensor::{Dtype, MatrixView, RowMap, Tensor};

/// So many numbers lie before what is touched. Products of 32 bits, with or without a sign, wrap before.
const FAR: usize = (1 << 32) + (1 << 20);

type Device = Cuda<Emulated>;

fn device(precision: Dtype) -> Device {
    emulated(Schedule::ALL[1], precision)
}

fn random(b: &Device, seed: u64, rows: usize, cols: usize) -> Mat<Emulated> {
    b.upload(&numbers(seed, rows * cols), cols).unwrap()
}

/// What `run` gives near the beginning, and beyond [`FAR`] numbers in rows of `width`.
fn same(width: usize, run: impl Fn(usize) -> Vec<f64>) {
    let near = run(1);
    assert!(near.iter().all(|v| v.is_finite()) && near.iter().any(|v| *v != 0.0));
    assert_eq!(run(FAR / width), near);
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn rows() {
    const D: usize = 1024;
    for precision in [Dtype::F32, Dtype::Bf16] {
        let b = device(precision);
        let (table, weights) = (floats(&numbers(1, 4 * D)), floats(&numbers(2, D * 8)));
        let table = Tensor { dtype: Dtype::F32, shape: vec![4, D], bytes: &table };
        let view = MatrixView { tensor: Tensor { dtype: Dtype::F32, shape: vec![D, 8], bytes: &weights }, transposed: false, rows: RowMap::All };
        let (weight, of_norm, more) = (b.pack(&Operand::Plain(vec![view])).unwrap(), random(&b, 3, 1, D), random(&b, 4, 3, 8));
        same(D, |first| {
            let mut x = b.mat(first + 3, D).unwrap();
            b.embed(&[2, 0, 3], &[0; 3], &table, None, &mut x, first).unwrap();
            b.linear(&more, 0, 3, &weight, None, Epilogue::Add, &mut x, first).unwrap();
            let op = NormOp { center: true, eps: 1e-5, weight: &of_norm, bias: None };
            let (mut normed, mut gathered) = (b.operand(3, D).unwrap(), b.operand(2, D).unwrap());
            b.norm(&op, &x, first, 3, &mut normed).unwrap();
            b.norm_gather(&op, &x, &[first as u32 + 2, first as u32], &mut gathered).unwrap();
            let mut history = b.mat(first + 3, D - 8).unwrap();
            let block = random(&b, 5, 3, D);
            b.append(first..first + 3, &block, 8, &mut history).unwrap();
            [b.download(&x, first..first + 3), b.download(&normed, 0..3), b.download(&gathered, 0..2), b.download(&history, first..first + 3)]
                .map(Result::unwrap)
                .concat()
        });
    }
}

/// A wave of these runs after as many rows of another span as the first one's rows say.
fn wave(runs: Vec<Run>, segments: Vec<Segment>, saves: Vec<StateSave>, keeps: Vec<Keep>) -> Wave {
    let before = runs[0].rows.start;
    let other = Run { rows: 0..before, position: 0, past: 0..0, state: StateRef::Zero, saves: 0..0 };
    let positions = (0..before).map(|_| 0).chain(runs.iter().flat_map(|r| (0..r.rows.len() as u32).map(|i| r.position + i))).collect();
    Wave { positions, runs: std::iter::once(other).filter(|_| before > 0).chain(runs).collect(), segments, saves, keeps, ..Wave::default() }
}

const HEADS: usize = 16;
const HEAD_DIM: usize = 64;
const D_STATE: usize = 32;
const D_INNER: usize = HEADS * HEAD_DIM;
const CONVOLVED: usize = D_INNER + 2 * D_STATE;
const HISTORY: usize = CONVOLVED + HEADS;
const TAPS: usize = 4;

/// Histories that lie far in, of the wave and resident, and states likewise: a span of 64 tokens, and two that go on from it, one over its rows in the wave, the other over those that were
/// kept.
#[test]
fn convolution_and_dual() {
    let b = device(Dtype::F32);
    let rows = 68;
    let x = random(&b, 1, rows, HISTORY);
    let (weight, bias) = (random(&b, 2, CONVOLVED, TAPS), random(&b, 3, 1, CONVOLVED));
    let [dt_bias, a_log, d_skip] = [4, 5, 6].map(|seed| random(&b, seed, 1, HEADS));
    let states_before = FAR / (D_INNER * D_STATE);
    same(HISTORY, |before| {
        let slot = if before == 1 { 1 } else { states_before };
        let (first, at) = (before as u32, |i: u32| before as u32 + i);
        let run = |rows, position, past, state, saves| Run { rows, position, past, state, saves };
        let to = [StateRef::Wave(slot as u32), StateRef::Resident(slot as u32)];
        let wave = wave(
            vec![run(first..at(64), 0, 0..0, StateRef::Zero, 0..2), run(at(64)..at(66), 64, 0..1, to[0], 2..2), run(at(66)..at(68), 64, 1..2, to[1], 2..2)],
            vec![Segment { store: Store::Wave, row: first, position: 0, len: 64 }, Segment { store: Store::Resident, row: at(1), position: 0, len: 64 }],
            to.map(|to| StateSave { row: at(63), to }).to_vec(),
            vec![Keep { row: first, resident: at(1), len: 64 }],
        );
        let tables = b.tables(&wave).unwrap();
        let on = OnDevice { wave: &wave, tables: &tables };
        let block = before..before + rows;
        let (mut history, mut kept) = (b.mat(block.end, HISTORY).unwrap(), b.mat(before + 65, HISTORY).unwrap());
        b.append(block.clone(), &x, 0, &mut history).unwrap();
        b.keep(&on, 1, &history, &mut kept).unwrap();
        let conv = ConvOp { taps: TAPS, weight: &weight, bias: Some(&bias), act: Act::Silu };
        let mut convolved = b.mat(rows, CONVOLVED).unwrap();
        b.conv(&conv, &on, block.clone(), &History { wave: &mut history, resident: &kept }, &mut convolved).unwrap();
        let op = SsdOp {
            heads: HEADS,
            head_dim: HEAD_DIM,
            groups: 1,
            d_state: D_STATE,
            conv,
            dt_bias: &dt_bias,
            a_log: &a_log,
            d_skip: &d_skip,
            dt_limit: (0.0, f32::INFINITY),
        };
        let [mut of_wave, mut resident] = [0, 1].map(|_| b.mat(slot + 1, D_INNER * D_STATE).unwrap());
        let mut y = b.mat(rows, D_INNER).unwrap();
        let mut states = States { wave: &mut of_wave, resident: &mut resident };
        b.ssd(&op, &on, block, &History { wave: &mut history, resident: &kept }, &mut states, &mut y).unwrap();
        let all = [b.download(&convolved, 0..rows), b.download(&y, 0..rows), b.download(&of_wave, slot..slot + 1), b.download(&resident, slot..slot + 1)]
            .map(Result::unwrap);
        assert!(all.iter().all(|part| part.iter().any(|v| *v != 0.0)), "something was not written");
        all.concat()
    });
}

#[test]
fn scan() {
    const D_STATE: usize = 16;
    let b = device(Dtype::F32);
    let rows = 8;
    let [x, dt, z] = [1, 2, 3].map(|seed| random(&b, seed, rows, D_INNER));
    let (bc, a_log, d_skip) = (random(&b, 4, rows, 2 * D_STATE), random(&b, 5, D_INNER, D_STATE), random(&b, 6, 1, D_INNER));
    same(D_INNER * D_STATE, |slot| {
        let (near, kept) = (StateRef::Wave(slot as u32), StateRef::Resident(slot as u32 + 1));
        let run = |rows, position, state, saves| Run { rows, position, past: 0..0, state, saves };
        let wave = wave(
            vec![run(0..4, 0, StateRef::Zero, 0..2), run(4..6, 2, near, 2..2), run(6..8, 4, kept, 2..2)],
            vec![],
            vec![StateSave { row: 1, to: near }, StateSave { row: 3, to: kept }],
            vec![],
        );
        let tables = b.tables(&wave).unwrap();
        let on = OnDevice { wave: &wave, tables: &tables };
        let [mut of_wave, mut resident] = [slot + 1, slot + 2].map(|slots| b.mat(slots, D_INNER * D_STATE).unwrap());
        let mut y = b.mat(rows, D_INNER).unwrap();
        let op = ScanOp { d_inner: D_INNER, d_state: D_STATE, a_log: &a_log, d_skip: &d_skip, act: Act::Silu };
        let mut states = States { wave: &mut of_wave, resident: &mut resident };
        b.scan(&op, &on, 0..rows, &x, &dt, (&bc, 0), (&z, 0), &mut states, &mut y).unwrap();
        let all = [b.download(&y, 0..rows), b.download(&of_wave, slot..slot + 1), b.download(&resident, slot + 1..slot + 2)].map(Result::unwrap);
        assert!(all.iter().all(|part| part.iter().any(|v| *v != 0.0)), "something was not written");
        all.concat()
    });
}

#[test]
fn what_kernels_cannot_count_is_refused() {
    let b = device(Dtype::F32);
    let said = b.mat(0, 1 << 31).map(|_| ()).unwrap_err().to_string();
    assert!(said.contains("2147483648 columns of a matrix; kernels of CUDA count to 2147483646"), "{said}");
    let said = b.tables(&Wave { resident_rows: i32::MAX as u32, ..Wave::default() }).map(|_| ()).unwrap_err().to_string();
    assert!(said.contains("2147483647 rows that stay"), "{said}");
    // A slice of a row is a block's, of which a grid has 65,535 in its second dimension.
    let groups = 1 << 16;
    let (z, mut y) = (b.mat(1, groups).unwrap(), b.mat(1, groups).unwrap());
    let op = GateOp { norm: None, eps: 0.0, groups, norm_first: false, act: Act::Silu };
    let said = b.gate(&op, 1, &z, 0, &mut y).unwrap_err().to_string();
    assert!(said.contains("gate_f32 would need a grid of [1, 65536, 1] blocks"), "{said}");
}
