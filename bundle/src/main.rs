//! Makes a bundle of an image or a kernel that is here: an archive, its signature, and the entry for a catalog.
//!
//! The files are those that banger has, as they are, but for one thing: what banger keeps apart as the seed of work
//! disks goes back into the image's `/root` ([`home`]), since a bundle is a root file system and nothing beside it.
//! The same files and the same name give the same archive.

#![expect(clippy::print_stdout, reason = "says what was written")]

mod archive;
mod home;
mod sign;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const USAGE: &str = "\
usage: cargo xtask bundle image|kernel NAME --key FILE [--out DIR] [--url BASE] [--banger PROGRAM]

  NAME               as `banger image list` or `banger kernel list` shows it
  --key FILE         minisign's secret key; the password of an encrypted one is the first line of stdin
  --out DIR          where bundle, signature and catalog entry are written; here if not given
  --url BASE         where they will be published: https://HOST/PATH; beside the catalog if not given
  --banger PROGRAM   the banger that has it; the one in the PATH if not given";

/// What is to be bundled, and how.
#[derive(Debug)]
struct Request {
    kind: String,
    name: String,
    key: PathBuf,
    out: PathBuf,
    url: Option<String>,
    banger: OsString,
}

fn main() -> Result<()> {
    let request = Request::parse()?;
    fs::create_dir_all(&request.out).with_context(|| format!("making {}", request.out.display()))?;
    let key = sign::Key::read(&request.key)?;
    let scratch = tempfile::tempdir_in(&request.out).context("making a folder to work in")?;
    let (manifest, files) = match request.kind.as_str() {
        "image" => image(&request, scratch.path())?,
        _ => kernel(&request)?,
    };
    let file_name = format!("{}.tar.zst", request.name);
    let bundle = request.out.join(&file_name);
    let written = archive::write(&bundle, &manifest, &files)?;
    key.sign(&bundle, &format!("banger {} {}", request.kind, request.name))?;
    let entry = request.out.join(format!("{}.toml", request.name));
    let text = catalog_entry(&request, &file_name, &written, key.public())?;
    fs::write(&entry, text).with_context(|| format!("writing {}", entry.display()))?;
    println!("{}\n{}.minisig\n{}", bundle.display(), bundle.display(), entry.display());
    Ok(())
}

impl Request {
    fn parse() -> Result<Self> {
        let mut parser = lexopt::Parser::from_env();
        let mut words: Vec<String> = Vec::new();
        let (mut key, mut out, mut url, mut banger) = (None, None, None, None);
        while let Some(argument) = parser.next().context(USAGE)? {
            use lexopt::prelude::{Long, Value};
            match argument {
                Long("key") => key = Some(PathBuf::from(parser.value()?)),
                Long("out") => out = Some(PathBuf::from(parser.value()?)),
                Long("url") => url = Some(parser.value()?.into_string().ok().context("--url is no text")?),
                Long("banger") => banger = Some(parser.value()?),
                Value(word) => words.push(word.into_string().ok().context("a name is text")?),
                other => return Err(other.unexpected()).context(USAGE),
            }
        }
        let [kind, name] = <[String; 2]>::try_from(words).ok().context(USAGE)?;
        ensure!(["image", "kernel"].contains(&kind.as_str()), "{USAGE}");
        Ok(Self {
            kind,
            name,
            key: key.context("--key says whose signature it gets")?,
            out: out.unwrap_or_else(|| PathBuf::from(".")),
            url,
            banger: banger.unwrap_or_else(|| "banger".into()),
        })
    }

    /// What banger says, as JSON.
    fn ask(&self, arguments: &[&str]) -> Result<Value> {
        #[expect(clippy::disallowed_methods, reason = "banger itself, in its user's environment")]
        let output = Command::new(&self.banger).args(arguments).output();
        let output = output.with_context(|| format!("running {}", self.banger.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "banger {}: {}", arguments.join(" "), said.trim());
        serde_json::from_slice(&output.stdout).context("understanding banger")
    }
}

fn text<'v>(value: &'v Value, key: &str) -> Result<&'v str> {
    value[key].as_str().with_context(|| format!("banger does not say `{key}`"))
}

/// An image's manifest, and where its root file system is.
fn image(request: &Request, scratch: &Path) -> Result<(Value, Vec<(&'static str, PathBuf)>)> {
    let shown = request.ask(&["image", "show", "--json", "--", &request.name])?;
    let rootfs = Path::new(text(&shown, "rootfs_path")?);
    let seed = Path::new(text(&shown, "work_seed_path")?);
    let whole = home::put_back(rootfs, seed, scratch)?;
    let mut manifest = json!({"kind": "image"});
    for key in ["digest", "entries", "config"] {
        if let Some(value) = shown.get(key).filter(|value| !value.is_null()) {
            manifest[key] = value.clone();
        }
    }
    Ok((manifest, vec![("rootfs.ext4", whole)]))
}

fn kernel(request: &Request) -> Result<(Value, Vec<(&'static str, PathBuf)>)> {
    let shown = request.ask(&["kernel", "show", "--json", "--", &request.name])?;
    if shown["own_initrd"] == true {
        bail!("the kernel `{}` brings an initrd of its own, for which bundles have no place", request.name);
    }
    let status = request.ask(&["daemon", "status", "--json"])?;
    let folder = Path::new(text(&status, "state_folder")?).join("kernels").join(&request.name);
    let own = folder.join("manifest.json");
    let own = fs::read(&own).with_context(|| format!("reading {}", own.display()))?;
    let own: Value = serde_json::from_slice(&own).context("understanding the kernel's manifest")?;
    let mut manifest = json!({"kind": "kernel"});
    for key in ["version", "arch", "distro", "boot_modules"] {
        if let Some(value) = own.get(key) {
            manifest[key] = value.clone();
        }
    }
    let files = ["vmlinux", "modules.ext4", "boot-modules.cpio"].map(|file| (file, folder.join(file)));
    Ok((manifest, files.into()))
}

/// What a catalog has to say for banger to take the bundle.
fn catalog_entry(
    request: &Request,
    file_name: &str,
    written: &archive::Written,
    public_key: &str,
) -> Result<String> {
    let Request { kind, name, .. } = request;
    let url = match &request.url {
        Some(base) => format!("{}/{file_name}", base.trim_end_matches('/')),
        None => file_name.to_owned(),
    };
    let kernel = match kind.as_str() {
        "image" => {
            let shown = request.ask(&["image", "show", "--json", "--", name])?;
            format!("kernel = \"{}\"\n", text(&shown, "kernel")?)
        }
        _ => String::new(),
    };
    let archive::Written { sha256, size } = written;
    Ok(format!(
        "[[{kind}]]\nname = \"{name}\"\ndescription = \"{name}\"\n{kernel}source = \"bundle\"\nurl = \"{url}\"\n\
         sha256 = \"{sha256}\"\nsize = {size}\npublic_key = \"{public_key}\"\n"
    ))
}
