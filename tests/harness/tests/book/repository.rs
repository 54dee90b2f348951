//! The repository's files and packages.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use cargo_metadata::{Metadata, MetadataCommand, Package};
use harness::markdown::Page;

/// Folders that contain what was built or installed.
const NOT_OURS: [&str; 4] = ["target", "node_modules", "corpus", ".git"];

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the repository has a root")
}

/// Reads a file as a page. `path` begins at the root.
pub(crate) fn page(path: &str) -> Page {
    Page::read(&root(), path)
}

/// All Markdown files.
pub(crate) fn pages() -> impl Iterator<Item = Page> {
    let files = files("").into_iter();
    files
        .filter(|path| has_extension(path, "md"))
        .map(|path| page(&path))
}

/// The README of each chapter, in order.
pub(crate) fn chapters() -> impl Iterator<Item = Page> {
    readmes_in("chapters")
}

/// The README of each lesson beyond the chapters.
pub(crate) fn beyond() -> impl Iterator<Item = Page> {
    readmes_in("beyond")
}

fn readmes_in(folder: &'static str) -> impl Iterator<Item = Page> {
    let lessons = folders(folder).into_iter();
    let readmes = lessons.map(move |lesson| format!("{folder}/{lesson}/README.md"));
    // Another test says which is missing.
    readmes
        .filter(|path| root().join(path).exists())
        .map(|path| page(&path))
}

/// nginx's configs: path and text.
pub(crate) fn configs() -> impl Iterator<Item = (String, String)> {
    let files = files("nginx").into_iter();
    files
        .filter(|path| has_extension(path, "conf") && !path.starts_with("nginx/include/"))
        .map(|path| (path.clone(), page(&path).text))
}

/// The Rust files in a folder: path and text.
pub(crate) fn sources(folder: &str) -> impl Iterator<Item = (String, String)> + use<> {
    let files = files(folder).into_iter();
    files
        .filter(|path| has_extension(path, "rs"))
        .map(|path| (path.clone(), page(&path).text))
}

/// The paths of all files in a folder and its subfolders, in order. Each path begins at the root.
pub(crate) fn files(folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    for name in names(&root().join(folder)) {
        let path = if folder.is_empty() {
            name.clone()
        } else {
            format!("{folder}/{name}")
        };
        if !root().join(&path).is_dir() {
            files.push(path);
        } else if !NOT_OURS.contains(&name.as_str()) {
            files.extend(self::files(&path));
        }
    }
    files
}

/// The names of the folders in a folder, in order.
pub(crate) fn folders(folder: &str) -> Vec<String> {
    let folder = root().join(folder);
    let mut names = names(&folder);
    names.retain(|name| folder.join(name).is_dir());
    names
}

fn names(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

pub(crate) fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension() == Some(extension.as_ref())
}

/// The packages of the workspace.
pub(crate) fn packages() -> &'static [Package] {
    static WORKSPACE: LazyLock<Metadata> = LazyLock::new(|| {
        MetadataCommand::new()
            .current_dir(root())
            .no_deps()
            .exec()
            .expect("cargo knows the workspace")
    });
    &WORKSPACE.packages
}

/// The package of this name.
pub(crate) fn package(name: &str) -> Option<&'static Package> {
    packages().iter().find(|package| package.name == name)
}

/// The folder of a package: `lab/stage`.
pub(crate) fn folder(package: &Package) -> String {
    let manifest = Path::new(&package.manifest_path);
    let folder = manifest.parent().expect("a manifest is in a folder");
    let folder = folder
        .strip_prefix(root())
        .expect("a member is in the workspace");
    folder.display().to_string()
}

/// Collects everything that is wrong, so that one run shows all of it.
#[derive(Default)]
pub(crate) struct Wrong(Vec<String>);

impl Wrong {
    pub(crate) fn unless(&mut self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.0.push(what());
        }
    }

    pub(crate) fn expect_none(self) {
        assert!(self.0.is_empty(), "\n{}", self.0.join("\n"));
    }
}
