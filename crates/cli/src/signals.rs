//! Signals, taken once for the whole run of a command and directed to whatever is under way.
//!
//! A start is cancelled by Ctrl-C, a build is ended with its children, a command in the guest gets the signal
//! itself. In between, and wherever nothing has asked for them, signals do what they always do. A signal that
//! was ignored when the program started (`nohup`) stays ignored.

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::Signals as Caught;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

const TAKEN: [i32; 7] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH];

/// Whether a signal asks the program to end, the way Ctrl-C does.
pub(crate) fn asks_to_end(signal: i32) -> bool {
    matches!(signal, SIGINT | SIGTERM | SIGHUP | SIGQUIT)
}

/// 128 + the signal's number, as a shell reports it.
pub(crate) fn exit_code(signal: i32) -> u8 {
    u8::try_from(signal).map_or(u8::MAX, |signal| 128_u8.saturating_add(signal))
}

type Handler = Box<dyn FnMut(i32) + Send>;

/// The signals of this process.
pub(crate) struct Signals {
    handler: Arc<Mutex<Option<Handler>>>,
}

/// Signals go to a handler while this lives.
pub(crate) struct Directed<'a> {
    signals: &'a Signals,
}

#[derive(Debug, thiserror::Error)]
#[error("signals cannot be handled")]
pub(crate) struct TakeError(#[source] io::Error);

impl Signals {
    /// Takes the signals over from the system's defaults, for good.
    pub(crate) fn take() -> Result<Self, TakeError> {
        let ignored = ignored_at_start();
        let wanted = TAKEN.iter().filter(|&&signal| ignored & (1 << (signal - 1)) == 0);
        let mut caught = Caught::new(wanted).map_err(TakeError)?;
        let handler: Arc<Mutex<Option<Handler>>> = Arc::default();
        let current = Arc::clone(&handler);
        std::thread::spawn(move || {
            for signal in caught.forever() {
                match &mut *current.lock().unwrap_or_else(PoisonError::into_inner) {
                    Some(handler) => handler(signal),
                    // Fails only for signals that have no default.
                    None => drop(signal_hook::low_level::emulate_default_handler(signal)),
                }
            }
        });
        Ok(Self { handler })
    }

    /// Sends signals to `handler`, which must not block, until the answer is dropped.
    pub(crate) fn direct(&self, handler: impl FnMut(i32) + Send + 'static) -> Directed<'_> {
        *self.handler.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(handler));
        Directed { signals: self }
    }
}

impl Drop for Directed<'_> {
    fn drop(&mut self) {
        *self.signals.handler.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signals")
    }
}

/// The mask of `SigIgn` in `/proc/self/status`; a system that does not say ignores nothing.
fn ignored_at_start() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
