//! What a run in the host needs and the host does not have, gathered in one folder: banger's programs, the tools that
//! Debian lacks, and what guests boot: image, kernel, layers. The host has no network and needs none.
//!
//! It cannot run programs linked against a C library newer than its own.

use super::login::User;
use super::{GIVEN_AT, Host, folder_to_give};
use crate::place::Place;
use crate::tool::{Tool, search};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// The programs that guests need.
const PROGRAMS: &[&str] = &["banger", "bangerd", "bangerd-root", "banger-vsock-agent"];
/// QEMU's vsock backend, which Debian does not have.
pub(crate) const BACKEND: &str = "vhost-device-vsock";
/// Says where image and kernel are, see `e2e/src/bin`.
const TEMPLATE: &str = "guest-template";
/// Says where the layouts are, see `e2e/src/bin`, and where tests look for them below their cache.
const MAKE_LAYOUTS: &str = "guest-layouts";
const LAYOUTS: &str = "layouts";
/// The package's name in the parcel, where there is one.
pub(crate) const PACKAGE: &str = "banger.deb";
/// What the developer may demand for the guests instead of what banger chooses by itself.
const VMM: &str = "BANGER_E2E_VMM";
/// How many of the helper's calls the developer wants to see come to grief.
const CALLS: &str = "BANGER_E2E_CALLS";

/// What ssh ends with when it was not the command that failed but the connection.
pub(crate) const LOST: i32 = 255;

/// A folder to be given to a host; gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Parcel {
    folder: PathBuf,
}

impl Parcel {
    pub(crate) fn pack(place: &Place, programs: &Path) -> Result<Self> {
        let parcel = Self { folder: folder_to_give()? };
        for program in PROGRAMS {
            parcel.add_program(&programs.join(program))?;
        }
        parcel.add_tool(place, BACKEND)?;
        for template in made_by(place, programs, TEMPLATE)? {
            link_tree(&template, &parcel.folder.join("template"))?;
        }
        Ok(parcel)
    }

    /// The layouts that guests are made of, whose packages come over a network.
    pub(crate) fn add_layouts(&self, place: &Place, programs: &Path) -> Result<()> {
        for layout in made_by(place, programs, MAKE_LAYOUTS)? {
            let name = layout.file_name().context("the layout has no name")?;
            link_tree(&layout, &self.folder.join(LAYOUTS).join(name))?;
        }
        Ok(())
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A program of ours.
    pub(crate) fn add_program(&self, program: &Path) -> Result<()> {
        self.copy(program, &format!("programs/{}", program.file_name().unwrap_or_default().display()))
    }

    /// Somebody else's program, from this machine's PATH.
    pub(crate) fn add_tool(&self, place: &Place, name: &str) -> Result<()> {
        let found = search(place, name).with_context(|| format!("`{name}` is not installed"))?;
        self.copy(&found, &format!("tools/bin/{name}"))
    }

    pub(crate) fn make(&self, name: &str) -> Result<()> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))
    }

    pub(crate) fn copy(&self, from: &Path, name: &str) -> Result<()> {
        let to = self.folder.join(name);
        if let Some(parent) = Path::new(name).parent().and_then(Path::to_str) {
            self.make(parent)?;
        }
        fs::copy(from, &to)
            .map(drop)
            .with_context(|| format!("copying {} to {}", from.display(), to.display()))
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// A command in the host, in the parcel given to it and with an environment that points there.
pub(crate) fn in_given(place: &Place, host: &Host, user: User, words: &[&str]) -> Result<Tool> {
    let mut all = vec![
        "env".to_owned(),
        format!("--chdir={GIVEN_AT}"),
        format!("PATH={GIVEN_AT}/tools/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"),
        format!("BANGER_BIN_DIR={GIVEN_AT}/programs"),
        format!("BANGER_E2E_CACHE={GIVEN_AT}"),
        format!("BANGER_E2E_TEMPLATE={GIVEN_AT}/template"),
        format!("BANGER_E2E_PACKAGE={GIVEN_AT}/{PACKAGE}"),
    ];
    for wish in [VMM, CALLS] {
        if let Ok(value) = std::env::var(wish) {
            all.push(format!("{wish}={value}"));
        }
    }
    all.extend(words.iter().map(ToString::to_string));
    host.command(place, user, &all)
}

/// What one of the tests' own programs has made on this machine, now or in a former run: it prints the folders.
fn made_by(place: &Place, programs: &Path, program: &str) -> Result<Vec<PathBuf>> {
    let told = Tool::at(place, &programs.join(program)).env("BANGER_BIN_DIR", programs).output()?;
    let made: Vec<_> = told.lines().map(PathBuf::from).collect();
    if made.is_empty() {
        bail!("{program} printed no folder");
    }
    Ok(made)
}

/// The same folders, the same files: images are too large to be copied twice.
fn link_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let entry = entry.with_context(|| format!("listing {}", from.display()))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            link_tree(&source, &target)?;
        } else {
            fs::hard_link(&source, &target)
                .with_context(|| format!("linking {} to {}", source.display(), target.display()))?;
        }
    }
    Ok(())
}
