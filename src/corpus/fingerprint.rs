//! What a corpus was, in 128 bits: so that a measurement is not resumed over other texts.

use super::document::Content;
use std::fmt;
use twox_hash::XxHash3_128;
use twox_hash::xxhash3_128::Hasher;

/// The fingerprint of a corpus and its tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fingerprint {
    /// Number of documents.
    pub documents: u64,
    /// Bytes of all texts, and four a token of those that came as tokens.
    pub bytes: u64,
    /// XXH3-128 (seed 0), in 32 hexadecimal digits, over the documents in order: length of the id in bytes (u64), the id, one byte (0 for text, 1 for
    /// tokens), bytes of the content (u64), the content's XXH3-128 (u128; tokens as u32 each); and at last that of the tokenizer.json, where there is one.
    /// All numbers are little endian.
    pub xxh3: String,
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} documents, {} bytes, xxh3 {}", self.documents, self.bytes, self.xxh3)
    }
}

/// A document's content in a few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHash {
    is_text: bool,
    /// Bytes of the text, or four a token.
    pub bytes: u64,
    /// XXH3-128 of these bytes.
    pub xxh3: u128,
}

impl ContentHash {
    /// Of a document's content.
    pub fn of(content: &Content) -> Self {
        match content {
            Content::Text(text) => ContentHash { is_text: true, bytes: text.len() as u64, xxh3: XxHash3_128::oneshot(text.as_bytes()) },
            Content::Tokens(tokens) => {
                let mut hasher = Hasher::new();
                for block in tokens.chunks(4096) {
                    let bytes: Vec<u8> = block.iter().flat_map(|t| t.to_le_bytes()).collect();
                    hasher.write(&bytes);
                }
                ContentHash { is_text: false, bytes: 4 * tokens.len() as u64, xxh3: hasher.finish_128() }
            }
        }
    }

    /// 64 bits by which equal contents are known.
    pub fn short(self) -> u64 {
        self.xxh3 as u64 ^ u64::from(self.is_text)
    }
}

/// Builds a [`Fingerprint`] while documents stream by.
pub struct Fingerprinter {
    hasher: Hasher,
    documents: u64,
    bytes: u64,
}

impl Default for Fingerprinter {
    fn default() -> Self {
        Fingerprinter { hasher: Hasher::new(), documents: 0, bytes: 0 }
    }
}

impl Fingerprinter {
    /// Takes the next document.
    pub fn add(&mut self, id: &str, content: ContentHash) {
        self.documents += 1;
        self.bytes += content.bytes;
        self.hasher.write(&(id.len() as u64).to_le_bytes());
        self.hasher.write(id.as_bytes());
        self.hasher.write(&[u8::from(!content.is_text)]);
        self.hasher.write(&content.bytes.to_le_bytes());
        self.hasher.write(&content.xxh3.to_le_bytes());
    }

    /// The fingerprint of all documents taken so far, read by a tokenizer of this hash.
    pub fn finish(mut self, tokenizer: Option<u128>) -> Fingerprint {
        if let Some(hash) = tokenizer {
            self.hasher.write(&hash.to_le_bytes());
        }
        Fingerprint { documents: self.documents, bytes: self.bytes, xxh3: format!("{:032x}", self.hasher.finish_128()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(documents: &[(&str, Content)], tokenizer: Option<u128>) -> Fingerprint {
        let mut f = Fingerprinter::default();
        for (id, content) in documents {
            f.add(id, ContentHash::of(content));
        }
        f.finish(tokenizer)
    }

    #[test]
    fn empty_input_is_the_reference_value() {
        // XXH3_128bits of no bytes with seed 0, from xxHash's specification.
        assert_eq!(print(&[], None).xxh3, "99aa06d3014798d86001c324468d497f");
    }

    #[test]
    fn every_change_changes_it() {
        let tokens = |t: &[u32]| Content::Tokens(t.to_vec());
        let text = |t: &str| Content::Text(t.into());
        let prints = [
            print(&[("a", tokens(&[1, 2])), ("b", tokens(&[3]))], None),
            print(&[("a", tokens(&[1])), ("b", tokens(&[2, 3]))], None),
            print(&[("b", tokens(&[3])), ("a", tokens(&[1, 2]))], None),
            print(&[("a", tokens(&[1, 2])), ("c", tokens(&[3]))], None),
            print(&[("a", tokens(&[1, 2])), ("b", tokens(&[4]))], None),
            print(&[("a", tokens(&[1, 2])), ("b", tokens(&[3])), ("", tokens(&[]))], None),
            print(&[("a", tokens(&[1, 2])), ("b", text("\u{3}\0\0\0"))], None),
            print(&[("a", tokens(&[1, 2])), ("b", text("\u{3}\0\0\0"))], Some(7)),
            print(&[("a", tokens(&[1, 2])), ("b", text("\u{3}\0\0\0"))], Some(8)),
        ];
        for i in 0..prints.len() {
            for j in 0..i {
                assert_ne!(prints[i].xxh3, prints[j].xxh3, "{i} {j}");
            }
        }
        assert_eq!(prints[0].to_string(), format!("2 documents, 12 bytes, xxh3 {}", prints[0].xxh3));
    }
}
