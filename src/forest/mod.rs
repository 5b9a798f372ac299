//! What is scored: a forest of token spans, and which of their tokens' log-probabilities go where.
//!
//! A [`Span`] is a run of tokens. It has a parent span and a branch offset n: it sees the parent's first n tokens and all
//! that those see. Its *path* is that past followed by its own tokens; a token's *position* is its index in the path.
//! A context shared by a thousand continuations is one span with a thousand branches, and is computed once.
//! A row of the model's activations is one *fed* token; the row of a token predicts every token that may follow it, so the
//! last token of a leaf is never fed, and the row at a branch point predicts the first token of every branch.
//!
//! Pure data; knows nobody.

mod allot;
mod layout;
mod part;
mod readout;
mod tables;
mod wave;

pub use readout::{Reading, Readout, Slot, SlotValue, Wanted};
pub use wave::{Cut, Keep, Run, Segment, StateRef, StateSave, Store, Target, Wave, Waves};

use crate::error::{Error, Result};
use std::ops::Range;

/// A token's id in the model's vocabulary.
pub type TokenId = u32;

/// A span's index in its forest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub u32);

/// A run of tokens that continues the first `offset` tokens of its parent.
#[derive(Clone, Debug)]
pub struct Span {
    /// The parent and how many of its tokens are seen; `None` for a root.
    pub parent: Option<(SpanId, u32)>,
    /// Where its tokens lie in the forest's token array.
    pub tokens: Range<usize>,
    /// Position of its first token: the length of its past.
    pub position: u32,
    /// Index of its tree, counted by roots.
    pub tree: u32,
}

impl Span {
    /// Number of its own tokens.
    pub fn len(&self) -> u32 {
        (self.tokens.end - self.tokens.start) as u32
    }

    /// Whether it has no token of its own.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

/// Spans with their tokens; parents come before children, offsets lie inside parents.
#[derive(Clone, Debug, Default)]
pub struct Forest {
    spans: Vec<Span>,
    tokens: Vec<TokenId>,
    /// For each tree, its spans in creation order (the order in which rows are laid out).
    trees: Vec<Vec<SpanId>>,
}

impl Forest {
    /// An empty forest.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a root: a text from its very beginning. Its first token is predicted by nothing, so texts start with the model's start token.
    ///
    /// # Errors
    /// No tokens.
    pub fn root(&mut self, tokens: &[TokenId]) -> Result<SpanId> {
        let tree = self.trees.len() as u32;
        let id = self.push(None, 0, tree, tokens)?;
        self.trees.push(vec![id]);
        Ok(id)
    }

    /// Adds a branch that sees the first `offset` tokens of `parent` and all that those see. At offset 0 it is the parent's sibling.
    ///
    /// # Errors
    /// An offset past the parent's end, an unknown parent, no tokens.
    pub fn branch(&mut self, parent: SpanId, offset: u32, tokens: &[TokenId]) -> Result<SpanId> {
        let p =
            self.spans.get(parent.0 as usize).ok_or_else(|| Error::input(format!("span {} is not in the forest of {} spans", parent.0, self.spans.len())))?;
        if offset > p.len() {
            return Err(Error::input(format!("branch offset {offset} lies past the {} tokens of span {}", p.len(), parent.0)));
        }
        let (position, tree) = (p.position + offset, p.tree);
        let id = self.push(Some((parent, offset)), position, tree, tokens)?;
        self.trees[tree as usize].push(id);
        Ok(id)
    }

    fn push(&mut self, parent: Option<(SpanId, u32)>, position: u32, tree: u32, tokens: &[TokenId]) -> Result<SpanId> {
        if tokens.is_empty() {
            return Err(Error::input("a span needs at least one token"));
        }
        if position as usize + tokens.len() > i32::MAX as usize {
            return Err(Error::input(format!("a path of {} tokens is longer than {}", position as usize + tokens.len(), i32::MAX)));
        }
        let start = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.spans.push(Span { parent, tokens: start..self.tokens.len(), position, tree });
        Ok(SpanId(self.spans.len() as u32 - 1))
    }

    /// The spans, by id.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// One span.
    pub fn span(&self, id: SpanId) -> &Span {
        &self.spans[id.0 as usize]
    }

    /// A span's own tokens.
    pub fn tokens(&self, id: SpanId) -> &[TokenId] {
        &self.tokens[self.span(id).tokens.clone()]
    }

    /// The trees, each as its spans in creation order.
    pub fn trees(&self) -> &[Vec<SpanId>] {
        &self.trees
    }

    /// The tokens of all spans, in creation order.
    pub fn all_tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// The pieces of the path before token `offset` of `id`, from the beginning on: (span, its tokens seen).
    pub fn past(&self, id: SpanId, offset: u32) -> Vec<(SpanId, Range<u32>)> {
        let mut pieces = Vec::new();
        let mut at = Some((id, offset));
        while let Some((s, n)) = at {
            if n > 0 {
                pieces.push((s, 0..n));
            }
            at = self.span(s).parent;
        }
        pieces.reverse();
        pieces
    }

    /// The tokens that a span sees, followed by its own.
    pub fn path(&self, id: SpanId) -> Vec<TokenId> {
        let mut out = Vec::new();
        for (s, r) in self.past(id, self.span(id).len()) {
            out.extend_from_slice(&self.tokens(s)[r.start as usize..r.end as usize]);
        }
        out
    }
}
