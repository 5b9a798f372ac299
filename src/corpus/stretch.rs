//! Stretches of text whose lengths are bytes: where a text is cut, and which tokens lie on either side.
//!
//! A place is asked for as a byte and found by the text alone, so that it is the same for every tokenizer: the last blank (U+0020) between two characters
//! that are not white space, at or before the byte and fewer than [`REACH`] bytes back; where there is none (Chinese, DNA), the last boundary between
//! characters at or before the byte. The blank goes to what follows. So no character is ever split, and where words are written apart no word: nearly
//! every tokenizer has a token boundary before such a blank.
//!
//! Tokens are those of the whole text. A token that lies across a place is tokenised anew in two parts, each on its own (a tokenizer that puts a blank
//! before every text does so there, too); all others stay as they are. The tokens between two places therefore stand for exactly the bytes between
//! them, whichever tokenizer made them.

use super::tokenized::TokenizedDocument;
use super::tokenizer::Tokenizer;
use crate::error::Result;

/// How far a place is moved back at the most to lie between words, in bytes (exclusive).
pub const REACH: usize = 32;

/// A stretch of a text as one tokenizer has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Tokens of the text that end before it or where it begins.
    pub first: u64,
    /// Its first byte in the text.
    pub offset: u64,
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Bytes of it before each place.
    pub bytes: Vec<u32>,
    /// Tokens of it before each place.
    pub counts: Vec<u32>,
    /// Places, its beginning among them, that lie inside a token of the whole text.
    pub divided: u32,
}

impl Stretch {
    /// The stretch that is asked for from byte `start` on, with places asked for after `marks` bytes, ascending; the last one ends it. `whole` is `text` as
    /// `tokenizer` has it.
    ///
    /// # Errors
    /// A part of a token that the tokenizer cannot express.
    pub fn cut(text: &str, whole: &TokenizedDocument, tokenizer: &Tokenizer, start: u64, marks: &[u32]) -> Result<Stretch> {
        let (ends, tokens) = (whole.byte_offsets.as_deref().unwrap_or_default(), &whole.tokens[..]);
        let from = Stretch::place(text, start as usize);
        let reader = Reader { text, ends, tokens, tokenizer };
        let mut out = Stretch {
            first: reader.boundary(from).unwrap_or_else(|| ends.partition_point(|&end| end < from as u64).saturating_sub(1)) as u64,
            offset: from as u64,
            tokens: Vec::new(),
            bytes: Vec::with_capacity(marks.len()),
            counts: Vec::with_capacity(marks.len()),
            divided: u32::from(reader.boundary(from).is_none()),
        };
        let mut at = from;
        for &mark in marks {
            let to = Stretch::place(text, start as usize + mark as usize);
            reader.between(at, to, &mut out.tokens)?;
            out.bytes.push((to - from) as u32);
            out.counts.push(out.tokens.len() as u32);
            out.divided += u32::from(reader.boundary(to).is_none());
            at = to;
        }
        Ok(out)
    }

    /// Where a text is cut that is to be cut at byte `at`. It never decreases with `at`, and `at` − REACH < place ≤ `at`.
    pub fn place(text: &str, at: usize) -> usize {
        let at = at.min(text.len());
        let bytes = text.as_bytes();
        let visible = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
        let between_words = |&i: &usize| bytes.get(i) == Some(&b' ') && visible(text[..i].chars().next_back()) && visible(text[i + 1..].chars().next());
        let boundary = || (0..=at).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        ((at + 1).saturating_sub(REACH)..=at).rev().find(between_words).unwrap_or_else(boundary)
    }
}

/// A tokenised text.
struct Reader<'a> {
    text: &'a str,
    /// Boundaries of the tokens, in bytes.
    ends: &'a [u64],
    tokens: &'a [u32],
    tokenizer: &'a Tokenizer,
}

impl Reader<'_> {
    /// How many tokens end at byte `at` or before, if one ends there. Tokens without bytes follow others of the same character, and belong to what
    /// precedes; at the beginning there is nothing before.
    fn boundary(&self, at: usize) -> Option<usize> {
        let before = self.ends.partition_point(|&end| end <= at as u64);
        match at {
            0 => Some(0),
            _ => before.checked_sub(1).filter(|&i| self.ends[i] == at as u64),
        }
    }

    /// Adds the tokens of the bytes from `from` to `to`, both between characters.
    fn between(&self, from: usize, to: usize, out: &mut Vec<u32>) -> Result<()> {
        let whole = |i: &usize| self.text.is_char_boundary(self.ends[*i] as usize);
        let next = || (self.ends.partition_point(|&end| end <= from as u64)..self.ends.len()).find(whole).and_then(|i| self.boundary(self.ends[i] as usize));
        let last = || (0..self.ends.partition_point(|&end| end < to as u64)).rev().find(whole).and_then(|i| self.boundary(self.ends[i] as usize));
        match (self.boundary(from).or_else(next), self.boundary(to).or_else(last)) {
            (Some(first), Some(last)) if first <= last => {
                self.part(from, self.ends[first] as usize, out)?;
                out.extend_from_slice(&self.tokens[first..last]);
                self.part(self.ends[last] as usize, to, out)
            }
            _ => self.part(from, to, out),
        }
    }

    /// Adds what a part of a token becomes on its own.
    fn part(&self, from: usize, to: usize, out: &mut Vec<u32>) -> Result<()> {
        if from < to {
            out.extend(self.tokenizer.encode(&self.text[from..to])?.tokens);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{byte_fallback, byte_level, open};
    use super::*;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};
    use std::collections::BTreeMap;

    fn tokenized(t: &Tokenizer, text: &str) -> TokenizedDocument {
        let e = t.encode(text).unwrap();
        TokenizedDocument { id: String::new(), tokens: e.tokens, byte_offsets: Some(e.byte_offsets) }
    }

    /// The bytes that tokens of [`byte_level`] spell.
    fn spelling(json: &serde_json::Value) -> impl Fn(u32) -> Vec<u8> {
        let printable = |b: &u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
        let mut byte: BTreeMap<char, u8> = (0..=255).filter(printable).map(|b| (b as char, b)).collect();
        byte.extend((256..).filter_map(char::from_u32).zip((0..=255).filter(|b| !printable(b))));
        let pieces = json["model"]["vocab"].as_object().unwrap();
        let spelled: BTreeMap<u32, Vec<u8>> = pieces.iter().map(|(s, id)| (id.as_u64().unwrap() as u32, s.chars().map(|c| byte[&c]).collect())).collect();
        move |id| spelled[&id].clone()
    }

    #[test]
    fn places_lie_before_blanks_between_words() {
        let text = "The first  one,\nthe sécond one.";
        // Two blanks and a new line are no blank between words.
        for (at, want) in [(0, 0), (3, 3), (8, 3), (11, 3), (14, 3), (18, 3), (20, 19), (22, 19), (26, 19), (27, 27), (32, 27), (99, 27)] {
            assert_eq!(Stretch::place(text, at), want, "{at}");
        }
        assert_eq!(Stretch::place(&"x".repeat(50), 40), 40);
        assert_eq!(Stretch::place(&format!("a {}", "x".repeat(50)), 1 + REACH - 1), 1);
        assert_eq!(Stretch::place(&format!("a {}", "x".repeat(50)), 1 + REACH), 1 + REACH);
        // Three bytes a character.
        assert_eq!((0..7).map(|at| Stretch::place("日本語", at)).collect::<Vec<_>>(), [0, 0, 0, 3, 3, 3, 6]);
    }

    proptest! {
        #[test]
        fn every_token_is_on_its_side_of_every_place(
            words in prop::collection::vec("(the|end|é|€|日本|[a-c]{1,6}|  |\n|𝄞)", 1..60),
            between in "[ ]?",
            start in 0u64..40,
            marks in prop::collection::btree_set(1u32..90, 1..6),
        ) {
            let text = words.join(&between);
            let marks: Vec<u32> = marks.into_iter().collect();
            let json = byte_level();
            let (t, spelling) = (open(&json), spelling(&json));
            let whole = tokenized(&t, &text);
            let s = Stretch::cut(&text, &whole, &t, start, &marks).unwrap();
            prop_assert_eq!(s.offset as usize, Stretch::place(&text, start as usize));
            // What lies between two places is, byte for byte, what its tokens spell.
            let (mut at, mut done, mut divided) = (s.offset as usize, 0, 0);
            let inside = |place: usize| u32::from(!whole.byte_offsets.as_ref().unwrap().contains(&(place as u64)));
            divided += inside(at);
            for (i, &mark) in marks.iter().enumerate() {
                let to = Stretch::place(&text, start as usize + mark as usize);
                prop_assert!(at <= to && s.offset + s.bytes[i] as u64 == to as u64);
                let tokens = &s.tokens[done..s.counts[i] as usize];
                prop_assert_eq!(&tokens.iter().flat_map(|&id| spelling(id)).collect::<Vec<u8>>()[..], &text.as_bytes()[at..to]);
                divided += inside(to);
                (at, done) = (to, s.counts[i] as usize);
            }
            prop_assert_eq!((done, divided), (s.tokens.len(), s.divided));
            // Where no token is divided they are those of the whole text.
            let first = s.first as usize;
            prop_assert!(s.divided > 0 || s.tokens == whole.tokens[first..first + s.tokens.len()]);
            let more: Vec<u32> = (1..90).collect();
            let finer = Stretch::cut(&text, &whole, &t, start, &more).unwrap();
            prop_assert!(marks.iter().zip(&s.bytes).all(|(&m, &b)| finer.bytes[m as usize - 1] == b));
        }
    }

    #[test]
    fn a_divided_token_is_read_in_two_parts() {
        let t = open(&byte_level());
        let text = "bendthebthe";
        let whole = tokenized(&t, text);
        // b, end, the, b and the.
        assert_eq!(whole.byte_offsets, Some(vec![0, 1, 4, 7, 8, 11]));
        let of = |s: &str| t.encode(s).unwrap().tokens;
        for (start, marks, parts, counts, divided) in [
            (0, vec![3, 4, 7, 11], vec!["b", "en", "d", "the", "b", "the"], vec![2, 3, 4, 6], 1),
            (2, vec![3, 7], vec!["nd", "t", "he", "b", "t"], vec![3, 7], 3),
            (9, vec![1, 2], vec!["h", "e"], vec![1, 2], 2),
            (4, vec![3], vec!["the"], vec![1], 0),
        ] {
            let s = Stretch::cut(text, &whole, &t, start, &marks).unwrap();
            assert_eq!((s.tokens, s.counts, s.divided), (parts.iter().flat_map(|p| of(p)).collect(), counts, divided), "{start}");
        }
        // The blank that this tokenizer begins with takes the first byte, and the character's last token has none left.
        let t = open(&byte_fallback());
        let whole = tokenized(&t, "€€");
        assert_eq!(whole.byte_offsets, Some(vec![0, 1, 2, 3, 3, 4, 5, 6]));
        let s = Stretch::cut("€€", &whole, &t, 0, &[3, 6]).unwrap();
        assert_eq!((s.tokens, s.counts, s.divided), (whole.tokens, vec![4, 7], 0));
    }
}
