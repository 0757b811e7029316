//! Many clients who do this and that at random, and a model small enough to be believed.
//!
//! Each client has VMs of its own, of which it knows exactly what must become of every request; some VMs belong to all
//! of them, of which only few errors make sense. `BANGER_MODEL_OPERATIONS` says how many requests there are in all and
//! `BANGER_MODEL_SEED` which; both are printed, so what was found once can be found again (as far as chance in the
//! order of threads allows).

use banger_e2e::{Process, Rpc, Sandbox};
use fastrand::Rng;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const CLIENTS: usize = 8;
const OWN: usize = 3;
const SHARED: [&str; 2] = ["of-all-a", "of-all-b"];
const OPERATIONS: u64 = 4_000;

/// What a VM is, of which nobody else knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    Absent,
    Created,
    Running,
    Paused,
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Reserve,
    Create,
    Start,
    Stop,
    Restart,
    Kill,
    Pause,
    Resume,
    Set,
    Delete,
    Show,
}

impl Verb {
    /// Looking is cheap, and done the most.
    const DICE: [Self; 16] = [
        Self::Reserve,
        Self::Create,
        Self::Create,
        Self::Start,
        Self::Start,
        Self::Stop,
        Self::Restart,
        Self::Kill,
        Self::Pause,
        Self::Resume,
        Self::Set,
        Self::Delete,
        Self::Show,
        Self::Show,
        Self::Show,
        Self::Show,
    ];
}

impl Model {
    const STATES: [(&str, Self); 4] = [
        ("created", Self::Created),
        ("running", Self::Running),
        ("paused", Self::Paused),
        ("stopped", Self::Stopped),
    ];

    /// What a VM is after a request, or the kind of error it is refused with.
    fn after(self, verb: Verb) -> Result<Self, &'static str> {
        use Model::{Absent, Created, Paused, Running, Stopped};
        match (self, verb) {
            (Absent, Verb::Reserve) => Ok(Created),
            (Absent, Verb::Create) => Ok(Running),
            (Absent, _) => Err("not_found"),
            (_, Verb::Reserve | Verb::Create) => Err("already_exists"),
            (_, Verb::Delete) => Ok(Absent),
            (same, Verb::Show) => Ok(same),
            (Paused, Verb::Start) => Err("refused"),
            (_, Verb::Start | Verb::Restart) => Ok(Running),
            (Created, Verb::Stop | Verb::Kill) => Ok(Created),
            (_, Verb::Stop | Verb::Kill) => Ok(Stopped),
            (Running | Paused, Verb::Pause) => Ok(Paused),
            (Running | Paused, Verb::Resume) => Ok(Running),
            (Created | Stopped, Verb::Pause | Verb::Resume) => Err("not_running"),
            (Running | Paused, Verb::Set) => Err("refused"),
            (Created | Stopped, Verb::Set) => Ok(self),
        }
    }
}

struct Client {
    rpc: Rpc,
    random: Rng,
    own: BTreeMap<String, Model>,
    /// The last requests, for whoever has to understand what went wrong.
    past: Vec<String>,
}

impl Client {
    fn new(sandbox: &Sandbox, number: usize, seed: u64) -> Self {
        let own = (0..OWN).map(|vm| (format!("of-{number}-{vm}"), Model::Absent)).collect();
        let random = Rng::with_seed(seed.wrapping_add(number as u64));
        Self { rpc: sandbox.rpc(), random, own, past: Vec::new() }
    }

    fn act(&mut self) {
        let verb = self.random.choice(Verb::DICE).expect("the dice have sides");
        if self.random.u8(..10) == 0 {
            let name = *self.random.choice(&SHARED).expect("some are shared");
            return self.act_on_a_shared_one(name, verb);
        }
        let at = self.random.usize(..OWN);
        let (name, before) =
            self.own.iter().nth(at).map(|(name, model)| (name.clone(), *model)).expect("its own");
        let answer = self.ask(&name, verb);
        let expected = before.after(verb);
        match (&expected, &answer) {
            (Err(kind), Err(error)) => assert_eq!(error["kind"], **kind, "{error}\n{}", self.story()),
            (Ok(after), Ok(view)) => {
                let shown = view["state"].as_str().and_then(|state| {
                    Model::STATES.iter().find(|(name, _)| *name == state).map(|(_, model)| *model)
                });
                if *after != Model::Absent {
                    assert_eq!(shown, Some(*after), "{view}\n{}", self.story());
                }
            }
            _ => panic!("a VM that was {before:?} was to become {expected:?}: {answer:?}\n{}", self.story()),
        }
        self.own.insert(name, expected.unwrap_or(before));
    }

    /// What the others do to it meanwhile is not known; but that nobody may do what it was, or that it went wrong.
    fn act_on_a_shared_one(&mut self, name: &str, verb: Verb) {
        const SENSIBLE: [&str; 5] = ["not_found", "already_exists", "not_running", "refused", "cancelled"];
        if let Err(error) = self.ask(name, verb) {
            let kind = error["kind"].as_str().or(error.as_str()).unwrap_or_default();
            assert!(SENSIBLE.contains(&kind), "{verb:?} of {name}: {error}\n{}", self.story());
        }
    }

    fn ask(&mut self, name: &str, verb: Verb) -> Result<Value, Value> {
        self.past.push(format!("{verb:?} {name}"));
        let vm = json!({ "vm": name });
        match verb {
            Verb::Reserve => self.rpc.operate("vm.create", &json!({ "name": name, "no_start": true })),
            Verb::Create => self.rpc.operate("vm.create", &json!({ "name": name })),
            Verb::Start => self.rpc.operate("vm.start", &vm),
            Verb::Stop => self.rpc.operate("vm.stop", &vm),
            Verb::Restart => self.rpc.operate("vm.restart", &vm),
            Verb::Kill => self.rpc.operate("vm.kill", &vm),
            Verb::Pause => self.rpc.operate("vm.pause", &vm),
            Verb::Resume => self.rpc.operate("vm.resume", &vm),
            Verb::Delete => self.rpc.operate("vm.delete", &vm),
            Verb::Set => self.rpc.call("vm.set", &json!({ "vm": name, "vcpu": 1 })),
            Verb::Show => self.rpc.call("vm.show", &vm),
        }
    }

    /// Everything of one's own is in the list, and nothing has an address twice.
    fn look_around(&mut self) {
        let listed = self.rpc.call("vm.list", &json!({})).expect("a list");
        let listed = listed.as_array().expect("a list").clone();
        let field = |key: &str| -> BTreeSet<&str> {
            listed.iter().map(|vm| vm[key].as_str().unwrap_or_default()).collect()
        };
        let (addresses, names) = (field("address"), field("name"));
        assert_eq!(addresses.len(), listed.len(), "an address was given twice: {listed:?}");
        for (name, model) in &self.own {
            assert_eq!(
                names.contains(&**name),
                *model != Model::Absent,
                "{name} in {names:?}\n{}",
                self.story()
            );
        }
    }

    fn story(&self) -> String {
        let last = self.past.len().saturating_sub(20);
        format!("the last of {} requests: {}", self.past.len(), self.past[last..].join(", "))
    }
}

/// What the environment says, or else this.
fn setting(name: &str, usual: impl FnOnce() -> u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or_else(usual)
}

#[test]
fn whatever_many_clients_do_at_once_every_vm_is_what_its_history_makes_it() {
    let operations = setting("BANGER_MODEL_OPERATIONS", || OPERATIONS);
    let seed = setting("BANGER_MODEL_SEED", || fastrand::u64(..));
    println!("BANGER_MODEL_OPERATIONS={operations} BANGER_MODEL_SEED={seed}");
    let sandbox = Sandbox::with_fake_guests();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let mut client = Client::new(&sandbox, number, seed);
            scope.spawn(move || {
                for done in 0..operations / CLIENTS as u64 {
                    client.act();
                    if done % 50 == 0 {
                        client.look_around();
                    }
                }
            });
        }
    });
    let mut rpc = sandbox.rpc();
    for vm in rpc.call("vm.list", &json!({})).expect("a list").as_array().expect("a list") {
        let _ = rpc.operate("vm.delete", &json!({ "vm": vm["id"] })).expect("it goes");
    }
    sandbox.assert_nothing_left();
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Holds {
    descriptors: usize,
    threads: usize,
    /// KiB in memory that are of no file.
    resident: u64,
}

fn holds(process: &Process) -> Holds {
    let folder = format!("/proc/{}", process.pid);
    let count = |what: &str| std::fs::read_dir(format!("{folder}/{what}")).expect("it runs").count();
    let status = std::fs::read_to_string(format!("{folder}/status")).expect("it runs");
    let resident = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("it has memory");
    Holds {
        descriptors: count("fd"),
        threads: count("task"),
        resident: resident.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number"),
    }
}

fn both(sandbox: &Sandbox) -> [Holds; 2] {
    ["bangerd", "bangerd-root"].map(|program| holds(&sandbox.running(program)[0]))
}

fn make_and_delete(sandbox: &Sandbox, times: usize) {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut rpc = sandbox.rpc();
                for _ in 0..times / 4 {
                    let vm = rpc.operate("vm.create", &json!({})).expect("it is made");
                    let _ = rpc.operate("vm.delete", &json!({ "vm": vm["id"] })).expect("it goes");
                }
            });
        }
    });
}

const ROUNDS: usize = 4;
/// What 1,000 VMs may add to a daemon's memory: half a KiB each, of which what is known of one takes more.
const LITTLE_KIB: u64 = 512;

#[test]
fn a_thousand_vms_that_came_and_went_leave_both_daemons_as_small_as_before() {
    let sandbox = Sandbox::with_fake_guests();
    let mut rpc = sandbox.rpc();
    let mut come_and_go = || {
        make_and_delete(&sandbox, 1_000);
        for _ in 0..10_000 {
            let _ = rpc.call("vm.list", &json!({})).expect("a list");
        }
        both(&sandbox)
    };
    // Pools, the database's cache and the allocator's arenas get as large as they get, each at a time of its own: of
    // some rounds one adds little, where what is lost with every VM is lost in each.
    let first = come_and_go();
    let mut before = first;
    let is_flat = (0..ROUNDS).any(|_| {
        let after = come_and_go();
        let grew = std::iter::zip(&after, &before).map(|(after, before)| {
            println!("{before:?} became {after:?}");
            after.resident.saturating_sub(before.resident)
        });
        let most = grew.max().expect("there are two");
        before = after;
        most <= LITTLE_KIB
    });
    assert!(is_flat, "each of {ROUNDS} rounds of 1,000 VMs added more than {LITTLE_KIB} KiB");
    for (first, last) in std::iter::zip(&first, &before) {
        // Threads without work end after ten seconds; what counts is that there are not more.
        assert!(last.descriptors <= first.descriptors + 2, "{first:?} became {last:?}");
        assert!(last.threads <= first.threads + 2, "{first:?} became {last:?}");
    }
    drop(rpc);
    sandbox.assert_nothing_left();
}
