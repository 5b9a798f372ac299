//! How a corpus is read where its files leave a choice.

use super::source::Format;
use super::token_files::TokenWidth;
use super::unicode::BadBytes;

/// By what documents are grouped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum GroupBy {
    /// They are not.
    #[default]
    Nothing,
    /// By the value of a field or column of their row, a string or a number.
    Field(String),
    /// By the first folder below the argument that they came with; by the folder that holds them where there is none.
    Folder,
}

/// What becomes of standard input and of pipes, which give their bytes once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Streams {
    /// They are copied into a file without a name in the system's folder for temporary files (`TMPDIR`) when the corpus is listed, and can be read again and again.
    #[default]
    Spooled,
    /// They are read while they come. A second reading is an error.
    Once,
}

/// How files are read where they leave a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// The field of a JSON line or the column of a Parquet file that holds the text.
    pub text_field: String,
    /// Bytes of a token in `.bin` files.
    pub token_width: TokenWidth,
    /// Where documents have their labels from.
    pub group: GroupBy,
    /// What becomes of bytes that are not UTF-8.
    pub bad_bytes: BadBytes,
    /// What standard input is, and pipes whose names do not say it.
    pub stream_format: Format,
    /// How standard input and pipes are kept.
    pub streams: Streams,
    /// The largest text that is read, in unpacked bytes of the file, line or record that holds it; a larger one is an error before it is in memory (a Parquet file's
    /// page is, being at most 2 GiB by its format).
    pub document_limit: u64,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            text_field: "text".into(),
            token_width: TokenWidth::U16,
            group: GroupBy::default(),
            bad_bytes: BadBytes::default(),
            stream_format: Format::JsonLines,
            streams: Streams::default(),
            document_limit: 1 << 30,
        }
    }
}
