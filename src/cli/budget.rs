//! Who may have how much of `--memory`.

use super::options::Bytes;
use crate::corpus::Room;
use crate::engine::free_memory;

/// What the process takes whatever it does: code's data, buffers of files, threads.
const FIXED: usize = 24 << 20;

/// A bound on what the process allocates, mapped files apart.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    rest: usize,
}

impl Budget {
    /// Of `--memory`, or else of four fifths of what is free.
    pub fn of(memory: Option<Bytes>) -> Self {
        let total = memory.map_or_else(|| free_memory() / 5 * 4, |m| m.0);
        Budget { rest: total.saturating_sub(FIXED) }
    }

    /// The engine: three quarters.
    pub fn engine(self) -> usize {
        self.rest / 4 * 3
    }

    /// Work without an engine: all but the program's own.
    pub fn without_engine(self) -> usize {
        self.rest
    }

    /// Texts on their way to tokens beside an engine at work.
    pub fn room_beside_engine(self) -> Room {
        Room(self.rest / 8)
    }

    /// Texts on their way to tokens, and the index of the corpus, before an engine is at work.
    pub fn room_before_engine(self) -> Room {
        Room(self.rest / 2)
    }
}
