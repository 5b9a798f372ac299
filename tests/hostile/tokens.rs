//! What must be true of a tokenizer that was opened, whatever its file says.

use super::refusal;
use hilberg::Result;
use hilberg::corpus::{Content, Document, Encoded, TokenizedDocuments, Tokenizer};

pub const TEXTS: &[&str] = &[
    "",
    "the end of the time, then",
    "é€ 𝄞\u{301}\r\n  tabs\tand  blanks \u{a0}\u{3000}",
    "<|end|><unk>[UNK]</s> 123 456.78",
    "\u{0}\u{1f600}\u{fffd}\u{feff}x",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
];

/// Tokenises all texts: the same twice, boundaries that ascend over the whole text, ids held against the vocabulary. What the tokenizer cannot express is
/// refused in one line.
pub fn agree(tokenizer: &Tokenizer, name: &str) -> std::result::Result<Vec<Option<Encoded>>, String> {
    TEXTS.iter().map(|text| one(tokenizer, name, text)).collect()
}

fn one(tokenizer: &Tokenizer, name: &str, text: &str) -> std::result::Result<Option<Encoded>, String> {
    let encoded = match (tokenizer.encode(text), tokenizer.encode(text)) {
        (Ok(a), Ok(b)) if a == b => a,
        (Err(e), Err(_)) => return refusal::is_one_line(&e, &[name]).map(|()| None),
        other => return Err(format!("{text:?} becomes {other:?}")),
    };
    let (tokens, at) = (&encoded.tokens, &encoded.byte_offsets);
    let end = if tokens.is_empty() { 0 } else { text.len() as u64 };
    if at.len() != tokens.len() + 1 || at[0] != 0 || at[tokens.len()] != end || at.windows(2).any(|w| w[0] > w[1]) {
        return Err(format!("{text:?} becomes {encoded:?}"));
    }
    // A document is held against the model's vocabulary once more, token by token.
    if let Some(largest) = tokens.iter().max() {
        let document = || -> Result<Document> { Ok(Document { id: "text".into(), content: Content::Text(text.into()), label: None }) };
        let read = |vocab: usize| TokenizedDocuments::new([document()].into_iter(), Some(tokenizer), vocab).next().is_some_and(|d| d.is_ok());
        if read(*largest as usize) || !read(*largest as usize + 1) {
            return Err(format!("id {largest} is not held against the vocabulary"));
        }
    }
    Ok(Some(encoded))
}
