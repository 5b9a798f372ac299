//! How many tokens a text can become at the most, from its bytes alone.
//!
//! A tokenizer of the Hugging Face kind is a chain: added tokens are cut out, what lies between is normalised, split, and each split becomes tokens by a
//! model. The bound follows a *weight* through that chain: of a string, the most tokens that the model can make of it. Without byte fallback a character is
//! at most one token (BPE starts from characters and only merges; a unigram piece, a WordPiece subword and an unknown token stand for at least one
//! character). With byte fallback it may be one a byte, unless the vocabulary has the character. So a text weighs at most its bytes, and only what inserts
//! or replaces characters needs to be looked at. Where a step is not known here, nothing is promised.

use serde::Deserialize;
use serde_json::Value;

/// tokens ≤ `ascii` × (ASCII bytes) + `other` × (other bytes) + `fixed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBound {
    /// Tokens an ASCII byte can become.
    ascii: u64,
    /// Tokens a byte of another character can become.
    other: u64,
    /// Tokens that even a text of one byte may have on top.
    fixed: u64,
}

impl TokenBound {
    /// Most tokens that `text` can become.
    pub fn tokens(self, text: &str) -> u64 {
        if text.is_empty() {
            return 0;
        }
        let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
        self.ascii * ascii + self.other * (text.len() as u64 - ascii) + self.fixed
    }

    /// Reads a `tokenizer.json`. `known` says whether the model's vocabulary has a token of that spelling.
    ///
    /// # Errors
    /// In a few words, the step for which no bound is known.
    pub(super) fn read(json: &[u8], known: &dyn Fn(&str) -> bool) -> Result<Self, String> {
        let file: TokenizerFile = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        let fallback = file.model.byte_fallback;
        match file.model.kind.as_deref() {
            Some("BPE" | "Unigram" | "WordPiece" | "WordLevel") => {}
            Some(kind) => return Err(format!("model {kind}")),
            None => return Err("model without a type".into()),
        }
        if fallback && [&file.model.continuing_subword_prefix, &file.model.end_of_word_suffix].into_iter().flatten().any(|s| !s.is_empty()) {
            return Err("byte fallback of marked subwords".into());
        }
        let mut chain = Chain { ascii: 1, other: 1, piece: 0, inserted: false, marked: false, split: false, fallback, known };
        let has_normalizer = file.normalizer.is_some();
        file.normalizer.iter().try_for_each(|n| chain.normalizer(n))?;
        file.pre_tokenizer.iter().try_for_each(|p| chain.pre_tokenizer(p))?;
        // An added token is one token for at least its length, and begins a new piece after it. Special ones are read as plain text.
        for token in file.added_tokens.iter().filter(|t| !t.special) {
            let length = if token.normalized && has_normalizer { 1 } else { token.content.chars().count().max(1) as u64 };
            let times = (1 + chain.piece).div_ceil(length);
            chain.ascii = chain.ascii.max(times);
            chain.other = chain.other.max(times);
        }
        Ok(TokenBound { ascii: chain.ascii, other: chain.other, fixed: chain.piece })
    }
}

/// The parts of a `tokenizer.json` that matter here; vocabularies are passed over.
#[derive(Deserialize)]
struct TokenizerFile {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    normalized: bool,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

/// Largest growth of a character's UTF-8 bytes under a Unicode normalisation form (UAX #15, table "maximum expansion factor"; ASCII does not change).
const CANONICAL: u64 = 3;
/// The same under compatibility forms.
const COMPATIBLE: u64 = 11;
/// The same when made lower case (`İ`: two bytes become three).
const LOWER: u64 = 2;

/// The weight so far, of a piece between added tokens.
struct Chain<'a> {
    ascii: u64,
    other: u64,
    /// Put before every piece.
    piece: u64,
    /// Whether characters were inserted, whose later normalisation is not followed.
    inserted: bool,
    /// Whether some character weighs less than its bytes, so that bytes bound nothing any more.
    marked: bool,
    /// Whether pieces were split.
    split: bool,
    fallback: bool,
    known: &'a dyn Fn(&str) -> bool,
}

impl Chain<'_> {
    fn weight(&self, s: &str) -> u64 {
        let of = |c: char| if !self.fallback || (self.known)(c.encode_utf8(&mut [0; 4])) { 1 } else { c.len_utf8() as u64 };
        s.chars().map(of).sum()
    }

    fn times(&mut self, n: u64) {
        (self.ascii, self.other, self.piece) = (self.ascii * n, self.other * n, self.piece * n);
    }

    /// `content` stands for every `pattern` from here on.
    fn replace(&mut self, pattern: &str, content: &str) {
        let weight = self.weight(content);
        // Every character weighs at least 1.
        self.times(weight.div_ceil(pattern.chars().count().max(1) as u64).max(1));
        self.inserted = true;
        self.marked |= weight < content.len() as u64;
    }

    /// `content` is put before every split.
    fn prefix(&mut self, content: &str) {
        let weight = self.weight(content);
        // A split weighs at least 1.
        if self.split {
            self.times(1 + weight)
        } else {
            self.piece += weight
        }
        self.inserted = true;
        self.marked |= weight < content.len() as u64;
    }

    fn unicode(&mut self, name: &str, growth: u64) -> Result<(), String> {
        if self.inserted {
            return Err(format!("normalizer {name} after inserted characters"));
        }
        self.other *= growth;
        Ok(())
    }

    /// Each byte becomes a character of the byte-level alphabet.
    fn byte_level(&mut self) -> Result<(), String> {
        if self.marked {
            return Err("bytes of inserted characters".into());
        }
        let complete = || tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().iter().all(|c| (self.known)(c.encode_utf8(&mut [0; 4])));
        if self.fallback && !complete() {
            // A character of the alphabet has at most two bytes.
            self.times(2);
        }
        (self.inserted, self.marked) = (true, true);
        Ok(())
    }

    fn normalizer(&mut self, step: &Value) -> Result<(), String> {
        match kind(step) {
            "Sequence" => steps(step, "normalizers").iter().try_for_each(|s| self.normalizer(s)),
            name @ ("NFC" | "NFD") => self.unicode(name, CANONICAL),
            name @ ("NFKC" | "NFKD") => self.unicode(name, COMPATIBLE),
            "Lowercase" => self.unicode("Lowercase", LOWER),
            "Nmt" | "Strip" | "StripAccents" => Ok(()),
            "Prepend" => {
                self.prefix(text(step, "prepend"));
                Ok(())
            }
            "Replace" => {
                let content = text(step, "content");
                match step["pattern"]["String"].as_str() {
                    Some(pattern) if !pattern.is_empty() => self.replace(pattern, content),
                    _ if content.is_empty() => {}
                    _ => return Err("normalizer Replace of a regular expression".into()),
                }
                Ok(())
            }
            "ByteLevel" => self.byte_level(),
            other => Err(format!("normalizer {other}")),
        }
    }

    fn pre_tokenizer(&mut self, step: &Value) -> Result<(), String> {
        match kind(step) {
            "Sequence" => steps(step, "pretokenizers").iter().try_for_each(|s| self.pre_tokenizer(s)),
            "ByteLevel" => {
                if flag(step, "add_prefix_space") {
                    self.prefix(" ");
                }
                self.split |= flag(step, "use_regex");
                self.byte_level()
            }
            "Metaspace" => {
                let mark = text(step, "replacement");
                self.replace(" ", mark);
                match step["prepend_scheme"].as_str() {
                    Some("never") => {}
                    // Only what the text begins with; a piece at the most.
                    Some("first") => self.piece += self.weight(mark),
                    _ if !flag(step, "add_prefix_space") => {}
                    _ => self.prefix(mark),
                }
                self.split |= flag(step, "split");
                Ok(())
            }
            "Split" | "Digits" | "Punctuation" | "Whitespace" | "WhitespaceSplit" | "CharDelimiterSplit" | "Delimiter" | "UnicodeScripts" | "FixedLength"
            | "BertPreTokenizer" => {
                self.split = true;
                Ok(())
            }
            other => Err(format!("pre-tokenizer {other}")),
        }
    }
}

fn kind(step: &Value) -> &str {
    step["type"].as_str().unwrap_or("without a type")
}

fn steps<'a>(step: &'a Value, list: &str) -> &'a [Value] {
    step[list].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(step: &'a Value, name: &str) -> &'a str {
    step[name].as_str().unwrap_or_default()
}

/// A switch that is on unless it is said to be off.
fn flag(step: &Value, name: &str) -> bool {
    step[name].as_bool().unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{byte_fallback, byte_level, open};
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use tokenizers::normalizers::{Lowercase, NFC, NFD, NFKC, NFKD};
    use tokenizers::{NormalizedString, Normalizer};

    /// Tokenizers with what each of them may have beside the ordinary.
    fn variants() -> Vec<(&'static str, Value, [u64; 3])> {
        let edit = |mut json: Value, edit: fn(&mut Value)| {
            edit(&mut json);
            json
        };
        let added =
            |content: &str| json!({"id": 300, "content": content, "single_word": false, "lstrip": true, "rstrip": true, "normalized": false, "special": false});
        let prefix = |j: &mut Value| j["pre_tokenizer"]["add_prefix_space"] = json!(true);
        vec![
            ("bytes", byte_level(), [1, 1, 0]),
            ("prefix", edit(byte_level(), prefix), [1, 1, 1]),
            (
                "prefix of every split",
                edit(byte_level(), |j| {
                    let split = json!({"type": "Split", "pattern": {"Regex": "[a-c]"}, "behavior": "Isolated", "invert": false});
                    j["pre_tokenizer"] =
                        json!({"type": "Sequence", "pretokenizers": [split, {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}]});
                }),
                [2, 2, 0],
            ),
            ("NFC", edit(byte_level(), |j| j["normalizer"] = json!({"type": "NFC"})), [1, 3, 0]),
            ("NFKC", edit(byte_level(), |j| j["normalizer"] = json!({"type": "NFKC"})), [1, 11, 0]),
            (
                "lower",
                edit(byte_level(), |j| j["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}]})),
                [1, 6, 0],
            ),
            ("fallback", byte_fallback(), [1, 1, 1]),
            (
                "fallback of the blank",
                edit(byte_fallback(), |j| {
                    j["model"]["merges"] = json!([]);
                    for piece in ["▁", "▁a"] {
                        j["model"]["vocab"].as_object_mut().unwrap().remove(piece);
                    }
                }),
                // The inserted blank's three bytes count as a text's bytes do.
                [3, 3, 9],
            ),
            ("longer", edit(byte_fallback(), |j| j["normalizer"] = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "éb"})), [3, 3, 0]),
            (
                "metaspace",
                edit(byte_fallback(), |j| (j["normalizer"], j["pre_tokenizer"]) = (json!(null), json!({"type": "Metaspace", "replacement": "▁"}))),
                [1, 1, 1],
            ),
            (
                "added",
                edit(byte_fallback(), |j| {
                    j["added_tokens"]
                        .as_array_mut()
                        .unwrap()
                        .push(json!({"id": 300, "content": "b", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false}))
                }),
                [2, 2, 1],
            ),
            (
                "long added",
                {
                    let mut j = byte_fallback();
                    j["added_tokens"].as_array_mut().unwrap().push(added("bb"));
                    j
                },
                [1, 1, 1],
            ),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn no_text_becomes_more_tokens(text in "[ab ]{0,12}|[a-c é€ÅİΐﷺΦ𝅘𝅥𝅮\u{301}\n]{0,12}|.{0,12}|b{0,20}") {
            for (name, json, _) in variants() {
                let t = open(&json);
                let tokens = t.encode(&text).unwrap().tokens.len() as u64;
                prop_assert!(tokens <= t.bound().unwrap().tokens(&text), "{}: {} tokens of {:?}", name, tokens, text);
            }
        }
    }

    #[test]
    fn bounds_are_those_of_the_chain() {
        for (name, json, [ascii, other, fixed]) in variants() {
            assert_eq!(open(&json).bound(), Ok(TokenBound { ascii, other, fixed }), "{name}");
        }
        assert_eq!(open(&byte_level()).bound().unwrap().tokens(""), 0);
    }

    #[test]
    fn nothing_is_promised_of_what_is_not_known() {
        let say = |edit: &dyn Fn(&mut Value)| {
            let mut json = byte_level();
            edit(&mut json);
            open(&json).bound().unwrap_err().to_string()
        };
        assert_eq!(
            say(&|j| j["normalizer"] =
                json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true})),
            "normalizer BertNormalizer"
        );
        assert_eq!(
            say(&|j| j["normalizer"] = json!({"type": "Replace", "pattern": {"Regex": "x*"}, "content": "y"})),
            "normalizer Replace of a regular expression"
        );
        assert_eq!(
            say(&|j| j["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "é"}, {"type": "NFD"}]})),
            "normalizer NFD after inserted characters"
        );
        assert_eq!(say(&|j| j["normalizer"] = json!({"type": "Prepend", "prepend": "▁"})), "bytes of inserted characters");
    }

    /// No character grows by more than the table says, nor does ASCII change its length.
    #[test]
    fn normalisation_forms_grow_as_told() {
        let forms: [(&dyn Normalizer, u64); 5] = [(&NFC, CANONICAL), (&NFD, CANONICAL), (&NFKC, COMPATIBLE), (&NFKD, COMPATIBLE), (&Lowercase, LOWER)];
        for (form, growth) in forms {
            let mut most = 0.0f64;
            for c in (0..=0x10ffff).filter_map(char::from_u32) {
                let mut s = NormalizedString::from(c.to_string());
                form.normalize(&mut s).unwrap();
                let grown = s.get().len() as f64 / c.len_utf8() as f64;
                assert!(!c.is_ascii() || grown == 1.0, "{c:?}");
                most = most.max(grown);
            }
            assert!(most <= growth as f64 && most > growth as f64 - 1.0, "{most} {growth}");
        }
    }
}
