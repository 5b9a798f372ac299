//! The emulator finds what is wrong with a kernel, and nothing where nothing is.

use bytemuck::{Pod, Zeroable};
use emulation::{Landing, Memory, Order, Schedule, launch};
use half::bf16;

const THREADS: u32 = 128;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    out: u64,
    input: u64,
    fault: u32,
    padding: u32,
}

/// Runs a planted kernel; what it wrote.
fn run(kernel: &str, fault: u32, schedule: Schedule) -> Result<Vec<f32>, String> {
    let input: Vec<f32> = (0..2 * THREADS).map(|i| i as f32 + 1.0).collect();
    let (out, input) = (Memory::new(4 * THREADS as usize), Memory::of(bytemuck::cast_slice(&input)));
    let params = Params { out: out.address(), input: input.address(), fault, padding: 0 };
    // SAFETY: both allocations live until the kernel has ended.
    unsafe { launch(kernel, [3, 1, 1], THREADS, 4 * THREADS as usize, bytemuck::bytes_of(&params), schedule) }?;
    Ok(bytemuck::cast_slice(out.bytes()).to_vec())
}

fn unwatched(order: Order, landing: Landing) -> Schedule {
    Schedule { order, landing, watched: false }
}

fn neighbours() -> Vec<f32> {
    (0..THREADS).map(|t| ((t + 33) % THREADS) as f32 + 1.0).collect()
}

#[test]
fn correct_kernels_pass_every_schedule() {
    for schedule in Schedule::ALL {
        for kernel in ["planted_barrier", "planted_wait", "planted_unwritten"] {
            assert_eq!(run(kernel, 0, schedule), Ok(neighbours()), "{kernel}, {schedule:?}");
        }
        let twice: Vec<f32> = neighbours().iter().map(|v| 2.0 * v + THREADS as f32).collect();
        assert_eq!(run("planted_reuse", 0, schedule), Ok(twice), "{schedule:?}");
        let own: Vec<f32> = (1..=THREADS).map(|t| t as f32).collect();
        for kernel in ["planted_deadlock", "planted_bounds"] {
            assert_eq!(run(kernel, 0, schedule).as_ref(), Ok(&own), "{kernel}, {schedule:?}");
        }
        let turned: Vec<f32> = (0..THREADS).map(|t| (t / 32 * 32 + (t + 1) % 32) as f32 + 1.0).collect();
        assert_eq!(run("planted_warp", 0, schedule), Ok(turned), "{schedule:?}");
        let swapped: Vec<f32> = (0..THREADS).map(|t| (t ^ 1) as f32 + 1.0).collect();
        assert_eq!(run("planted_shuffle", 0, schedule), Ok(swapped), "{schedule:?}");
    }
}

/// Every watched schedule names the fault, whatever the order happened to give.
#[test]
fn the_watch_finds_what_was_planted() {
    for schedule in Schedule::ALL.into_iter().filter(|s| s.watched) {
        // Without a barrier a byte may be read before it is written, or after; which, the order decides.
        let race = ["race: byte", "is read, but nothing wrote it"];
        for (kernel, said) in [
            ("planted_barrier", race),
            ("planted_warp", race),
            ("planted_reuse", ["race: byte"; 2]),
            ("planted_wait", ["is touched before the copy into it was waited for"; 2]),
            ("planted_unwritten", ["is read, but nothing wrote it"; 2]),
            ("planted_bounds", ["writes 512 bytes into an allocation of 512"; 2]),
        ] {
            let found = run(kernel, 1, schedule).expect_err(kernel);
            assert!(said.iter().any(|s| found.contains(s)) && found.starts_with(kernel), "{schedule:?}: {found}");
        }
    }
}

/// Without the watch some order shows it.
#[test]
fn schedules_alone_show_missing_barriers_and_waits() {
    for kernel in ["planted_barrier", "planted_reuse"] {
        assert_ne!(run(kernel, 1, unwatched(Order::WarpAhead, Landing::AtOnce)), run(kernel, 0, unwatched(Order::WarpAhead, Landing::AtOnce)), "{kernel}");
    }
    assert_eq!(run("planted_wait", 1, unwatched(Order::Forward, Landing::AtOnce)), Ok(neighbours()));
    assert_ne!(run("planted_wait", 1, unwatched(Order::Forward, Landing::Late)), Ok(neighbours()));
}

#[test]
fn divergence_and_deadlocks_are_named() {
    for schedule in Schedule::ALL {
        let found = run("planted_shuffle", 1, schedule).unwrap_err();
        assert!(found.contains("divergence: lanes of one mask meet in __") && found.contains("__ballot_sync"), "{found}");
        let found = run("planted_deadlock", 1, schedule).unwrap_err();
        assert!(found.contains("deadlock: nothing can go on") && found.contains("at __syncwarp") && found.contains("at __syncthreads"), "{found}");
    }
}

#[test]
fn launches_that_cannot_be_are_refused() {
    let schedule = Schedule::ALL[0];
    // SAFETY: nothing runs.
    let refused = |name, threads, shared, params: &[u8]| unsafe { launch(name, [1, 1, 1], threads, shared, params, schedule) }.unwrap_err();
    assert_eq!(refused("no_such", 128, 0, &[]), "there is no kernel no_such");
    assert_eq!(refused("planted_barrier", 128, 0, &[0; 8]), "planted_barrier takes parameters of 24 bytes, not 8");
    assert_eq!(refused("planted_barrier", 64, 0, &[0; 24]), "planted_barrier runs in blocks of 128 threads, not 64");
    assert!(refused("planted_barrier", 128, 1 << 20, &[0; 24]).contains("more than a block may have"));
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Tile {
    a: u64,
    b: u64,
    c: u64,
    k: u32,
    fault: u32,
}

/// A product by tensor cores in a pipeline of two buffers: the right numbers, exactly, and each of its barriers and waits is needed.
#[test]
fn a_pipelined_product() {
    const COLS: usize = 32;
    let k = 80;
    // Small whole numbers: every sum is exact in float32, in any order.
    let number = |i: usize, j: usize| bf16::from_f32(((i * 7 + j * 3) % 11) as f32 - 5.0);
    let a: Vec<bf16> = (0..16 * k).map(|i| number(i / k, i % k)).collect();
    let b: Vec<bf16> = (0..COLS * k).map(|i| number(i / k + 5, i % k)).collect();
    let dot = |i: usize, j: usize| (0..k).map(|l| a[i * k + l].to_f32() * b[j * k + l].to_f32()).sum::<f32>();
    let want: Vec<f32> = (0..16 * COLS).map(|i| dot(i / COLS, i % COLS)).collect();
    let (a, b) = (Memory::of(bytemuck::cast_slice(&a)), Memory::of(bytemuck::cast_slice(&b)));
    let run = |fault: u32, schedule| -> Result<Vec<f32>, String> {
        let c = Memory::new(4 * 16 * COLS);
        let params = Tile { a: a.address(), b: b.address(), c: c.address(), k: k as u32, fault };
        // SAFETY: all allocations live until the kernel has ended.
        unsafe { launch("planted_tile", [1, 1, 1], THREADS, 2 * 2 * (16 + COLS) * 16, bytemuck::bytes_of(&params), schedule) }?;
        Ok(bytemuck::cast_slice(c.bytes()).to_vec())
    };
    for schedule in Schedule::ALL {
        assert_eq!(run(0, schedule).as_ref(), Ok(&want), "{schedule:?}");
        if schedule.watched {
            assert!(run(1, schedule).unwrap_err().contains("before the copy into it was waited for"));
            assert!(run(2, schedule).unwrap_err().contains("race: byte"));
        }
    }
    assert_ne!(run(1, unwatched(Order::Forward, Landing::Late)).as_ref(), Ok(&want));
    assert_ne!(run(2, unwatched(Order::WarpAhead, Landing::AtOnce)).as_ref(), Ok(&want));
}
