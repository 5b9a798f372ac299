//! tokenizer.json: what is accepted tokenises the same way every time and into boundaries that cover the text; what is switched off changes nothing.

use super::json::{J, parse};
use super::*;
use hilberg::corpus::{Encoded, Tokenizer};
use serde_json::{Value, json};

/// A tokenizer of each kind, small enough to be read a hundred thousand times.
fn kinds() -> Vec<J> {
    let mut alphabet: Vec<char> = tokenizers_alphabet();
    alphabet.sort();
    let numbered = |pieces: &[String]| Value::Object(pieces.iter().enumerate().map(|(i, p)| (p.clone(), json!(i))).collect());
    let special = |id: usize, content: &str| json!([{"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}]);
    let with = |normalizer: Value, pre_tokenizer: Value, added: Value, model: Value| {
        json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "post_processor": null, "decoder": null, "model": model})
    };
    let merges = ["t h", "th e", "Ġ the", "Ã ©", "e n", "en d"];
    let bytes: Vec<String> = alphabet.iter().map(char::to_string).chain(merges.iter().map(|m| m.replace(' ', ""))).chain(["<|end|>".to_string()]).collect();
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let byte_level = with(
        json!({"type": "NFC"}),
        level.clone(),
        special(bytes.len() - 1, "<|end|>"),
        json!({"type": "BPE", "vocab": numbered(&bytes), "merges": merges, "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false}),
    );
    let pieces: Vec<String> = ["<unk>", "▁", "a", "b", "e", "t", "h", "▁a", "▁t", "th"].map(String::from).into();
    let fallback: Vec<String> = pieces.iter().cloned().chain((0..256).map(|b| format!("<0x{b:02X}>"))).collect();
    let sentence = with(
        json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}),
        Value::Null,
        special(0, "<unk>"),
        json!({"type": "BPE", "vocab": numbered(&fallback), "merges": ["▁ a", "▁ t", "t h"], "dropout": null, "unk_token": "<unk>",
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true}),
    );
    // A normaliser's table of 1,024 empty units: valid, and of no effect.
    let table = format!("ABAAAA{}=", "A".repeat(5461));
    let unigram = with(
        json!({"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": table}, {"type": "Strip", "strip_left": false, "strip_right": true}]}),
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}),
        special(0, "<unk>"),
        json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false,
            "vocab": pieces.iter().enumerate().map(|(i, p)| json!([p, -(i as f64)])).collect::<Vec<_>>()}),
    );
    let word_pieces: Vec<String> = ["[UNK]", "the", "end", "##n", "##d", "t", "##h", "##e", "a", "##a", "1", "##2"].map(String::from).into();
    let bert = with(
        json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}),
        json!({"type": "BertPreTokenizer"}),
        special(0, "[UNK]"),
        json!({"type": "WordPiece", "vocab": numbered(&word_pieces), "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}),
    );
    let split = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\p{N}{1,3}|[^\\p{L}\\p{N}]+?"}, "behavior": "Isolated", "invert": false},
        {"type": "Digits", "individual_digits": true}, {"type": "Punctuation", "behavior": "Isolated"}, {"type": "WhitespaceSplit"}]});
    let words = with(
        json!({"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"},
            {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, {"type": "Nmt"}]}),
        split,
        special(0, "<unk>"),
        json!({"type": "WordLevel", "vocab": numbered(&["<unk>", "the", "end", "of", "time", "a", "1"].map(String::from)), "unk_token": "<unk>"}),
    );
    [byte_level, sentence, unigram, bert, words].map(|v| parse(&v.to_string()).unwrap()).into()
}

/// The 256 characters for which byte-level vocabularies write bytes.
fn tokenizers_alphabet() -> Vec<char> {
    let plain = |b: &u32| (33..=126).contains(b) || (161..=172).contains(b) || (174..=255).contains(b);
    let others = (0..256).filter(|b| !plain(b)).count() as u32;
    (0..256).filter(plain).chain((0..others).map(|n| 256 + n)).map(|c| char::from_u32(c).unwrap()).collect()
}

/// What is switched off or is for other uses.
fn neutral(tree: &mut J, rng: &mut Rng) {
    let choose = |rng: &mut Rng, of: &[&str]| parse(of[rng.below(of.len() as u64) as usize]).unwrap();
    let J::Object(o) = tree else { return };
    for (key, value) in o {
        let of: &[&str] = match key.as_str() {
            "truncation" => &["null", r#"{"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}"#],
            "padding" => {
                &["null", r#"{"strategy": {"Fixed": 64}, "direction": "Left", "pad_to_multiple_of": 8, "pad_id": 9, "pad_type_id": 0, "pad_token": "x"}"#]
            }
            "post_processor" => &["null", r#"{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}"#],
            "decoder" => &["null", r#"{"type": "ByteFallback"}"#, r#"{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}"#],
            "model" => {
                if let J::Object(m) = value
                    && let Some((_, dropout)) = m.iter_mut().find(|(k, _)| k == "dropout")
                {
                    *dropout = choose(rng, &["null", "0.5", "1.0", "0"]);
                }
                continue;
            }
            _ => continue,
        };
        *value = choose(rng, of);
    }
}

fn read(file: &[u8], like: Option<&[Option<Encoded>]>) -> Result<Verdict, String> {
    let opened = within(allowed(file.len()), || match Tokenizer::from_bytes(file, "tokenizer.json".into()) {
        Ok(t) => tokens::agree(&t, "tokenizer.json").map(Ok),
        Err(e) => Ok(Err(e)),
    })??;
    match (opened, like) {
        (Err(e), Some(_)) => Err(format!("nothing that matters was changed, but: {e}")),
        (Err(e), None) => refusal::is_one_line(&e, &["tokenizer.json"]).map(|()| Verdict::Refused),
        (Ok(got), Some(like)) if got != like => Err(format!("{got:?} instead of {like:?}")),
        (Ok(_), _) => Ok(Verdict::Accepted),
    }
}

#[test]
fn spoilt_tokenizers() {
    hilberg::error::quiet_guarded_panics();
    let kinds = kinds();
    let originals: Vec<Vec<Option<Encoded>>> = kinds
        .iter()
        .map(|k| tokens::agree(&Tokenizer::from_bytes(k.write().as_bytes(), "tokenizer.json".into()).unwrap(), "tokenizer.json").unwrap())
        .collect();
    run("tokenizer.json", &mut |rng, steps, show| {
        let i = rng.below(kinds.len() as u64) as usize;
        let mut tree = kinds[i].clone();
        let (text, like) = match rng.below(20) {
            0 => {
                neutral(&mut tree, rng);
                (tree.write().into_bytes(), Some(originals[i].as_slice()))
            }
            1..=4 => {
                let mut text = tree.write().into_bytes();
                (0..steps).for_each(|_| mutate::bytes(&mut text, usize::MAX, rng));
                (text, None)
            }
            _ => {
                let donor = &kinds[rng.below(kinds.len() as u64) as usize];
                (0..steps).for_each(|_| mutate::tree(&mut tree, donor, rng));
                (tree.write().into_bytes(), None)
            }
        };
        show(&String::from_utf8_lossy(&text));
        read(&text, like)
    });
}
