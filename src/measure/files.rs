//! Files that are whole or not there.

use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a file that is still being written is called in addition.
const PARTIAL: &str = ".partial";

/// Writes a file under another name and moves it into place once it is on the disk; an interruption leaves the old one or the new one.
///
/// # Errors
/// What the system refuses, and what `fill` returns.
pub fn write_whole(path: &Path, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let partial = partial(path);
    let mut file = File::create(&partial).map_err(Error::io(&partial))?;
    let written = fill(&mut file).and_then(|()| file.sync_all().map_err(Error::io(&partial)));
    if let Err(e) = written {
        drop(file);
        // The first error is the one to tell; a leftover is removed by the next run.
        let _ = fs::remove_file(&partial);
        return Err(e);
    }
    fs::rename(&partial, path).map_err(Error::io(path))?;
    sync_folder(path)
}

/// [`write_whole`] for bytes at hand.
///
/// # Errors
/// What the system refuses.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole(path, |file| file.write_all(bytes).map_err(Error::io(path)))
}

/// Writes a value as indented JSON with a line end.
///
/// # Errors
/// What the system refuses.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Error::file(path, format!("cannot be written as JSON: {e}")))?;
    text.push(b'\n');
    write_bytes(path, &text)
}

/// Reads a JSON file.
///
/// # Errors
/// No such file; something else in it.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).map_err(Error::io(path))?;
    serde_json::from_slice(&text).map_err(|e| Error::file(path, format!("is not what hilberg wrote: {e}")))
}

/// Removes what an interrupted run left half-written in a folder.
///
/// # Errors
/// What the system refuses.
pub fn remove_partial(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if path.file_name().is_some_and(|n| n.to_string_lossy().contains(PARTIAL)) {
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
    }
    Ok(())
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PARTIAL);
    name.into()
}

/// A rename is on the disk only once its folder is.
fn sync_folder(path: &Path) -> Result<()> {
    if cfg!(unix)
        && let Some(folder) = path.parent()
    {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io(folder))?;
    }
    Ok(())
}
