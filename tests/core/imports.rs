//! The imports between files: no circles, except between a parent module and the modules below it.
//!
//! An import is a path, in a `use` or elsewhere in the text, that leads to another file of the
//! package. Paths in `mod tests` and in a `use` behind `#[cfg(test)]` do not count, because the
//! product code does not depend on them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::tidy::files;

/// The folders of the packages. Cargo itself refuses circles of packages.
const PACKAGES: [&str; 4] = [
    "src",
    "crates/core/src",
    "crates/metrics/src",
    "crates/transport/src",
];

/// The path of a module in its package, such as `store`, `sqlite`; empty for the root.
type Module = Vec<String>;

/// The modules of a package, each with the modules that it imports, its own parents left out.
struct Imports(BTreeMap<Module, BTreeSet<Module>>);

impl Imports {
    fn of(package: &str) -> Self {
        let files = files(&[package], "rs")
            .into_iter()
            .filter(|(path, _)| !path.ends_with("main.rs"));
        let texts: BTreeMap<Module, String> = files
            .map(|(path, text)| {
                (
                    module(path.strip_prefix(package).unwrap()),
                    without_tests(&text),
                )
            })
            .collect();
        let all: BTreeSet<&Module> = texts.keys().collect();
        let imported = |of: &Module, text: &str| -> BTreeSet<Module> {
            let targets = paths(text)
                .into_iter()
                .filter_map(|path| target(&path, of, &all));
            targets.filter(|target| !of.starts_with(target)).collect()
        };
        Self(
            texts
                .iter()
                .map(|(module, text)| (module.clone(), imported(module, text)))
                .collect(),
        )
    }

    /// Every module that is reached from this one by one or several imports.
    fn reached(&self, from: &Module) -> BTreeSet<&Module> {
        let mut reached = BTreeSet::new();
        let mut waiting: Vec<&Module> = self.0[from].iter().collect();
        while let Some(module) = waiting.pop() {
            if reached.insert(module) {
                waiting.extend(&self.0[module]);
            }
        }
        reached
    }

    /// The circles, each as text: modules that all reach each other, in order.
    fn circles(&self) -> BTreeSet<String> {
        let reached: BTreeMap<&Module, BTreeSet<&Module>> =
            self.0.keys().map(|it| (it, self.reached(it))).collect();
        let circle = |module: &Module| -> Vec<String> {
            let others = reached[module]
                .iter()
                .filter(|other| reached[*other].contains(module));
            others.map(|other| other.join("::")).collect()
        };
        reached
            .keys()
            .map(|it| circle(it).join(" "))
            .filter(|circle| !circle.is_empty())
            .collect()
    }
}

/// The module of a file, by its path in the package.
fn module(path: &Path) -> Module {
    let mut module: Module = path
        .with_extension("")
        .iter()
        .map(|it| it.to_str().unwrap().to_owned())
        .collect();
    module.pop_if(|last| last == "mod" || last == "lib");
    module
}

/// The text without comments and without code that only tests have.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut is_in_tests = false;
    let mut before = "";
    for line in text.lines() {
        is_in_tests |= line.starts_with("mod tests {");
        let is_use_of_tests = before == "#[cfg(test)]" && use_tree(line).is_some();
        if !is_in_tests && !is_use_of_tests {
            kept.push_str(line.split("//").next().unwrap_or(""));
            kept.push('\n');
        }
        is_in_tests &= line != "}";
        before = line;
    }
    kept
}

/// The beginning of the tree that a `use` in this line imports; none where no `use` begins in it.
fn use_tree(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let visibilities = ["pub ", "pub(crate) ", "pub(super) "];
    visibilities
        .iter()
        .find_map(|it| line.strip_prefix(it))
        .unwrap_or(line)
        .strip_prefix("use ")
}

/// Every path of the text: those in a `use`, and others whose first name a `use` or the module tree
/// defines.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut rest = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(tree) = use_tree(line) else {
            rest.push_str(line);
            rest.push('\n');
            continue;
        };
        let mut tree = tree.to_owned();
        while !tree.contains(';') {
            tree.push_str(lines.next().expect("a use ends"));
        }
        expand(tree.trim_end().trim_end_matches(';'), &[], &mut paths);
    }
    let named: BTreeMap<String, Vec<String>> = paths
        .iter()
        .filter_map(|path| Some((path.last()?.clone(), path.clone())))
        .collect();
    let is_apart = |it: char| !(it.is_alphanumeric() || it == '_' || it == ':');
    for written in rest.split(is_apart).filter(|it| it.contains("::")) {
        let written = names(written);
        let used = written.first().and_then(|first| named.get(first));
        paths.push(used.map_or_else(|| written.clone(), |used| [used, &written[1..]].concat()));
    }
    paths
}

/// Appends the paths of a tree such as `a::{b, c::{self, d}}`, each after the names `before` it.
fn expand(tree: &str, before: &[String], paths: &mut Vec<Vec<String>>) {
    let mut depth = 0;
    let parts = tree.split(|it: char| {
        depth += i32::from(it == '{') - i32::from(it == '}');
        depth == 0 && it == ','
    });
    for part in parts.map(str::trim).filter(|it| !it.is_empty()) {
        match part.split_once('{') {
            Some((head, inner)) => {
                let inner = inner.strip_suffix('}').expect("a brace is closed");
                expand(inner, &[before, &names(head)].concat(), paths);
            }
            None => {
                let name = part.split(" as ").next().unwrap_or(part);
                let named = names(name)
                    .into_iter()
                    .filter(|it| it != "*" && (before.is_empty() || it != "self"));
                paths.push(before.iter().cloned().chain(named).collect());
            }
        }
    }
}

fn names(path: &str) -> Vec<String> {
    path.split("::")
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The module to which a path in a module leads; none for a path into another package.
fn target(path: &[String], of: &Module, all: &BTreeSet<&Module>) -> Option<Module> {
    let child = |parent: &Module, name: &String| {
        Some([&parent[..], std::slice::from_ref(name)].concat()).filter(|it| all.contains(it))
    };
    let mut names = path.iter().peekable();
    let mut module = match names.peek()?.as_str() {
        "crate" => Module::new(),
        "self" | "super" => of.clone(),
        _ => child(of, names.peek()?).map(|_| of.clone())?,
    };
    while let Some(name) = names.next_if(|it| ["crate", "self", "super"].contains(&it.as_str())) {
        if name == "super" {
            module.pop();
        }
    }
    while let Some(below) = names.next().and_then(|name| child(&module, name)) {
        module = below;
    }
    Some(module)
}

#[test]
fn no_files_import_each_other_in_a_circle_but_a_parent_and_what_is_below_it() {
    let found: BTreeSet<String> = PACKAGES
        .iter()
        .flat_map(|package| Imports::of(package).circles())
        .collect();
    assert!(
        found.is_empty(),
        "circles, each with its modules in order: {found:#?}"
    );
}

#[test]
fn an_import_is_found_however_it_is_written() {
    let all: Vec<Module> = ["", "a", "a::b", "a::b::c", "d"]
        .iter()
        .map(|it| names(it))
        .collect();
    let all: BTreeSet<&Module> = all.iter().collect();
    let targets = |text: &str, of: &str| -> Vec<String> {
        let paths = paths(&without_tests(text)).into_iter();
        paths
            .filter_map(|path| target(&path, &names(of), &all))
            .map(|it| it.join("::"))
            .collect()
    };
    assert_eq!(
        targets("use crate::a::{self, b::{X, c::Y as Z}};\n", "d"),
        ["a", "a::b", "a::b::c"]
    );
    assert_eq!(
        targets("pub(crate) use super::\n    b::c;\n", "a::b"),
        ["a::b::c"]
    );
    assert_eq!(targets("use std::a::b;\nuse b::X;\n", "a"), ["a::b"]);
    assert_eq!(
        targets("fn f() -> crate::d::D {\n    super::a::g()\n}\n", "d"),
        ["d", "a"]
    );
    assert_eq!(
        targets("use crate::a;\nfn f() { a::b::g() }\n", "d"),
        ["a", "a::b"]
    );
    let of_tests = "#[cfg(test)]\nuse crate::a;\n// use crate::d;\nmod tests {\n    use crate::d;\n}\nuse crate::a::b::*;\n";
    assert_eq!(targets(of_tests, "d"), ["a::b"]);
}
