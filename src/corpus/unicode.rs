//! Bytes as text: refused or mended where they are none.

use crate::error::{Error, Result};
use std::borrow::Cow;
use std::path::Path;

/// What becomes of bytes that are not UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadBytes {
    /// They are an error that says where they are.
    #[default]
    Refuse,
    /// They become U+FFFD, the replacement character: one for every stretch that cannot be the beginning of a character and none longer than that (The
    /// Unicode Standard, 3.9, "U+FFFD Substitution of Maximal Subparts").
    Replace,
}

/// How much was replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Documents with a replacement.
    pub documents: u64,
    /// Bytes that were replaced; six for a `\ud800` in JSON.
    pub bytes: u64,
}

impl Mended {
    /// Counts a document of which `bytes` bytes were replaced.
    pub(super) fn count(&mut self, bytes: u64) {
        self.documents += u64::from(bytes > 0);
        self.bytes += bytes;
    }

    pub(super) fn add(&mut self, other: Mended) {
        self.documents += other.documents;
        self.bytes += other.bytes;
    }
}

/// The bytes as text, and how many of them were replaced; `start` is their place in the file.
///
/// # Errors
/// Bytes that are not UTF-8, with [`BadBytes::Refuse`].
pub(super) fn text<'a>(bytes: &'a [u8], bad: BadBytes, path: &Path, start: u64) -> Result<(Cow<'a, str>, u64)> {
    match (std::str::from_utf8(bytes), bad) {
        (Ok(text), _) => Ok((text.into(), 0)),
        (Err(e), BadBytes::Refuse) => {
            let at = e.valid_up_to();
            let what =
                format!("byte {} (0x{:02x}) is not UTF-8; convert the file first, or read U+FFFD for such bytes with --lossy", start + at as u64, bytes[at]);
            Err(Error::file(path, what))
        }
        (Err(_), BadBytes::Replace) => {
            let replaced = bytes.utf8_chunks().map(|c| c.invalid().len() as u64).sum();
            Ok((String::from_utf8_lossy(bytes), replaced))
        }
    }
}

/// [`text`] of bytes that need not be kept.
pub(super) fn owned(bytes: Vec<u8>, bad: BadBytes, path: &Path, start: u64) -> Result<(String, u64)> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok((text, 0)),
        Err(e) => text(e.as_bytes(), bad, path, start).map(|(t, n)| (t.into_owned(), n)),
    }
}

/// JSON with halves of surrogate pairs (`\ud800` alone, which is no character) replaced by `\ufffd`, and how many bytes that were.
pub(super) fn mend_surrogates(json: &str) -> (String, u64) {
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let (mut out, mut kept, mut replaced, mut at) = (String::with_capacity(json.len()), 0, 0, 0);
    while let Some(n) = json[at..].find('\\') {
        at += n;
        match unit(at) {
            Some(0xd800..=0xdbff) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => at += 12,
            Some(0xd800..=0xdfff) => {
                out.push_str(&json[kept..at]);
                out.push_str("\\ufffd");
                at += 6;
                kept = at;
                replaced += 6;
            }
            // What is escaped may be a backslash, or the beginning of a character of several bytes (which is no JSON).
            _ => at += 1 + json[at + 1..].chars().next().map_or(0, char::len_utf8),
        }
    }
    out.push_str(&json[kept..]);
    (out, replaced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn bad_bytes_are_named_by_their_place() {
        let say = |b: &[u8]| text(b, BadBytes::Refuse, "a.txt".as_ref(), 10).unwrap_err().to_string();
        assert_eq!(say(b"abc\xff"), "a.txt: byte 13 (0xff) is not UTF-8; convert the file first, or read U+FFFD for such bytes with --lossy");
        // A character cut off by the end; a surrogate; an overlong form.
        assert!(say(b"ab\xe2\x82").contains("byte 12 (0xe2)"));
        assert!(say(b"\xed\xa0\x80").contains("byte 10 (0xed)"));
        assert!(say(b"x\xc0\xaf").contains("byte 11 (0xc0)"));
    }

    #[test]
    fn replacements_are_those_of_the_standard() {
        // The example of The Unicode Standard, table 3-8 (61 F1 80 80 E1 80 C2 62 80 63 80 BF 64).
        let bytes = b"\x61\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64";
        let (t, n) = text(bytes, BadBytes::Replace, "a".as_ref(), 0).unwrap();
        assert_eq!((t.as_ref(), n), ("a\u{fffd}\u{fffd}\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}d", 9));
    }

    #[test]
    fn halves_of_surrogate_pairs() {
        for (json, want, n) in [
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#, 0),
            (r#""a\ud83db""#, r#""a\ufffdb""#, 6),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#, 12),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#, 6),
            (r#""\\ud800 \n\u00e9""#, r#""\\ud800 \n\u00e9""#, 0),
            (r#""\ud8"#, r#""\ud8"#, 0),
            (r#""\u+800\é\"#, r#""\u+800\é\"#, 0),
        ] {
            assert_eq!(mend_surrogates(json), (want.to_string(), n), "{json}");
        }
    }

    proptest! {
        #[test]
        fn mended_json_has_no_half_pair(units in prop::collection::vec(prop::sample::select(vec![0xd800u16, 0xdbff, 0xdc00, 0xdfff, 0x61, 0x5c, 0x22]), 0..12)) {
            let json = format!("\"{}\"", units.iter().map(|u| format!("\\u{u:04x}")).collect::<String>());
            let (mended, n) = mend_surrogates(&json);
            prop_assert_eq!(serde_json::from_str::<String>(&mended).unwrap(), String::from_utf16_lossy(&units));
            prop_assert_eq!(n == 0, String::from_utf16(&units).is_ok());
        }

        #[test]
        fn any_bytes_become_text_of_known_loss(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let (t, n) = text(&bytes, BadBytes::Replace, "a".as_ref(), 0).unwrap();
            prop_assert_eq!(n == 0, std::str::from_utf8(&bytes).is_ok());
            let (o, m) = owned(bytes.clone(), BadBytes::Replace, "a".as_ref(), 0).unwrap();
            prop_assert_eq!((o.as_str(), m), (t.as_ref(), n));
            prop_assert!(n <= bytes.len() as u64);
        }
    }
}
