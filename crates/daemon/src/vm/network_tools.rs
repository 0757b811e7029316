//! The host's programs without which guests have no network, and what to tell whoever lacks one.

use super::program::find;
use crate::packages::install;
use std::path::{Path, PathBuf};

/// Those that were found.
#[derive(Clone, Debug)]
pub(crate) struct NetworkTools {
    nft: Option<PathBuf>,
    way_out: WayOut,
}

/// How guests with NAT get out of their network.
#[derive(Clone, Debug)]
enum WayOut {
    /// Through this program, when there is one.
    Pasta(Option<PathBuf>),
    /// Their bridge is the host's, which forwards what they send.
    Host,
}

/// One that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MissingTool {
    #[error("nft is not installed, which isolates guests from the host and from each other")]
    Nft,
    #[error("pasta is not installed, which gives guests with `--nat` internet access")]
    Pasta,
}

impl MissingTool {
    pub(crate) fn hint(self) -> String {
        let program = match self {
            Self::Nft => "nft",
            Self::Pasta => "pasta",
        };
        format!("install it: {}; then `banger daemon stop`", install(program))
    }
}

impl NetworkTools {
    pub(crate) fn look() -> Self {
        Self { nft: find("nft"), way_out: WayOut::Pasta(find("pasta")) }
    }

    /// Where the bridge is the host's own.
    pub(crate) fn of_the_host(nft: Option<PathBuf>) -> Self {
        Self { nft, way_out: WayOut::Host }
    }

    /// Whether a program carries what leaves the guests' network.
    pub(crate) fn needs_pasta(&self) -> bool {
        matches!(self.way_out, WayOut::Pasta(_))
    }

    pub(crate) fn nft(&self) -> Result<&Path, MissingTool> {
        self.nft.as_deref().ok_or(MissingTool::Nft)
    }

    pub(crate) fn pasta(&self) -> Result<&Path, MissingTool> {
        match &self.way_out {
            WayOut::Pasta(Some(program)) => Ok(program),
            WayOut::Pasta(None) | WayOut::Host => Err(MissingTool::Pasta),
        }
    }

    /// Whether a guest can have a network, with NAT or without.
    pub(crate) fn check(&self, nat: bool) -> Result<(), MissingTool> {
        self.nft()?;
        if nat && self.needs_pasta() {
            self.pasta()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guest_needs_nft_and_one_with_nat_needs_pasta() {
        let tools = |nft: bool, pasta: bool| NetworkTools {
            nft: nft.then(|| "/n".into()),
            way_out: WayOut::Pasta(pasta.then(|| "/p".into())),
        };
        let table = [
            (tools(true, true), Ok(()), Ok(())),
            (tools(true, false), Ok(()), Err(MissingTool::Pasta)),
            (tools(false, true), Err(MissingTool::Nft), Err(MissingTool::Nft)),
            (tools(false, false), Err(MissingTool::Nft), Err(MissingTool::Nft)),
            (NetworkTools::of_the_host(Some("/n".into())), Ok(()), Ok(())),
        ];
        for (tools, without, with) in table {
            assert_eq!((tools.check(false), tools.check(true)), (without, with), "{tools:?}");
        }
        assert!(MissingTool::Pasta.hint().contains("passt"));
    }
}
