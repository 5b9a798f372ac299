//! kernels/ceilings.cu, and `hilberg bench` on the emulated device.

use super::device::{Emulated, emulated, emulated_hopper, gpu};
use emulation::Schedule;
use hilberg::backend::cuda::ceilings::Instruction;
use hilberg::backend::cuda::{Cuda, Device};
use hilberg::backend::{Act, Backend, Epilogue, NormOp, Operand};
use hilberg::bench::run::{Library, Step};
use hilberg::bench::{Case, Load, Machine, Sizes, run};
use hilberg::tensor::{Dtype, MatrixView, RowMap, Tensor};

/// Two blocks, three steps.
fn results(on: &Cuda<Emulated>, instruction: Instruction, value: f32) -> (Vec<f32>, f64) {
    assert!(on.has(instruction).unwrap());
    let of = on.instruction_loop(instruction, 2, 3).unwrap();
    on.run_loop(&of, value).unwrap();
    (on.loop_results(&of).unwrap(), of.operations())
}

#[test]
fn loops_compute_what_they_count() {
    for schedule in Schedule::ALL {
        for precision in [Dtype::Bf16, Dtype::F16] {
            let on = emulated_hopper(schedule, precision);
            // 0 … 7, three times doubled and 2 added: 8 x + 14.
            assert_eq!(results(&on, Instruction::Fma, 2.0), (vec![8.0 * 28.0 + 8.0 * 14.0; 512], 512.0 * 8.0 * 3.0 * 2.0));
            // A chain of 16 products a step in each of the numbers of c.
            assert_eq!(results(&on, Instruction::Mma, 0.5), (vec![32.0 * 16.0 * 3.0 * 0.25; 512], 16.0 * 8.0 * 3.0 * 4096.0));
            assert_eq!(results(&on, Instruction::Wide, 0.5), (vec![128.0 * 64.0 * 3.0 * 0.25; 512], 4.0 * 3.0 * 2.0 * (64 * 256 * 64) as f64));
            let (exps, operations) = results(&on, Instruction::Exp2, 1.0);
            let truth: f64 = (0..8).map(|i| (0..3).fold(i as f64 / 8.0, |x, _| (-x).exp2())).sum();
            // Each step is off by 2⁻²² of its result and of what the argument was, the sum by a rounding each.
            assert!(exps.iter().all(|x| (f64::from(*x) - truth).abs() <= 8.0 * 4.0 * f64::powi(2.0, -22)) && operations == 512.0 * 8.0 * 3.0);
        }
    }
    // Float32 has no products by tensor cores, and only sm_90a has warpgroups.
    let [plain, sm_80] = [emulated(Schedule::ALL[1], Dtype::F32), emulated(Schedule::ALL[1], Dtype::Bf16)];
    assert!(!plain.has(Instruction::Mma).unwrap() && !sm_80.has(Instruction::Wide).unwrap() && sm_80.has(Instruction::Mma).unwrap());
}

#[test]
fn a_copy_copies() {
    // Whole blocks, and a few words of another.
    let bytes: Vec<u8> = (0..2 * 16_384 + 48).map(|i| (i * 7 % 251) as u8).collect();
    for schedule in Schedule::ALL {
        let on = emulated(schedule, Dtype::F32);
        let copy = on.copy_of(bytes.len(), &bytes).unwrap();
        on.run_copy(&copy).unwrap();
        assert!(on.copied(&copy).unwrap() == bytes && copy.moved() == 2.0 * bytes.len() as f64);
    }
}

#[test]
fn every_verb_has_its_share() {
    let act = Act::Silu;
    let cases = [
        Case::Embed { vocab: 11, d: 24 },
        Case::Norm { d: 24, center: true },
        Case::Linear { inputs: 24, outputs: 40, gated: None },
        Case::Linear { inputs: 24, outputs: 48, gated: Some(act) },
        Case::Rotary { heads: 4, kv_heads: 2, head_dim: 8, v_head_dim: 16, dims: 8 },
        Case::Attention { heads: 4, kv_heads: 2, head_dim: 8, v_head_dim: 16, window: Some(30), tokens: 70 },
        Case::Conv { width: 20, taps: 4, act },
        Case::Scan { d_inner: 24, d_state: 4, act },
        Case::Ssd { heads: 2, head_dim: 8, groups: 1, d_state: 16, taps: 4, act },
        Case::Gate { d_inner: 24, norm: true, act },
        Case::Head { inputs: 24, vocab: 70 },
        Case::Moments { d: 24 },
    ];
    let sizes = Sizes { wave: 70, text: 70, block: 40, load: Load { blocks: 2, steps: 2, copied: 4096, launches: 1 } };
    for on in [emulated(Schedule::ALL[1], Dtype::F32), emulated(Schedule::ALL[1], Dtype::Bf16), emulated_hopper(Schedule::ALL[1], Dtype::F16)] {
        let (best, steps) = run::run(&on, &cases, sizes, 1, 0.0).unwrap();
        let positive = |x: f64| x.is_finite() && x > 0.0;
        assert!([best.fma, best.product, best.exp, best.copy].into_iter().all(positive), "{best:?}");
        assert_eq!(best.product == best.fma, on.precision() == Dtype::F32);
        assert_eq!(steps.len(), cases.len());
        // The emulated sm_90a has a library, which writes float32 alone: the gated product and the head are told why they have none.
        let timed = |s: &Step| matches!(&s.library, Some(Library::Timed { seconds, share }) if positive(*share) && positive(seconds.median));
        let told = |s: &Step| matches!(&s.library, Some(Library::Absent { absent }) if absent == "loops write float32");
        let counts =
            [steps.iter().filter(|s| timed(s)).count(), steps.iter().filter(|s| told(s)).count(), steps.iter().filter(|s| s.library.is_some()).count()];
        assert_eq!(counts, if on.library().unwrap().is_ok() { [1, 2, 3] } else { [0; 3] });
        for step in steps {
            assert!(positive(step.share) && positive(step.seconds.median) && positive(step.bytes), "{step:?}");
        }
    }
}

/// The library is handed the matrices that our product has, as they lie: both give the same sums but for their order. On a GPU, where there is one, it is cuBLASLt, whose float32 must not be
/// shortened to TF32, either.
#[test]
fn the_library_of_a_gpu_multiplies_the_same() {
    fn check<D: Device>(on: &Cuda<D>) {
        const ROWS: usize = 20;
        const INPUTS: usize = 48;
        const OUTPUTS: usize = 44;
        let rows = on.upload(&super::numbers(1, ROWS * INPUTS), INPUTS).unwrap();
        let (ones, mut x, mut ours) = (on.upload(&[1.0; INPUTS], INPUTS).unwrap(), on.operand(ROWS, INPUTS).unwrap(), on.mat(ROWS, OUTPUTS).unwrap());
        on.norm(&NormOp { center: false, eps: 0.0, weight: &ones, bias: None }, &rows, 0, ROWS, &mut x).unwrap();
        let numbers = super::numbers(2, OUTPUTS * INPUTS);
        let tensor = Tensor { dtype: Dtype::F32, shape: vec![OUTPUTS, INPUTS], bytes: bytemuck::cast_slice(&numbers) };
        let weight = on.pack(&Operand::Plain(vec![MatrixView { tensor, transposed: false, rows: RowMap::All }])).unwrap();
        on.arrive().unwrap();
        on.linear(&x, 0, ROWS, &weight, None, Epilogue::Store(Act::None), &mut ours, 0).unwrap();
        let mut product = on.library_product(x, weight, Dtype::F32).unwrap();
        product.run().unwrap();
        let (ours, theirs) = (on.download(&ours, 0..ROWS).unwrap(), on.download(product.out(), 0..ROWS).unwrap());
        // Each sum is within γ(48) of the true one times Σ|x||w| ≤ ‖x‖ ‖w‖, twice that where tensor cores cut off instead of rounding; ‖x‖ = √48. TF32 would leave several times as much.
        let longest = numbers.chunks_exact(INPUTS).map(|w| w.iter().map(|v| f64::from(v * v)).sum::<f64>().sqrt()).fold(0.0, f64::max);
        let budget = 2.0 * 2.0 * 48.0 * f64::powi(2.0, -24) * 48.0f64.sqrt() * longest;
        for (ours, theirs) in ours.chunks_exact(OUTPUTS).zip(theirs.chunks_exact(OUTPUTS.next_multiple_of(8))) {
            assert!(ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() <= budget), "{}: {ours:?}, {theirs:?}", on.name());
            assert!(ours.iter().any(|a| a.abs() > 0.1) && theirs[OUTPUTS..].iter().all(|v| *v == 0.0));
        }
    }
    for precision in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
        check(&emulated_hopper(Schedule::ALL[1], precision));
        match gpu(precision) {
            Some(gpu) if gpu.device().library().is_ok() => check(&gpu),
            Some(_) => eprintln!("the GPU has no library of products: nothing was tested there"),
            None => {}
        }
    }
}

/// Units that work at the same time do not add up, and attention of short operands is held against their products.
#[test]
fn the_slowest_unit_decides() {
    let at = hilberg::bench::Ceilings { fma: 1.0, product: 10.0, exp: 4.0, copy: 2.0 };
    let work = hilberg::bench::Work { products: 40.0, mixing: 3.0, exps: 4.0, bytes: 4.0 };
    let (scan, attention) =
        (Case::Scan { d_inner: 1, d_state: 1, act: Act::Silu }, Case::Attention { heads: 1, kv_heads: 1, head_dim: 8, v_head_dim: 8, window: None, tokens: 1 });
    let [plain, short] = [Dtype::F32, Dtype::Bf16].map(|precision| emulated(Schedule::ALL[1], precision));
    assert_eq!(short.least_seconds(&scan, &work, &at), 4.0);
    assert_eq!(short.least_seconds(&attention, &work, &at), 4.3);
    assert_eq!(plain.least_seconds(&attention, &work, &at), 4.0);
    assert_eq!(short.least_seconds(&scan, &hilberg::bench::Work { mixing: 30.0, ..work }, &at), 30.0);
}
