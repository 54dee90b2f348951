//! The READMEs' pictures of the pages: taken of the real thing, and again when it changes.

use std::{fs, path::PathBuf};

use crate::browser::Page;

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A picture in a README, light and dark.
pub struct Picture {
    /// `pictures/<name>-light.png` and `-dark.png`.
    pub name: &'static str,
    /// The folder of the page that it shows.
    pub page: &'static str,
    /// The package whose test `picture` takes it.
    pub package: &'static str,
}

impl Picture {
    /// Takes both, and notes what the page was made of.
    pub async fn take(&self, page: &Page) {
        for scheme in ["light", "dark"] {
            page.media(scheme, true).await;
            let picture = root().join(format!("pictures/{}-{scheme}.png", self.name));
            fs::write(picture, page.png().await).expect("the picture is written");
        }
        fs::write(self.note(), fingerprint(self.page)).expect("the note is written");
    }

    /// Asserts that the page is still what it was when the picture was taken.
    pub fn is_current(&self) {
        let noted = fs::read_to_string(self.note());
        assert!(
            noted.is_ok_and(|noted| noted == fingerprint(self.page)),
            "the page has changed: cargo test -p {} -- --ignored picture",
            self.package
        );
    }

    fn note(&self) -> PathBuf {
        root().join(format!("pictures/{}.made-of", self.name))
    }
}

/// A fingerprint of a page's files and of what all pages share (FNV-1a, 64 bits).
fn fingerprint(folder: &str) -> String {
    let mut files: Vec<_> = [folder, "lab/pages/look"]
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
        "{} files of {folder} and lab/pages/look: {hash:016x}\n",
        files.len()
    )
}
