//! Where things are: the checkout, cargo's target folder, and the tools installed into it.

use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// The folders every command works in.
#[derive(Debug)]
pub(crate) struct Place {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, wherever the developer keeps it.
    pub(crate) target: PathBuf,
}

impl Place {
    /// Finds both without asking cargo: this program lies in `<target>/<profile>/`.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?;
        let program = std::env::current_exe().context("finding this program's own file")?;
        let target = program
            .ancestors()
            .nth(2)
            .with_context(|| format!("{} lies in no target folder", program.display()))?;
        Ok(Self { root: root.to_owned(), target: target.to_owned() })
    }

    /// Where `cargo install` puts the tools that no distribution carries.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    pub(crate) fn tools_bin(&self) -> PathBuf {
        self.tools().join("bin")
    }
}
