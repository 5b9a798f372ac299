//! What a report says, piece by piece, for a terminal and for a page alike.

use super::table::aligned;
use std::fmt::Write;

/// A piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// What the following is about, where there are several.
    Heading(String),
    /// What was measured, a line of it.
    Line(String),
    /// A table; the first row heads the columns.
    Table {
        /// What its numbers are, without a full stop; may be empty.
        caption: String,
        /// All of equal length.
        rows: Vec<Vec<String>>,
    },
    /// A sentence on the numbers, without capital and full stop.
    Remark(String),
}

impl Block {
    /// A table with its caption.
    pub fn table(caption: impl Into<String>, rows: Vec<Vec<String>>) -> Self {
        Block::Table { caption: caption.into(), rows }
    }
}

/// The pieces for a terminal, a line each or a table, without a newline at the end.
pub fn as_text(blocks: &[Block]) -> String {
    let mut out = String::new();
    for (i, block) in blocks.iter().enumerate() {
        // What belongs together stands together: lines, and remarks with what is above them.
        let apart = match (i.checked_sub(1).map(|before| &blocks[before]), block) {
            (None, _) | (Some(Block::Line(_)), Block::Line(_)) | (Some(_), Block::Remark(_)) => "",
            _ => "\n",
        };
        out += apart;
        let _ = match block {
            Block::Heading(line) | Block::Line(line) => writeln!(out, "{line}"),
            Block::Table { caption, rows } if caption.is_empty() => write!(out, "{}", aligned(rows)),
            Block::Table { caption, rows } => write!(out, "  {caption}\n{}", aligned(rows)),
            Block::Remark(line) => writeln!(out, "  {line}"),
        };
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_stand_as_they_belong() {
        let row = |a: &str, b: &str| vec![a.to_string(), b.to_string()];
        let blocks = [
            Block::Line("one".into()),
            Block::Line("two".into()),
            Block::Remark("few documents".into()),
            Block::table("numbers", vec![row("ℓ", "x"), row("16", "1")]),
            Block::Remark("no law".into()),
            Block::table("", vec![row("a", "b")]),
        ];
        assert_eq!(as_text(&blocks), "one\ntwo\n  few documents\n\n  numbers\n     ℓ   x\n    16   1\n  no law\n\n    a   b");
    }
}
