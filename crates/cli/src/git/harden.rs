//! What keeps a repository from running anything. Pure.
//!
//! Settings given in the environment go before those of any file. Most that name a program have a fixed name
//! ([`always`]); those of drivers and filters have one that the repository chose, so its configuration is asked for the
//! names first ([`against`]).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// What git is told beside its settings.
pub(super) const ENVIRONMENT: [(&str, &str); 14] = [
    // Nothing is written that was not asked for: no index is refreshed on the way.
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", "false"),
    ("SSH_ASKPASS", "false"),
    ("GIT_SSH_COMMAND", "false"),
    ("GIT_EDITOR", "false"),
    ("GIT_SEQUENCE_EDITOR", "false"),
    ("GIT_PAGER", "cat"),
    // Only this transport, and there is none such.
    ("GIT_ALLOW_PROTOCOL", "none"),
    // What a partial clone lacks is not fetched.
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    // A path that looks like a pattern is a path.
    ("GIT_LITERAL_PATHSPECS", "1"),
    ("GIT_ADVICE", "0"),
    ("GIT_MERGE_AUTOEDIT", "no"),
];

/// Settings whose names are known.
const ALWAYS: [(&str, &str); 29] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.untrackedCache", "false"),
    ("core.sshCommand", "false"),
    ("core.gitProxy", "false"),
    ("core.askPass", "false"),
    ("core.editor", "false"),
    ("core.pager", "cat"),
    ("core.alternateRefsCommand", "true"),
    ("core.quotePath", "true"),
    ("sequence.editor", "false"),
    ("credential.helper", ""),
    ("diff.external", "false"),
    ("diff.ignoreSubmodules", "all"),
    ("submodule.recurse", "false"),
    ("status.submoduleSummary", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("protocol.allow", "never"),
    ("gpg.program", "false"),
    ("gpg.openpgp.program", "false"),
    ("gpg.ssh.program", "false"),
    ("gpg.x509.program", "false"),
    ("gpg.ssh.defaultKeyCommand", "false"),
    ("log.showSignature", "false"),
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    // Of whoever it is: nothing in it is run.
    ("safe.directory", "*"),
];

/// Sections whose subsections are named by the repository, or by a later git, and what each key in them has to be so that
/// nothing runs.
const NAMED: [(&str, &[(&str, &str)]); 6] = [
    ("filter", &[("clean", ""), ("smudge", ""), ("process", ""), ("required", "false")]),
    ("diff", &[("command", "false"), ("textconv", "false"), ("cachetextconv", "false")]),
    ("merge", &[("driver", "false")]),
    ("credential", &[("helper", "")]),
    ("gpg", &[("program", "false")]),
    ("protocol", &[("allow", "never")]),
];

pub(super) fn always() -> Vec<(OsString, OsString)> {
    ALWAYS.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// Settings against those of these names, as `git config --null --name-only --list` prints them.
pub(super) fn against(names: &[u8]) -> Vec<(OsString, OsString)> {
    let mut settings: Vec<(OsString, OsString)> = Vec::new();
    for name in names.split(|byte| *byte == 0) {
        // `section.sub.section.key`: the subsection is whatever is between the first and the last dot.
        let Some(first) = name.iter().position(|byte| *byte == b'.') else { continue };
        let Some(last) = name.iter().rposition(|byte| *byte == b'.').filter(|last| *last > first) else {
            continue;
        };
        let Some((_, keys)) =
            NAMED.iter().find(|(section, _)| name[..first].eq_ignore_ascii_case(section.as_bytes()))
        else {
            continue;
        };
        for (key, value) in *keys {
            let mut full = name[..=last].to_vec();
            full.extend(key.as_bytes());
            let full = OsStr::from_bytes(&full).to_owned();
            if !settings.iter().any(|(known, _)| *known == full) {
                settings.push((full, value.into()));
            }
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::Tool;

    fn against_text(names: &str) -> Vec<(String, String)> {
        let text = |word: OsString| word.into_string().unwrap();
        against(names.as_bytes()).into_iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn whatever_a_filter_is_called_all_of_it_is_switched_off_once() {
        let settings = against_text("filter.a.b=c d.clean\0filter.a.b=c d.smudge\0core.bare\0");
        let names: Vec<&str> = settings.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["clean", "smudge", "process", "required"].map(|key| format!("filter.a.b=c d.{key}"))
        );
        assert!(settings.iter().all(|(_, value)| value.is_empty() || value == "false"));
    }

    #[test]
    fn drivers_helpers_and_transports_are_switched_off_and_the_rest_is_left_alone() {
        let settings = against_text(
            "diff.x.textconv\0merge.y.driver\0credential.https://h/.helper\0protocol.ext.allow\0user.name\0diff.external\0",
        );
        let names: Vec<&str> = settings.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "diff.x.command",
            "diff.x.textconv",
            "diff.x.cachetextconv",
            "merge.y.driver",
            "credential.https://h/.helper",
            "protocol.ext.allow",
        ];
        assert_eq!(names, expected);
    }

    /// How the names of settings end that name a program.
    const NAMES_A_PROGRAM: [&str; 23] = [
        "askpass",
        "browser",
        "clean",
        "cmd",
        "command",
        "difffilter",
        "driver",
        "editor",
        "external",
        "fsmonitor",
        "gitproxy",
        "helper",
        "hook",
        "hookspath",
        "pager",
        "pager.<cmd>",
        "program",
        "receivepack",
        "smudge",
        "textconv",
        "tunnel",
        "uploadpack",
        ".vcs",
    ];

    /// Of commands and transports that are not used here.
    const OF_OTHERS: [&str; 19] = [
        "browser.<tool>.cmd",
        "difftool.<tool>.cmd",
        "gc.recentobjectshook",
        "guitool.<name>.cmd",
        "help.browser",
        "imap.tunnel",
        "instaweb.browser",
        "interactive.difffilter",
        "man.<tool>.cmd",
        "mergetool.<tool>.cmd",
        // On a terminal only, which git is not given.
        "pager.<cmd>",
        "remote.<name>.receivepack",
        "remote.<name>.uploadpack",
        "remote.<name>.vcs",
        "sendemail.cccmd",
        "sendemail.headercmd",
        "sendemail.tocmd",
        "uploadpack.packobjectshook",
        "web.browser",
    ];

    const NO_PROGRAMS: [&str; 5] =
        ["advice.ignoredhook", "advice.waitingforeditor", "color.pager", "column.clean", "gitcvs.dbdriver"];

    #[test]
    fn a_setting_of_git_that_names_a_program_is_answered_unless_it_is_of_a_command_that_is_not_run() {
        let known = Tool::find("git").unwrap().command().args(["help", "--config"]).output().unwrap().stdout;
        let known = String::from_utf8(known).unwrap().to_ascii_lowercase();
        let is_named = |name: &str| {
            let (section, key) = (name.split('.').next().unwrap(), name.rsplit('.').next().unwrap());
            let keys = NAMED.iter().filter(|(named, _)| *named == section).flat_map(|(_, keys)| *keys);
            name.contains(".<") && keys.into_iter().any(|(named, _)| *named == key)
        };
        let is_answered = |name: &str| {
            is_named(name)
                || ALWAYS.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
                || OF_OTHERS.contains(&name)
                || NO_PROGRAMS.contains(&name)
        };
        let programs: Vec<&str> =
            known.lines().filter(|name| NAMES_A_PROGRAM.iter().any(|end| name.ends_with(end))).collect();
        assert!(programs.len() > 20, "git told of {programs:?} only");
        let open: Vec<&&str> = programs.iter().filter(|name| !is_answered(name)).collect();
        assert!(open.is_empty(), "they belong into ALWAYS or NAMED: {open:?}");
    }

    proptest::proptest! {
        #[test]
        fn no_names_make_it_panic(names: Vec<u8>) {
            let _ = against(&names);
        }
    }
}
