//! kernels/moments.cu

use super::{numbers, under_every_schedule};
use emulation::{Memory, Schedule, launch_some};
use hilberg::backend::cuda::params;

const SHARED: usize = 2 * 16 * 68 * 4;

fn params(x: &Memory, sums: u64, width: usize, rows: usize) -> params::Moments {
    params::Moments { x: x.address(), sums, products: sums + 8 * width as u64, rows: rows as u32, width: width as u32 }
}

/// Against plain loops, to the bit; what lies below the diagonal stays as it was.
#[test]
fn sums_and_products() {
    for (rows, width) in [(1, 1), (16, 64), (17, 65), (37, 130)] {
        let x = numbers(rows as u64, rows * width);
        let memory = Memory::of(bytemuck::cast_slice(&x));
        let mut out = Memory::new(8 * width * (width + 1));
        let p = params(&memory, out.address(), width, rows);
        let tiles = width.div_ceil(64) as u32;
        let got: Vec<f64> = under_every_schedule(&mut out, &[(("moments_f32", [tiles, tiles, 1], 256, SHARED), bytemuck::bytes_of(&p))]);
        let mut want = vec![0.0f64; width * (width + 1)];
        for row in x.chunks(width) {
            for j in 0..width {
                want[j] += row[j] as f64;
                for k in j..width {
                    want[width + j * width + k] += row[j] as f64 * row[k] as f64;
                }
            }
        }
        assert!(got == want, "{rows} × {width}");
    }
}

/// The last tile of a matrix of more than 2³² products has the bits of a small one.
#[test]
fn far_into_the_products() {
    const ROWS: usize = 5;
    let values = numbers(9, ROWS * 64);
    let run = |tile: usize| {
        let width = (tile + 1) * 64;
        let mut x = Memory::new(4 * ROWS * width);
        for (row, values) in values.chunks(64).enumerate() {
            let at = 4 * (row * width + tile * 64);
            x.bytes_mut()[at..at + 256].copy_from_slice(bytemuck::cast_slice(values));
        }
        let out = Memory::new(8 * width * (width + 1));
        let p = params(&x, out.address(), width, ROWS);
        let (at, all) = (tile as u32, tile as u32 + 1);
        // SAFETY: the memory lives until this returns.
        unsafe { launch_some("moments_f32", [all, all, 1], [at..all, at..all, 0..1], 256, SHARED, bytemuck::bytes_of(&p), Schedule::ALL[1]) }.unwrap();
        let taken = |number: usize| out.bytes()[8 * number..8 * (number + 64)].to_vec();
        let rows = (tile * 64..width).flat_map(|j| taken(width + j * width + tile * 64));
        [taken(tile * 64), rows.collect()].concat()
    };
    let near = run(0);
    assert!(near.iter().any(|b| *b != 0) && run(1024) == near);
}
