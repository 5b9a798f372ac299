//! Signals, as the program takes them: Ctrl-C and SIGTERM in every phase, a weight file that becomes shorter while it is mapped, a file that meets its
//! limit. The library sets no handler; [`install`] does.
//!
//! Ctrl-C and SIGTERM raise a flag. Where the work looks at the flag itself ([`Heeding`]) it ends as soon as it can, with what is finished recorded; where it does
//! not, or takes its time about it, the process ends a second later: nothing is ever half-written under its own name, so nothing is lost but time. A second
//! signal ends the process at once.

use crate::error::Error;
use crate::files;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

/// How long work that does not look at the flag goes on.
const GRACE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);

/// How many [`Heeding`] there are.
static HEEDING: AtomicUsize = AtomicUsize::new(0);
/// Set by whoever ends the process and tells why.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Set by Ctrl-C and SIGTERM.
pub fn stop_flag() -> Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(Default::default).clone()
}

/// As long as it lives, the work looks at [`stop_flag`] at least once a wave and is left to end by itself.
pub struct Heeding(());

impl Heeding {
    /// Begins.
    #[expect(clippy::new_without_default, reason = "that it exists is an effect")]
    pub fn new() -> Self {
        HEEDING.fetch_add(1, Ordering::SeqCst);
        Heeding(())
    }
}

impl Drop for Heeding {
    fn drop(&mut self) {
        HEEDING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Takes the signals over. Where a handler cannot be set, the signal keeps its own meaning: the process ends, and what was journalled stays.
pub fn install() {
    if let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) {
        let flag = stop_flag();
        let watch = move || {
            for _ in signals.forever() {
                if flag.swap(true, Ordering::SeqCst) {
                    leave();
                }
                thread::spawn(|| {
                    let mut left = GRACE;
                    while !left.is_zero() {
                        thread::sleep(LOOK);
                        left = if HEEDING.load(Ordering::SeqCst) > 0 { GRACE } else { left.saturating_sub(LOOK) };
                    }
                    leave();
                });
            }
        };
        // Without the thread the signals would be swallowed, so there is no going on.
        if thread::Builder::new().name("signals".into()).spawn(watch).is_err() {
            super::note(format_args!("error: no thread can be started"));
            std::process::exit(2);
        }
    }
    #[cfg(unix)]
    faults::install();
}

/// Called once by the main thread when all is done: from here on no signal tells anything.
pub fn end() {
    if ENDING.swap(true, Ordering::SeqCst) {
        loop {
            thread::park();
        }
    }
}

fn leave() {
    if !ENDING.swap(true, Ordering::SeqCst) {
        files::remove_pending();
        super::note(format_args!("error: {}", Error::Interrupted));
        std::process::exit(Error::Interrupted.exit_code().into());
    }
}

/// What the system says by signals about files.
#[cfg(unix)]
mod faults {
    use crate::model;
    use std::ffi::{CStr, c_int, c_void};
    use std::mem::MaybeUninit;
    use std::ptr;
    use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

    /// What SIGBUS meant before: everything that is not about a weight file is left to it.
    static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());
    static TOLD: AtomicBool = AtomicBool::new(false);

    pub fn install() {
        // SAFETY: both calls get initialised structures; the handler does only what POSIX allows in one.
        unsafe {
            // A write past RLIMIT_FSIZE is then an error like that of a full disk.
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = on_bus as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
            action.sa_flags = libc::SA_SIGINFO;
            let before = Box::into_raw(Box::new(MaybeUninit::<libc::sigaction>::zeroed().assume_init()));
            BEFORE.store(before, Ordering::SeqCst);
            libc::sigaction(libc::SIGBUS, &action, before);
        }
    }

    /// Async-signal-safe: walks a list of atomics, and calls stat, write, _exit, pause, sigaction and raise.
    extern "C" fn on_bus(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
        // SAFETY: the system passes a valid `info`; `BEFORE` was set before this handler was.
        unsafe {
            let by_memory = (*info).si_code > 0;
            match if by_memory { model::lost((*info).si_addr() as usize) } else { None } {
                Some((path, mapped)) => tell(path, mapped),
                None => {
                    libc::sigaction(signal, BEFORE.load(Ordering::SeqCst), ptr::null_mut());
                    if !by_memory {
                        libc::raise(signal);
                    }
                }
            }
        }
    }

    /// One line and exit status 2.
    fn tell(path: &CStr, mapped: usize) -> ! {
        if TOLD.swap(true, Ordering::SeqCst) {
            loop {
                // SAFETY: no arguments. The other thread is about to end the process.
                unsafe { libc::pause() };
            }
        }
        let mut line = Line { bytes: [0; 2048], used: 0 };
        line.put(b"error: ");
        line.put(path.to_bytes());
        // SAFETY: a valid path and a structure of the right size.
        let now = unsafe {
            let mut meta: libc::stat = MaybeUninit::zeroed().assume_init();
            if libc::stat(path.as_ptr(), &mut meta) == 0 { usize::try_from(meta.st_size).ok() } else { None }
        };
        match now {
            Some(now) if now < mapped => {
                line.put(b": became shorter while it was in use (");
                line.number(now);
                line.put(b" of ");
                line.number(mapped);
                line.put(b" bytes are left)");
            }
            _ => line.put(b": cannot be read any more"),
        }
        line.put(b"; restore it and start the same command again to go on");
        line.bytes[line.used] = b'\n';
        // SAFETY: the buffer is that long.
        unsafe {
            libc::write(2, line.bytes.as_ptr().cast(), line.used + 1);
            libc::_exit(2)
        }
    }

    struct Line {
        bytes: [u8; 2048],
        used: usize,
    }

    impl Line {
        /// Control characters, C1's among them, become question marks; what does not fit is left out.
        fn put(&mut self, bytes: &[u8]) {
            let mut before = 0;
            for &b in bytes {
                if self.used + 1 == self.bytes.len() {
                    return;
                }
                let acts = b < 0x20 || b == 0x7f || (before == 0xc2 && (0x80..0xa0).contains(&b));
                self.bytes[self.used] = if acts { b'?' } else { b };
                self.used += 1;
                before = b;
            }
        }

        fn number(&mut self, mut n: usize) {
            let mut digits = [0; 20];
            let mut first = digits.len();
            loop {
                first -= 1;
                digits[first] = b'0' + (n % 10) as u8;
                n /= 10;
                if n == 0 {
                    break;
                }
            }
            self.put(&digits[first..]);
        }
    }
}
