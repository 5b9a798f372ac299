//! Hostile input: each reader over a hundred thousand spoilt files. What is refused is refused in one line that names the file, what is accepted is right by an
//! independent reading of the same bytes, and neither takes more than a second, nor memory out of proportion to the file. No panic.
//!
//! `HOSTILE=n` runs n mutants a reader instead; `HOSTILE_ONLY=i` runs mutant i alone, and shows it.

mod config;
mod json;
mod mutate;
mod numbers;
mod refusal;
mod safetensors;
mod tokenizer;
mod tokens;
mod turn;
mod weights;

use hilberg::rng::Rng;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Counts what a thread holds. What one thread allocates and another frees is counted wrong, which the readers do not do.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends frees after its counters are gone.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Processor time of this thread: what a busy machine takes from it does not count.
fn thread_time() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid structure for the clock to fill.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) }, 0);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// What became of a mutant that did as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Refused,
}

const MUTANTS: u64 = 100_000;
const SEED: u64 = 20_261_122;
const LONGEST: Duration = Duration::from_secs(1);

/// Runs `read`, which must hold no more than `most` bytes and take no longer than [`LONGEST`].
fn within<T>(most: usize, read: impl FnOnce() -> T) -> Result<T, String> {
    let (held, began) = (HELD.get(), thread_time());
    PEAK.set(held);
    let done = read();
    let (taken, peak) = (thread_time() - began, PEAK.get() - held);
    if taken > LONGEST {
        return Err(format!("took {taken:?}"));
    }
    if peak > most as isize {
        return Err(format!("held {peak} bytes, more than {most}"));
    }
    Ok(done)
}

/// Bytes that reading `size` bytes of input may hold at once: a tree of JSON takes some dozen times its text.
fn allowed(size: usize) -> usize {
    (4 << 20) + 64 * size
}

/// One mutant: `steps` changes, then the reader, then its oracle. `show` is told what the mutant is.
type Mutant<'a> = dyn FnMut(&mut Rng, usize, &mut dyn FnMut(&str)) -> Result<Verdict, String> + 'a;

/// Runs all mutants of a reader. One that fails is run again with fewer changes, and the fewest that fail are told.
fn run(reader: &str, one: &mut Mutant) {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().unwrap());
    let only = number("HOSTILE_ONLY");
    let mutants = only.map_or(0..number("HOSTILE").unwrap_or(MUTANTS), |i| i..i + 1);
    let (n, mut accepted) = (mutants.end - mutants.start, 0u64);
    for i in mutants {
        let mut attempt = |steps: usize, show: &mut dyn FnMut(&str)| {
            panic::catch_unwind(AssertUnwindSafe(|| one(&mut Rng::new(SEED, i), steps, show))).unwrap_or_else(|_| Err("panicked".into()))
        };
        let steps = 1 + (i % 4) as usize;
        let mut text = String::new();
        match attempt(steps, &mut |t| text = t.chars().take(4000).collect()) {
            Ok(verdict) => accepted += u64::from(verdict == Verdict::Accepted),
            Err(why) => {
                let fewest = (1..=steps).find(|s| attempt(*s, &mut |t| text = t.chars().take(4000).collect()).is_err()).unwrap_or(steps);
                panic!("{reader}, HOSTILE_ONLY={i}, {fewest} changes: {why}\n{text}");
            }
        }
        if only.is_some() {
            println!("{text}");
        }
    }
    println!("{reader}: {n} mutants, {:.1} % accepted, the others refused", 100.0 * accepted as f64 / n as f64);
}

/// A place for files that are written very often: memory, where the system has such a folder.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(dir) = TempDir::new_in(memory)
    {
        dir
    } else {
        TempDir::new().unwrap()
    }
}

/// A fixture's files in memory and in a folder of their own.
struct Fixture {
    name: String,
    folder: std::path::PathBuf,
    files: Vec<(String, Vec<u8>)>,
    rope_length: Option<usize>,
}

impl Fixture {
    /// All fixtures, copied below `scratch`.
    fn all(scratch: &Path) -> Vec<Fixture> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
        let mut names: Vec<String> = fs::read_dir(root.clone()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let copy = |name: String| {
            let folder = scratch.join(&name);
            fs::create_dir(&folder).unwrap();
            let mut files = vec![];
            for entry in fs::read_dir(root.join(&name)).unwrap() {
                let from = entry.unwrap().path();
                let file = from.file_name().unwrap().to_str().unwrap().to_string();
                if file == "config.json" || file.starts_with("model") {
                    fs::copy(&from, folder.join(&file)).unwrap();
                    files.push((file, fs::read(&from).unwrap()));
                }
            }
            files.sort();
            let about = json::parse(&fs::read_to_string(root.join(&name).join("fixture.json")).unwrap()).unwrap();
            let rope_length = about.get("rope_length").and_then(json::J::number).map(|n| n as usize);
            Fixture { name, folder, files, rope_length }
        };
        names.into_iter().map(copy).collect()
    }

    fn file(&self, name: &str) -> &[u8] {
        &self.files.iter().find(|(n, _)| n == name).unwrap().1
    }

    fn weights(&self) -> Vec<&[u8]> {
        self.files.iter().filter(|(n, _)| n.ends_with(".safetensors")).map(|(_, f)| f.as_slice()).collect()
    }

    fn options(&self) -> hilberg::model::OpenOptions {
        hilberg::model::OpenOptions { rope_length: self.rope_length, ..Default::default() }
    }
}
