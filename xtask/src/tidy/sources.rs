//! The texts that the rules look at: every file a person wrote.

use anyhow::{Context as _, Result};
use std::path::Path;

/// One file of the checkout.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Relative to the checkout, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    pub(super) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    pub(super) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it is a program of its own that only tests use.
    pub(super) fn is_integration_test(&self) -> bool {
        self.path.split('/').any(|folder| folder == "tests")
    }
}

/// Folders that hold what programs made.
const MADE: &[&str] = &["target", ".git"];

/// Reads every text file below `root`. What is no UTF-8 is no text.
pub(super) fn read(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().with_context(|| format!("listing {}", folder.display()))? {
            let entry = entry.with_context(|| format!("listing {}", folder.display()))?;
            let (path, kind) = (entry.path(), entry.file_type());
            let kind = kind.with_context(|| format!("looking at {}", path.display()))?;
            if MADE.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy();
                if let Ok(text) = String::from_utf8(bytes) {
                    sources.push(Source::new(relative, text));
                }
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}
