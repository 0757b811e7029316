//! Several things that come at once, each so many bytes of so many.

use super::amount::rounded;
use banger_protocol::size::ByteSize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a log hears nothing of a part that is still coming.
const BETWEEN: Duration = Duration::from_secs(10);

/// How much of one of several is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// What each of them is called: `layer`.
    pub kind: &'static str,
    /// From 0.
    pub index: usize,
    pub count: usize,
    /// Bytes.
    pub done: u64,
    pub total: u64,
}

impl Part {
    pub(super) fn name(&self) -> String {
        let Self { kind, index, count, .. } = self;
        if *count == 1 { (*kind).to_owned() } else { format!("{kind} {} of {count}", index + 1) }
    }

    pub(super) fn amount(&self) -> String {
        let shown = |bytes| rounded(ByteSize::bytes(bytes));
        format!("{} of {}", shown(self.done), shown(self.total))
    }

    pub(super) fn is_here(&self) -> bool {
        self.done >= self.total
    }
}

/// What a log is told of them: that one is here, and of one that takes long how far it is.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// When each was last told of; none once it is here.
    told: BTreeMap<usize, Option<Instant>>,
}

impl Log {
    /// What is to be told now, if anything.
    pub(super) fn line(&mut self, part: Part, now: Instant) -> Option<String> {
        let name = part.name();
        let whole = || rounded(ByteSize::bytes(part.total));
        match self.told.get(&part.index).copied() {
            Some(None) => None,
            before if part.is_here() => {
                self.told.insert(part.index, None);
                let how = if before.is_none() { " was here already" } else { "" };
                Some(format!("{name}: {}{how}", whole()))
            }
            None => {
                self.told.insert(part.index, Some(now));
                None
            }
            Some(Some(last)) if now.duration_since(last) >= BETWEEN => {
                self.told.insert(part.index, Some(now));
                Some(format!("{name}: {}", part.amount()))
            }
            Some(Some(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(index: usize, done: u64) -> Part {
        Part { kind: "layer", index, count: 2, done: done << 20, total: 3 << 20 }
    }

    #[test]
    fn a_log_hears_of_what_is_here_and_from_time_to_time_of_what_takes_long() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut log = Log::default();
        let mut line = |part, now| log.line(part, now);
        assert_eq!(line(part(0, 0), begun), None);
        assert_eq!(line(part(1, 3), begun).as_deref(), Some("layer 2 of 2: 3.0 MiB was here already"));
        assert_eq!(line(part(0, 1), after(9)), None);
        assert_eq!(line(part(0, 1), after(11)).as_deref(), Some("layer 1 of 2: 1.0 MiB of 3.0 MiB"));
        assert_eq!(line(part(0, 2), after(12)), None);
        assert_eq!(line(part(0, 3), after(13)).as_deref(), Some("layer 1 of 2: 3.0 MiB"));
        assert_eq!(line(part(0, 3), after(99)), None);
    }

    #[test]
    fn one_alone_has_no_number() {
        let alone = Part { kind: "bundle", index: 0, count: 1, done: 512, total: 2048 };
        assert_eq!((alone.name().as_str(), alone.amount().as_str()), ("bundle", "512 B of 2.0 KiB"));
    }
}
