//! Signals, taken once for the whole run of a command and directed to whatever is under way.
//!
//! A start is cancelled by Ctrl-C, a build is ended with its children, a command in the guest gets the signal
//! itself. Wherever nothing has asked for them, signals do what they always do; while something is being begun
//! that only its own handler can end, they are held ([`Signals::hold`]). A signal that was ignored when the program
//! started (`nohup`) stays ignored.
//!
//! ```text
//!              ┌── direct ──► the handler, what was held first
//!  signal ─────┼── held ────► kept; a second one that asks to end does what it always does
//!              └── neither ─► what it always does
//! ```

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::Signals as Caught;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    course: Arc<Mutex<Course>>,
}

/// Where a signal goes now.
#[derive(Default)]
struct Course {
    handler: Option<Handler>,
    /// How many want them held.
    holders: u32,
    held: Vec<i32>,
}

/// Signals that no handler gets are held while this lives.
pub(crate) struct Held<'a> {
    signals: &'a Signals,
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
        let course: Arc<Mutex<Course>> = Arc::default();
        let current = Arc::clone(&course);
        std::thread::spawn(move || {
            for signal in caught.forever() {
                lock(&current).take(signal);
            }
        });
        Ok(Self { course })
    }

    /// Sends signals to `handler`, which must not block, until the answer is dropped; those that were held first.
    pub(crate) fn direct(&self, mut handler: impl FnMut(i32) + Send + 'static) -> Directed<'_> {
        let mut course = lock(&self.course);
        course.held.drain(..).for_each(&mut handler);
        course.handler = Some(Box::new(handler));
        Directed { signals: self }
    }

    /// Keeps signals for the next handler until the answer is dropped; then those that none got do what they always
    /// do. For the moment between asking for something and knowing its name: ended there, this program would leave
    /// behind what it has just begun.
    pub(crate) fn hold(&self) -> Held<'_> {
        lock(&self.course).holders += 1;
        Held { signals: self }
    }
}

impl Course {
    fn take(&mut self, signal: i32) {
        let hold = self.holders > 0 && !self.is_insistence(signal);
        match &mut self.handler {
            Some(handler) => handler(signal),
            None if hold => self.held.push(signal),
            None => by_default(signal),
        }
    }

    /// Whoever asks twice does not want to wait for an answer that may never come.
    fn is_insistence(&self, signal: i32) -> bool {
        asks_to_end(signal) && self.held.iter().any(|&held| asks_to_end(held))
    }
}

fn lock(course: &Mutex<Course>) -> MutexGuard<'_, Course> {
    course.lock().unwrap_or_else(PoisonError::into_inner)
}

fn by_default(signal: i32) {
    // Fails only for signals that have no default.
    let _ = signal_hook::low_level::emulate_default_handler(signal);
}

impl Drop for Directed<'_> {
    fn drop(&mut self) {
        lock(&self.signals.course).handler = None;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut course = lock(&self.signals.course);
        course.holders -= 1;
        if course.holders == 0 {
            course.held.drain(..).for_each(by_default);
        }
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
