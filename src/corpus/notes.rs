//! What is worth saying of the documents that were read.

use super::document::Document;
use super::unicode::Mended;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Counts over the documents read so far.
#[derive(Default)]
pub(super) struct Notes {
    empty: Seen,
    repeated: Seen,
    mended: Mended,
    /// Hashes of the ids: 8 bytes each, whatever their length. Of 10⁸ ids some pair falls together with a chance of 3·10⁻⁴, which costs a false word in a notice.
    ids: HashSet<u64>,
}

/// How often something was met, and in which document first.
#[derive(Default)]
struct Seen {
    times: u64,
    first: String,
}

impl Seen {
    fn count(&mut self, id: &str) {
        if self.times == 0 {
            self.first = id.to_string();
        }
        self.times += 1;
    }
}

impl Notes {
    /// Takes the next document.
    pub fn take(&mut self, document: &Document) {
        if document.content.is_empty() {
            self.empty.count(&document.id);
        }
        let mut hasher = DefaultHasher::new();
        document.id.hash(&mut hasher);
        if !self.ids.insert(hasher.finish()) {
            self.repeated.count(&document.id);
        }
    }

    /// Takes what was replaced in a file that is over.
    pub fn close(&mut self, mended: Mended) {
        self.mended.add(mended);
    }

    /// The sentences; `open` is what was replaced in the file that is being read.
    pub fn said(&self, open: Mended) -> Vec<String> {
        let mut out = Vec::new();
        if self.empty.times > 0 {
            out.push(format!("{} empty, the first {}", documents(self.empty.times), self.empty.first));
        }
        if self.repeated.times > 0 {
            out.push(format!("{} with an id that another has, too; the first is {}", documents(self.repeated.times), self.repeated.first));
        }
        let mut mended = self.mended;
        mended.add(open);
        if mended.documents > 0 {
            out.push(format!("{} with bytes that are not UTF-8: {} bytes were read as U+FFFD", documents(mended.documents), mended.bytes));
        }
        out
    }
}

fn documents(n: u64) -> String {
    if n == 1 { "1 document".into() } else { format!("{n} documents") }
}
