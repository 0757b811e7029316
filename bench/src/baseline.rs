//! Ratios that were measured once and written down, and how far a later run may be from them.
//!
//! ```toml
//! [create.p50]        # a line's id
//! ratio = 6.0         # to what it is measured against
//! band = 2.0          # red above ratio × band
//! ```
//!
//! Only the upper end is checked: being faster than before is no fault, and asks for a new number at leisure.

use crate::figure::Line;
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// One line's ratio and how much worse it may be.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Band {
    ratio: f64,
    band: f64,
}

pub(crate) type Bands = BTreeMap<String, Band>;

pub(crate) fn read(path: &Path) -> Result<Bands> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("understanding {}", path.display()))
}

/// Which of these lines left their bands.
pub(crate) fn left_by(bands: &Bands, lines: &[Line]) -> Vec<String> {
    let banded = |line: &&Line| bands.contains_key(line.id);
    lines.iter().filter(banded).filter_map(|line| complain(line.id, bands[line.id], lines)).collect()
}

/// What left its band, or was to be measured and was not.
pub(crate) fn check(bands: &Bands, lines: &[Line]) -> Vec<String> {
    bands.iter().filter_map(|(id, band)| complain(id, *band, lines)).collect()
}

fn complain(id: &str, band: Band, lines: &[Line]) -> Option<String> {
    let most = band.ratio * band.band;
    let ratio = lines.iter().find(|line| line.id == id).and_then(|line| line.figure()?.ratio());
    match ratio {
        Some(ratio) if ratio <= most => None,
        Some(ratio) => Some(format!(
            "{id}: {ratio:.3} times what it is measured against, where {most:.3} is the most ({:.3} × {})",
            band.ratio, band.band
        )),
        None => Some(format!("{id}: was not measured")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Target;
    use crate::figure::Value::Milliseconds;

    fn bands() -> Bands {
        toml::from_str("\"create.p50\" = { ratio = 5.0, band = 2.0 }").expect("it is TOML")
    }

    fn create(value: f64) -> Line {
        Line::new("create.p50", "create", Milliseconds(value), Target::AtMost(Milliseconds(15.0)))
            .against("true", Milliseconds(1.0))
    }

    #[test]
    fn a_ratio_is_red_above_its_band_and_never_below() {
        assert_eq!(check(&bands(), &[create(10.0)]), [""; 0]);
        assert_eq!(check(&bands(), &[create(0.1)]), [""; 0]);
        let [complaint] = &check(&bands(), &[create(10.1)])[..] else { panic!("it was not noticed") };
        assert!(complaint.starts_with("create.p50: 10.1"), "{complaint}");
    }

    #[test]
    fn a_line_that_was_not_measured_is_red() {
        assert_eq!(check(&bands(), &[]), ["create.p50: was not measured"]);
        let not_here = Line::not_here("create.p50", "create", "no fakes");
        assert_eq!(check(&bands(), &[not_here]).len(), 1);
    }
}
