//! Which files of a model folder hold its weights, and one sentence for each kind of folder that is something else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::json;
use crate::error::{Error, Result};

/// Where the tensors lie.
#[derive(Debug)]
pub(crate) struct WeightFiles {
    /// What an error about the whole is about: the one file, or the index.
    pub front: PathBuf,
    /// All files, in name order.
    pub files: Vec<PathBuf>,
    /// Tensor name to position in `files`, where an index says so.
    pub index: BTreeMap<String, usize>,
}

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Demands a folder with a config.json.
///
/// # Errors
/// A hub id, a file, a folder of another kind: each by name.
pub(crate) fn check(folder: &Path) -> Result<()> {
    let gguf = |p: &Path| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
    if folder.is_file() {
        return Err(Error::file(
            folder,
            if gguf(folder) {
                "is a GGUF file, which is not supported; take the model's safetensors folder"
            } else {
                "is a file; a model is a folder with config.json and model.safetensors"
            },
        ));
    }
    if !folder.is_dir() {
        let id = folder.to_string_lossy();
        let parts: Vec<&str> = id.split('/').collect();
        let word = |w: &&str| !w.is_empty() && !w.starts_with('.') && w.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        return Err(Error::file(
            folder,
            if parts.len() == 2 && parts.iter().all(word) {
                format!("is no folder here; if it is a hub id, fetch it first (hf download {id} --local-dir DIR) and pass that folder")
            } else {
                "is no folder; a model is a folder with config.json and model.safetensors".to_string()
            },
        ));
    }
    if folder.join("config.json").is_file() {
        return Ok(());
    }
    let names = file_names(folder)?;
    Err(Error::file(
        folder,
        if names.iter().any(|n| gguf(Path::new(n))) {
            "holds GGUF files, which are not supported; take the model's safetensors folder"
        } else if names.iter().any(|n| n == "adapter_config.json") {
            "holds an adapter; merge it into its base model and save that"
        } else {
            "has no config.json; a model is a folder with config.json and model.safetensors"
        },
    ))
}

/// Finds the weight files.
///
/// # Errors
/// None there, or of a kind that is not read (`pytorch_model.bin`, GGUF, adapters); a missing shard; an index that is no index.
pub(crate) fn weight_files(folder: &Path) -> Result<WeightFiles> {
    let single = folder.join(SINGLE);
    if single.is_file() {
        return Ok(WeightFiles { front: single.clone(), files: vec![single], index: BTreeMap::new() });
    }
    let index = folder.join(INDEX);
    if index.is_file() {
        return read_index(folder, index);
    }
    let names = file_names(folder)?;
    let any = |test: &dyn Fn(&str) -> bool| names.iter().any(|n| test(n));
    let what = if any(&|n| n.starts_with("pytorch_model") && (n.ends_with(".bin") || n.ends_with(".bin.index.json"))) {
        format!("has pytorch_model.bin but no {SINGLE}; convert it with: python tools/convert_bin.py {}", folder.display())
    } else if any(&|n| n.to_ascii_lowercase().ends_with(".gguf")) {
        "holds GGUF weights, which are not supported; take the model's safetensors folder".to_string()
    } else if any(&|n| n.starts_with("adapter_model")) {
        "holds an adapter; merge it into its base model and save that".to_string()
    } else {
        format!("has neither {SINGLE} nor {INDEX}")
    };
    Err(Error::file(folder, what))
}

fn read_index(folder: &Path, path: PathBuf) -> Result<WeightFiles> {
    let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
    let value = json::parse(&text).map_err(|e| Error::file(&path, format!("is not JSON: {e}")))?;
    let map = value.get("weight_map").and_then(Value::as_object).ok_or_else(|| Error::file(&path, "lacks the object `weight_map`"))?;
    let mut by_file: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for (tensor, file) in map {
        // A shard is a file of this folder: nothing outside it is opened on an index's word.
        let file = file.as_str().filter(|f| Path::new(f).components().count() == 1 && f.ends_with(".safetensors"));
        by_file
            .entry(file.ok_or_else(|| Error::file(&path, format!("`weight_map` names no safetensors file of this folder for `{tensor}`")))?)
            .or_default()
            .push(tensor);
    }
    let (mut files, mut index) = (vec![], BTreeMap::new());
    for (i, (name, tensors)) in by_file.into_iter().enumerate() {
        let file = folder.join(name);
        if !file.is_file() {
            return Err(Error::file(&file, format!("is missing; {INDEX} places {} tensors there", tensors.len())));
        }
        files.push(file);
        index.extend(tensors.into_iter().map(|t| (t.clone(), i)));
    }
    if files.is_empty() {
        return Err(Error::file(&path, "`weight_map` is empty"));
    }
    Ok(WeightFiles { front: path, files, index })
}

fn file_names(folder: &Path) -> Result<Vec<String>> {
    let mut names = vec![];
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        names.push(entry.map_err(Error::io(folder))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
