use crate::figure::Line;
use anyhow::Result;

pub(super) fn measure() -> Result<Vec<Line>> {
    Ok(Vec::new())
}
