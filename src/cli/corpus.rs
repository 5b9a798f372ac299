//! Options that say what a corpus is, for every subcommand that reads one.

use crate::corpus::{Corpus, ReadOptions, TokenWidth, Tokenizer};
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

/// Which texts, and how they are read.
#[derive(Clone, Debug, clap::Args)]
pub struct CorpusArgs {
    /// Files or folders: .txt, .jsonl, .npy, .bin
    #[arg(required = true, value_name = "CORPUS")]
    pub corpus: Vec<PathBuf>,
    /// Field of a JSON line that holds the text
    #[arg(long, default_value = "text", value_name = "NAME", help_heading = "Corpus")]
    pub text_field: String,
    /// Tokens of .bin files
    #[arg(long, value_enum, default_value = "u16", help_heading = "Corpus")]
    pub token_dtype: TokenDtype,
    /// A tokenizer.json, or a folder that has one [default: the model's]
    #[arg(long, value_name = "PATH", help_heading = "Corpus")]
    pub tokenizer: Option<PathBuf>,
}

impl CorpusArgs {
    /// Lists the corpus.
    ///
    /// # Errors
    /// As [`Corpus::open`].
    pub fn open(&self) -> Result<Corpus> {
        let token_width = match self.token_dtype {
            TokenDtype::U16 => TokenWidth::U16,
            TokenDtype::U32 => TokenWidth::U32,
        };
        Corpus::open(&self.corpus, ReadOptions { text_field: self.text_field.clone(), token_width, ..Default::default() })
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
