//! Signed bundles of images and kernels that banger has here: starts `banger-bundle`, which makes them.

use crate::place::Place;
use crate::tool::cargo;
use anyhow::Result;

/// Makes what the arguments ask for; see the crate `bundle`.
pub(crate) fn run(place: &Place, arguments: &[&str]) -> Result<()> {
    let program = ["run", "--quiet", "--release", "--package", "banger-bundle", "--"];
    cargo(place)?.args(program).args(arguments).run()
}
