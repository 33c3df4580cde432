//! Chromium without a window: it opens a page, lets its script run, and prints what became of it.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::common::{has, skipped};

/// What the program may be called.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// A browser.
pub(crate) struct Browser {
    program: &'static str,
    profile: TempDir,
}

impl Browser {
    /// Finds one. Where there is none it says so and gives `None`.
    ///
    /// # Panics
    /// If there is none and `KVNODE_REQUIRE_BROWSER=1`: a CI run must not pass by skipping.
    pub(crate) fn find() -> Option<Self> {
        let Some(program) = NAMES.into_iter().find(|name| has(name)) else {
            let required = std::env::var("KVNODE_REQUIRE_BROWSER").is_ok_and(|v| v == "1");
            assert!(!required, "KVNODE_REQUIRE_BROWSER=1, but chromium is not installed");
            skipped("chromium is not installed, so nobody reads the page");
            return None;
        };
        Some(Self { program, profile: TempDir::new().expect("a temporary directory") })
    }

    /// Opens the page `name`, which holds `html`, at the address that ends in `#place`, in a window
    /// tall enough for 60 rows. The page stays in the target directory, to be looked at.
    ///
    /// # Panics
    /// If the page has failed, or its script did not come to its end.
    pub(crate) fn open(&self, name: &str, html: &str, place: &str) -> Dom {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{name}.html"));
        std::fs::write(&path, html).expect("the target directory takes a file");
        let mut profile = OsStr::new("--user-data-dir=").to_owned();
        profile.push(self.profile.path());
        let output = Command::new(self.program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--window-size=1600,1500", "--virtual-time-budget=1000"])
            .args(["--timeout=60000", "--dump-dom"])
            .arg(profile)
            .arg(format!("file://{}#{place}", path.display()))
            .stdin(Stdio::null())
            .output()
            .expect("the browser starts");
        let dom = Dom(String::from_utf8_lossy(&output.stdout).into_owned());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(dom.get("error"), None, "{name}#{place}");
        assert_eq!(dom.get("ready"), Some("yes"), "{name}#{place} is not drawn: {errors}");
        dom
    }
}

/// A page as its script left it.
pub(crate) struct Dom(String);

impl Dom {
    /// What the body says under `data-<name>`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let body = self.0.split_once("<body")?.1.split_once('>')?.0;
        let value = body.split_once(&format!("data-{name}=\""))?.1;
        Some(value.split_once('"')?.0)
    }

    /// The same, as a number.
    pub(crate) fn number(&self, name: &str) -> usize {
        let text = self.get(name).unwrap_or_else(|| panic!("the body says nothing of {name}"));
        text.parse().unwrap_or_else(|_| panic!("{name} is {text}"))
    }

    /// What the element with this id holds, as HTML. It must hold no element of its own tag, at
    /// whose end it would be cut short.
    pub(crate) fn element(&self, id: &str) -> &str {
        let (before, after) =
            self.0.split_once(&format!(" id=\"{id}\"")).unwrap_or_else(|| panic!("no {id}"));
        let tag = before.rsplit_once('<').expect("an element has a tag").1;
        let tag = tag.split_whitespace().next().expect("a tag has a name");
        let end = after.find(&format!("</{tag}>")).expect("an element ends");
        &after[after.find('>').expect("a tag ends") + 1..end]
    }

    /// The same without tags and with what they kept apart in single spaces.
    pub(crate) fn text(&self, id: &str) -> String {
        let mut text = String::new();
        for part in self.element(id).split('<') {
            text.push(' ');
            text.push_str(part.split_once('>').map_or(part, |(_, after)| after));
        }
        let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
