use super::Cli;
use crate::failure::{Failure, Outcome};
use clap::CommandFactory;
use std::io;
use std::path::{Path, PathBuf};

/// Generate the man pages
///
/// `banger internal man DIR` writes one page per command; packages are built with it. Then `man -l DIR/banger.1`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory to write to; it must exist
    folder: PathBuf,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        write(&self.folder).map_err(|error| {
            Failure::of(&error)
                .reason_for(format!("the man pages were not written to {}", self.folder.display()))
        })?;
        Ok(0)
    }
}

fn write(folder: &Path) -> io::Result<()> {
    clap_mangen::generate_to(with_version(Cli::command()), folder)?;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("banger"));
        if is_ours && path.extension().is_some_and(|extension| extension == "1") {
            let page = std::fs::read_to_string(&path)?;
            std::fs::write(&path, keep_examples(&page))?;
        }
    }
    Ok(())
}

/// Every page ends with the version, although only the program itself has a flag for it.
fn with_version(command: clap::Command) -> clap::Command {
    let command = command.version(banger_protocol::VERSION);
    command.mut_subcommands(|sub| with_version(sub).disable_version_flag(true))
}

/// Has examples, which are the indented lines, shown as they are written and not filled to the page's width.
fn keep_examples(page: &str) -> String {
    let (mut kept, mut within) = (String::new(), false);
    for line in page.lines() {
        let is_example = line.starts_with("    ");
        if is_example != within {
            kept.push_str(if is_example { ".EX\n" } else { ".EE\n" });
            within = is_example;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn pages(command: &clap::Command, path: &str, into: &mut BTreeSet<String>) {
        if command.is_hide_set() {
            return;
        }
        into.insert(format!("{path}.1"));
        for sub in command.get_subcommands() {
            pages(sub, &format!("{path}-{}", sub.get_name()), into);
        }
    }

    #[test]
    fn every_command_that_is_shown_has_a_page_and_no_other_has() {
        let folder = tempfile::tempdir().unwrap();
        Args { folder: folder.path().to_owned() }.run().unwrap();
        let written = std::fs::read_dir(folder.path()).unwrap();
        let written: BTreeSet<String> =
            written.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut expected = BTreeSet::new();
        pages(&Cli::command(), "banger", &mut expected);
        assert_eq!(written, expected);
    }

    #[test]
    fn a_page_says_what_the_help_says() {
        let folder = tempfile::tempdir().unwrap();
        Args { folder: folder.path().to_owned() }.run().unwrap();
        let page = std::fs::read_to_string(folder.path().join("banger-vm-run.1")).unwrap();
        for words in
            [".TH banger-vm-run 1", "\n.EX\n    banger vm run", "make test", "\n.EE\n", "\\-\\-detach"]
        {
            assert!(page.contains(words), "{words} is missing: {page}");
        }
    }
}
