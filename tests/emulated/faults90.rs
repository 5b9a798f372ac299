//! What sm_90a has: the right numbers, exactly, and a fault found for each barrier and wait that is left out.

use bytemuck::{Pod, Zeroable};
use emulation::{Landing, Memory, Order, Planes, Schedule, launch, tensor_map};
use half::bf16;
use hilberg::backend::cuda::TensorMap;

const PASSES: usize = 3;

#[repr(C, align(128))]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    map: TensorMap,
    out: u64,
    passes: u32,
    fault: u32,
    padding: [u64; 14],
}

fn run(fault: u32, schedule: Schedule) -> Result<Vec<f32>, String> {
    let (rows, columns) = (256, 64 * PASSES);
    let x = Memory::of(bytemuck::cast_slice(&numbers()));
    let out = Memory::new(4 * 64 * 256);
    let map = TensorMap(tensor_map(x.address(), columns, rows, columns));
    let params = Params { map, out: out.address(), passes: PASSES as u32, fault, padding: [0; 14] };
    // SAFETY: both allocations live until the kernel has ended.
    unsafe { launch("planted_box", [1, 1, 1], 128, 2 * 128 * 64 * 2 + 8, bytemuck::bytes_of(&params), schedule) }?;
    Ok(bytemuck::cast_slice(out.bytes()).to_vec())
}

/// Small whole numbers: every sum is exact in float32, in any order.
fn numbers() -> Vec<bf16> {
    (0..256 * 64 * PASSES).map(|i| bf16::from_f32(((i * 7 + i / (64 * PASSES) * 3) % 11) as f32 - 5.0)).collect()
}

#[test]
fn boxes_and_products() {
    let x: Vec<f32> = numbers().iter().map(|v| v.to_f32()).collect();
    let row = |i: usize| &x[i * 64 * PASSES..(i + 1) * 64 * PASSES];
    let want: Vec<f32> = (0..64 * 256).map(|i| row(i / 256).iter().zip(row(i % 256)).map(|(a, b)| a * b).sum()).collect();
    for schedule in Schedule::ALL {
        assert_eq!(run(0, schedule).as_ref(), Ok(&want), "{schedule:?}");
        if schedule.watched {
            let found = |fault: u32, said: &[&str]| {
                let what = run(fault, schedule).unwrap_err();
                assert!(said.iter().any(|s| what.contains(s)), "fault {fault}, {schedule:?}: {what}");
            };
            // Who does not wait may come before the copy has begun.
            found(1, &["before the copy into it was waited for", "is read, but nothing wrote it"]);
            // Who reads late meets the next copy; who is two phases behind waits for ever.
            found(3, &["race: byte", "before the copy into it was waited for", "deadlock"]);
        }
        assert!(run(5, schedule).unwrap_err().contains("registers were not fenced"), "{schedule:?}");
        // Bytes that nobody announced never come to an end, or end a phase too early.
        assert!(run(4, schedule).is_err(), "{schedule:?}");
    }
    let late = Schedule { order: Order::Forward, landing: Landing::Late, watched: false };
    assert_ne!(run(1, late).as_ref(), Ok(&want));
    assert_ne!(run(2, late).as_ref(), Ok(&want));
}

#[repr(C, align(128))]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Mixture {
    map: TensorMap,
    values: u64,
    out: u64,
    gathered: u32,
    fault: u32,
    padding: [u64; 13],
}

const INNER: usize = 64;

fn mixture(columns: usize, n: usize, gathered: bool, fault: u32, schedule: Schedule) -> Result<Vec<f32>, String> {
    let values: Vec<bf16> = (0..INNER * n).map(|i| bf16::from_f32(value(i / n, i % n))).collect();
    let (values, out) = (Memory::of(bytemuck::cast_slice(&values)), Memory::new(4 * INNER * n));
    let map = TensorMap(Planes { address: values.address(), sizes: [n, INNER, 1], strides: [n, INNER * n], of_box: [columns, INNER] }.map());
    let params = Mixture { map, values: values.address(), out: out.address(), gathered: gathered.into(), fault, padding: [0; 13] };
    // SAFETY: both allocations live until the kernel has ended.
    unsafe { launch(&format!("planted_mixture_{columns}"), [1, 1, 1], 128, INNER * n * 2 + 8, bytemuck::bytes_of(&params), schedule) }?;
    Ok(bytemuck::cast_slice(out.bytes()).to_vec())
}

fn value(row: usize, column: usize) -> f32 {
    ((row * 7 + column * 3) % 11) as f32 - 5.0
}

/// An operand in registers and one whose rows are summed over, with either swizzle, from boxes and by what a kernel wrote: the same numbers, exactly.
#[test]
fn mixtures_of_rows() {
    for (columns, n) in [(64, 128), (32, 96)] {
        let weight = |i: usize, k: usize| ((i * 3 + k * 5) % 7) as f32 - 3.0;
        let want: Vec<f32> = (0..64 * n).map(|i| (0..INNER).map(|k| weight(i / n, k) * value(k, i % n)).sum()).collect();
        for schedule in Schedule::ALL {
            for gathered in [false, true] {
                assert_eq!(mixture(columns, n, gathered, 0, schedule).as_ref(), Ok(&want), "{columns}, {schedule:?}");
                // Registers are read until the product is waited for.
                assert_eq!(mixture(columns, n, gathered, 2, schedule).as_ref() == Ok(&want), schedule.landing == Landing::AtOnce, "{columns}, {schedule:?}");
            }
            // What a thread wrote, products see after its fence alone.
            let unfenced = mixture(columns, n, true, 1, schedule);
            assert!(!schedule.watched || unfenced.unwrap_err().contains("did not fence what it wrote"), "{columns}, {schedule:?}");
        }
    }
}
