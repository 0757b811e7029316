//! The host's programs without which guests have no network, and what to tell whoever lacks one.

use super::program::find;
use crate::packages::install;
use std::path::{Path, PathBuf};

/// Those that were found.
#[derive(Clone, Debug)]
pub(crate) struct NetworkTools {
    nft: Option<PathBuf>,
    pasta: Option<PathBuf>,
}

/// One that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MissingTool {
    #[error("there is no nft on this host, which keeps guests from the host and from each other")]
    Nft,
    #[error("there is no pasta on this host, through which guests with NAT reach the world")]
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
        Self { nft: find("nft"), pasta: find("pasta") }
    }

    pub(crate) fn nft(&self) -> Result<&Path, MissingTool> {
        self.nft.as_deref().ok_or(MissingTool::Nft)
    }

    pub(crate) fn pasta(&self) -> Result<&Path, MissingTool> {
        self.pasta.as_deref().ok_or(MissingTool::Pasta)
    }

    /// Whether a guest can have a network, with NAT or without.
    pub(crate) fn check(&self, nat: bool) -> Result<(), MissingTool> {
        self.nft()?;
        if nat {
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
            pasta: pasta.then(|| "/p".into()),
        };
        let table = [
            (tools(true, true), Ok(()), Ok(())),
            (tools(true, false), Ok(()), Err(MissingTool::Pasta)),
            (tools(false, true), Err(MissingTool::Nft), Err(MissingTool::Nft)),
            (tools(false, false), Err(MissingTool::Nft), Err(MissingTool::Nft)),
        ];
        for (tools, without, with) in table {
            assert_eq!((tools.check(false), tools.check(true)), (without, with), "{tools:?}");
        }
        assert!(MissingTool::Pasta.hint().contains("passt"));
    }
}
