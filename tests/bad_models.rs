//! Model folders that are not what they should be: one sentence each, which names the file and the thing; and never a panic.

use std::fs;
use std::path::Path;

use hilberg::model::{self, OpenOptions};
use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

const LLAMA: &str = "llama-linear";

/// A copy of a fixture to spoil.
fn copy(fixture: &str) -> TempDir {
    let to = TempDir::new().unwrap();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(fixture)).unwrap() {
        let from = entry.unwrap().path();
        fs::copy(&from, to.path().join(from.file_name().unwrap())).unwrap();
    }
    to
}

fn config(folder: &Path, edit: impl FnOnce(&mut Value)) {
    let path = folder.join("config.json");
    let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

struct Stored {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn tensors(folder: &Path, edit: impl FnOnce(&mut Vec<Stored>)) {
    let path = folder.join("model.safetensors");
    let file = fs::read(&path).unwrap();
    let mut all: Vec<Stored> = SafeTensors::deserialize(&file)
        .unwrap()
        .tensors()
        .into_iter()
        .map(|(name, t)| Stored { name, dtype: t.dtype(), shape: t.shape().to_vec(), bytes: t.data().to_vec() })
        .collect();
    edit(&mut all);
    let views = all.iter().map(|t| (t.name.as_str(), TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn named<'a>(all: &'a mut [Stored], name: &str) -> &'a mut Stored {
    all.iter_mut().find(|t| t.name == name).unwrap()
}

/// The sentence with which a folder is refused: one line, exit status 2, with all of `parts` in it.
#[track_caller]
fn refused(folder: &Path, parts: &[&str]) {
    let error = match model::open(folder, &OpenOptions::default()) {
        Err(e) => e,
        Ok((spec, checkpoint)) => checkpoint.check_finite(&spec).expect_err("the folder opened"),
    };
    let sentence = error.to_string();
    assert_eq!(error.exit_code(), 2);
    assert!(!sentence.contains('\n'), "{sentence}");
    for part in parts {
        assert!(sentence.contains(part), "`{part}` is not in: {sentence}");
    }
}

#[track_caller]
fn refused_config(fixture: &str, edit: impl FnOnce(&mut Value), parts: &[&str]) {
    let folder = copy(fixture);
    config(folder.path(), edit);
    refused(folder.path(), &[&["config.json"], parts].concat());
}

#[track_caller]
fn refused_tensors(fixture: &str, edit: impl FnOnce(&mut Vec<Stored>), parts: &[&str]) {
    let folder = copy(fixture);
    tensors(folder.path(), edit);
    refused(folder.path(), &[&["model.safetensors"], parts].concat());
}

#[test]
fn no_model_folder() {
    let empty = TempDir::new().unwrap();
    refused(empty.path(), &["config.json"]);
    refused(&empty.path().join("nowhere"), &["nowhere", "is no folder"]);
    refused(Path::new("some-people/some-model"), &["some-people/some-model", "hub id", "hf download"]);
    fs::write(empty.path().join("model-q4.gguf"), "GGUF").unwrap();
    refused(&empty.path().join("model-q4.gguf"), &["model-q4.gguf", "GGUF"]);
    refused(empty.path(), &["GGUF"]);
    fs::write(empty.path().join("text.txt"), "x").unwrap();
    refused(&empty.path().join("text.txt"), &["text.txt", "is a file"]);
}

#[test]
fn weights_of_another_kind() {
    let folder = copy(LLAMA);
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    refused(folder.path(), &["neither model.safetensors nor"]);
    fs::write(folder.path().join("adapter_model.safetensors"), "").unwrap();
    refused(folder.path(), &["adapter"]);
    fs::write(folder.path().join("pytorch_model.bin"), "").unwrap();
    refused(folder.path(), &["pytorch_model.bin", "python tools/convert_bin.py"]);
    refused_config(LLAMA, |c| c["quantization_config"] = json!({"quant_method": "gptq", "bits": 4}), &["quantised", "GPTQ"]);
    let qweight = || Stored { name: "model.layers.0.mlp.up_proj.qweight".into(), dtype: Dtype::I32, shape: vec![1], bytes: vec![0; 4] };
    refused_tensors(LLAMA, |t| t.push(qweight()), &["qweight", "GPTQ or AWQ"]);
}

#[test]
fn broken_files() {
    for (bytes, part) in [(0, "is empty"), (5, "truncated"), (300, "truncated"), (60_000, "truncated")] {
        let folder = copy(LLAMA);
        let path = folder.path().join("model.safetensors");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..bytes]).unwrap();
        refused(folder.path(), &["model.safetensors", part]);
    }
    let folder = copy(LLAMA);
    fs::write(folder.path().join("model.safetensors"), "version https://git-lfs.github.com/spec/v1").unwrap();
    refused(folder.path(), &["model.safetensors", "no safetensors file"]);
    fs::write(folder.path().join("config.json"), [b'{', 0xff, b'}']).unwrap();
    refused(folder.path(), &["config.json", "not UTF-8 at byte 1"]);
    fs::write(folder.path().join("config.json"), "{\"model_type\": ").unwrap();
    refused(folder.path(), &["config.json", "not JSON"]);
    fs::write(folder.path().join("config.json"), "[]").unwrap();
    refused(folder.path(), &["config.json", "object"]);
}

#[test]
fn broken_shards() {
    let folder = copy("llama-shards");
    let shard = folder.path().join("model-00002-of-00003.safetensors");
    let bytes = fs::read(&shard).unwrap();
    fs::remove_file(&shard).unwrap();
    refused(folder.path(), &["model-00002-of-00003.safetensors", "is missing"]);
    fs::write(&shard, &bytes[..bytes.len() - 1]).unwrap();
    refused(folder.path(), &["model-00002-of-00003.safetensors", "truncated"]);
    fs::copy(folder.path().join("model-00001-of-00003.safetensors"), &shard).unwrap();
    refused(folder.path(), &["model-00002-of-00003.safetensors", "holds too"]);

    let folder = copy("llama-shards");
    let path = folder.path().join("model.safetensors.index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    index["weight_map"]["model.norm.weight"] = json!("../model-00003-of-00003.safetensors");
    fs::write(&path, index.to_string()).unwrap();
    refused(folder.path(), &["index.json", "model.norm.weight", "of this folder"]);
    index["weight_map"]["model.norm.weight"] = json!("model-00001-of-00003.safetensors");
    fs::write(&path, index.to_string()).unwrap();
    refused(folder.path(), &["model-00001-of-00003.safetensors", "lacks `model.norm.weight`"]);
    fs::write(&path, "{}").unwrap();
    refused(folder.path(), &["index.json", "weight_map"]);
}

#[test]
fn wrong_tensors() {
    let up = "model.layers.1.mlp.up_proj.weight";
    refused_tensors(LLAMA, |t| t.retain(|t| t.name != up), &["lacks", up, "[88, 48]"]);
    refused_tensors(LLAMA, |t| named(t, up).shape.reverse(), &[up, "[48, 88]", "[88, 48]"]);
    refused_tensors(LLAMA, |t| named(t, up).dtype = Dtype::I16, &[up, "I16"]);
    let extra = || Stored { name: "model.layers.1.mlp.up_proj.scale".into(), dtype: Dtype::F32, shape: vec![], bytes: vec![0; 4] };
    refused_tensors(LLAMA, |t| t.push(extra()), &["model.layers.1.mlp.up_proj.scale", "does not have"]);
    // bf16: 0x7fc0 is NaN, 0xff80 is -inf.
    refused_tensors(LLAMA, |t| named(t, up).bytes[2 * (3 * 48 + 5)..][..2].copy_from_slice(&0x7fc0u16.to_le_bytes()), &[up, "NaN", "[3, 5]"]);
    refused_tensors(LLAMA, |t| named(t, "model.norm.weight").bytes[..2].copy_from_slice(&0xff80u16.to_le_bytes()), &["model.norm.weight", "-inf", "[0]"]);
    refused_tensors("gpt2-options", |t| named(t, "lm_head.weight").bytes[7] ^= 1, &["lm_head.weight", "transformer.wte.weight", "differ"]);
    refused_tensors(
        "gpt2-options",
        |t| {
            let twin = named(t, "transformer.h.0.ln_1.bias");
            let twin = Stored { name: "h.0.ln_1.bias".into(), dtype: twin.dtype, shape: twin.shape.clone(), bytes: vec![0; twin.bytes.len()] };
            t.push(twin);
        },
        &["`h.0.ln_1.bias`", "transformer.h.0.ln_1.bias", "differ"],
    );
}

#[test]
fn families_that_are_not_scored() {
    let kind = |k: &'static str| move |c: &mut Value| c["model_type"] = json!(k);
    for k in ["bert", "roberta", "caduceus", "modernbert", "esm"] {
        refused_config(LLAMA, kind(k), &[k, "bidirectional", "chain rule"]);
    }
    refused_config(LLAMA, kind("t5"), &["t5", "encoder-decoder"]);
    refused_config(LLAMA, kind("hyena"), &["hyena", "not supported", "llama"]);
    refused_config(LLAMA, |c| drop(c.as_object_mut().unwrap().remove("model_type")), &["lacks `model_type`"]);
    refused_config(LLAMA, |c| c["is_causal"] = json!(false), &["is_causal", "bidirectional"]);
}

#[test]
fn config_keys() {
    refused_config(LLAMA, |c| c["sliding_window"] = json!(128), &["`sliding_window`", "--accept-key sliding_window"]);
    refused_config(LLAMA, |c| c["rope_parameters"]["slope"] = json!(1), &["`rope_parameters.slope`", "--accept-key rope_parameters.slope"]);
    refused_config(LLAMA, |c| (c["a"], c["b"]) = (json!(1), json!(2)), &["`a`, `b`", "--accept-key a --accept-key b"]);
    refused_config(LLAMA, |c| c["rope_parameters"]["rope_type"] = json!("longrope"), &["longrope", "not implemented"]);
    refused_config(LLAMA, |c| c["rope_scaling"] = json!({"type": "linear", "factor": 4.0}), &["rope_scaling", "rope_parameters", "differ"]);
    refused_config(LLAMA, |c| c["hidden_act"] = json!("mish"), &["hidden_act", "mish"]);
    refused_config(LLAMA, |c| c["num_key_value_heads"] = json!(3), &["num_key_value_heads", "3"]);
    refused_config(LLAMA, |c| c["bos_token_id"] = json!("one"), &["bos_token_id"]);
    for bad in [json!(0), json!(-4), json!(1e30), json!(1u64 << 40), json!("48"), json!(4.5), json!([48]), json!({})] {
        refused_config(LLAMA, |c| c["hidden_size"] = bad, &["`hidden_size` should be a whole number"]);
    }
    refused_config(LLAMA, |c| drop(c.as_object_mut().unwrap().remove("hidden_size")), &["lacks `hidden_size`"]);
    refused_config("qwen2-layer-types", |c| c["layer_types"] = json!(["full_attention"]), &["layer_types", "1 entries for 2"]);
    refused_config("qwen2-layer-types", |c| c["use_sliding_window"] = json!(false), &["layer_types", "no window"]);
    refused_config("mamba2", |c| c["num_heads"] = json!(5), &["num_heads"]);
    refused_config("mamba2", |c| c["rms_norm"] = json!(false), &["rms_norm"]);
    refused_config("mamba-original", |c| c["attn_layer_idx"] = json!([1]), &["attn_layer_idx"]);
    refused_config("mamba-original", |c| c["ssm_cfg"]["layer"] = json!("Mamba3"), &["ssm_cfg", "Mamba3"]);

    let folder = copy(LLAMA);
    config(folder.path(), |c| (c["attention_sinks"], c["rope_parameters"]["slope"]) = (json!(4), json!(1)));
    let accept_keys = vec!["attention_sinks".to_string(), "rope_parameters.slope".to_string()];
    model::open(folder.path(), &OpenOptions { accept_keys, rope_length: None }).unwrap();
}

/// Folders whose config.json or header is spoilt at random either open or are refused.
fn no_panic(folder: &Path) {
    if let Ok((spec, checkpoint)) = model::open(folder, &OpenOptions { rope_length: Some(1000), ..Default::default() }) {
        drop(checkpoint.check_finite(&spec));
        checkpoint.fingerprint();
        model::HistoryState::of(&spec).numbers(1000);
    }
}

const SPOILT: &[&str] = &[
    "gpt2-options",
    "gpt-neox-sequential",
    "llama-yarn",
    "llama-dynamic",
    "llama-llama3",
    "mistral",
    "qwen2-layer-types",
    "mamba-original",
    "mamba2-groups",
    "mamba2-original",
];

fn nasty() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-3i64..300).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![Just(0.0), Just(1e-300), Just(1e300), Just(0.001), Just(1.0)].prop_map(Value::from),
        "[a-z_]{0,8}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([0, {"__float__": "NaN"}])),
        Just(json!({"__float__": "Infinity"})),
        Just(json!({"rope_type": "yarn", "factor": {"__float__": "Infinity"}})),
        Just(json!({"rope_type": "dynamic", "factor": 1e-9, "rope_theta": 1e-9})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_config_value(fixture in 0..SPOILT.len(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), nasty()), 1..4)) {
        let folder = copy(SPOILT[fixture]);
        config(folder.path(), |c| {
            for (at, inside, value) in changes {
                let mut object = c.as_object_mut().unwrap();
                let nested: Vec<String> = object.iter().filter(|(_, v)| v.as_object().is_some_and(|o| !o.is_empty())).map(|(k, _)| k.clone()).collect();
                if inside && !nested.is_empty() {
                    object = object[&nested[0]].as_object_mut().unwrap();
                }
                let keys: Vec<String> = object.keys().cloned().collect();
                object[&keys[at.index(keys.len())]] = value;
            }
        });
        no_panic(folder.path());
    }

    #[test]
    fn any_byte(fixture in 0..SPOILT.len(), header in any::<bool>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let folder = copy(SPOILT[fixture]);
        let path = folder.path().join(if header { "model.safetensors" } else { "config.json" });
        let mut bytes = fs::read(&path).unwrap();
        let end = if header { 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize } else { bytes.len() };
        if cut {
            bytes.remove(at.index(end));
        } else {
            bytes[at.index(end)] = byte;
        }
        fs::write(&path, bytes).unwrap();
        no_panic(folder.path());
    }
}
