use super::show::Shown;
use super::{agent_of, told};
use crate::failure::Outcome;
use crate::guest;
use crate::printer;
use banger_protocol::names::VmRef;

/// List the sessions of a VM
///
/// `banger vm session list dev` lists running and ended sessions. Then `banger vm session attach dev web` attaches to one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Print names only, one per line
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const HEADS: [&str; 4] = ["NAME", "STATE", "STARTED", "COMMAND"];

/// Longest command in the table, in characters.
const WIDEST: usize = 60;

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let vm = VmRef(self.vm);
        let sessions = guest::list(agent_of(&vm)?).map_err(|error| told(error, &vm))?;
        let sessions: Vec<Shown> = sessions.into_iter().map(Shown::from).collect();
        if self.json {
            printer::json(&sessions)?;
        } else if self.quiet {
            printer::data(&sessions.iter().map(|session| format!("{}\n", session.name)).collect::<String>())?;
        } else {
            printer::table(HEADS, sessions.iter().map(row))?;
        }
        Ok(0)
    }
}

fn row(session: &Shown) -> [String; 4] {
    let started = printer::age(&session.started);
    [session.name.to_string(), session.state_in_words(), started, shortened(&session.command_as_typed())]
}

fn shortened(text: &str) -> String {
    // A line of its own is what a row has.
    let line = text.replace(['\n', '\t'], " ");
    match line.char_indices().nth(WIDEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_command_is_cut_and_stays_in_its_row() {
        assert_eq!(shortened("make\ntest"), "make test");
        let cut = shortened(&"ü".repeat(200));
        assert_eq!(cut.chars().count(), WIDEST + 1);
        assert!(cut.ends_with('…'));
    }
}
