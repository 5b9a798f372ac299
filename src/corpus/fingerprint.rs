//! What a corpus was, in 128 bits: so that a measurement is not resumed over other texts.

use super::TokenizedDocument;
use std::fmt;
use twox_hash::xxhash3_128::Hasher;

/// The fingerprint of a tokenised corpus.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fingerprint {
    /// Number of documents.
    pub documents: u64,
    /// Number of tokens.
    pub tokens: u64,
    /// XXH3-128 (seed 0), in 32 hexadecimal digits, over the documents in order: length of the id in bytes (u64), the id, number of tokens (u64),
    /// the tokens (u32 each); all numbers little endian. It follows that another tokenizer gives another fingerprint.
    pub xxh3: String,
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} documents, {} tokens, xxh3 {}", self.documents, self.tokens, self.xxh3)
    }
}

/// Builds a [`Fingerprint`] while documents stream by.
pub struct Fingerprinter {
    hasher: Hasher,
    documents: u64,
    tokens: u64,
}

impl Default for Fingerprinter {
    fn default() -> Self {
        Fingerprinter { hasher: Hasher::new(), documents: 0, tokens: 0 }
    }
}

impl Fingerprinter {
    /// Takes the next document.
    pub fn add(&mut self, document: &TokenizedDocument) {
        self.documents += 1;
        self.tokens += document.tokens.len() as u64;
        self.hasher.write(&(document.id.len() as u64).to_le_bytes());
        self.hasher.write(document.id.as_bytes());
        self.hasher.write(&(document.tokens.len() as u64).to_le_bytes());
        for block in document.tokens.chunks(4096) {
            let bytes: Vec<u8> = block.iter().flat_map(|t| t.to_le_bytes()).collect();
            self.hasher.write(&bytes);
        }
    }

    /// The fingerprint of all documents taken so far.
    pub fn finish(&self) -> Fingerprint {
        Fingerprint { documents: self.documents, tokens: self.tokens, xxh3: format!("{:032x}", self.hasher.finish_128()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(documents: &[(&str, &[u32])]) -> Fingerprint {
        let mut f = Fingerprinter::default();
        for (id, tokens) in documents {
            f.add(&TokenizedDocument { id: id.to_string(), tokens: tokens.to_vec(), byte_offsets: None });
        }
        f.finish()
    }

    #[test]
    fn empty_input_is_the_reference_value() {
        // XXH3_128bits of no bytes with seed 0, from xxHash's specification.
        assert_eq!(print(&[]).xxh3, "99aa06d3014798d86001c324468d497f");
    }

    #[test]
    fn every_change_changes_it() {
        let prints = [
            print(&[("a", &[1, 2]), ("b", &[3])]),
            print(&[("a", &[1]), ("b", &[2, 3])]),
            print(&[("b", &[3]), ("a", &[1, 2])]),
            print(&[("a", &[1, 2]), ("c", &[3])]),
            print(&[("a", &[1, 2]), ("b", &[4])]),
            print(&[("a", &[1, 2]), ("b", &[3]), ("", &[])]),
        ];
        for i in 0..prints.len() {
            for j in 0..i {
                assert_ne!(prints[i], prints[j], "{i} {j}");
            }
        }
        assert_eq!(prints[0].to_string(), format!("2 documents, 3 tokens, xxh3 {}", prints[0].xxh3));
    }
}
