//! config.json in a fixture's folder: a byte says which fixture, the rest is the file.

#![no_main]

#[path = "../../tests/hostile/json.rs"]
mod json;
#[path = "../../tests/hostile/numbers.rs"]
mod numbers;
#[path = "../../tests/hostile/refusal.rs"]
mod refusal;
mod scratch;
#[path = "../../tests/hostile/turn.rs"]
mod turn;
#[path = "../../tests/hostile/weights.rs"]
mod weights;

use hilberg::model::{self, OpenOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((which, text)) = data.split_first() else { return };
    let fixtures = scratch::fixtures();
    let f = &fixtures[*which as usize % fixtures.len()];
    std::fs::write(f.folder.join("config.json"), text).unwrap();
    match model::open(&f.folder, &OpenOptions::default()) {
        Err(e) => refusal::is_one_line(&e, &["config.json", ".safetensors"]).unwrap(),
        Ok((spec, checkpoint)) => {
            numbers::agree(std::str::from_utf8(text).unwrap(), None, &spec).unwrap();
            let files: Vec<&[u8]> = f.weights.iter().map(|(_, file)| file.as_slice()).collect();
            weights::agree(&files, &spec, &checkpoint).unwrap();
        }
    }
});
