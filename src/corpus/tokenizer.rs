//! Text to token ids, with the place of every token in the text.

use super::token_bound::TokenBound;
use crate::error::{Error, Result, guarded};
use std::path::{Path, PathBuf};
use tokenizers::models::ModelWrapper;
use tokenizers::{Model, PostProcessorWrapper, TruncationParams};
use twox_hash::XxHash3_128;

/// A Hugging Face `tokenizer.json`, set to read plain text.
///
/// Nothing is added to a text and nothing in it is obeyed: what is spelled like a special token is read as the characters that it is spelled with
/// (a model of the unigram kind may still choose the piece of that spelling, if its vocabulary has it as an ordinary one). Truncation, padding and dropout
/// are switched off. Added tokens that are not special, such as GPT-NeoX's runs of blanks, are read as ever.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    notices: Vec<String>,
    /// The largest id that a text can become.
    largest: u32,
    bound: std::result::Result<TokenBound, String>,
    hash: u128,
}

/// A tokenised text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// `tokens.len() + 1` byte offsets, ascending from 0 to the text's length: token i stands for bytes `[i]..[i+1]`.
    pub byte_offsets: Vec<u64>,
}

impl Tokenizer {
    /// Opens a `tokenizer.json`, or the one in a model's folder.
    ///
    /// # Errors
    /// No such file; one that is no tokenizer.
    pub fn open(path: &Path) -> Result<Self> {
        let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() };
        if path.is_dir() && !file.exists() {
            let old = ["tokenizer.model", "vocab.json", "vocab.txt"].into_iter().find(|f| path.join(f).exists());
            let what = match old {
                Some(f) => format!(
                    "has {f} but no tokenizer.json; write one with Python: transformers.AutoTokenizer.from_pretrained({path:?}).save_pretrained({path:?})"
                ),
                None => "has no tokenizer.json; name one with --tokenizer, or give token files (.npy, .bin)".into(),
            };
            return Err(Error::file(path, what));
        }
        let bytes = std::fs::read(&file).map_err(Error::io(&file))?;
        Self::from_bytes(&bytes, file)
    }

    /// Reads the bytes of a `tokenizer.json`; `path` is what errors call it.
    ///
    /// # Errors
    /// Bytes that are no tokenizer.
    pub fn from_bytes(bytes: &[u8], path: PathBuf) -> Result<Self> {
        let unread = |why: String| Error::file(&path, format!("is no tokenizer that can be read: {why}"));
        check_character_maps(bytes).map_err(unread)?;
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(bytes)).and_then(|read| read.map_err(|e| e.to_string())).map_err(unread)?;
        let mut notices = Vec::new();
        let mut off = |what: &str| notices.push(format!("{}: {what} is switched off", path.display()));
        if inner.get_truncation().is_some() {
            off("truncation");
            inner.with_truncation(None::<TruncationParams>).map_err(|e| Error::file(&path, format!("its truncation cannot be switched off: {e}")))?;
        }
        if inner.get_padding().is_some() {
            off("padding");
            inner.with_padding(None);
        }
        if let ModelWrapper::BPE(bpe) = inner.get_model()
            && bpe.dropout.is_some_and(|p| p > 0.0)
        {
            off("dropout");
            let mut bpe = bpe.clone();
            bpe.dropout = None;
            inner.with_model(bpe);
        }
        // It only adds special tokens, which are not wanted, and trims blanks off the offsets, which would lose bytes.
        inner.with_post_processor(None::<PostProcessorWrapper>);
        inner.set_encode_special_tokens(true);
        let added = inner.get_added_tokens_decoder();
        let special = |id: &u32| added.get(id).is_some_and(|t| t.special);
        let largest = inner.get_vocab(true).into_values().filter(|id| !special(id)).max();
        let largest = largest.ok_or_else(|| Error::file(&path, "has no ordinary token"))?;
        let bound = TokenBound::read(bytes, &|piece| inner.get_model().token_to_id(piece).is_some());
        Ok(Tokenizer { inner, path, notices, largest, bound, hash: XxHash3_128::oneshot(bytes) })
    }

    /// How many tokens a text can become at the most.
    ///
    /// # Errors
    /// In a few words, the step of this tokenizer for which no bound is known.
    pub fn bound(&self) -> std::result::Result<TokenBound, &str> {
        self.bound.as_ref().copied().map_err(String::as_str)
    }

    /// XXH3-128 of the file's bytes.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was switched off, one sentence each.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Number of tokens, special ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The largest id that a text can become, and one more.
    pub fn ids(&self) -> u32 {
        self.largest.saturating_add(1)
    }

    /// The id of a token, special or not, by its spelling in the vocabulary.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Makes sure that a model of `vocab` ids knows every token that a text can become. Special tokens may lie beyond: they come from no text.
    ///
    /// # Errors
    /// Ids beyond the model's vocabulary.
    pub fn check_vocab(&self, vocab: usize) -> Result<()> {
        if self.largest as usize >= vocab {
            let what = format!(
                "its ids go up to {}, but the model's vocabulary has {vocab} (ids 0 to {}); it belongs to another model",
                self.largest,
                vocab.saturating_sub(1)
            );
            return Err(Error::file(&self.path, what));
        }
        Ok(())
    }

    /// Tokenises a text.
    ///
    /// # Errors
    /// The tokenizer cannot express the text (a character outside a vocabulary without an unknown token).
    pub fn encode(&self, text: &str) -> Result<Encoded> {
        let encoding = guarded(|| self.inner.encode(text, false)).and_then(|made| made.map_err(|e| e.to_string()));
        let encoding = encoding.map_err(|why| Error::file(&self.path, format!("cannot tokenise a text: {why}")))?;
        let byte_offsets = boundaries(encoding.get_tokens(), encoding.get_offsets(), text.len());
        Ok(Encoded { tokens: encoding.get_ids().to_vec(), byte_offsets })
    }
}

/// From the spans of characters that tokens touch to boundaries between the tokens.
///
/// Where a token ends before the next begins, the bytes between (what a normaliser or a pre-tokenizer dropped) go to the next. Where two share a character, which is
/// how byte-level tokens that hold parts of one are told, the boundary lies as many bytes on as the token spells: one character of a byte-level token, or
/// one `<0xHH>`, is one byte.
fn boundaries(tokens: &[String], spans: &[(usize, usize)], length: usize) -> Vec<u64> {
    let mut out = Vec::with_capacity(tokens.len() + 1);
    let mut at = 0;
    out.push(0);
    for (i, token) in tokens.iter().enumerate() {
        let next = spans.get(i + 1).map_or(length, |s| s.0);
        let end = spans[i].1;
        let boundary = if i + 1 == tokens.len() {
            length
        } else if end <= next {
            end
        } else {
            (at + spelled(token)).max(next).min(end)
        };
        at = boundary.clamp(at, length);
        out.push(at as u64);
    }
    out
}

/// Bytes that a byte-level token or a byte-fallback token stands for.
fn spelled(token: &str) -> usize {
    let fallback = token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
    if fallback { 1 } else { token.chars().count() }
}

/// A precompiled map of characters starts with the size of its first table, for which the tokenizers crate takes memory before it looks whether so
/// much is there.
fn check_character_maps(bytes: &[u8]) -> std::result::Result<(), String> {
    const KEY: &str = "precompiled_charsmap";
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|t| t.contains(KEY)) else { return Ok(()) };
    fn check(value: &serde_json::Value) -> std::result::Result<(), String> {
        match value {
            serde_json::Value::Object(fields) => fields.iter().try_for_each(|(key, value)| match value.as_str().filter(|_| key == KEY) {
                Some(map) if !table_fits(map) => Err(format!("its {KEY} is cut off or damaged")),
                _ => check(value),
            }),
            serde_json::Value::Array(items) => items.iter().try_for_each(check),
            _ => Ok(()),
        }
    }
    // What is no JSON at all is refused by the reader itself.
    serde_json::from_str(text).map_or(Ok(()), |json| check(&json))
}

/// Whether the table at the beginning of a base64 text lies within it: four bytes of length, little-endian, then the table.
fn table_fits(base64: &str) -> bool {
    let value = |c: u8| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".iter().position(|&x| x == c);
    let digits: Option<Vec<usize>> = base64.bytes().take(6).map(value).collect();
    let Some(&[a, b, c, d, e, f]) = digits.as_deref() else { return false };
    let bits = a << 30 | b << 24 | c << 18 | d << 12 | e << 6 | f;
    let size = ((bits >> 4) as u32).swap_bytes() as usize;
    size <= base64.len() / 4 * 3
}

#[cfg(test)]
mod tests {
    use super::super::samples::{byte_fallback, byte_level, open};
    use super::*;
    use serde_json::json;

    /// The pieces of the text that the tokens stand for, after checking that offsets ascend and cover it.
    fn pieces<'a>(t: &Tokenizer, text: &'a str) -> Vec<&'a [u8]> {
        let e = t.encode(text).unwrap();
        assert_eq!(e.byte_offsets.len(), e.tokens.len() + 1);
        assert_eq!((e.byte_offsets[0], *e.byte_offsets.last().unwrap()), (0, if e.tokens.is_empty() { 0 } else { text.len() as u64 }));
        e.byte_offsets.windows(2).map(|w| &text.as_bytes()[w[0] as usize..w[1] as usize]).collect()
    }

    #[test]
    fn special_spellings_are_plain_text() {
        let t = open(&byte_level());
        let e = t.encode("the<|end|>the").unwrap();
        assert!(!e.tokens.contains(&t.token_to_id("<|end|>").unwrap()));
        assert_eq!(pieces(&t, "the<|end|>the"), [&b"the"[..], b"<", b"|", b"end", b"|", b">", b"the"]);
        // Normalised specials, as GPT-2's own file has them, too.
        let mut json = byte_level();
        json["added_tokens"][0]["normalized"] = json!(true);
        assert_eq!(open(&json).encode("the<|end|>the").unwrap(), e);
    }

    #[test]
    fn added_tokens_that_are_not_special_are_read() {
        let mut json = byte_level();
        json["added_tokens"][0]["special"] = json!(false);
        assert_eq!(pieces(&open(&json), "the<|end|>the"), [&b"the"[..], b"<|end|>", b"the"]);
    }

    #[test]
    fn nothing_is_added_or_cut() {
        let plain = open(&byte_level()).encode("the the the end").unwrap();
        let mut json = byte_level();
        json["truncation"] = json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
        json["padding"] = json!({"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "!"});
        json["model"]["dropout"] = json!(0.9);
        let end = json["added_tokens"][0]["id"].clone();
        json["post_processor"] = json!({"type": "TemplateProcessing", "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [end], "tokens": ["<|end|>"]}}});
        let t = open(&json);
        assert_eq!(t.encode("the the the end").unwrap(), plain);
        assert_eq!(t.notices().len(), 3);
        assert_eq!(t.notices()[0], "tokenizer.json: truncation is switched off");
    }

    #[test]
    fn parts_of_a_character_have_their_bytes() {
        let t = open(&byte_level());
        // The two bytes of é are merged; the three of € and the four of 𝄞 are not.
        assert_eq!(pieces(&t, "é€ the𝄞"), ["é".as_bytes(), b"\xe2", b"\x82", b"\xac", b" the", b"\xf0", b"\x9d", b"\x84", b"\x9e"]);
        assert_eq!(pieces(&t, "  the \r\n"), [&b" "[..], b" the", b" ", b"\r", b"\n"]);
        assert_eq!(pieces(&t, ""), [] as [&[u8]; 0]);
    }

    #[test]
    fn offsets_are_into_the_text_before_normalisation() {
        let mut json = byte_level();
        json["normalizer"] = json!({"type": "NFC"});
        // e and a combining accent (3 bytes) become é, one token here; the accent is dropped from the text as far as the crate can say.
        assert_eq!(pieces(&open(&json), "the e\u{301} end"), [&b"the"[..], b" ", b"e", "\u{301} ".as_bytes(), b"end"]);
        let mut json = byte_level();
        json["pre_tokenizer"]["add_prefix_space"] = json!(true);
        assert_eq!(pieces(&open(&json), "the the"), [&b"the"[..], b" the"]);
    }

    #[test]
    fn byte_fallback_and_the_prepended_blank() {
        assert_eq!(pieces(&open(&byte_fallback()), "a b€ a"), [&b"a"[..], b" ", b"b", b"\xe2", b"\x82", b"\xac", b" a"]);
    }

    #[test]
    fn vocabularies_are_compared() {
        let t = open(&byte_level());
        // 256 bytes and six merges are ordinary; the special token is the 263rd and comes from no text.
        assert_eq!(t.vocab_size(), 263);
        t.check_vocab(262).unwrap();
        let said = t.check_vocab(261).unwrap_err().to_string();
        assert_eq!(said, "tokenizer.json: its ids go up to 261, but the model's vocabulary has 261 (ids 0 to 260); it belongs to another model");
    }

    #[test]
    fn missing_and_broken_files_are_sentences() {
        let dir = tempfile::tempdir().unwrap();
        let say = || Tokenizer::open(dir.path()).err().unwrap().to_string();
        assert!(say().contains("has no tokenizer.json; name one with --tokenizer"));
        std::fs::write(dir.path().join("vocab.json"), "{}").unwrap();
        assert!(say().contains("has vocab.json but no tokenizer.json; write one with Python"));
        std::fs::write(dir.path().join("tokenizer.json"), "{").unwrap();
        assert!(say().contains("tokenizer.json: is no tokenizer that can be read"));
    }
}
