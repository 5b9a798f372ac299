//! Weight files in memory, and which of them an address lies in.
//!
//! A mapped file that another process cuts off ends the reader with SIGBUS, far from any [`Result`](crate::Result). The maps that are open stand in a list that
//! a signal handler may walk, so that a program that installs one can name the file; this library installs none.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

use crate::error::{Error, Result};

/// A file mapped for reading.
#[derive(Debug)]
pub(crate) struct Mapped {
    path: PathBuf,
    place: &'static Place,
    map: Mmap,
    file: File,
}

/// An entry of the list. Entries are never freed, only used again, so that a handler may walk it at any moment.
#[derive(Debug)]
struct Place {
    start: AtomicUsize,
    /// 0 where the entry is free.
    length: AtomicUsize,
    path: AtomicPtr<std::ffi::c_char>,
    next: AtomicPtr<Place>,
}

static FIRST: AtomicPtr<Place> = AtomicPtr::new(ptr::null_mut());

/// Where one page is touched, the system may map as many bytes, from a multiple of them on (Linux: the largest folio of its page cache).
const FOLIO: usize = 2 << 20;

/// Between `0` and a file's length: an entry that is being filled.
const TAKEN: usize = usize::MAX;

impl Mapped {
    /// Maps a file.
    ///
    /// # Errors
    /// What the system refuses; a file without content.
    pub fn open(path: PathBuf) -> Result<Self> {
        let file = File::open(&path).map_err(Error::io(&path))?;
        if file.metadata().map_err(Error::io(&path))?.len() == 0 {
            return Err(Error::file(path, "is empty"));
        }
        // SAFETY: the map is read-only; a file that another process changes meanwhile is outside what this program can promise, as documented.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io(&path))?;
        let place = Place::take();
        let name = CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default();
        place.path.store(name.into_raw(), Ordering::Relaxed);
        place.start.store(map.as_ptr() as usize, Ordering::Relaxed);
        place.length.store(map.len(), Ordering::Release);
        Ok(Mapped { path, place, map, file })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads bytes from `start` on without mapping them.
    ///
    /// # Errors
    /// What the system refuses; a file that has become shorter.
    pub fn read(&self, start: usize, out: &mut [u8]) -> Result<()> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_exact_at(&self.file, out, start as u64).map_err(Error::io(&self.path));
        #[cfg(not(unix))]
        {
            out.copy_from_slice(&self.map[start..start + out.len()]);
            Ok(())
        }
    }

    /// Takes the pages of these bytes out of the process, and all that the system may have mapped around them. They stay in its cache for as long as it likes,
    /// and are there again when they are read.
    pub fn release(&self, bytes: Range<usize>) {
        let (from, to) = (bytes.start / FOLIO * FOLIO, bytes.end.next_multiple_of(FOLIO).min(self.map.len()));
        // SAFETY: the map is read-only and a file's, so that a page which is dropped is read from the file again, with the same content.
        // That the system refuses makes no difference but in what is counted.
        #[cfg(unix)]
        let _ = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, from, to - from) };
        #[cfg(not(unix))]
        let _ = (from, to);
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.place.length.store(TAKEN, Ordering::Release);
        let path = self.place.path.swap(ptr::null_mut(), Ordering::Relaxed);
        if !path.is_null() {
            // SAFETY: it came from `CString::into_raw`. A handler reads the path of the map that it is about, which is borrowed while it is read from.
            drop(unsafe { CString::from_raw(path) });
        }
        self.place.length.store(0, Ordering::Release);
    }
}

impl Place {
    /// A free entry, now taken.
    fn take() -> &'static Place {
        let free = |p: &&Place| p.length.compare_exchange(0, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok();
        places().find(free).unwrap_or_else(|| {
            let fresh = Box::leak(Box::new(Place {
                start: AtomicUsize::new(0),
                length: AtomicUsize::new(TAKEN),
                path: AtomicPtr::new(ptr::null_mut()),
                next: AtomicPtr::new(FIRST.load(Ordering::Acquire)),
            }));
            let raw: *mut Place = fresh;
            // SAFETY: leaked, so it lives for ever, and from here on it is only shared.
            let fresh: &'static Place = unsafe { &*raw };
            while let Err(other) = FIRST.compare_exchange(fresh.next.load(Ordering::Relaxed), raw, Ordering::Release, Ordering::Acquire) {
                fresh.next.store(other, Ordering::Relaxed);
            }
            fresh
        })
    }
}

fn places() -> impl Iterator<Item = &'static Place> {
    // SAFETY: every pointer in the list is null or a leaked entry.
    let at = |p: &AtomicPtr<Place>| unsafe { p.load(Ordering::Acquire).as_ref() };
    std::iter::successors(at(&FIRST), move |p| at(&p.next))
}

/// The path and the mapped bytes of the weight file in which `address` lies, for a handler of SIGBUS in the thread that read there. Neither allocates nor locks.
pub fn lost(address: usize) -> Option<(&'static CStr, usize)> {
    for place in places() {
        let length = place.length.load(Ordering::Acquire);
        if length != TAKEN && address.wrapping_sub(place.start.load(Ordering::Relaxed)) < length {
            let path = place.path.load(Ordering::Relaxed);
            // SAFETY: the thread that faulted borrows the map, so the entry stays filled while its handler runs.
            return (!path.is_null()).then(|| (unsafe { CStr::from_ptr(path) }, length));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_files() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str, bytes: usize| {
            let path = dir.path().join(name);
            std::fs::write(&path, vec![7; bytes]).unwrap();
            Mapped::open(path).unwrap()
        };
        let (a, b) = (open("a", 10_000), open("b", 1));
        let says = |m: &Mapped, i: usize| lost(m.as_ptr() as usize + i).map(|(path, n)| (path.to_str().unwrap().to_string(), n));
        let told = |m: &Mapped| Some((m.path().to_str().unwrap().to_string(), m.len()));
        assert_eq!((says(&a, 0), says(&a, 9_999), says(&b, 0)), (told(&a), told(&a), told(&b)));
        assert_ne!(says(&a, 10_000), told(&a));
        let stack = 0;
        assert_eq!(lost(&raw const stack as usize), None);
        let (at, length) = (a.as_ptr() as usize, a.len());
        drop(a);
        assert_ne!(lost(at).map(|l| l.1), Some(length));
        // Its entry is used again.
        let c = open("c", 3);
        assert_eq!(says(&c, 2), told(&c));
    }
}
