//! A file that appears whole or not at all.

use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file in the making, under a name of its own beside its place. Dropped before [`PendingFile::commit`], it is removed.
pub(super) struct PendingFile {
    /// `None` once committed.
    temporary: Option<PathBuf>,
    path: PathBuf,
    file: BufWriter<File>,
}

impl PendingFile {
    /// Creates it beside `path`.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let name = path.file_name().ok_or_else(|| Error::file(path, "is no name for a file"))?;
        if path.is_dir() {
            return Err(Error::file(path, "is a folder; name a file"));
        }
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        let temporary = path.with_file_name(hidden);
        let file = File::create(&temporary).map_err(Error::io(path))?;
        Ok(PendingFile { temporary: Some(temporary), path: path.to_path_buf(), file: BufWriter::with_capacity(1 << 20, file) })
    }

    /// Where it will be.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it durable and gives it its name, replacing what had it.
    pub(super) fn commit(mut self) -> Result<()> {
        self.file.flush().and_then(|()| self.file.get_ref().sync_all()).map_err(Error::io(&self.path))?;
        if let Some(temporary) = self.temporary.take() {
            fs::rename(&temporary, &self.path).map_err(|e| {
                let _ = fs::remove_file(&temporary);
                Error::io(&self.path)(e)
            })?;
        }
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
            let _ = fs::remove_file(temporary);
        }
    }
}
