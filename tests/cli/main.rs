//! The program as a person meets it: the real binary on the fixtures' models and on folders made here.

mod bytes;
mod calibrate;
mod condition;
mod context;
mod corpora;
mod faults;
mod fit;
#[cfg(target_os = "linux")]
mod memory;
mod merge;
mod outputs;
mod refusals;
mod report;
mod resume;
mod score;
mod two_point;

use hilberg::rng::Rng;
use hilberg::source::write_npy;
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// What a run left behind.
struct Said {
    status: Option<i32>,
    out: String,
    err: String,
}

fn command(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_hilberg"));
    c.args(args).stdin(Stdio::null());
    c
}

fn hilberg(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Said {
    let done = command(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { status: done.status.code(), out: text(done.stdout), err: text(done.stderr) }
}

/// Standard output of a run that must succeed.
#[track_caller]
fn told(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let said = hilberg(args);
    assert_eq!(said.status, Some(0), "{}", said.err);
    said.out
}

#[track_caller]
fn told_json(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Value {
    serde_json::from_str(&told(args)).unwrap()
}

/// A run that must be refused: status 2, and on standard error one line, `error: …`, with all of `parts` in it.
#[track_caller]
fn refused(args: impl IntoIterator<Item = impl AsRef<OsStr>>, parts: &[&str]) {
    let said = hilberg(args);
    assert_eq!(said.status, Some(2), "{}", said.err);
    assert!(said.err.starts_with("error: ") && said.err.ends_with('\n') && said.err.lines().count() == 1, "{}", said.err);
    assert_eq!(said.out, "");
    for part in parts {
        assert!(said.err.contains(part), "`{part}` is not in: {}", said.err);
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name)
}

/// A copy of a fixture's model to change.
fn copy(name: &str, to: &Path) -> PathBuf {
    let to = to.join(name);
    fs::create_dir(&to).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(fixture(name).join(file), to.join(file)).unwrap();
    }
    to
}

fn edit_config(model: &Path, edit: impl FnOnce(&mut Value)) {
    let path = model.join("config.json");
    let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut config);
    fs::write(path, config.to_string()).unwrap();
}

/// `documents` rows of `length` random ids below `vocab` (and not the fixtures' start token, 1).
fn tokens(path: &Path, documents: usize, length: usize, vocab: u64, seed: u64) {
    let row = |i: usize| {
        let mut rng = Rng::new(seed, i as u64);
        (0..length).map(|_| 2 + rng.below(vocab - 2) as u32).collect()
    };
    write_npy(path, [documents, length], vocab as usize, (0..documents).map(row)).unwrap();
}

/// A `tokenizer.json` of one id a word: `w0 w1 …`, after an unknown one.
fn words(path: &Path, vocab: usize) {
    let mut ids = serde_json::Map::new();
    ids.insert("<unk>".into(), 0.into());
    ids.extend((1..vocab).map(|i| (format!("w{}", i - 1), Value::from(i))));
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "post_processor": null, "decoder": null,
        "pre_tokenizer": {"type": "Whitespace"}, "model": {"type": "WordLevel", "vocab": ids, "unk_token": "<unk>"}
    });
    fs::write(path, tokenizer.to_string()).unwrap();
}

/// A text of `n` of these words.
fn text(n: usize, seed: u64) -> String {
    let mut rng = Rng::new(seed, 0);
    (0..n).map(|_| format!("w{}", rng.below(300))).collect::<Vec<_>>().join(" ")
}

/// Names of what lies in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut out: Vec<String> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    out.sort();
    out
}

/// Arguments of different kinds as one list, and with it further options.
macro_rules! args {
    ($($a:expr),* $(,)?) => { vec![$(AsRef::<std::ffi::OsStr>::as_ref(&$a).to_os_string()),*] };
    ($($a:expr),*; $more:expr) => { [args![$($a),*], $more.iter().map(std::ffi::OsString::from).collect()].concat() };
}
use args;

/// A folder with a token file that fits every fixture: 24 documents of 80 tokens.
fn small() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let corpus = folder.path().join("texts.npy");
    tokens(&corpus, 24, 80, 331, 1);
    (folder, corpus)
}
