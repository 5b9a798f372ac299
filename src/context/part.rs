//! One part of a record: what a fold of documents gives at one context length, or by positions at all of them.
//!
//! A safetensors file, so that NumPy and PyTorch read it as it is. With n chunks, width d:
//!
//! | tensor | type, shape | what |
//! |---|---|---|
//! | `documents`, `chunks` | I64 `[n]` | which chunks, in the order in which they were added: number of the document among those that are long enough, and the chunk's in it |
//! | `logprobs.C` | F32 `[n]` | ln q of token C of each, for every context length C of the part |
//! | `sums.C` | F64 `[d]` | Σ h over the n states |
//! | `products.C` | F64 `[d (d + 1) / 2]` | the upper triangle of Σ h hᵀ, row after row |
//! | `states.C` | F32 `[n, d]` | the states; only where they are kept |
//!
//! The metadata hold `hilberg`, a JSON object of `plan` (the identity of the measurement, JSON), `arithmetic` (a list of what computed it) and `checksum` (XXH3-128 over all tensors in the
//! order of their names, by which a damaged part is found out): one entry, since the format keeps several in no order, and the same part is to be the same bytes. A part grows: it is replaced
//! as a whole when chunks are added.

use crate::error::{Error, Result};
use crate::files;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use twox_hash::xxhash3_128::Hasher;

/// What is recorded at one context length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OfContext {
    /// ln q of every chunk's last token of the context.
    pub logprobs: Vec<f32>,
    /// Σ h and Σ h hᵀ, packed.
    pub moments: Vec<f64>,
    /// States, one after another; empty where they are not kept.
    pub states: Vec<f32>,
}

/// A part.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The identity of its measurement.
    pub plan: String,
    /// Backend, instruction path, precision and version of all that added to it.
    pub arithmetic: Vec<String>,
    /// Numbers of a state.
    pub width: usize,
    /// Context lengths.
    pub contexts: Vec<u32>,
    /// Document and chunk of every sample.
    pub places: Vec<(u32, u32)>,
    /// By context length.
    pub of: Vec<OfContext>,
}

impl Part {
    /// Nothing recorded yet.
    pub fn new(plan: String, width: usize, contexts: &[u32]) -> Self {
        Part { plan, arithmetic: Vec::new(), width, contexts: contexts.to_vec(), places: Vec::new(), of: vec![OfContext::default(); contexts.len()] }
    }
}

/// The metadata's entry.
const TOLD: &str = "hilberg";

/// What it holds.
#[derive(Serialize, Deserialize)]
struct Told {
    plan: String,
    arithmetic: Vec<String>,
    checksum: String,
}

/// A tensor's bytes with its type and shape.
struct Raw {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Writes a part whole.
///
/// # Errors
/// What the system refuses.
pub fn write(path: &Path, part: &Part) -> Result<()> {
    let (n, d) = (part.places.len(), part.width);
    let f32s = |x: &[f32]| x.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let f64s = |x: &[f64]| x.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let i64s = |of: fn(&(u32, u32)) -> u32| part.places.iter().flat_map(|p| i64::from(of(p)).to_le_bytes()).collect::<Vec<u8>>();
    let mut all: BTreeMap<String, Raw> = BTreeMap::new();
    let mut put = |name: String, dtype, shape: Vec<usize>, bytes| all.insert(name, Raw { dtype, shape, bytes });
    put("documents".into(), Dtype::I64, vec![n], i64s(|p| p.0));
    put("chunks".into(), Dtype::I64, vec![n], i64s(|p| p.1));
    for (c, of) in part.contexts.iter().zip(&part.of) {
        let (sums, products) = of.moments.split_at(d.min(of.moments.len()));
        put(format!("logprobs.{c}"), Dtype::F32, vec![n], f32s(&of.logprobs));
        put(format!("sums.{c}"), Dtype::F64, vec![sums.len()], f64s(sums));
        put(format!("products.{c}"), Dtype::F64, vec![products.len()], f64s(products));
        if !of.states.is_empty() {
            put(format!("states.{c}"), Dtype::F32, vec![of.states.len() / d.max(1), d], f32s(&of.states));
        }
    }
    let refused = |e: &dyn std::fmt::Display| Error::file(path, format!("cannot be laid out: {e}"));
    let checksum = checksum(all.iter().map(|(name, raw)| (name.as_str(), &raw.bytes[..])));
    let told = serde_json::to_string(&Told { plan: part.plan.clone(), arithmetic: part.arithmetic.clone(), checksum }).map_err(|e| refused(&e))?;
    let metadata = HashMap::from([(TOLD.to_string(), told)]);
    let views = all.iter().map(|(name, raw)| Ok((name.as_str(), TensorView::new(raw.dtype, raw.shape.clone(), &raw.bytes)?)));
    let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>().map_err(|e| refused(&e))?;
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| refused(&e))?;
    files::write_bytes(path, &bytes)
}

/// Reads a part whole.
///
/// # Errors
/// A file that is damaged, or not a part.
pub fn read(path: &Path) -> Result<Part> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    parse(&bytes).map_err(|why| {
        Error::file(path, format!("this part of the record is damaged ({why}); delete it and start the measurement again to score its texts anew"))
    })
}

fn parse(bytes: &[u8]) -> Result<Part, String> {
    let why = |e: safetensors::SafeTensorError| e.to_string();
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(why)?;
    let file = SafeTensors::deserialize(bytes).map_err(why)?;
    let told = header.metadata().as_ref().and_then(|m| m.get(TOLD)).ok_or("it does not say what it is a part of")?;
    let told: Told = serde_json::from_str(told).map_err(|e| e.to_string())?;
    let mut names: Vec<&str> = file.names();
    names.sort_unstable();
    let tensors = names.iter().map(|name| Ok((*name, file.tensor(name).map_err(why)?))).collect::<Result<Vec<_>, String>>()?;
    if checksum(tensors.iter().map(|(name, t)| (*name, t.data()))) != told.checksum {
        return Err("its checksum is wrong".into());
    }
    let of_type = |name: &str, dtype: Dtype| match file.tensor(name) {
        Ok(t) if t.dtype() == dtype => Ok(t.data().to_vec()),
        Ok(_) => Err(format!("{name} is of another type")),
        Err(_) => Err(format!("no {name} in it")),
    };
    let i64s = |name: &str| -> Result<Vec<u32>, String> {
        let all = of_type(name, Dtype::I64)?;
        all.chunks_exact(8).map(|b| u32::try_from(i64::from_le_bytes(array(b))).map_err(|_| format!("{name} are no numbers of texts"))).collect()
    };
    let f32s = |name: &str| -> Result<Vec<f32>, String> { Ok(of_type(name, Dtype::F32)?.chunks_exact(4).map(|b| f32::from_le_bytes(array(b))).collect()) };
    let f64s = |name: &str| -> Result<Vec<f64>, String> { Ok(of_type(name, Dtype::F64)?.chunks_exact(8).map(|b| f64::from_le_bytes(array(b))).collect()) };
    let places: Vec<(u32, u32)> = i64s("documents")?.into_iter().zip(i64s("chunks")?).collect();
    let mut contexts: Vec<u32> = names
        .iter()
        .filter_map(|n| n.strip_prefix("sums."))
        .map(|c| c.parse().map_err(|_| format!("sums.{c} is no context length")))
        .collect::<Result<_, _>>()?;
    contexts.sort_unstable();
    let mut part = Part::new(told.plan, 0, &contexts);
    part.arithmetic = told.arithmetic;
    part.places = places;
    for (c, of) in contexts.iter().zip(&mut part.of) {
        let mut moments = f64s(&format!("sums.{c}"))?;
        part.width = moments.len();
        moments.extend(f64s(&format!("products.{c}"))?);
        let states = format!("states.{c}");
        *of = OfContext {
            logprobs: f32s(&format!("logprobs.{c}"))?,
            moments,
            states: if names.contains(&states.as_str()) { f32s(&states)? } else { Vec::new() },
        };
    }
    let (n, d) = (part.places.len(), part.width);
    let fits = |of: &OfContext| of.logprobs.len() == n && of.moments.len() == d + d * (d + 1) / 2 && (of.states.is_empty() || of.states.len() == n * d);
    if part.of.is_empty() || !part.of.iter().all(fits) {
        return Err("its tensors do not fit together".into());
    }
    Ok(part)
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|i| bytes[i])
}

fn checksum<'a>(tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hasher = Hasher::new();
    for (name, bytes) in tensors {
        hasher.write(&(name.len() as u64).to_le_bytes());
        hasher.write(name.as_bytes());
        hasher.write(&(bytes.len() as u64).to_le_bytes());
        hasher.write(bytes);
    }
    format!("{:032x}", hasher.finish_128())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_comes_back_and_damage_is_found() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("c.safetensors");
        let mut part = Part::new("{}".into(), 2, &[8, 16]);
        part.arithmetic = vec!["cpu".into()];
        part.places = vec![(0, 1), (7, 0), (3, 2)];
        for (i, of) in part.of.iter_mut().enumerate() {
            let x = i as f64;
            let states = if i == 0 { vec![0.5, -1.0, 2.0, 3.0, 4.0, f32::MIN_POSITIVE] } else { Vec::new() };
            *of = OfContext { logprobs: vec![-1.0, -2.5, -0.0], moments: vec![x, 1e300, -2.0, 0.1, 5.0], states };
        }
        write(&path, &part).unwrap();
        assert_eq!(read(&path).unwrap(), part);
        let whole = fs::read(&path).unwrap();
        let mut rng = crate::rng::Rng::new(5, 0);
        for _ in 0..200 {
            let mut spoilt = whole.clone();
            let at = rng.below(spoilt.len() as u64) as usize;
            spoilt[at] ^= 1 << rng.below(8);
            // A changed plan or arithmetic is another one, which the plan is held against.
            if let Ok(p) = parse(&spoilt) {
                assert_eq!((&p.of, &p.places), (&part.of, &part.places), "byte {at}");
            }
            assert!(parse(&whole[..at]).is_err());
        }
    }
}
