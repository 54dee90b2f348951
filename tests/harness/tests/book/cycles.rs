//! Dependencies point in one direction: between packages, and between the files of one package.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use cargo_metadata::DependencyKind;
use regex::Regex;

use crate::repository::{Wrong, folder, packages, sources};

/// From each node, where its edges lead.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Packages whose tests, and only those, use packages that build on them. The containers of
/// `deploy` run the hardened chat, and the clients of these lessons connect to it.
const TESTS_USE: [(&str, &[&str]); 1] = [("hardened-chat", &["delivery", "failures"])];

#[test]
fn no_package_depends_on_itself_through_others() {
    let members: BTreeSet<_> = packages().iter().map(|one| one.name.to_string()).collect();
    let graph = packages().iter().map(|package| {
        let excepted = TESTS_USE.iter().find(|(name, _)| package.name == *name);
        let excepted = excepted.map_or(&[][..], |(_, others)| others);
        let needed = package.dependencies.iter().filter(|needed| {
            members.contains(&needed.name)
                && (needed.kind != DependencyKind::Development
                    || !excepted.contains(&needed.name.as_str()))
        });
        let needed = needed.map(|needed| needed.name.clone());
        (package.name.to_string(), needed.collect())
    });
    assert_eq!(cycles(&graph.collect()), BTreeSet::new());
}

/// Only `use` statements at the beginning of a line are read. A `pub use` hands on what another
/// file defines: whoever uses it depends on that other file.
#[test]
fn no_file_imports_itself_through_others() {
    let mut wrong = Wrong::default();
    for package in packages() {
        let crate_ = Crate::read(&format!("{}/src", folder(package)));
        for group in cycles(&crate_.graph()) {
            let files: Vec<_> = group.into_iter().collect();
            wrong.unless(false, || {
                format!(
                    "{}: these import each other: {}",
                    package.name,
                    files.join(", ")
                )
            });
        }
    }
    wrong.expect_none();
}

/// The groups of nodes that reach each other. There is none in a graph without cycles.
fn cycles(graph: &Graph) -> BTreeSet<BTreeSet<&str>> {
    let reached: BTreeMap<_, _> = graph
        .keys()
        .map(|node| (node.as_str(), reached_from(graph, node)))
        .collect();
    let in_a_cycle = reached
        .iter()
        .filter(|(node, others)| others.contains(*node));
    let groups = in_a_cycle.map(|(node, others)| {
        let group = others.iter().copied();
        group
            .filter(|other| reached[other].contains(node))
            .collect()
    });
    groups.collect()
}

fn reached_from<'a>(graph: &'a Graph, start: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = graph[start].iter().map(String::as_str).collect();
    while let Some(node) = next.pop() {
        if reached.insert(node) {
            next.extend(graph.get(node).into_iter().flatten().map(String::as_str));
        }
    }
    reached
}

/// The files of one crate, by the path of their module: `client::http`. The root is empty.
struct Crate {
    files: BTreeMap<String, Vec<Import>>,
}

/// A `use` of one item of this crate.
struct Import {
    /// From the crate's root.
    path: Vec<String>,
    /// Whether it is a `pub use`.
    hands_on: bool,
}

impl Crate {
    fn read(folder: &str) -> Self {
        let files: Vec<_> = sources(folder)
            .filter(|(path, _)| !path.contains("/bin/"))
            .map(|(path, text)| (module(&path[folder.len() + 1..]), text))
            .collect();
        let modules: BTreeSet<_> = files.iter().map(|(module, _)| module.clone()).collect();
        // `lib.rs` and `main.rs` are both the root.
        let mut imported = BTreeMap::<_, Vec<_>>::new();
        for (module, text) in files {
            let imports = imports(&text, &module, &modules);
            imported.entry(module).or_default().extend(imports);
        }
        Self { files: imported }
    }

    fn graph(&self) -> Graph {
        let graph = self.files.iter().map(|(module, imports)| {
            let used = imports.iter().filter(|import| !import.hands_on);
            let used = used.map(|import| self.file_of(&import.path, 0));
            let others = used.filter(|file| file != module).map(name);
            (name(module.clone()), others.collect())
        });
        graph.collect()
    }

    /// The file that defines what a path names.
    fn file_of(&self, path: &[String], depth: usize) -> String {
        let modules = (0..=path.len()).rev().map(|end| path[..end].join("::"));
        let module = modules.into_iter().find(|one| self.files.contains_key(one));
        let module = module.unwrap_or_default();
        let item = path.get(module.split("::").filter(|part| !part.is_empty()).count());
        let handed_on = item.and_then(|item| {
            let imports = self.files.get(&module)?.iter();
            let mut imports = imports.filter(|import| import.hands_on);
            imports.find(|import| import.path.last() == Some(item))
        });
        match handed_on {
            Some(import) if depth < 8 => self.file_of(&import.path, depth + 1),
            _ => module,
        }
    }
}

fn name(module: String) -> String {
    if module.is_empty() {
        "the root".to_owned()
    } else {
        module
    }
}

/// The module of a file: `client::http` for `client/http.rs`.
fn module(path: &str) -> String {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    match path {
        "lib" | "main" => String::new(),
        _ => path.replace('/', "::"),
    }
}

/// What a file imports from its own crate.
fn imports(text: &str, module: &str, modules: &BTreeSet<String>) -> Vec<Import> {
    static USE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?m)^(pub(?:\([a-z]+\))? )?use ([^;]+);").expect("a pattern")
    });
    let here: Vec<_> = module.split("::").filter(|part| !part.is_empty()).collect();
    let mut imports = Vec::new();
    for statement in USE.captures_iter(text) {
        for path in expanded(
            &statement[2]
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        ) {
            let mut parts: Vec<_> = path.split("::").map(str::trim).collect();
            let mut base = here.clone();
            match parts[0] {
                "crate" => base.clear(),
                "self" => {}
                "super" => {
                    let up = parts.iter().take_while(|part| **part == "super").count();
                    base.truncate(base.len().saturating_sub(up));
                    parts.drain(1..up);
                }
                // A module that is declared in this file.
                child if modules.contains(&[&here[..], &[child]].concat().join("::")) => {
                    parts.insert(0, "self");
                }
                _ => continue,
            }
            let path = base.into_iter().chain(parts.into_iter().skip(1));
            imports.push(Import {
                path: path.map(str::to_owned).collect(),
                hands_on: statement.get(1).is_some(),
            });
        }
    }
    imports
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`. What `as` renames is left as it was.
fn expanded(tree: &str) -> Vec<String> {
    let Some((before, inside)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.trim().trim_end_matches("::self").to_owned()];
    };
    let inside = inside.trim_end().strip_suffix('}').unwrap_or(inside);
    let mut paths = Vec::new();
    let (mut depth, mut begin) = (0, 0);
    for (at, one) in inside.char_indices().chain([(inside.len(), ',')]) {
        match one {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inside[begin..at].trim();
                if !part.is_empty() {
                    paths.extend(expanded(&format!("{}{part}", before.trim())));
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
    paths
}
