//! The rules of safetensors, written down a second time, and what must be true of a folder that was opened.

use super::json::{J, parse};
use hilberg::model::{Checkpoint, ModelSpec};
use std::collections::BTreeMap;
use std::ops::Range;

/// A tensor as its header states it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub dtype: String,
    pub shape: Vec<u64>,
    /// Of the whole file.
    pub bytes: Range<usize>,
}

/// Reads a file by the format's rules: a header that is JSON, every name once, tensors side by side from the header's end to the file's, each as long as
/// its shape and element type say.
pub fn read(file: &[u8]) -> Result<BTreeMap<String, Stored>, String> {
    let length = u64::from_le_bytes(file.get(..8).ok_or("no length")?.try_into().map_err(|_| "no length")?);
    let end = usize::try_from(length).ok().and_then(|n| n.checked_add(8)).ok_or("a length without end")?;
    let header = std::str::from_utf8(file.get(8..end).ok_or("a header past the end")?).map_err(|e| e.to_string())?;
    let J::Object(entries) = parse(header)? else { return Err("a header that is no object".into()) };
    let whole = |j: &J| match j {
        J::Number(n) => n.parse::<u64>().map_err(|e| e.to_string()),
        _ => Err("no whole number".to_string()),
    };
    let list = |j: Option<&J>| match j {
        Some(J::List(l)) => l.iter().map(whole).collect::<Result<Vec<u64>, _>>(),
        _ => Err("no list".into()),
    };
    let mut out = BTreeMap::new();
    for (name, entry) in entries {
        if name == "__metadata__" {
            continue;
        }
        let Some(J::Text(dtype)) = entry.get("dtype") else { return Err(format!("{name}: no dtype")) };
        let shape = list(entry.get("shape"))?;
        let offsets = list(entry.get("data_offsets"))?;
        let &[from, to] = offsets.as_slice() else { return Err(format!("{name}: no two offsets")) };
        let bits = match dtype.as_str() {
            "F4" => 4,
            "F6_E2M3" | "F6_E3M2" => 6,
            "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => 8,
            "U16" | "I16" | "F16" | "BF16" => 16,
            "U32" | "I32" | "F32" => 32,
            "U64" | "I64" | "F64" | "C64" => 64,
            other => return Err(format!("{name}: dtype {other}")),
        };
        let want = shape.iter().try_fold(1u128, |n, d| n.checked_mul(u128::from(*d))).and_then(|n| n.checked_mul(bits)).ok_or("too large")?;
        if want % 8 != 0 || u128::from(from) + want / 8 != u128::from(to) {
            return Err(format!("{name}: {from}..{to} for {shape:?} of {dtype}"));
        }
        let bytes = end + from as usize..end + to as usize;
        out.insert(name, Stored { dtype: dtype.clone(), shape, bytes });
    }
    let mut ranges: Vec<_> = out.values().map(|s| (s.bytes.start, s.bytes.end)).collect();
    ranges.sort();
    let reached = ranges.iter().try_fold(end, |at, (from, to)| if *from == at { Ok(*to) } else { Err(format!("byte {at} is followed by {from}")) })?;
    if reached == file.len() { Ok(out) } else { Err(format!("tensors end at byte {reached} of {}", file.len())) }
}

/// Other names under which real folders hold a parameter.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("transformer.wte.weight", "lm_head.weight"),
    ("gpt_neox.embed_in.weight", "embed_out.weight"),
    ("gpt_neox.embed_in.weight", "lm_head.weight"),
    ("embed_out.weight", "lm_head.weight"),
    ("model.embed_tokens.weight", "lm_head.weight"),
    ("backbone.embeddings.weight", "lm_head.weight"),
    ("backbone.embeddings.weight", "backbone.embedding.weight"),
    ("backbone.embeddings.weight", "embedding.weight"),
];
const PREFIXES: &[&str] = &["transformer.", "gpt_neox.", "model.", "backbone."];

/// Holds a folder that was opened against its files: every parameter has the bytes that some file gives that name, and no two files or names disagree.
pub fn agree(files: &[&[u8]], spec: &ModelSpec, checkpoint: &Checkpoint) -> Result<(), String> {
    let mut stored: BTreeMap<String, (&[u8], Stored)> = BTreeMap::new();
    for file in files {
        for (name, s) in read(file)? {
            if stored.insert(name.clone(), (file, s)).is_some() {
                return Err(format!("{name} is in two files"));
            }
        }
    }
    let wanted: Vec<&str> = spec.params().iter().map(|p| p.name.as_str()).collect();
    for p in spec.params() {
        let got = checkpoint.get(p).map_err(|e| format!("opened, but: {e}"))?;
        let bare = PREFIXES.iter().find_map(|prefix| p.name.strip_prefix(prefix));
        let others = OTHER_NAMES.iter().filter(|(name, other)| *name == p.name && !wanted.contains(other)).map(|(_, other)| *other);
        let mut found = 0;
        for name in [p.name.as_str()].into_iter().chain(bare).chain(others) {
            let Some((file, s)) = stored.get(name) else { continue };
            found += 1;
            let dtype = format!("{:?}", got.dtype).to_uppercase();
            let shape: Vec<usize> = s.shape.iter().map(|n| *n as usize).collect();
            if s.dtype != dtype || shape != got.shape || got.shape != p.shape || &file[s.bytes.clone()] != got.bytes {
                return Err(format!("{} is not what the file has as {name}", p.name));
            }
        }
        if found == 0 {
            return Err(format!("{} is in no file", p.name));
        }
    }
    Ok(())
}
