//! A folder of the host, looked at before any guest is asked for anything.

use super::host::{self, Snapshot};
use super::{Options, PrepareError, wants_tools};
use crate::git::inspect::{Found, Repository, inspect};
use std::path::{Path, PathBuf};

/// A folder of the host that was looked at.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(super) root: PathBuf,
    /// Where in it the user pointed.
    pub(super) below: PathBuf,
    pub(super) repository: Option<(Repository, Snapshot)>,
}

impl Source {
    /// Looks at a folder, and refuses what cannot be brought anywhere.
    pub(crate) fn look(path: &Path, options: &Options) -> Result<Self, PrepareError> {
        match inspect(path).map_err(PrepareError::Inspect)? {
            Found::Folder(root) if options.branch.is_some() => Err(PrepareError::NoRepository(root)),
            Found::Folder(root) => Ok(Self { root, below: PathBuf::new(), repository: None }),
            Found::Repository(repository) => {
                if let Some(branch) = &options.branch {
                    let legal = repository.git.run(&["check-ref-format", "--branch", branch]);
                    legal.map_err(|_| PrepareError::BranchName(branch.clone()))?;
                }
                let snapshot = Snapshot::take(&repository, options)?;
                let (root, below) = (repository.root.clone(), repository.below.clone());
                Ok(Self { root, below, repository: Some((*repository, snapshot)) })
            }
        }
    }

    /// What a first prepare would lay, a line for each file.
    pub(crate) fn list(&self) -> Result<String, PrepareError> {
        let files: Vec<Vec<u8>> = match &self.repository {
            Some((_, snapshot)) => {
                let mut files = snapshot.every_path();
                files.sort();
                files
            }
            None => host::every_file(&self.root, true)?,
        };
        Ok(files.iter().map(|path| format!("A {}\n", shown(path))).collect())
    }

    /// The file in it that names the tools it is worked on with.
    pub(crate) fn names_tools(&self) -> Option<&'static str> {
        wants_tools(&self.root)
    }

    pub(super) fn place(&self) -> String {
        let name = self.root.file_name().and_then(|name| name.to_str());
        format!("/root/{}", name.unwrap_or("workspace"))
    }

    pub(super) fn host_path(&self) -> String {
        self.root.display().to_string()
    }
}

/// A path on one line: what a terminal would obey, and what is no UTF-8, is escaped.
pub(crate) fn shown(path: &[u8]) -> String {
    path.utf8_chunks()
        .flat_map(|chunk| {
            let text = chunk
                .valid()
                .chars()
                .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.into() });
            text.chain(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"))).collect::<Vec<_>>()
        })
        .collect()
}
