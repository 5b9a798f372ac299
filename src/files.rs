//! Files that are whole or not there: everyone's.

mod parquet_footer;

pub use parquet_footer::open_parquet;

use crate::error::{Error, Result};
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a file that is still being written has in its name.
const PARTIAL: &str = ".partial";

/// Temporary names of the files in the making.
static PENDING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes all files in the making: for a program that ends before they are whole.
pub fn remove_pending() {
    for path in PENDING.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let _ = fs::remove_file(path);
    }
}

fn no_longer_pending(path: &Path) {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner).retain(|p| p != path);
}

/// A file in the making, under a name of its own beside its place. Dropped before [`PendingFile::commit`], it is removed.
pub struct PendingFile {
    /// `None` once committed.
    temporary: Option<PathBuf>,
    path: PathBuf,
    file: BufWriter<File>,
}

impl PendingFile {
    /// Creates it beside `path`.
    ///
    /// # Errors
    /// A path that can name no file, or names something that is there and is none; what the system refuses.
    pub fn create(path: &Path) -> Result<Self> {
        let name = path.file_name().ok_or_else(|| Error::file(path, "is no name for a file"))?;
        if path.is_dir() {
            return Err(Error::file(path, "is a folder; name a file"));
        }
        // A device or a pipe would be replaced by a file of its name.
        if fs::metadata(path).is_ok_and(|m| !m.is_file()) {
            return Err(Error::file(path, "is no ordinary file, and only such are written; name another"));
        }
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}{PARTIAL}", std::process::id()));
        let temporary = path.with_file_name(hidden);
        let file = File::create(&temporary).map_err(Error::io(path))?;
        PENDING.lock().unwrap_or_else(PoisonError::into_inner).push(temporary.clone());
        Ok(PendingFile { temporary: Some(temporary), path: path.to_path_buf(), file: BufWriter::with_capacity(1 << 20, file) })
    }

    /// Where it will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it durable and gives it its name, replacing what had it.
    ///
    /// # Errors
    /// What the system refuses; then nothing of it is left.
    pub fn commit(mut self) -> Result<()> {
        self.file.flush().and_then(|()| self.file.get_ref().sync_all()).map_err(Error::io(&self.path))?;
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.path).map_err(Error::io(&self.path))?;
            no_longer_pending(temporary);
        }
        self.temporary = None;
        // The name is durable once the folder is; not every file system lets one ask for it, and the content is safe either way.
        if let Some(folder) = self.path.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p })
            && let Ok(folder) = File::open(folder)
        {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            let _ = fs::remove_file(&temporary);
            no_longer_pending(&temporary);
        }
    }
}

/// Space on disk without a name: it is gone when this is dropped, or the process ends however it may.
#[derive(Debug)]
pub struct Scratch {
    file: File,
    /// Its name, where the system does not let an open file have none.
    name: Option<PathBuf>,
    folder: PathBuf,
    length: u64,
}

impl Scratch {
    /// Makes room in `folder`, or the next folder above it that there is.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn create(folder: &Path) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let folder = folder.ancestors().find(|f| f.is_dir()).unwrap_or(Path::new("."));
        let name = folder.join(format!(".scratch-{}-{}{PARTIAL}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let file = File::options().read(true).write(true).create_new(true).open(&name).map_err(Error::io(&name))?;
        let name = fs::remove_file(&name).is_err().then_some(name);
        Ok(Scratch { file, name, folder: folder.to_path_buf(), length: 0 })
    }

    /// Bytes in it.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.length)).and_then(|_| file.write_all(bytes)).map_err(self.refused())?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Fills `bytes` from byte `at` on. For one reader at a time.
    ///
    /// # Errors
    /// What the system refuses; an end before.
    pub fn read(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(bytes)).map_err(self.refused())
    }

    fn refused(&self) -> impl FnOnce(std::io::Error) -> Error {
        Error::io(self.folder.join("(a temporary file)"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            let _ = fs::remove_file(name);
        }
    }
}

/// Writes a file that appears whole; an interruption leaves the old one or the new one.
///
/// # Errors
/// What the system refuses, and what `fill` returns.
pub fn write_whole(path: &Path, fill: impl FnOnce(&mut PendingFile) -> Result<()>) -> Result<()> {
    let mut file = PendingFile::create(path)?;
    fill(&mut file)?;
    file.commit()
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

/// Makes this process the one that writes into an output folder, as long as the file is held.
///
/// # Errors
/// Another process is at work in it; what the system refuses.
pub fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::file(folder, "another process is measuring into this folder; wait for it or choose another --out")),
        // Some network file systems know no locks; the measurement itself needs none.
        Err(TryLockError::Error(_)) => Ok(file),
    }
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
