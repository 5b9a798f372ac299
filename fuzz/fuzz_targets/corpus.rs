//! A corpus file: a byte says of which kind, the rest is the file.

#![no_main]

#[path = "../../tests/hostile/refusal.rs"]
mod refusal;
mod scratch;

use hilberg::corpus::{Content, Corpus, ReadOptions};
use libfuzzer_sys::fuzz_target;

const NAMES: &[&str] = &["c.txt", "c.jsonl", "c.npy", "c.bin"];

fuzz_target!(|data: &[u8]| {
    let Some((which, file)) = data.split_first() else { return };
    let name = NAMES[*which as usize % NAMES.len()];
    let path = scratch::folder().join(name);
    std::fs::write(&path, file).unwrap();
    let corpus = Corpus::open(&[path], ReadOptions::default()).unwrap();
    let mut size = 0;
    for document in corpus.documents() {
        match document {
            Err(e) => return refusal::is_one_line(&e, &[name]).unwrap(),
            Ok(d) => match d.content {
                Content::Text(t) => size += t.len(),
                Content::Tokens(t) => size += 2 * t.len(),
            },
        }
    }
    // A document is no longer than its bytes: an escape in a JSON line has more of them than the character that it stands for.
    assert!(size <= file.len(), "{size} bytes out of {}", file.len());
});
