//! Errors as sentences: what was expected, what was found, what to do.
//!
//! The command line prints one as `error: …` on a single line and ends with [`Error::exit_code`]. What an error quotes (names of files and tensors, pieces
//! of a config.json) may hold anything; [`OneLine`] is the one place where that is made fit to be shown.

use std::cell::Cell;
use std::fmt::{self, Display, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

/// Whatever can go wrong, already worded for the person at the keyboard. Displayed, it is one line: see [`OneLine`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something asked for cannot be done as asked: an option, a length, a combination.
    Input(String),
    /// A file is not what it should be.
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where known how to mend it.
        what: String,
    },
    /// The operating system refused something about a file.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Memory that was asked for is not there; with smaller waves it may be.
    Memory(String),
    /// Ctrl-C or SIGTERM; what was finished is kept.
    Interrupted,
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Input(what) | Error::Memory(what) => OneLine(what).fmt(f),
            Error::File { path, what } => OneLine(&format_args!("{}: {what}", path.display())).fmt(f),
            Error::Io { path, source } => OneLine(&format_args!("{}: {source}", path.display())).fmt(f),
            Error::Interrupted => f.write_str("interrupted; start the same command again to go on"),
        }
    }
}

/// Bytes of a line that is shown; more of it helps nobody.
const LONGEST: usize = 4096;

/// Displays what it wraps as one line that a terminal shows as it is: line ends, control characters and marks that reorder text become the escapes that Rust
/// spells them with (`\n`, `\u{1b}`), and what goes on for too long ends in `…`.
#[derive(Clone, Copy, Debug)]
pub struct OneLine<T>(pub T);

impl<T: Display> Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Flat<'a, 'b> {
            to: &'a mut fmt::Formatter<'b>,
            room: usize,
        }
        impl Write for Flat<'_, '_> {
            fn write_str(&mut self, s: &str) -> fmt::Result {
                for c in s.chars() {
                    if self.room == 0 {
                        break;
                    }
                    if self.room <= 10 {
                        self.room = 0;
                        self.to.write_char('…')?;
                    } else if is_shown(c) {
                        self.room -= c.len_utf8();
                        self.to.write_char(c)?;
                    } else {
                        let escaped = c.escape_default();
                        self.room = self.room.saturating_sub(escaped.len());
                        write!(self.to, "{escaped}")?;
                    }
                }
                Ok(())
            }
        }
        write!(Flat { to: f, room: LONGEST }, "{}", self.0)
    }
}

/// Whether a terminal shows a character without acting on it; Unicode's line separators and directional marks act.
fn is_shown(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Input`].
    pub fn input(what: impl Into<String>) -> Self {
        Error::Input(what.into())
    }

    /// An [`Error::Memory`].
    pub fn memory(what: impl Into<String>) -> Self {
        Error::Memory(what.into())
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

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// What `work` gives; where another library's reader panics, as some do on damaged files, why: what was being read is not looked at again.
///
/// # Errors
/// The panic's message, and that it is the library's.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    caught(work).map_err(|why| format!("the library that reads it fails: {why}"))
}

/// What `work` gives; where it panics, why. What it held is not looked at again.
///
/// # Errors
/// The panic's message.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let before = GUARDED.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(before);
    done.map_err(|why| {
        let told = why.downcast_ref::<&str>().map(ToString::to_string).or_else(|| why.downcast_ref::<String>().cloned());
        told.unwrap_or_else(|| "without a reason".into())
    })
}

/// Keeps the panics that [`guarded`] and [`caught`] turn into errors from being printed as well: for a program whose errors are one line each.
pub fn quiet_guarded_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |told| {
        if !GUARDED.get() {
            before(told);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_one_line() {
        let e = Error::file("a\nb/model.safetensors", "holds `x\r\n\u{1b}[2J\u{2028}\u{9b}é\t\u{202e}`");
        assert_eq!(e.to_string(), "a\\nb/model.safetensors: holds `x\\r\\n\\u{1b}[2J\\u{2028}\\u{9b}é\\t\\u{202e}`");
        assert_eq!(Error::input("π – ∞").to_string(), "π – ∞");
        let long = Error::input("é\n".repeat(10_000)).to_string();
        assert!(long.len() <= LONGEST && long.ends_with('…'), "{}", long.len());
    }
}
