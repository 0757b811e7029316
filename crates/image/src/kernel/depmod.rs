//! What depmod(8) would have written beside the modules, for packages that were unpacked without running it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use super::index::Index;
use super::module::{self, Module};

/// Modules by name, in the kernel build's order, which decides between two that claim the same device.
#[derive(Debug, Default)]
pub(super) struct Modules {
    list: Vec<Module>,
    by_name: HashMap<String, usize>,
    builtin: BTreeSet<String>,
}

impl Modules {
    /// `order` and `builtin` are the files `modules.order` and `modules.builtin` of the package.
    pub(super) fn new(mut list: Vec<Module>, order: &str, builtin: &str) -> Self {
        let position: HashMap<&str, usize> = order.lines().enumerate().map(|(i, path)| (path, i)).collect();
        let rank = |module: &Module| {
            // The order names files as they were before compression.
            let plain = module.path.rfind(".ko").map_or(&*module.path, |dot| &module.path[..dot + 3]);
            position.get(plain).copied().unwrap_or(usize::MAX)
        };
        list.sort_by(|a, b| (rank(a), &a.path).cmp(&(rank(b), &b.path)));
        let by_name = list.iter().enumerate().map(|(i, module)| (module.name.clone(), i)).collect();
        Self { list, by_name, builtin: builtin.lines().filter_map(module::name_of).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Module> {
        self.by_name.get(name).map(|&at| &self.list[at])
    }

    pub(super) fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(name)
    }

    /// All that must be loaded before a module, each before what needs it, the module itself not included. Unknown
    /// and built-in names are left out; a circle, which no kernel has, is cut.
    pub(super) fn dependencies<'a>(&'a self, of: &'a Module) -> Vec<&'a Module> {
        let mut loaded = Vec::new();
        let mut entered = BTreeSet::from([&*of.name]);
        // An explicit stack: the names come from files, so their depth is not ours to trust.
        let mut stack = vec![(of, 0)];
        while let Some((module, next)) = stack.pop() {
            match module.depends.get(next) {
                Some(name) => {
                    stack.push((module, next + 1));
                    if let Some(dependency) = self.get(name)
                        && entered.insert(&dependency.name)
                    {
                        stack.push((dependency, 0));
                    }
                }
                None if module.name != of.name => loaded.push(module),
                None => {}
            }
        }
        loaded
    }

    /// Every file depmod makes, by name. `builtin_modinfo` is the package's `modules.builtin.modinfo`.
    pub(super) fn files(&self, builtin_modinfo: &[u8]) -> BTreeMap<&'static str, Vec<u8>> {
        let mut texts = Texts::default();
        let (mut dep, mut alias, mut symbols) = (Index::default(), Index::default(), Index::default());
        for (module, priority) in self.list.iter().zip(0u32..) {
            let mut line = format!("{}:", module.path);
            // The other way round: modprobe loads from the end of the line.
            for dependency in self.dependencies(module).iter().rev() {
                let _ = write!(line, " {}", dependency.path);
            }
            let _ = writeln!(texts.dep, "{line}");
            dep.insert(&module.name, &line, priority);
            for pattern in &module.aliases {
                let _ = writeln!(texts.alias, "alias {pattern} {}", module.name);
                alias.insert(&normal(pattern), &module.name, priority);
            }
            for symbol in &module.exports {
                let _ = writeln!(texts.symbols, "alias symbol:{symbol} {}", module.name);
                symbols.insert(&format!("symbol:{symbol}"), &module.name, priority);
            }
            for softdep in &module.softdeps {
                let _ = writeln!(texts.softdep, "softdep {} {softdep}", module.name);
            }
            if let Some(line) = device_node(module) {
                let _ = writeln!(texts.devname, "{line}");
            }
        }
        let mut builtin = Index::default();
        for name in &self.builtin {
            builtin.insert(name, "", 0);
        }
        let mut builtin_alias = Index::default();
        for (key, value) in module::fields(builtin_modinfo) {
            if let Some(name) = key.strip_suffix(".alias") {
                builtin_alias.insert(&normal(value), &module::canonical(name), 0);
            }
        }
        BTreeMap::from([
            ("modules.dep", texts.dep.into_bytes()),
            ("modules.dep.bin", dep.to_bytes()),
            ("modules.alias", texts.alias.into_bytes()),
            ("modules.alias.bin", alias.to_bytes()),
            ("modules.symbols", texts.symbols.into_bytes()),
            ("modules.symbols.bin", symbols.to_bytes()),
            ("modules.softdep", texts.softdep.into_bytes()),
            ("modules.devname", texts.devname.into_bytes()),
            ("modules.builtin.bin", builtin.to_bytes()),
            ("modules.builtin.alias.bin", builtin_alias.to_bytes()),
        ])
    }
}

#[derive(Default)]
struct Texts {
    dep: String,
    alias: String,
    symbols: String,
    softdep: String,
    devname: String,
}

/// Dashes become underscores, except inside brackets, where they are ranges.
fn normal(alias: &str) -> String {
    let mut in_brackets = false;
    alias
        .chars()
        .map(|c| {
            in_brackets = match c {
                '[' => true,
                ']' => false,
                _ => in_brackets,
            };
            if c == '-' && !in_brackets { '_' } else { c }
        })
        .collect()
}

/// A node that udev makes before the module is there, so that opening it loads the module.
fn device_node(module: &Module) -> Option<String> {
    let node = module.aliases.iter().find_map(|alias| alias.strip_prefix("devname:"))?;
    let (kind, numbers) = module.aliases.iter().find_map(|alias| {
        let major = |prefix, kind| alias.strip_prefix(prefix).map(|rest| (kind, rest));
        major("char-major-", 'c').or_else(|| major("block-major-", 'b'))
    })?;
    let (major, minor) = numbers.split_once('-')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    Some(format!("{} {node} {kind}{major}:{minor}", module.name))
}
