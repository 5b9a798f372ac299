//! Options that say what a corpus is, for every subcommand that reads one.

use crate::corpus::{BadBytes, Corpus, Format, GroupBy, ReadOptions, TokenWidth, Tokenizer};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Bytes of a token in `.bin` files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TokenDtype {
    /// Two bytes.
    U16,
    /// Four bytes.
    U32,
}

/// What standard input can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StreamFormat {
    /// A JSON object a line.
    Jsonl,
    /// One text.
    Txt,
    /// FASTA records.
    Fasta,
}

/// What groups documents where no field does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupPlace {
    /// The first folder below the argument, or else the folder that holds the file.
    Folder,
}

/// Which texts, and how they are read.
#[derive(Clone, Debug, clap::Args)]
pub struct CorpusArgs {
    /// Files, folders, patterns ('data/**/*.jsonl.gz') or - for standard input: .txt, .jsonl, .ndjson, .json, .fa, .fasta, .fna, .faa (each also .gz or .zst),
    /// .parquet, .npy, .bin
    #[arg(required = true, value_name = "CORPUS")]
    pub corpus: Vec<PathBuf>,
    /// Field of a JSON line, or column of a .parquet file, that holds the text
    #[arg(long, default_value = "text", value_name = "NAME", help_heading = "Corpus")]
    pub text_field: String,
    /// What standard input is (gzip and zstd are recognised)
    #[arg(long, value_enum, default_value = "jsonl", value_name = "FORMAT", help_heading = "Corpus")]
    pub format: StreamFormat,
    /// Label documents by this field or column, a string or a number
    #[arg(long, value_name = "NAME", help_heading = "Corpus")]
    pub group_field: Option<String>,
    /// Label documents by the first folder below the argument, or else by the folder that holds the file
    #[arg(long, value_enum, value_name = "PLACE", conflicts_with = "group_field", help_heading = "Corpus")]
    pub group_by: Option<GroupPlace>,
    /// Read bytes that are not UTF-8 as U+FFFD, and say how many, instead of refusing them
    #[arg(long, help_heading = "Corpus")]
    pub lossy: bool,
    /// Tokens of .bin files
    #[arg(long, value_enum, default_value = "u16", help_heading = "Corpus")]
    pub token_dtype: TokenDtype,
    /// A tokenizer.json, or a folder that has one [default: the model's]
    #[arg(long, value_name = "PATH", help_heading = "Corpus")]
    pub tokenizer: Option<PathBuf>,
}

impl CorpusArgs {
    /// Lists the corpus; standard input is kept, so that it can be read again.
    ///
    /// # Errors
    /// As [`Corpus::open`].
    pub fn open(&self) -> Result<Corpus> {
        let token_width = match self.token_dtype {
            TokenDtype::U16 => TokenWidth::U16,
            TokenDtype::U32 => TokenWidth::U32,
        };
        let stream_format = match self.format {
            StreamFormat::Jsonl => Format::JsonLines,
            StreamFormat::Txt => Format::Text,
            StreamFormat::Fasta => Format::Fasta,
        };
        let group = match (&self.group_field, self.group_by) {
            (Some(field), _) => GroupBy::Field(field.clone()),
            (None, Some(GroupPlace::Folder)) => GroupBy::Folder,
            (None, None) => GroupBy::Nothing,
        };
        let bad_bytes = if self.lossy { BadBytes::Replace } else { BadBytes::Refuse };
        let options = ReadOptions { text_field: self.text_field.clone(), token_width, group, bad_bytes, stream_format, ..Default::default() };
        Corpus::open(&self.corpus, options)
    }

    /// The tokenizer for a model of `vocab` ids, held against them; `None` where the corpus has no text.
    ///
    /// # Errors
    /// No tokenizer, or another model's.
    pub fn tokenizer(&self, corpus: &Corpus, model: &Path, vocab: usize) -> Result<Option<Tokenizer>> {
        if !corpus.needs_tokenizer() {
            if let Some(path) = &self.tokenizer {
                return Err(Error::file(path, "is not needed: the corpus consists of token files; leave --tokenizer out"));
            }
            return Ok(None);
        }
        let tokenizer = Tokenizer::open(self.tokenizer.as_deref().unwrap_or(model))?;
        tokenizer.check_vocab(vocab)?;
        Ok(Some(tokenizer))
    }
}
