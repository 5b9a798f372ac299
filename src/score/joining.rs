//! From text to the tokens of a prompt and its completions.

use super::prompts::Prompt;
use crate::corpus::Tokenizer;
use crate::error::{Error, Result};
use crate::forest::TokenId;

/// Where a prompt's tokens end and a completion's begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Joining {
    /// As lm-evaluation-harness has it (`TemplateLM._encode_pair`, <https://github.com/EleutherAI/lm-evaluation-harness/blob/main/lm_eval/api/model.py>): white
    /// space at the prompt's end goes to the completion; the prompt is encoded alone into n tokens, prompt and completion together into m, and
    /// the completion's tokens are the last m − n of these.
    #[default]
    Together,
    /// Prompt and completion are encoded each on its own, as they stand.
    Separate,
}

/// Before which prompts the start token goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartBefore {
    /// Before every one, as before every document.
    #[default]
    Every,
    /// Only in the place of an empty one: what lm-evaluation-harness does where its `add_bos_token` is off.
    Empty,
}

/// How texts become tokens.
#[derive(Clone, Copy)]
pub struct Encoder<'a> {
    /// The model's tokenizer; without one only token ids can be taken.
    pub tokenizer: Option<&'a Tokenizer>,
    /// The start token, where there is one.
    pub start: Option<TokenId>,
    /// Which prompts it goes before.
    pub start_before: StartBefore,
    /// Where prompts end.
    pub joining: Joining,
}

/// A prompt in tokens, with the bytes of text that the tokens of each completion stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPrompt {
    /// The tokens.
    pub prompt: Prompt,
    /// Bytes by completion; `None` for what came as token ids.
    pub bytes: Option<Vec<u64>>,
}

impl<'a> Encoder<'a> {
    /// The start token before every prompt, joined as lm-evaluation-harness does.
    pub fn new(tokenizer: &'a Tokenizer, start: Option<TokenId>) -> Self {
        Encoder { tokenizer: Some(tokenizer), start, start_before: StartBefore::Every, joining: Joining::Together }
    }

    /// Encodes a prompt and its completions.
    ///
    /// # Errors
    /// No tokenizer; an empty prompt without a start token; a completion that is no token of its own.
    pub fn encode(&self, prompt: &str, completions: &[impl AsRef<str>]) -> Result<EncodedPrompt> {
        let tokenizer = self.tokenizer.ok_or_else(|| Error::input("the prompt is text, and there is no tokenizer; name one with --tokenizer"))?;
        let end = match self.joining {
            Joining::Together => without_white_space(prompt).len(),
            Joining::Separate => prompt.len(),
        };
        let (context, moved) = prompt.split_at(end);
        let context_tokens = if context.is_empty() { Vec::new() } else { tokenizer.encode(context)?.tokens };
        let (mut tokens, mut bytes) = (Vec::new(), Vec::new());
        for (i, completion) in completions.iter().enumerate() {
            let completion = completion.as_ref();
            let (whole, own) = match self.joining {
                Joining::Together => (tokenizer.encode(&[context, moved, completion].concat())?, context_tokens.len()),
                Joining::Separate => (tokenizer.encode(completion)?, 0),
            };
            if whole.tokens.len() <= own {
                let why = if completion.is_empty() { "is empty" } else { "is no token of its own after its prompt; --separate would encode it alone" };
                return Err(Error::input(format!("completion {} {why}", i + 1)));
            }
            let last = whole.tokens.len();
            bytes.push(whole.byte_offsets[last] - whole.byte_offsets[own]);
            tokens.push(whole.tokens[own..].to_vec());
        }
        Ok(EncodedPrompt { prompt: Prompt { context: self.context(context_tokens)?, completions: tokens }, bytes: Some(bytes) })
    }

    /// Takes token ids as they are.
    ///
    /// # Errors
    /// An empty prompt without a start token; an empty completion.
    pub fn ids(&self, prompt: Vec<TokenId>, completions: Vec<Vec<TokenId>>) -> Result<EncodedPrompt> {
        if let Some(i) = completions.iter().position(Vec::is_empty) {
            return Err(Error::input(format!("completion {} is empty", i + 1)));
        }
        Ok(EncodedPrompt { prompt: Prompt { context: self.context(prompt)?, completions }, bytes: None })
    }

    fn context(&self, prompt: Vec<TokenId>) -> Result<Vec<TokenId>> {
        match self.start {
            None if prompt.is_empty() => Err(Error::input("the prompt is empty, and there is no start token to stand for it; say --start ID")),
            Some(start) if prompt.is_empty() || self.start_before == StartBefore::Every => Ok([&[start], &prompt[..]].concat()),
            _ => Ok(prompt),
        }
    }
}

/// The text without the white space at its end, by the rule of Python's `str.rstrip`: Unicode's, and the four separators U+001C to U+001F.
fn without_white_space(text: &str) -> &str {
    text.trim_end_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Words and white space apart, and "ab" of one piece where it stands together.
    fn tokenizer() -> Tokenizer {
        let mut vocab = serde_json::Map::new();
        for (i, piece) in ["a", "b", "ab", " ", "\n", "é", " a"].into_iter().enumerate() {
            vocab.insert(piece.into(), json!(i));
        }
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "pre_tokenizer": null, "post_processor": null, "decoder": null, "normalizer": null, "added_tokens": [],
            "model": {"type": "BPE", "vocab": vocab, "merges": [["a", "b"], [" ", "a"]], "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                      "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false}
        });
        Tokenizer::from_bytes(json.to_string().as_bytes(), "tokenizer.json".into()).unwrap()
    }

    #[test]
    fn completions_begin_where_the_prompt_alone_ends() {
        let t = tokenizer();
        let e = Encoder::new(&t, Some(9));
        let of = |e: &Encoder, prompt: &str, completions: &[&str]| {
            let p = e.encode(prompt, completions).unwrap();
            (p.prompt.context, p.prompt.completions, p.bytes.unwrap())
        };
        assert_eq!(of(&e, "b", &[" a", "é a"]), (vec![9, 1], vec![vec![6], vec![5, 6]], vec![2, 4]));
        // White space at the end goes over, and is merged there; of several only the last joins.
        assert_eq!(of(&e, "b \n ", &["a"]), (vec![9, 1], vec![vec![3, 4, 6]], vec![4]));
        assert_eq!(of(&e, " ", &["a"]), (vec![9], vec![vec![6]], vec![2]));
        assert_eq!(of(&e, "", &["ab"]), (vec![9], vec![vec![2]], vec![2]));
        // Together "ba" + "ba" is b ab a: the first two tokens are taken for the prompt's, whatever they are.
        assert_eq!(of(&e, "ba", &["ba"]), (vec![9, 1, 0], vec![vec![0]], vec![1]));
        let separate = Encoder { joining: Joining::Separate, ..e };
        assert_eq!(of(&separate, "ba ", &["ba", "a"]), (vec![9, 1, 0, 3], vec![vec![1, 0], vec![0]], vec![2, 1]));
        let only_empty = Encoder { start_before: StartBefore::Empty, ..e };
        assert_eq!(of(&only_empty, "b", &["a"]).0, [1]);
        assert_eq!(of(&only_empty, "", &["a"]).0, [9]);
    }

    #[test]
    fn what_cannot_be_encoded_is_said() {
        let t = tokenizer();
        let e = Encoder::new(&t, None);
        let say = |prompt: &str, completion: &str| e.encode(prompt, &["b", completion]).unwrap_err().to_string();
        assert_eq!(say("b", ""), "completion 2 is empty");
        // "a" + "b" is one token.
        assert!(e.encode("a", &["b"]).unwrap_err().to_string().starts_with("completion 1 is no token of its own"));
        assert!(say("", "b").contains("--start ID"));
        assert_eq!(e.ids(vec![1], vec![vec![2], vec![]]).unwrap_err().to_string(), "completion 2 is empty");
        assert!(e.ids(vec![], vec![vec![2]]).unwrap_err().to_string().contains("--start ID"));
        assert!(Encoder { tokenizer: None, ..e }.encode("b", &["a"]).unwrap_err().to_string().contains("--tokenizer"));
        assert_eq!(e.ids(vec![1], vec![vec![2]]).unwrap().bytes, None);
    }

    #[test]
    fn white_space_is_pythons() {
        for (text, kept) in [("a \t\u{a0}\u{2003}\u{85}\u{1c}\u{1f}", "a"), ("a\u{200b}", "a\u{200b}"), ("\u{3000}", ""), ("a b", "a b")] {
            assert_eq!(without_white_space(text), kept);
        }
    }
}
