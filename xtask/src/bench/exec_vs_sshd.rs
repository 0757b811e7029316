//! How much sooner a guest answers over vsock than over ssh, in one and the same boot.
//!
//! Both clocks start with the request to start the VM. The first stops when a command run in the guest has
//! returned; the second when the guest's ssh server has sent its banner, watched from inside so that neither the
//! network nor a client's start-up is counted against it.

use super::Figure;
use crate::demo::banger;
use crate::place::Place;
use anyhow::Result;
use std::path::Path;
use std::time::Instant;

const UNTIL_SSHD_ANSWERS: &str = "until { read -r -t 5 banner </dev/tcp/127.0.0.1/22; } 2>/dev/null \
                                  && [ \"${banner#SSH-}\" != \"$banner\" ]; do sleep 0.02; done";

pub(super) fn measure(place: &Place, programs: &Path) -> Result<Figure> {
    let name = format!("bench-{}", std::process::id());
    let banger = |arguments: &[&str]| banger(place, programs, arguments);
    // Image and kernel are built here, if they have to be, and not on the clock.
    banger(&["vm", "create", "--no-start", "--name", &name]).output()?;
    let outcome = (|| {
        let begun = Instant::now();
        banger(&["vm", "start", "--early", &name]).output()?;
        banger(&["vm", "exec", &name, "--", "true"]).run()?;
        let took = begun.elapsed();
        banger(&["vm", "exec", &name, "--", "bash", "-c", UNTIL_SSHD_ANSWERS]).run()?;
        let against_took = begun.elapsed();
        Ok(Figure { what: "first exec", took, against: "sshd in the same boot", against_took, at_most: 0.25 })
    })();
    banger(&["vm", "delete", &name]).output()?;
    outcome
}
