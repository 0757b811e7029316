use super::opened::{Opened, interruptible};
use crate::export::Work;
use crate::failure::{Failure, Outcome};
use crate::printer;
use serde::Serialize;
use std::fmt::Write as _;

/// Show what changed in a workspace, in the VM and on this host
///
///     banger vm workspace status dev
///
/// Then `banger vm workspace diff dev` shows the changes in the VM, and
/// `banger vm workspace export dev` exports them.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Both sides since the repository was brought in.
#[derive(Debug, Serialize)]
struct Status<'a> {
    vm: &'a str,
    host_path: &'a str,
    guest_path: &'a str,
    /// The commit the VM began with.
    head: Option<&'a str>,
    prepared: &'a str,
    guest: Guest,
    host: Host,
}

#[derive(Debug, Serialize)]
struct Guest {
    /// Commits that are not on the host.
    commits: usize,
    changed: Vec<Changed>,
    /// Submodules with changes in them, which are not exported.
    changed_submodules: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Host {
    /// The commit that is checked out here now.
    head: Option<String>,
    /// Tracked files that are not as they went into the VM.
    changed: Vec<String>,
}

/// A file, and what became of it as git abbreviates it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Changed {
    status: char,
    path: String,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        interruptible(|stop| {
            let mut opened = Opened::find(&self.vm)?;
            let work = opened.fetch(stop)?;
            let mut output = Vec::new();
            work.show(work.first(), &["--name-status", "--no-renames", "-z"], |piece| {
                output.extend_from_slice(piece);
            })
            .map_err(|error| opened.not_shown(&error))?;
            let status = Status {
                vm: &opened.vm,
                host_path: &opened.workspace.host_path,
                guest_path: &opened.workspace.guest_path,
                head: opened.workspace.head.as_deref(),
                prepared: &opened.workspace.prepared,
                guest: Guest {
                    commits: work.commits().map_err(|error| Failure::of(&error))?,
                    changed: changes(&output),
                    changed_submodules: work.edited_submodules().to_vec(),
                },
                host: host(&opened, &work)?,
            };
            if self.json {
                printer::json(&status)?;
            } else {
                printer::foreign_data(&describe(&status))?;
            }
            Ok(0)
        })
    }
}

fn host(opened: &Opened, work: &Work) -> Result<Host, Failure> {
    let changed = work.changed_here(&opened.repository, &opened.workspace);
    let changed = changed
        .map_err(|error| Failure::of(&error).reason_for("the files on this host were not compared"))?;
    Ok(Host {
        head: opened.repository.head.clone(),
        changed: changed.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect(),
    })
}

/// Of `--name-status -z`: letter NUL path NUL.
fn changes(output: &[u8]) -> Vec<Changed> {
    let parts: Vec<&[u8]> = output.split(|byte| *byte == 0).collect();
    let pairs = parts.chunks_exact(2).filter(|pair| !pair[0].is_empty());
    pairs
        .map(|pair| Changed {
            status: char::from(pair[0][0]),
            path: String::from_utf8_lossy(pair[1]).into_owned(),
        })
        .collect()
}

/// Most files that are named for a person.
const MOST: usize = 20;

fn describe(status: &Status<'_>) -> String {
    let short = |oid: &str| oid.get(..12).unwrap_or(oid).to_owned();
    let mut text = format!("{} is {} in VM {}", status.host_path, status.guest_path, status.vm);
    let since =
        status.head.map_or_else(|| "no commit yet".to_owned(), |head| format!("from {}", short(head)));
    let _ = writeln!(text, ", {since}, {}", printer::age(status.prepared));

    let guest = &status.guest;
    let _ = match (guest.commits, guest.changed.len()) {
        (0, 0) => writeln!(text, "nothing was changed in the VM"),
        (commits, files) => {
            writeln!(text, "in the VM: {}, {}", count(commits, "commit"), count(files, "file"))
        }
    };
    for changed in guest.changed.iter().take(MOST) {
        let _ = writeln!(text, "  {} {}", changed.status, one_line(&changed.path));
    }
    and_more(&mut text, guest.changed.len());

    let host = &status.host;
    let moved = host.head.as_deref() != status.head;
    let _ = match (moved, host.changed.len()) {
        (false, 0) => writeln!(text, "here: as it was"),
        (_, files) => writeln!(text, "here: {}", count(files, "file")),
    };
    if moved && let Some(head) = &host.head {
        let _ = writeln!(text, "  now at {}", short(head));
    }
    for path in host.changed.iter().take(MOST) {
        let _ = writeln!(text, "  {}", one_line(path));
    }
    and_more(&mut text, host.changed.len());
    text
}

fn count(number: usize, what: &str) -> String {
    let many = if number == 1 { "" } else { "s" };
    format!("{number} {what}{many}{}", if what == "file" { " changed" } else { "" })
}

fn one_line(path: &str) -> String {
    path.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn and_more(text: &mut String, all: usize) {
    if all > MOST {
        let _ = writeln!(text, "  and {} more", all - MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_letters_with_paths_of_any_kind() {
        let found = changes(b"M\0a b\0D\0x\ny\0");
        let expected = [('M', "a b"), ('D', "x\ny")];
        assert_eq!(found, expected.map(|(status, path)| Changed { status, path: path.to_owned() }));
        assert_eq!(changes(b""), []);
    }
}
