//! config.json, read strictly: a key that nobody reads is an error, not silence.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::json;
use super::spec::{Activation, StartToken};
use crate::error::{Error, Result};

/// Widths: of the residual, a head, a state. Far above any model, and far below where a product of three overflows.
pub(crate) const WIDTH: RangeInclusive<usize> = 1..=1 << 20;
/// Vocabularies and positions.
pub(crate) const LENGTH: RangeInclusive<usize> = 1..=1 << 28;
/// Layers; bounded since the spec holds each.
pub(crate) const LAYERS: RangeInclusive<usize> = 1..=1 << 12;

/// An object of config.json that remembers which of its keys were read.
#[derive(Debug)]
pub struct Config {
    path: PathBuf,
    /// `rope_scaling.` where this is the object under that key.
    within: String,
    values: Map<String, Value>,
    read: RefCell<BTreeSet<String>>,
    accepted: Vec<String>,
    /// Layers have tensors: there are not more of them than the weights hold of those.
    most_layers: usize,
}

/// Keys that no family's arithmetic depends on, each with the reason.
const IGNORED: &[(&[&str], &str)] = &[
    (
        &["architectures", "auto_map", "_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "_from_model_config"],
        "provenance; nothing named there is executed",
    ),
    (&["torch_dtype", "dtype", "use_bfloat16"], "each tensor of the checkpoint states its own element type"),
    (&["use_cache", "return_dict", "output_attentions", "output_hidden_states", "output_scores", "return_dict_in_generate"], "what a forward pass hands back"),
    (
        &[
            "torchscript",
            "chunk_size_feed_forward",
            "attn_implementation",
            "_attn_implementation",
            "_attn_implementation_autoset",
            "use_flash_attn",
            "_flash_attn_2_enabled",
        ],
        "another order of the same arithmetic",
    ),
    (
        &["pad_token_id", "sep_token_id", "cls_token_id", "unk_token_id", "decoder_start_token_id", "tokenizer_class", "prefix"],
        "tokenisation and batching; there is no padding here",
    ),
    (
        &[
            "max_length",
            "min_length",
            "do_sample",
            "early_stopping",
            "num_beams",
            "num_beam_groups",
            "diversity_penalty",
            "temperature",
            "top_k",
            "top_p",
            "typical_p",
            "repetition_penalty",
            "length_penalty",
            "no_repeat_ngram_size",
            "encoder_no_repeat_ngram_size",
            "bad_words_ids",
            "num_return_sequences",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "remove_invalid_values",
            "exponential_decay_length_penalty",
            "suppress_tokens",
            "begin_suppress_tokens",
            "max_new_tokens",
        ],
        "generation",
    ),
    (&["id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params", "classifier_dropout"], "heads for other tasks"),
    (&["initializer_range", "gradient_checkpointing", "tf_legacy_loss", "pretraining_tp"], "training, or a split of the same products"),
    (&["attention_dropout", "hidden_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop"], "dropout happens in training"),
    (&["is_decoder"], "every family here is causal whatever it says"),
];

impl Config {
    /// Reads `folder/config.json`; `accepted` keys may go unread.
    ///
    /// # Errors
    /// No such file, not UTF-8, not JSON, not an object.
    pub fn open(folder: &Path, accepted: &[String]) -> Result<Self> {
        let path = folder.join("config.json");
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        let text = String::from_utf8(bytes).map_err(|e| Error::file(&path, format!("is not UTF-8 at byte {}", e.utf8_error().valid_up_to())))?;
        match json::parse(text.trim_start_matches('\u{feff}')) {
            Ok(Value::Object(values)) => {
                Ok(Config { path, within: String::new(), values, read: RefCell::default(), accepted: accepted.to_vec(), most_layers: *LAYERS.end() })
            }
            Ok(_) => Err(Error::file(path, "should hold a JSON object")),
            Err(e) => Err(Error::file(path, format!("is not JSON: {e}"))),
        }
    }

    /// Lets no more layers be asked for than there are tensors, so that what a spec takes is bounded by what its folder holds.
    pub(crate) fn bound_layers(&mut self, tensors: usize) {
        self.most_layers = self.most_layers.min(tensors);
    }

    /// An error about this file.
    pub fn error(&self, what: impl Into<String>) -> Error {
        Error::file(&self.path, what)
    }

    /// Whether the key is there with something other than null.
    pub fn has(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|v| !v.is_null())
    }

    /// Whether the key is there and null.
    pub fn is_null(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(Value::is_null)
    }

    /// The value, marked as read; null counts as absent.
    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.read.borrow_mut().insert(key.to_string());
        self.values.get(key).filter(|v| !v.is_null())
    }

    fn wrong(&self, key: &str, expected: &str, found: &Value) -> Error {
        let mut found = found.to_string();
        if found.chars().count() > 60 {
            found = found.chars().take(60).chain(['…']).collect();
        }
        self.error(format!("`{}{key}` should be {expected}, found {found}", self.within))
    }

    fn missing(&self, key: &str) -> Error {
        self.error(format!("lacks `{}{key}`", self.within))
    }

    /// A whole number within `range`, if the key is there.
    ///
    /// # Errors
    /// Another type, a negative or fractional number, one outside the range.
    pub fn optional(&self, key: &str, range: RangeInclusive<usize>) -> Result<Option<usize>> {
        let Some(v) = self.value(key) else { return Ok(None) };
        let whole = v.as_u64().or_else(|| v.as_f64().filter(|x| *x >= 0.0 && x.fract() == 0.0 && *x < 9e15).map(|x| x as u64));
        match whole.and_then(|n| usize::try_from(n).ok()).filter(|n| range.contains(n)) {
            Some(n) => Ok(Some(n)),
            None => Err(self.wrong(key, &format!("a whole number from {} to {}", range.start(), range.end()), v)),
        }
    }

    /// A whole number within `range`, demanded.
    ///
    /// # Errors
    /// As [`Config::optional`], or absent.
    pub fn size(&self, key: &str, range: RangeInclusive<usize>) -> Result<usize> {
        self.optional(key, range)?.ok_or_else(|| self.missing(key))
    }

    /// A number of layers, if the key is there.
    ///
    /// # Errors
    /// As [`Config::optional`], or more layers than the weights have tensors.
    pub(crate) fn layers(&self, key: &str) -> Result<Option<usize>> {
        match self.optional(key, LAYERS)? {
            Some(n) if n > self.most_layers => Err(self.error(format!("`{key}` is {n}, but the weights have {} tensors in all", self.most_layers))),
            n => Ok(n),
        }
    }

    /// A number that float32 can hold, if the key is there.
    ///
    /// # Errors
    /// Another type, not finite, or past float32's largest.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        let Some(v) = self.value(key) else { return Ok(None) };
        json::number(v).filter(|x| (*x as f32).is_finite()).map(Some).ok_or_else(|| self.wrong(key, "a finite number", v))
    }

    /// A positive number, if the key is there.
    ///
    /// # Errors
    /// Another type, not positive, or what float32 cannot tell from 0 or ∞.
    pub fn positive(&self, key: &str) -> Result<Option<f64>> {
        match self.number(key)? {
            Some(x) if (x as f32) < f32::MIN_POSITIVE => Err(self.wrong(key, "a positive number", &self.values[key])),
            x => Ok(x),
        }
    }

    /// ε of a norm: not negative.
    ///
    /// # Errors
    /// Another type, negative, not finite.
    pub fn epsilon(&self, key: &str, default: f64) -> Result<f32> {
        match self.number(key)? {
            Some(x) if !(0.0..=1.0).contains(&x) => Err(self.wrong(key, "a number from 0 to 1", &self.values[key])),
            x => Ok(x.unwrap_or(default) as f32),
        }
    }

    /// A truth value.
    ///
    /// # Errors
    /// Another type.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.value(key) {
            None => Ok(default),
            Some(v) => v.as_bool().ok_or_else(|| self.wrong(key, "true or false", v)),
        }
    }

    /// Demands that a flag, where given, has the one value that is implemented.
    ///
    /// # Errors
    /// Another type or the other value.
    pub fn only(&self, key: &str, value: bool, why: &str) -> Result<()> {
        if self.flag(key, value)? == value { Ok(()) } else { Err(self.error(format!("`{}{key}` is {}: {why}", self.within, !value))) }
    }

    /// A text, if the key is there.
    ///
    /// # Errors
    /// Another type.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.value(key) {
            None => Ok(None),
            Some(v) => v.as_str().map(Some).ok_or_else(|| self.wrong(key, "a text", v)),
        }
    }

    /// A list, if the key is there.
    ///
    /// # Errors
    /// Another type.
    pub fn list(&self, key: &str) -> Result<Option<&[Value]>> {
        match self.value(key) {
            None => Ok(None),
            Some(v) => v.as_array().map(|a| Some(a.as_slice())).ok_or_else(|| self.wrong(key, "a list", v)),
        }
    }

    /// A pair of numbers in ascending order, where infinities may stand.
    ///
    /// # Errors
    /// Anything else.
    pub fn interval(&self, key: &str, default: (f32, f32)) -> Result<(f32, f32)> {
        let Some(v) = self.value(key) else { return Ok(default) };
        let ends: Option<Vec<f64>> = v.as_array().and_then(|a| a.iter().map(json::number).collect());
        match ends.as_deref() {
            Some([low, high]) if low <= high => Ok((*low as f32, *high as f32)),
            _ => Err(self.wrong(key, "two numbers, the lower first", v)),
        }
    }

    /// The object under `key`, to be read and finished like this one; an empty object counts as absent.
    ///
    /// # Errors
    /// Another type.
    pub fn section(&self, key: &str) -> Result<Option<Config>> {
        let Some(v) = self.value(key) else { return Ok(None) };
        let values = v.as_object().ok_or_else(|| self.wrong(key, "an object", v))?;
        let section = Config {
            path: self.path.clone(),
            within: format!("{}{key}.", self.within),
            values: values.clone(),
            read: RefCell::default(),
            accepted: self.accepted.clone(),
            most_layers: self.most_layers,
        };
        Ok(if values.is_empty() { None } else { Some(section) })
    }

    /// An object without keys under `key`: what a family reads its defaults from where config.json has none.
    pub(crate) fn empty(&self, key: &str) -> Config {
        Config {
            path: self.path.clone(),
            within: format!("{}{key}.", self.within),
            values: Map::new(),
            read: RefCell::default(),
            accepted: vec![],
            most_layers: self.most_layers,
        }
    }

    /// The number of layers, demanded.
    ///
    /// # Errors
    /// As [`Config::layers`], or absent.
    pub(crate) fn layer_count(&self, key: &str) -> Result<usize> {
        self.layers(key)?.ok_or_else(|| self.missing(key))
    }

    /// The one number that several spellings of a key agree on.
    ///
    /// # Errors
    /// As [`Config::positive`], or two that differ.
    pub fn agreed(&self, keys: &[&str]) -> Result<Option<f64>> {
        let mut found: Option<(&str, f64)> = None;
        for key in keys {
            match (self.positive(key)?, found) {
                (Some(x), Some((other, y))) if x != y => return Err(self.error(format!("`{other}` is {y} but `{key}` is {x}: they mean the same"))),
                (Some(x), None) => found = Some((key, x)),
                _ => {}
            }
        }
        Ok(found.map(|(_, x)| x))
    }

    /// An activation by transformers' names.
    ///
    /// # Errors
    /// One that is not implemented.
    pub fn activation(&self, key: &str, default: Activation) -> Result<Activation> {
        match self.text(key)? {
            None => Ok(default),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu" | "gelu_python") => Ok(Activation::Gelu),
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast") => Ok(Activation::GeluTanh),
            Some("relu") => Ok(Activation::Relu),
            Some("relu2") => Ok(Activation::Relu2),
            Some(other) => Err(self.error(format!("`{key}` \"{other}\" is not implemented (silu, gelu, gelu_new, gelu_pytorch_tanh, relu, relu2 are)"))),
        }
    }

    /// bos_token_id, else eos_token_id (its first where it is a list).
    ///
    /// # Errors
    /// An id that is no whole number below 2³².
    pub fn start_token(&self) -> Result<Option<StartToken>> {
        let mut start = None;
        for key in ["bos_token_id", "eos_token_id"] {
            let Some(v) = self.value(key) else { continue };
            let (id, source) = match v {
                Value::Array(a) if a.is_empty() => continue,
                Value::Array(a) => (&a[0], format!("first {key} of config.json")),
                v => (v, format!("{key} of config.json")),
            };
            // Some folders write -1 for "none".
            if id.as_i64() == Some(-1) {
                continue;
            }
            let id = id.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(|| self.wrong(key, "a token id", v))?;
            start.get_or_insert(StartToken { id, source });
        }
        Ok(start)
    }

    /// Refuses weights in a form that is not read here.
    ///
    /// # Errors
    /// Quantised weights.
    pub fn refuse_quantised(&self) -> Result<()> {
        if let Some(q) = self.value("quantization_config").or_else(|| self.value("compression_config")) {
            let method = q.get("quant_method").and_then(Value::as_str).unwrap_or("unnamed").to_uppercase();
            return Err(self.error(format!("the weights are quantised ({method}), which is not supported; take the model's f32, f16 or bf16 folder")));
        }
        Ok(())
    }

    /// Refuses what no family here implements, wherever a config.json may say it.
    ///
    /// # Errors
    /// Encoder-decoders, cross attention, attention to the future, pruned heads.
    pub fn refuse_common(&self) -> Result<()> {
        self.only("is_encoder_decoder", false, "an encoder-decoder gives no probability to a text alone")?;
        self.only("add_cross_attention", false, "cross attention needs a second input")?;
        self.only("tie_encoder_decoder", false, "an encoder-decoder gives no probability to a text alone")?;
        for key in ["cross_attention_hidden_size", "per_layer_config"] {
            if self.value(key).is_some() {
                return Err(self.error(format!("`{key}` is set, which is not implemented")));
            }
        }
        self.only("is_causal", true, "a bidirectional model has no chain rule, so no log q of a text")?;
        self.only("use_bidirectional_attention", false, "a bidirectional model has no chain rule, so no log q of a text")?;
        match self.value("pruned_heads") {
            Some(v) if v.as_object().is_none_or(|o| !o.is_empty()) => Err(self.wrong("pruned_heads", "empty: pruned heads are not implemented", v)),
            _ => Ok(()),
        }
    }

    /// Ends the reading: every key must have been read, be listed in `ignored` (with the reason) or as common, or be accepted by the user.
    ///
    /// # Errors
    /// Names the keys that nobody read.
    pub fn finish(&self, ignored: &[(&[&str], &str)]) -> Result<()> {
        let common: &[(&[&str], &str)] = if self.within.is_empty() { IGNORED } else { &[] };
        let listed = |key: &str| common.iter().chain(ignored).any(|(keys, _)| keys.contains(&key));
        let read = self.read.borrow();
        let unread: Vec<String> = self
            .values
            .keys()
            .filter(|k| !read.contains(*k) && !listed(k))
            .map(|k| format!("{}{k}", self.within))
            .filter(|k| !self.accepted.contains(k))
            .collect();
        match unread.as_slice() {
            [] => Ok(()),
            [one] => {
                Err(self.error(format!("`{one}` is a key that this program does not know; if it does not change the arithmetic, pass --accept-key {one}")))
            }
            many => {
                let names: Vec<String> = many.iter().map(|k| format!("`{k}`")).collect();
                let flags: Vec<String> = many.iter().map(|k| format!("--accept-key {k}")).collect();
                Err(self.error(format!(
                    "{} are keys that this program does not know; if they do not change the arithmetic, pass {}",
                    names.join(", "),
                    flags.join(" ")
                )))
            }
        }
    }
}
