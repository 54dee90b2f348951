//! The READMEs' pictures of the pages: taken of the real thing, and again when it changes.

use std::{fs, path::PathBuf};

use super::browser::Page;

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Takes `pictures/<name>-light.png` and `-dark.png`, and notes what the page was made of.
pub(crate) async fn take(page: &Page, name: &str, folder: &str) {
    let pictures = root().join("pictures");
    for scheme in ["light", "dark"] {
        page.media(scheme, true).await;
        let picture = pictures.join(format!("{name}-{scheme}.png"));
        fs::write(picture, page.png().await).expect("the picture is written");
    }
    fs::write(note(name), fingerprint(folder)).expect("the note is written");
}

/// Whether the page is still what it was when the picture was taken.
pub(crate) fn is_current(name: &str, folder: &str) -> bool {
    fs::read_to_string(note(name)).is_ok_and(|noted| noted == fingerprint(folder))
}

fn note(name: &str) -> PathBuf {
    root().join(format!("pictures/{name}.made-of"))
}

/// A fingerprint of a page's files and of what all pages share (FNV-1a, 64 bits).
fn fingerprint(folder: &str) -> String {
    let mut files: Vec<_> = [folder, "pages/look"]
        .iter()
        .flat_map(|folder| fs::read_dir(root().join(folder)).expect("the page's folder"))
        .map(|file| file.expect("a file").path())
        .collect();
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in &files {
        for byte in fs::read(file).expect("a page's file") {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!(
        "{} files of {folder} and pages/look: {hash:016x}\n",
        files.len()
    )
}
