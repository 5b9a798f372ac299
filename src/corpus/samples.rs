//! Tokenizers for tests.

use super::Tokenizer;
use serde_json::{Map, Value, json};

/// A byte-level BPE over all bytes with a few merges, GPT-2's way, and a special token that its vocabulary also holds.
pub fn byte_level() -> Value {
    let mut alphabet: Vec<char> = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
    alphabet.sort();
    let merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ã", "©"), ("e", "n"), ("en", "d")];
    let mut vocab = Map::new();
    let pieces = alphabet.iter().map(char::to_string).chain(merges.iter().map(|(a, b)| format!("{a}{b}"))).chain(["<|end|>".to_string()]);
    for (i, piece) in pieces.enumerate() {
        vocab.insert(piece, json!(i));
    }
    let special = vocab["<|end|>"].clone();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
        "added_tokens": [{"id": special, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges.map(|(a, b)| format!("{a} {b}")), "dropout": null, "unk_token": null,
                  "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false}
    })
}

/// A BPE with byte fallback and a blank put before the text, Llama's way.
pub fn byte_fallback() -> Value {
    let mut vocab = Map::new();
    let bytes = (0..256).map(|b| format!("<0x{b:02X}>"));
    for (i, piece) in ["<unk>", "▁", "a", "b", "▁a"].map(String::from).into_iter().chain(bytes).enumerate() {
        vocab.insert(piece, json!(i));
    }
    json!({
        "version": "1.0", "truncation": null, "padding": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "added_tokens": [{"id": 0, "content": "<unk>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "model": {"type": "BPE", "vocab": vocab, "merges": ["▁ a"], "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true}
    })
}

/// The tokenizer that this JSON describes.
pub fn open(json: &Value) -> Tokenizer {
    Tokenizer::from_bytes(json.to_string().as_bytes(), "tokenizer.json".into()).unwrap()
}
