//! Rows as JSON lines.

use super::pipeline::ScoreWriter;
use crate::error::{Error, Result};
use crate::files::PendingFile;
use std::io::Write;
use std::path::Path;

/// Writes an object a row: `{"id": …, "tokens": [ids], "logprobs": [null or a number per token], "sum": …, "count": …}` for a document, `tokens` and
/// `logprobs` where rows have them. Every number is the shortest decimal that reads back to the same float32 (log-probs) or float64 (sums).
pub struct JsonRows {
    file: PendingFile,
}

impl JsonRows {
    /// Starts a file; it takes its name when all rows are there.
    ///
    /// # Errors
    /// No file can be made there.
    pub fn create(path: &Path) -> Result<Self> {
        Ok(JsonRows { file: PendingFile::create(path)? })
    }
}

impl<R: serde::Serialize> ScoreWriter<R> for JsonRows {
    fn write(&mut self, row: &R) -> Result<()> {
        let mut bytes = serde_json::to_vec(row).map_err(|e| Error::file(self.file.path(), e.to_string()))?;
        bytes.push(b'\n');
        self.file.write_all(&bytes).map_err(Error::io(self.file.path()))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.file.commit()
    }
}

#[cfg(test)]
mod tests {
    use super::super::pipeline::ScoredDocument;
    use super::*;
    use std::fs;

    fn row(id: &str, logprobs: Option<Vec<Option<f32>>>) -> ScoredDocument {
        let tokens = logprobs.as_ref().map(|l| (0..l.len() as u32).collect());
        ScoredDocument { id: id.into(), tokens, logprobs, sum: -0.1 - 0.2, count: 2, bytes: None, windows: None }
    }

    #[test]
    fn numbers_read_back_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        let values = [-1.1e-7f32, -0.1, -3.402_823_5e38, -0.0, -16_777_217.0];
        let mut w = Box::new(JsonRows::create(&path).unwrap());
        w.write(&row("a \"b\"\n", Some([None].into_iter().chain(values.map(Some)).collect()))).unwrap();
        w.write(&row("c", None)).unwrap();
        assert!(!path.exists());
        ScoreWriter::<ScoredDocument>::finish(w).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["id"], "a \"b\"\n");
        assert!(lines[0]["logprobs"][0].is_null());
        for (i, v) in values.iter().enumerate() {
            let read = lines[0]["logprobs"][i + 1].as_f64().unwrap();
            assert_eq!((read as f32).to_bits(), v.to_bits());
        }
        assert_eq!(text.lines().last().unwrap(), "{\"id\":\"c\",\"sum\":-0.30000000000000004,\"count\":2}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        fs::write(&path, "old").unwrap();
        let mut w = JsonRows::create(&path).unwrap();
        w.write(&row("a", None)).unwrap();
        drop(w);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(JsonRows::create(&dir.path().join("no/out.jsonl")).err().unwrap().to_string().contains("no/out.jsonl: "));
        assert!(JsonRows::create(dir.path()).err().unwrap().to_string().ends_with("is a folder; name a file"));
    }
}
