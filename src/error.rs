//! Errors as sentences: what was expected, what was found, what to do.
//!
//! The command line prints one as `error: …` on a single line and ends with [`Error::exit_code`].

use std::path::{Path, PathBuf};

/// Whatever can go wrong, already worded for the person at the keyboard.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something asked for cannot be done as asked: an option, a length, a combination.
    #[error("{0}")]
    Input(String),
    /// A file is not what it should be.
    #[error("{}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where known how to mend it.
        what: String,
    },
    /// The operating system refused something about a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Ctrl-C or SIGTERM; what was finished is kept.
    #[error("interrupted; start the same command again to go on")]
    Interrupted,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Input`].
    pub fn input(what: impl Into<String>) -> Self {
        Error::Input(what.into())
    }

    /// An [`Error::File`].
    pub fn file(path: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Error::File { path: path.as_ref().to_path_buf(), what: what.into() }
    }

    /// Wraps a system error with the path it is about: `fs::read(p).map_err(Error::io(p))?`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { path, source }
    }

    /// The exit status: 2 for what the user can mend, 130 for an interruption.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Interrupted => 130,
            _ => 2,
        }
    }
}
