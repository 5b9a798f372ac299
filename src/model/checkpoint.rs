//! The weights: safetensors files mapped into memory, each tensor demanded by name, shape and element type.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use safetensors::{SafeTensorError, SafeTensors};

use super::fingerprint::Fnv;
use super::folder;
use super::json;
use super::mapped::Mapped;
use super::spec::{ModelSpec, Param};
use crate::error::{Error, Result};
use crate::tensor::{Dtype, Tensor};

/// How the tensor names of real folders differ from the spec's.
#[derive(Clone, Debug, Default)]
pub struct Naming {
    /// A prefix of the spec's names that a folder may leave out: `transformer.`.
    pub prefix: &'static str,
    /// Known buffers, without prefix, `*` for a layer's number: `h.*.attn.bias`. Not read.
    pub buffers: &'static [&'static str],
    /// Other names of a parameter: (other, the spec's). Where both are stored they must be equal.
    pub aliases: Vec<(String, String)>,
}

/// The mapped weights of a folder.
///
/// The files must not be changed while they are mapped.
#[derive(Debug)]
pub struct Checkpoint {
    front: PathBuf,
    shards: Vec<Mapped>,
    tensors: BTreeMap<String, Entry>,
    config: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Entry {
    shard: usize,
    dtype: safetensors::Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

impl Checkpoint {
    /// Maps `model.safetensors`, or the shards of its index, and checks their headers; reads no weights.
    ///
    /// # Errors
    /// A folder of another kind, a missing shard, a header that is broken or asks for another number of bytes than the file has.
    pub fn open(folder: &Path) -> Result<Self> {
        folder::check(folder)?;
        let config_path = folder.join("config.json");
        let config = std::fs::read(&config_path).map_err(Error::io(&config_path))?;
        let weights = folder::weight_files(folder)?;
        let (mut shards, mut tensors) = (Vec::new(), BTreeMap::<String, Entry>::new());
        for path in weights.files {
            let shard = Mapped::open(path)?;
            for (name, entry) in entries(&shard, shards.len())? {
                if let Some(other) = tensors.get(&name) {
                    let first: &Mapped = &shards[other.shard];
                    return Err(Error::file(shard.path(), format!("holds `{name}`, which {} holds too", first.path().display())));
                }
                tensors.insert(name, entry);
            }
            shards.push(shard);
        }
        for (name, shard) in &weights.index {
            if tensors.get(name).is_none_or(|e| e.shard != *shard) {
                return Err(Error::file(shards[*shard].path(), format!("lacks `{name}`, which {} places there", weights.front.display())));
            }
        }
        Ok(Checkpoint { front: weights.front, shards, tensors, config })
    }

    /// Gives every tensor its name in `spec` and demands that all are there, as the spec wants them, and that nothing else is.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape or element type; one that is on no list; two names of one parameter with different contents.
    pub fn resolve(&mut self, spec: &ModelSpec, naming: &Naming) -> Result<()> {
        let wanted: BTreeSet<&str> = spec.params().into_iter().map(|p| p.name.as_str()).collect();
        let (mut resolved, mut extra) = (BTreeMap::<String, (String, Entry)>::new(), vec![]);
        for (stored, entry) in std::mem::take(&mut self.tensors) {
            let bare = stored.strip_prefix(naming.prefix).unwrap_or(&stored);
            let candidates = [stored.clone(), format!("{}{bare}", naming.prefix)];
            let name = candidates.iter().find_map(|c| {
                let alias = naming.aliases.iter().find(|(other, _)| other == c).map(|(_, name)| name.as_str());
                [c.as_str()].into_iter().chain(alias).find(|n| wanted.contains(n)).map(str::to_string)
            });
            match name {
                None if naming.buffers.iter().any(|b| matches(b, bare)) => {}
                None => extra.push(stored),
                Some(name) => match resolved.get(&name) {
                    Some((first, e)) if !self.same(e, &entry) => {
                        return Err(Error::file(
                            self.shards[entry.shard].path(),
                            format!("`{first}` and `{stored}` are one parameter to this model, but differ"),
                        ));
                    }
                    Some(_) => {}
                    None => drop(resolved.insert(name, (stored, entry))),
                },
            }
        }
        self.refuse_extra(&extra)?;
        self.tensors = resolved.into_iter().map(|(name, (_, entry))| (name, entry)).collect();
        spec.params().into_iter().try_for_each(|p| self.get(p).map(drop))
    }

    fn same(&self, a: &Entry, b: &Entry) -> bool {
        let same = a.dtype == b.dtype && a.shape == b.shape && self.bytes(a) == self.bytes(b);
        self.forget(a);
        self.forget(b);
        same
    }

    fn refuse_extra(&self, extra: &[String]) -> Result<()> {
        let Some(first) = extra.first() else { return Ok(()) };
        if let Some(q) = extra.iter().find(|n| n.ends_with(".qweight") || n.ends_with(".qzeros")) {
            return Err(Error::file(
                &self.front,
                format!("holds `{q}`: GPTQ or AWQ weights, which are not supported; take the model's f32, f16 or bf16 folder"),
            ));
        }
        let more = if extra.len() > 1 { format!(" (and {} more)", extra.len() - 1) } else { String::new() };
        Err(Error::file(&self.front, format!("holds `{first}`{more}, which this kind of model does not have by its config.json")))
    }

    /// The tensor of a parameter.
    ///
    /// # Errors
    /// It is missing, or of another shape or element type.
    pub fn get(&self, param: &Param) -> Result<Tensor<'_>> {
        let entry = self.tensors.get(&param.name).ok_or_else(|| Error::file(&self.front, format!("lacks `{}`, of shape {:?}", param.name, param.shape)))?;
        let wrong = |what: String| Error::file(self.shards[entry.shard].path(), format!("`{}` {what}", param.name));
        if entry.shape != param.shape {
            return Err(wrong(format!("has shape {:?}, but config.json asks for {:?}", entry.shape, param.shape)));
        }
        let dtype = match entry.dtype {
            safetensors::Dtype::F32 => Dtype::F32,
            safetensors::Dtype::F16 => Dtype::F16,
            safetensors::Dtype::BF16 => Dtype::Bf16,
            other => return Err(wrong(format!("is stored as {other:?}; f32, f16 and bf16 are read"))),
        };
        Ok(Tensor { dtype, shape: entry.shape.clone(), bytes: self.bytes(entry) })
    }

    /// Rows of a matrix of parameters, one after another, read without mapping them. Around a row that is read in a map the system may map hundreds of pages,
    /// and a few thousand rows would map any embedding whole.
    ///
    /// # Errors
    /// As [`Checkpoint::get`]; the file cannot be read.
    pub fn gather(&self, param: &Param, rows: &[u32]) -> Result<Vec<u8>> {
        let row = self.get(param)?.bytes.len() / param.shape[0].max(1);
        let entry = &self.tensors[&param.name];
        let mut out = vec![0; rows.len() * row];
        let places = out.par_chunks_exact_mut(row.max(1)).zip(rows).with_min_len(64);
        places.try_for_each(|(out, &i)| self.shards[entry.shard].read(entry.bytes.start + i as usize * row, out))?;
        Ok(out)
    }

    /// Takes a parameter's pages out of the process until it is read again: what is packed need not be counted twice.
    pub fn release(&self, param: &Param) {
        if let Some(entry) = self.tensors.get(&param.name) {
            self.forget(entry);
        }
    }

    /// Reads all parameters once and demands finite numbers.
    ///
    /// # Errors
    /// Names the first tensor that holds NaN or an infinity, and where in it.
    pub fn check_finite(&self, spec: &ModelSpec) -> Result<()> {
        const PIECE: usize = 1 << 20;
        let mut names = BTreeSet::new();
        let mut pieces = vec![];
        for p in spec.params().into_iter().filter(|p| names.insert(&p.name)) {
            let t = self.get(p)?;
            let n = t.len();
            pieces.extend((0..n).step_by(PIECE).map(|at| (p, t.clone(), at..(at + PIECE).min(n))));
        }
        let found = pieces.par_iter().find_map_first(|(p, t, range)| {
            let found = first_not_finite(t, range.clone());
            let (entry, size) = (&self.tensors[&p.name], t.dtype.size());
            self.shards[entry.shard].release(entry.bytes.start + range.start * size..entry.bytes.start + range.end * size);
            found.map(|i| (*p, t, i))
        });
        let Some((p, t, flat)) = found else { return Ok(()) };
        let mut x = [0.0];
        t.widen(flat, &mut x);
        let (mut index, mut rest) = (vec![0; p.shape.len()], flat);
        for (i, n) in index.iter_mut().zip(&p.shape).rev() {
            (*i, rest) = (rest % n, rest / n);
        }
        Err(Error::file(self.shards[self.tensors[&p.name].shard].path(), format!("`{}` holds {} at index {index:?}", p.name, x[0])))
    }

    /// Number of tensors.
    pub(crate) fn stored_tensors(&self) -> usize {
        self.tensors.len()
    }

    /// Bytes of weights that the spec's parameters occupy in the files; shared ones once.
    pub fn stored_bytes(&self) -> u64 {
        self.tensors.values().map(|e| e.bytes.len() as u64).sum()
    }

    /// Element types with the number of parameters in each, most first.
    pub fn dtypes(&self) -> Vec<(String, u64)> {
        let mut count = BTreeMap::<String, u64>::new();
        for e in self.tensors.values() {
            *count.entry(format!("{:?}", e.dtype).to_lowercase()).or_default() += e.shape.iter().product::<usize>() as u64;
        }
        let mut count: Vec<_> = count.into_iter().collect();
        count.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        count
    }

    /// 128 bits in hexadecimal that stand for this folder in a record: FNV-1a over config.json, and over the name, element type, shape and
    /// sixteen evenly spread 256-byte samples of every parameter. Sharding does not enter; two models that differ only between samples would not be told apart.
    pub fn fingerprint(&self) -> String {
        const SAMPLES: usize = 16;
        const SAMPLE: usize = 256;
        let mut h = Fnv::new();
        h.part(&self.config);
        for (name, e) in &self.tensors {
            h.part(name.as_bytes());
            h.part(format!("{:?}{:?}", e.dtype, e.shape).as_bytes());
            let b = self.bytes(e);
            let last = b.len().saturating_sub(SAMPLE);
            for i in 0..SAMPLES {
                let at = (last as u128 * i as u128 / (SAMPLES - 1) as u128) as usize;
                h.part(&b[at..(at + SAMPLE).min(b.len())]);
            }
            self.forget(e);
        }
        h.hex()
    }

    fn forget(&self, e: &Entry) {
        self.shards[e.shard].release(e.bytes.clone());
    }

    fn bytes(&self, e: &Entry) -> &[u8] {
        &self.shards[e.shard][e.bytes.clone()]
    }
}

/// Whether `name` is `pattern` with digits for `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => {
            name.strip_prefix(before).and_then(|n| n.strip_suffix(after)).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        }
    }
}

fn first_not_finite(t: &Tensor, range: Range<usize>) -> Option<usize> {
    let s = t.dtype.size();
    let bytes = &t.bytes[range.start * s..range.end * s];
    let at = match t.dtype {
        Dtype::F32 => bytes.chunks_exact(4).position(|b| u16::from_le_bytes([b[2], b[3]]) & 0x7f80 == 0x7f80),
        Dtype::F16 => bytes.chunks_exact(2).position(|b| u16::from_le_bytes([b[0], b[1]]) & 0x7c00 == 0x7c00),
        Dtype::Bf16 => bytes.chunks_exact(2).position(|b| u16::from_le_bytes([b[0], b[1]]) & 0x7f80 == 0x7f80),
    };
    at.map(|i| range.start + i)
}

/// What a file's header says of its tensors, in name order.
fn entries(file: &Mapped, shard: usize) -> Result<Vec<(String, Entry)>> {
    let (header, metadata) = SafeTensors::read_metadata(file).map_err(|e| Error::file(file.path(), sentence(&e, file.len())))?;
    let start = 8 + header;
    // The crate keeps one of two entries of the same name.
    let text = std::str::from_utf8(&file[8..start]).map_err(|e| Error::file(file.path(), format!("is no sound safetensors file: {e}")))?;
    json::refuse_doubles(text).map_err(|e| Error::file(file.path(), format!("is no sound safetensors file: {e}")))?;
    let mut entries = vec![];
    for (name, info) in metadata.tensors() {
        let (from, to) = info.data_offsets;
        let bytes = start + from..start + to;
        if file.get(bytes.clone()).is_none() {
            return Err(Error::file(file.path(), format!("`{name}` lies outside the file")));
        }
        entries.push((name, Entry { shard, dtype: info.dtype, shape: info.shape.clone(), bytes }));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

fn sentence(e: &SafeTensorError, size: usize) -> String {
    match e {
        SafeTensorError::InvalidHeaderLength | SafeTensorError::HeaderTooSmall => format!("is truncated: its {size} bytes end inside the header"),
        SafeTensorError::MetadataIncompleteBuffer => format!("is truncated or damaged: its {size} bytes are not what the header asks for; fetch it again"),
        SafeTensorError::HeaderTooLarge => "is no safetensors file (the header's length makes no sense); a git-lfs pointer or another format?".to_string(),
        e => format!("is no sound safetensors file: {e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_digits() {
        assert!(matches("h.*.attn.bias", "h.11.attn.bias"));
        assert!(!matches("h.*.attn.bias", "h.11.attn.c_attn.bias"));
        assert!(!matches("h.*.attn.bias", "h..attn.bias"));
        assert!(matches("inv_freq", "inv_freq"));
    }

    #[test]
    fn not_finite_is_found_in_every_element_type() {
        let f32s: Vec<u8> = [1.0f32, -2.0, f32::NEG_INFINITY, 0.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let t = |dtype, bytes| Tensor { dtype, shape: vec![4], bytes };
        assert_eq!(first_not_finite(&t(Dtype::F32, &f32s), 0..4), Some(2));
        assert_eq!(first_not_finite(&t(Dtype::F32, &f32s), 3..4), None);
        let f16s: Vec<u8> = [1.0f32, 65504.0, 1e-7, f32::NAN].iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
        assert_eq!(first_not_finite(&t(Dtype::F16, &f16s), 0..4), Some(3));
        let bf16s: Vec<u8> = [1.0f32, 3e38, 1e-38, f32::INFINITY].iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect();
        assert_eq!(first_not_finite(&t(Dtype::Bf16, &bf16s), 0..4), Some(3));
    }
}
