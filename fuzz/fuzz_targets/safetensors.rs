//! A weight file in a fixture's folder: a byte says which fixture, another whether what follows is the header's text, to which the fixture's data and a
//! length are added (even), or the whole file (odd).

#![no_main]

#[path = "../../tests/hostile/json.rs"]
mod json;
#[path = "../../tests/hostile/refusal.rs"]
mod refusal;
mod scratch;
#[path = "../../tests/hostile/weights.rs"]
mod weights;

use hilberg::model::{self, OpenOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [which, how, rest @ ..] = data else { return };
    let fixtures = scratch::fixtures();
    let f = &fixtures[*which as usize % fixtures.len()];
    let (name, original) = &f.weights[0];
    let file = if how % 2 == 0 {
        let end = 8 + u64::from_le_bytes(original[..8].try_into().unwrap()) as usize;
        [&(rest.len() as u64).to_le_bytes(), rest, &original[end..]].concat()
    } else {
        rest.to_vec()
    };
    std::fs::write(f.folder.join(name), &file).unwrap();
    match model::open(&f.folder, &OpenOptions::default()) {
        Err(e) => refusal::is_one_line(&e, &[".safetensors", "config.json"]).unwrap(),
        Ok((spec, checkpoint)) => {
            let files: Vec<&[u8]> = [file.as_slice()].into_iter().chain(f.weights[1..].iter().map(|(_, w)| w.as_slice())).collect();
            weights::agree(&files, &spec, &checkpoint).unwrap();
            checkpoint.fingerprint();
            if let Err(e) = checkpoint.check_finite(&spec) {
                refusal::is_one_line(&e, &[name]).unwrap();
            }
        }
    }
});
