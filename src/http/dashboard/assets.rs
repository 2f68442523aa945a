//! The dashboard's files, as they are sent.

use super::{
    bundle::bundle,
    lean::{lean_css, lean_js},
};
use sha2::{Digest, Sha256};
use std::{borrow::Cow, fmt::Write, sync::LazyLock};

pub struct Asset {
    pub name: &'static str,
    pub content_type: &'static str,
    pub body: Cow<'static, str>,
    /// Of its content, in quotation marks, as a strong validator is written.
    pub etag: String,
}

impl Asset {
    fn new(name: &'static str, text: &'static str) -> Self {
        let (content_type, body): (_, Cow<str>) = match name.rsplit_once('.') {
            Some(("main", "js")) => ("text/javascript; charset=utf-8", bundle().into()),
            Some((_, "js")) => ("text/javascript; charset=utf-8", lean_js(text).into()),
            Some((_, "css")) => ("text/css; charset=utf-8", lean_css(text).into()),
            Some((_, "svg")) => ("image/svg+xml", text.into()),
            _ => ("text/html; charset=utf-8", text.into()),
        };
        let mut etag = String::from("\"");
        for byte in &Sha256::digest(body.as_bytes())[..12] {
            // Writing to a string does not fail.
            let _ = write!(etag, "{byte:02x}");
        }
        etag.push('"');
        Self { name, content_type, body, etag }
    }
}

macro_rules! files {
    ($($name:literal)*) => { [$(Asset::new($name, include_str!(concat!("assets/", $name)))),*] };
}

static ASSETS: LazyLock<[Asset; 5]> =
    LazyLock::new(|| files! { "index.html" "dashboard.css" "icon.svg" "boot.js" "main.js" });

/// The page itself.
pub const INDEX: &str = "index.html";

pub fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

#[cfg(test)]
mod tests {
    use super::{super::bundle::MODULES, *};
    use std::{collections::BTreeSet, fs, path::Path};

    #[test]
    fn every_file_of_the_folder_is_served() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/dashboard/assets");
        let names: BTreeSet<String> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let modules = MODULES.iter().map(|(name, _)| format!("{name}.js"));
        let served: BTreeSet<String> = ASSETS.iter().map(|asset| asset.name.to_owned()).chain(modules).collect();
        assert_eq!(names, served);
    }

    #[test]
    fn the_whole_dashboard_is_smaller_than_100_kb() {
        let bytes: usize = ASSETS.iter().map(|asset| asset.body.len()).sum();
        assert!(bytes < 100_000, "{bytes} bytes");
    }

    #[test]
    fn nothing_in_it_names_another_origin_or_makes_markup_of_data() {
        for asset in ASSETS.iter() {
            let text = asset.body.replace("http://www.w3.org/2000/svg", "");
            let forbidden =
                ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("];
            for word in forbidden {
                assert!(!text.contains(word), "{} has {word}", asset.name);
            }
        }
    }

    /// What the shortening relies on.
    #[test]
    fn no_text_of_a_script_goes_over_lines() {
        for asset in ASSETS.iter().filter(|asset| asset.content_type.starts_with("text/javascript")) {
            let odd = asset.body.lines().find(|line| line.matches('`').count() % 2 == 1);
            assert_eq!(odd, None, "{}", asset.name);
        }
    }
}
