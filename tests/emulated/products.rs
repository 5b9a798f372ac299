//! kernels/linear.cu in 16 bits, through the backend: the same bits under every schedule, on tiles that are full, ragged and several chunks deep.

use super::device::{emulated, emulated_hopper};
use super::{number, numbers};
use emulation::Schedule;
use hilberg::backend::{Act, Backend, Epilogue, Operand};
use hilberg::tensor::{Dtype, MatrixView, RowMap, Tensor};

/// Rows, inputs and outputs of a product, and what follows it.
type Case = (usize, usize, usize, Epilogue);

const CASES: [Case; 5] = [
    // More rows of tiles than a band has.
    (17 * 128 + 1, 8, 140, Epilogue::Store(Act::Relu)),
    (3, 64, 1, Epilogue::Store(Act::None)),
    (130, 72, 140, Epilogue::Store(Act::GeluTanh)),
    (129, 330, 260, Epilogue::Add),
    (128, 128, 131, Epilogue::Gated(Act::Silu)),
];

fn product<B: Backend>(b: &B, (rows, inputs, outputs, epilogue): Case) -> Vec<f64> {
    let halves = if matches!(epilogue, Epilogue::Gated(_)) { 2 } else { 1 };
    let bytes: Vec<u8> = numbers(1, halves * outputs * inputs).iter().flat_map(|v| v.to_le_bytes()).collect();
    let tensor = || Tensor { dtype: Dtype::F32, shape: vec![halves * outputs, inputs], bytes: &bytes };
    let part = |first| MatrixView { tensor: tensor(), transposed: false, rows: RowMap::Range { first, n: outputs } };
    let weight = b.pack(&if halves == 2 { Operand::Gated(part(0), part(outputs)) } else { Operand::Plain(vec![part(0)]) }).unwrap();
    b.arrive().unwrap();
    let x: Vec<f32> = (0..rows * inputs).map(|i| number(2, i)).collect();
    let x = b.upload(&x, inputs).unwrap();
    let bias = b.upload(&numbers(3, halves * outputs), halves * outputs).unwrap();
    // What is added to is float32; everything else may be as short as the operands.
    let mut out = if epilogue == Epilogue::Add { b.upload(&numbers(4, rows * outputs), outputs) } else { b.operand(rows, outputs) }.unwrap();
    b.linear(&x, 0, rows, &weight, Some(&bias), epilogue, &mut out, 0).unwrap();
    b.download(&out, 0..rows).unwrap()
}

fn same_under_every_schedule<B: Backend>(backend: impl Fn(Schedule) -> B) {
    for case in CASES {
        let want = product(&backend(Schedule::ALL[0]), case);
        for schedule in &Schedule::ALL[1..] {
            assert_eq!(product(&backend(*schedule), case), want, "{case:?}, {schedule:?}");
        }
    }
}

#[test]
fn on_sm_80() {
    same_under_every_schedule(|schedule| emulated(schedule, Dtype::Bf16));
}

#[test]
fn on_sm_90a() {
    same_under_every_schedule(|schedule| emulated_hopper(schedule, Dtype::Bf16));
}

/// Both sum 16 products at a time in the order of the inputs, as far as the emulator goes.
#[test]
fn paths_agree() {
    for case in CASES {
        let [a, b] = [product(&emulated(Schedule::ALL[1], Dtype::F16), case), product(&emulated_hopper(Schedule::ALL[1], Dtype::F16), case)];
        assert_eq!(a, b, "{case:?}");
    }
}

/// Weights are copied beside the work: the emulated device has them as late as it may, so that work which does not wait for them finds none.
#[test]
fn weights_are_there_when_they_have_arrived() {
    let b = emulated(Schedule::ALL[0], Dtype::F32);
    let bytes: Vec<u8> = numbers(1, 4 * 8).iter().flat_map(|v| v.to_le_bytes()).collect();
    let tensor = Tensor { dtype: Dtype::F32, shape: vec![4, 8], bytes: &bytes };
    let weight = b.pack(&Operand::Plain(vec![MatrixView { tensor, transposed: false, rows: RowMap::All }])).unwrap();
    let (x, mut out) = (b.upload(&numbers(2, 8), 8).unwrap(), b.mat(1, 4).unwrap());
    let mut product = || {
        b.linear(&x, 0, 1, &weight, None, Epilogue::Store(Act::None), &mut out, 0).unwrap();
        b.download(&out, 0..1).unwrap()
    };
    assert_eq!(product(), [0.0; 4]);
    b.arrive().unwrap();
    assert!(product().iter().all(|y| *y != 0.0));
}
