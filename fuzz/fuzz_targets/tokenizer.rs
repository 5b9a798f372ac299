//! A tokenizer.json, and texts that it makes tokens of.

#![no_main]

#[path = "../../tests/hostile/refusal.rs"]
mod refusal;
#[path = "../../tests/hostile/tokens.rs"]
mod tokens;

use hilberg::corpus::Tokenizer;
use libfuzzer_sys::fuzz_target;
use std::sync::Once;

// libFuzzer's hook ends the process at any panic; this one lets those pass that the reader guards.
static GUARD: Once = Once::new();

fuzz_target!(|data: &[u8]| {
    GUARD.call_once(hilberg::error::quiet_guarded_panics);
    match Tokenizer::from_bytes(data, "tokenizer.json".into()) {
        Err(e) => refusal::is_one_line(&e, &["tokenizer.json"]).unwrap(),
        Ok(t) => drop(tokens::agree(&t, "tokenizer.json").unwrap()),
    }
});
