//! Pieces of texts as published tables have them: of at least 5,000 words, cut at sentence ends.
//!
//! *Word*: characters between white space (Unicode `White_Space`). *Sentence end*: the end of a word whose last character, closing quotation marks and
//! brackets left aside, is `.`, `!`, `?`, `…`, `。`, `！` or `？`. Abbreviations count as ends, too: a rule without exceptions is one that others can repeat.
//! A piece goes from its first word to the first sentence end at which it has enough words; the next begins with the next word. What is left at a
//! text's end with fewer words is no piece.

use std::ops::Range;

/// Words of a piece at least.
pub const WORDS: usize = 5000;

/// The pieces of a text of at least `words` words, as byte ranges in reading order.
pub fn pieces(text: &str, words: usize) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (mut start, mut count) = (None, 0);
        loop {
            let rest = &text[at..];
            let blank = rest.find(|c: char| !c.is_whitespace())?;
            let length = rest[blank..].find(char::is_whitespace).unwrap_or(rest.len() - blank);
            let word = at + blank..at + blank + length;
            at = word.end;
            count += 1;
            let start = *start.get_or_insert(word.start);
            if count >= words && ends_sentence(&text[word.clone()]) {
                return Some(start..word.end);
            }
        }
    })
}

fn ends_sentence(word: &str) -> bool {
    let closing = |c: char| matches!(c, '"' | '\'' | '”' | '’' | '»' | '›' | ')' | ']' | '}' | '」' | '』' | '）');
    word.trim_end_matches(closing).ends_with(['.', '!', '?', '…', '。', '！', '？'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(text: &str, words: usize) -> Vec<&str> {
        pieces(text, words).map(|r| &text[r]).collect()
    }

    #[test]
    fn cut_at_sentence_ends() {
        let text = "  One two. Three four five!\n\n“Six, (seven.)” Eight nine… ten";
        assert_eq!(cut(text, 1), ["One two.", "Three four five!", "“Six, (seven.)”", "Eight nine…"]);
        assert_eq!(cut(text, 3), ["One two. Three four five!", "“Six, (seven.)” Eight nine…"]);
        assert_eq!(cut(text, 9), ["One two. Three four five!\n\n“Six, (seven.)” Eight nine…"]);
        assert_eq!(cut(text, 10), [] as [&str; 0]);
        assert_eq!(cut("", 1), [] as [&str; 0]);
        assert_eq!(cut("終わり。 まだ\u{3000}続く！", 1), ["終わり。", "まだ\u{3000}続く！"]);
    }

    proptest! {
        #[test]
        fn pieces_follow_each_other_and_have_enough_words(text in "([a-c]{1,3}[.!,]?[ \n]{1,2}){0,40}", words in 1usize..8) {
            let mut last = 0;
            let mut words_left = text.split_whitespace();
            for r in pieces(&text, words) {
                prop_assert!(text[last..r.start].chars().all(char::is_whitespace));
                let piece: Vec<&str> = text[r.clone()].split_whitespace().collect();
                prop_assert!(piece.len() >= words && ends_sentence(piece[piece.len() - 1]));
                // No earlier sentence end would have done.
                prop_assert!(!piece[words - 1..piece.len() - 1].iter().any(|w| ends_sentence(w)));
                prop_assert!(piece.iter().all(|w| words_left.next() == Some(w)));
                last = r.end;
            }
            let rest: Vec<&str> = words_left.collect();
            prop_assert!(rest.len() < words || !rest[words - 1..].iter().any(|w| ends_sentence(w)));
        }
    }
}
