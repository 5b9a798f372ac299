//! `run.json`: what differs between machines and moments, and nothing that a result depends on.

use crate::error::Result;
use crate::files;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// A run that is to be told of.
pub struct RunLog {
    began: SystemTime,
}

impl RunLog {
    /// A run that begins now.
    pub fn begin() -> Self {
        RunLog { began: SystemTime::now() }
    }

    /// Adds the run to the folder's `run.json`, with the members of the object `more`.
    ///
    /// # Errors
    /// What the system refuses; a file that is there and is something else.
    pub fn write(&self, folder: &Path, finished: bool, more: Value) -> Result<()> {
        let path = folder.join("run.json");
        let mut runs: Vec<Value> = if path.exists() { files::read_json(&path)? } else { Vec::new() };
        let unix = |t: SystemTime| t.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut run = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "command": std::env::args().collect::<Vec<_>>(),
            "began_unix": unix(self.began),
            "ended_unix": unix(SystemTime::now()),
            "finished": finished,
            "machine": { "os": std::env::consts::OS, "arch": std::env::consts::ARCH, "cores": std::thread::available_parallelism().map_or(0, |n| n.get()) },
        });
        if let (Value::Object(run), Value::Object(more)) = (&mut run, more) {
            run.extend(more);
        }
        runs.push(run);
        files::write_json(&path, &runs)
    }
}
