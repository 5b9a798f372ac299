//! A part of a record.

#![no_main]

#[path = "../../tests/hostile/refusal.rs"]
mod refusal;
mod scratch;

use libfuzzer_sys::fuzz_target;
use std::sync::Once;

// libFuzzer's hook ends the process at any panic; this one lets those pass that the reader guards.
static GUARD: Once = Once::new();

fuzz_target!(|data: &[u8]| {
    GUARD.call_once(hilberg::error::quiet_guarded_panics);
    let path = scratch::folder().join("part-000000.parquet");
    std::fs::write(&path, data).unwrap();
    match hilberg::measure::read_part(&path) {
        Err(e) => refusal::is_one_line(&e, &["part-000000.parquet"]).unwrap(),
        // The checksum is over all values, so what is read is what was written.
        Ok(part) => assert!(!part.heading.plan.is_empty()),
    }
});
