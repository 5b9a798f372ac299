//! The CUDA kernels' sources, run on the processor: under every schedule the same bits, near to float64, and nothing that a watch would find.
#![cfg(target_os = "linux")]

mod attention;
mod bench;
#[path = "../emulation/device.rs"]
mod device;
mod engine;
mod far;
mod far_verbs;
mod faults;
mod faults90;
mod head;
mod memory;
mod moments;
mod products;
mod rows;

use emulation::{Memory, Schedule, launch};

/// A launch: kernel, grid, threads of a block, bytes of shared memory.
type Launch<'a> = (&'a str, [u32; 3], u32, usize);

/// Runs launches in order, each with its parameters.
fn run(launches: &[(Launch, &[u8])], schedule: Schedule) -> Result<(), String> {
    for &((name, grid, threads, shared), params) in launches {
        // SAFETY: callers keep every allocation until this returns.
        unsafe { launch(name, grid, threads, shared, params, schedule) }?;
    }
    Ok(())
}

/// What the kernels wrote into `out` under every schedule: the same bits, or a failure that names schedule and fault.
fn under_every_schedule<T: bytemuck::Pod + PartialEq + std::fmt::Debug>(out: &mut Memory, launches: &[(Launch, &[u8])]) -> Vec<T> {
    let mut first: Option<Vec<T>> = None;
    for schedule in Schedule::ALL {
        out.bytes_mut().fill(0);
        run(launches, schedule).unwrap_or_else(|fault| panic!("{schedule:?}: {fault}"));
        let bytes = out.bytes();
        match &first {
            None => first = Some(bytemuck::cast_slice(bytes).to_vec()),
            Some(first) => assert!(bytemuck::cast_slice::<T, u8>(first) == bytes, "{schedule:?} gives other bits than {:?}", Schedule::ALL[0]),
        }
    }
    first.unwrap_or_default()
}

/// Numbers that look random and are the same every time: about normal, from a seed and a place.
fn number(seed: u64, i: usize) -> f32 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(i as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mut sum = 0.0;
    for _ in 0..4 {
        z = (z ^ (z >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
        sum += ((z >> 40) as f64 / (1u64 << 24) as f64 - 0.5) * 3f64.sqrt();
    }
    sum as f32
}

fn numbers(seed: u64, n: usize) -> Vec<f32> {
    (0..n).map(|i| number(seed, i)).collect()
}
