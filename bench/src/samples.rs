//! Repeated measurements and what is told of them.

use crate::figure::Value;
use anyhow::Result;
use std::time::{Duration, Instant};

/// Milliseconds, sorted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// # Panics
    /// When nothing was measured.
    pub(crate) fn new(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut sorted: Vec<f64> = times.into_iter().map(milliseconds).collect();
        assert!(!sorted.is_empty(), "nothing was measured");
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }

    pub(crate) fn median(&self) -> Value {
        self.percentile(50)
    }

    /// The smallest of the measurements that at least so many of a hundred do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Value {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        Value::Milliseconds(self.0[rank - 1])
    }
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// How long something takes.
pub(crate) fn time<T>(what: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let begun = Instant::now();
    what()?;
    Ok(begun.elapsed())
}

/// Measures several things in turns, so that a machine that gets busy in between is busy for all of them. The first
/// turn only warms up.
pub(crate) fn in_turns<const N: usize>(
    turns: usize,
    mut things: [&mut dyn FnMut() -> Result<Duration>; N],
) -> Result<[Samples; N]> {
    let mut times = [const { Vec::new() }; N];
    for turn in 0..=turns {
        for (thing, times) in things.iter_mut().zip(&mut times) {
            let took = thing()?;
            if turn > 0 {
                times.push(took);
            }
        }
    }
    Ok(times.map(Samples::new))
}

/// The sum of some fields of a `/proc/<pid>/stat` (proc_pid_stat(5)) that count processor time, counted from the one
/// behind the name.
pub(crate) fn ticks(stat: &str, fields: std::ops::Range<usize>) -> Option<Duration> {
    let fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(fields.start).take(fields.len());
    let ticks: Option<u64> = fields.map(|field| field.parse::<u64>().ok()).sum();
    // USER_HZ is 100 on Linux.
    Some(Duration::from_millis(ticks? * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(milliseconds: impl IntoIterator<Item = u64>) -> Samples {
        Samples::new(milliseconds.into_iter().map(Duration::from_millis))
    }

    #[test]
    fn percentiles_are_measurements_and_not_made_up() {
        let hundred = samples((1..=100).rev());
        assert_eq!(hundred.median(), Value::Milliseconds(50.0));
        assert_eq!(hundred.percentile(99), Value::Milliseconds(99.0));
        assert_eq!(samples([3, 1, 2]).median(), Value::Milliseconds(2.0));
        assert_eq!(samples([7]).percentile(99), Value::Milliseconds(7.0));
    }

    #[test]
    fn things_take_turns_and_the_first_turn_does_not_count() {
        let order = std::cell::RefCell::new(Vec::new());
        let mut thing = |name: char, cost: u64| {
            order.borrow_mut().push(name);
            Ok(Duration::from_millis(if order.borrow().len() <= 2 { 1000 } else { cost }))
        };
        let thing = std::cell::RefCell::new(&mut thing);
        let [one, other] =
            in_turns(2, [&mut || (thing.borrow_mut())('a', 1), &mut || (thing.borrow_mut())('b', 2)])
                .expect("nothing fails");
        assert_eq!(order.borrow().iter().collect::<String>(), "ababab");
        assert_eq!((one, other), (samples([1, 1]), samples([2, 2])));
    }

    #[test]
    fn the_account_of_a_process_is_read_behind_its_name() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15";
        assert_eq!(ticks(stat, 11..13), Some(Duration::from_millis(230)));
        assert_eq!(ticks(stat, 13..15), Some(Duration::from_millis(270)));
    }
}
