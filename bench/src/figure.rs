//! One line of the report: what was promised, what was measured, and what it was measured against. Pure.
//!
//! Milliseconds of two machines cannot be compared, so a figure stands beside something else that was timed in the
//! same run, taking turns with it. Where the promise is a number of milliseconds all the same, the other is there for
//! the [`ratio`](Figure::ratio), which is what a later run on another machine can be held against.

use serde::Serialize;

/// A number with what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "unit", content = "number", rename_all = "snake_case")]
pub(crate) enum Value {
    Milliseconds(f64),
    Mebibytes(f64),
    Count(f64),
}

impl Value {
    pub(crate) fn number(self) -> f64 {
        match self {
            Self::Milliseconds(number) | Self::Mebibytes(number) | Self::Count(number) => number,
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = self.number();
        let digits = if number >= 100.0 {
            0
        } else if number >= 10.0 {
            1
        } else {
            2
        };
        match self {
            Self::Milliseconds(ms) => write!(f, "{ms:.digits$} ms"),
            Self::Mebibytes(mib) => write!(f, "{mib:.1} MiB"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// At most this.
    AtMost(Value),
    /// At most this much more than what it is measured against.
    AtMostMore(Value),
    /// At most this share of what it is measured against.
    AtMostTimes(f64),
    /// The other takes at least this many times as long.
    TimesFaster(f64),
    /// Nothing: it is told to explain another line.
    Told,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(value) => match value {
                Value::Milliseconds(ms) => write!(f, "≤ {ms} ms"),
                Value::Mebibytes(mib) => write!(f, "≤ {mib} MiB"),
                Value::Count(count) => write!(f, "≤ {count}"),
            },
            Self::AtMostMore(value) => write!(f, "≤ {} ms more", value.number()),
            Self::AtMostTimes(times) => write!(f, "≤ {times} ×"),
            Self::TimesFaster(times) => write!(f, "≥ {times} × faster"),
            Self::Told => write!(f, "–"),
        }
    }
}

/// What something is measured against.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Against {
    pub what: &'static str,
    pub value: Value,
}

/// A promise and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub value: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Against>,
    pub target: Target,
}

impl Figure {
    pub(crate) fn ratio(&self) -> Option<f64> {
        Some(self.value.number() / self.against.as_ref()?.value.number())
    }

    /// A ratio that is no number, because the other took no time, is a miss; so is one without another.
    pub(crate) fn is_met(&self) -> bool {
        let ratio = self.ratio().unwrap_or(f64::NAN);
        match self.target {
            Target::AtMost(most) => self.value.number() <= most.number(),
            Target::AtMostMore(more) => {
                let other = self.against.as_ref().map_or(f64::NAN, |against| against.value.number());
                self.value.number() - other <= more.number()
            }
            Target::AtMostTimes(times) => ratio <= times,
            Target::TimesFaster(times) => ratio.is_finite() && ratio > 0.0 && 1.0 / ratio >= times,
            Target::Told => true,
        }
    }
}

/// A line of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Line {
    /// Stable, for programs: `create.p50`.
    pub id: &'static str,
    pub what: &'static str,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Figure(Figure),
    /// It cannot be measured here, and why.
    NotHere(String),
    /// Measuring it failed, and how.
    Broken(String),
}

impl Line {
    pub(crate) fn new(id: &'static str, what: &'static str, value: Value, target: Target) -> Self {
        Self { id, what, outcome: Outcome::Figure(Figure { value, against: None, target }) }
    }

    pub(crate) fn against(mut self, what: &'static str, value: Value) -> Self {
        if let Outcome::Figure(figure) = &mut self.outcome {
            figure.against = Some(Against { what, value });
        }
        self
    }

    pub(crate) fn not_here(id: &'static str, what: &'static str, why: impl Into<String>) -> Self {
        Self { id, what, outcome: Outcome::NotHere(why.into()) }
    }

    pub(crate) fn figure(&self) -> Option<&Figure> {
        match &self.outcome {
            Outcome::Figure(figure) => Some(figure),
            Outcome::NotHere(_) | Outcome::Broken(_) => None,
        }
    }

    /// Whether the promise is kept, or cannot be tried here.
    pub(crate) fn is_well(&self) -> bool {
        match &self.outcome {
            Outcome::Figure(figure) => figure.is_met(),
            Outcome::NotHere(_) => true,
            Outcome::Broken(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Value::{Count, Mebibytes, Milliseconds};
    use super::*;

    fn line(value: f64, other: f64, target: Target) -> Figure {
        let line = Line::new("x", "x", Milliseconds(value), target).against("y", Milliseconds(other));
        line.figure().expect("it was measured").clone()
    }

    #[test]
    fn a_target_is_met_up_to_its_number_and_missed_beyond() {
        for (target, just, beyond) in [
            (Target::AtMost(Milliseconds(15.0)), 15.0, 15.1),
            (Target::AtMostMore(Milliseconds(3.0)), 103.0, 103.1),
            (Target::AtMostTimes(0.25), 25.0, 25.1),
            (Target::TimesFaster(5.0), 20.0, 20.1),
        ] {
            assert!(line(just, 100.0, target).is_met(), "{target} by {just}");
            assert!(!line(beyond, 100.0, target).is_met(), "{target} by {beyond}");
        }
    }

    #[test]
    fn measuring_against_nothing_is_a_miss() {
        for target in [Target::AtMostTimes(1.0), Target::TimesFaster(1.0)] {
            assert!(!line(0.0, 0.0, target).is_met(), "{target}");
        }
        for target in [Target::AtMostTimes(1.0), Target::TimesFaster(1.0), Target::AtMostMore(Count(1.0))] {
            assert!(!Line::new("x", "x", Milliseconds(1.0), target).figure().expect("a figure").is_met());
        }
    }

    #[test]
    fn numbers_are_as_precise_as_they_can_be_read() {
        assert_eq!(Milliseconds(0.123).to_string(), "0.12 ms");
        assert_eq!(Milliseconds(12.34).to_string(), "12.3 ms");
        assert_eq!(Milliseconds(1234.5).to_string(), "1234 ms");
        assert_eq!(Mebibytes(7.96).to_string(), "8.0 MiB");
    }
}
