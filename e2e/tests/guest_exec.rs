//! Commands in a guest behave as commands do: bytes, arguments, codes and signals arrive as they were sent.

use banger_e2e::{Checks, Host, Sandbox};
use std::time::{Duration, Instant};

/// Bytes that are no text, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn a_run_passes_bytes_and_code_through_and_leaves_nothing() {
    let before = Host::look();
    let sandbox = Sandbox::with_image();
    let input = noise(100_000);
    let script = "cat; echo err >&2; exit 42";
    let run = sandbox.banger(["vm", "run", "--rm", "--", "sh", "-c", script]).stdin(input.clone()).run();
    let run = run.expect_code(42);
    assert!(run.stdout == input, "{} of {} bytes came back, or others", run.stdout.len(), input.len());
    assert_eq!(run.stderr_text(), "err\n");
    assert_eq!(sandbox.vm_ids(), [""; 0]);
    assert_eq!(sandbox.vm_folders(), [""; 0]);
    Host::look().assert_same_as(&before);
}

#[test]
fn a_run_on_a_cold_start_passes_its_arguments_exactly_and_returns() {
    let sandbox = Sandbox::with_image();
    let run = ["vm", "run", "--rm", "--", "printf", "%s\\n", "a b", "c'd", "$HOME", ""];
    assert_eq!(sandbox.banger(run).run().expect_success().stdout_text(), "a b\nc'd\n$HOME\n\n");
}

#[test]
fn commands_in_a_running_guest_behave_as_commands_do() {
    let before = Host::look();
    let sandbox = Sandbox::with_image();
    let _ = sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_success();
    let mut checks = Checks::new();

    checks.check("the host is the same while a guest runs", || Host::look().assert_same_as(&before));
    checks.check("10 MiB of noise come back unharmed", || {
        let input = noise(10 * 1024 * 1024);
        let echoed = sandbox.banger(["vm", "exec", "-i", "dev", "--", "cat"]).stdin(input.clone()).run();
        assert!(echoed.expect_success().stdout == input);
    });
    checks.check("stdout and stderr arrive apart", || {
        let both = sandbox.exec("dev", &["sh", "-c", "echo out; echo err >&2"]).expect_success();
        assert_eq!((both.stdout_text(), both.stderr_text().as_str()), ("out\n", "err\n"));
    });
    checks.check("arguments arrive as they were typed", || {
        let odd = ["printf", "[%s]", "a  b", "", "*", "\"", "\\n", "ü", "--", "-x"];
        assert_eq!(
            sandbox.exec("dev", &odd).expect_success().stdout_text(),
            "[a  b][][*][\"][\\n][ü][--][-x]"
        );
    });
    checks.check("without -i there is no input", || {
        let read = sandbox.banger(["vm", "exec", "dev", "--", "cat"]).stdin("not for it").run();
        assert_eq!(read.expect_success().stdout, b"");
    });
    checks.check("a missing command is 127", || {
        let _ = sandbox.exec("dev", &["no-such-command"]).expect_code(127);
    });
    checks.check("a file that is no program is 126", || {
        let _ = sandbox.exec("dev", &["/etc/passwd"]).expect_code(126);
    });
    checks.check("a command killed by signal 9 is 137", || {
        let _ = sandbox.exec("dev", &["sh", "-c", "kill -9 $$"]).expect_code(137);
    });
    checks.check("a signal to the client reaches the command", || {
        let script = "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.1; done";
        let mut running = sandbox.banger(["vm", "exec", "dev", "--", "sh", "-c", script]).start();
        running.wait_for("ready");
        running.signal(rustix::process::Signal::TERM);
        assert_eq!(running.finish().expect_code(7).stdout_text(), "ready\ncaught\n");
    });
    checks.check("what the first commands wrote to /tmp is still there ten seconds later", || {
        let _ = sandbox.exec("dev", &["sh", "-c", "echo kept > /tmp/kept"]).expect_success();
        let later = sandbox.exec("dev", &["sh", "-c", "sleep 10; cat /tmp/kept"]).expect_success();
        assert_eq!(later.stdout_text(), "kept\n");
    });
    checks.check("a session goes on by itself, and nothing it has started outlives its stop", || {
        // One that left the process group, the session and its parent.
        let script = "(setsid sleep 4242 &); echo up; exec sleep 4243";
        let started = ["vm", "session", "start", "dev", "web", "--", "sh", "-c", script];
        assert_eq!(sandbox.banger(started).run().expect_success().stdout_text(), "web\n");
        let sleeping = || sandbox.exec("dev", &["pgrep", "-c", "-f", "^sleep 424"]).stdout_text().to_owned();
        assert!(sandbox.becomes(|| sleeping() == "2\n"), "{} of 2 run", sleeping());
        let _ = sandbox.banger(["vm", "session", "stop", "dev", "web"]).run().expect_success();
        assert_eq!(sleeping(), "0\n");
        let logs = sandbox.banger(["vm", "session", "logs", "dev", "web"]).run().expect_success();
        assert_eq!(logs.stdout_text(), "up\n");
        assert_eq!(sandbox.json(&["vm", "session", "show", "dev", "web"])["signal"], 15);
    });
    checks.check("a session on a terminal has one, and keeps its output off the guest's memory", || {
        let script = "tty; stty size; ls -l /proc/$PPID/fd; grep VmRSS /proc/$PPID/status";
        let started = ["vm", "session", "start", "-t", "dev", "term", "--", "sh", "-c", script];
        let _ = sandbox.banger(started).run().expect_success();
        let logs = sandbox.banger(["vm", "session", "logs", "-f", "dev", "term"]).run().expect_success();
        let told = logs.stdout_text();
        assert!(told.starts_with("/dev/pts/") && told.contains("\r\n24 80\r\n"), "{told}");
        assert!(told.contains("/var/lib/banger/#") && told.contains("(deleted)"), "{told}");
        let resident = told.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        assert!(resident.is_some_and(|kib| kib.parse::<u64>().is_ok_and(|kib| kib <= 4096)), "{told}");
    });
    checks.check("nobody in the guest can reach the agent", || nobody_reaches_the_agent(&sandbox));
    checks.check("a command outlives neither its VM nor its deletion", || {
        let begun = Instant::now();
        let running = sandbox.banger(["vm", "exec", "dev", "--", "sleep", "600"]).start();
        let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
        assert_ne!(running.finish().code(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(60));
    });
    checks.check("the host is the same after", || Host::look().assert_same_as(&before));
    checks.finish();
}

/// Asks for the agent's health the way the host does, as a user who is not root, over the guest's own address (3)
/// and over vsock's loopback (1). Perl, because every Debian has it. A refused connection prints as much as one that
/// is closed unanswered: nothing. The last line tells that the script got to its end.
fn nobody_reaches_the_agent(sandbox: &Sandbox) {
    const ASK: &str = r#"
        for my $cid (1, 3) {
            socket(my $agent, 40, 1, 0) or next;
            connect($agent, pack("S S L L L", 40, 0, 52, $cid, 0)) or next;
            my $request = '"health"';
            syswrite($agent, pack("C V", 0, length $request) . $request);
            local $SIG{ALRM} = sub { print "it waits\n"; exit };
            alarm 10;
            print "it answers\n" if sysread($agent, my $answer, 1);
        }
        print "asked\n";
    "#;
    let asked = sandbox.banger(["vm", "exec", "--user", "nobody", "dev", "--", "perl", "-e", ASK]).run();
    assert_eq!(asked.expect_success().stdout_text(), "asked\n");
    let who = sandbox.banger(["vm", "exec", "--user", "nobody", "dev", "--", "id", "-un"]).run();
    assert_eq!(who.expect_success().stdout_text(), "nobody\n", "it was asked as somebody else");
}
