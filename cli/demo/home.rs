//! Where the nodes' directories are, and what becomes of them.

use std::path::{Path, PathBuf};

/// A directory for the nodes' directories: the given one, or one that goes when this is dropped.
pub(super) struct Home {
    path: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Home {
    /// Makes it.
    pub(super) fn make(given: Option<PathBuf>) -> Result<Self, String> {
        match given {
            Some(path) => {
                let made = std::fs::create_dir_all(&path);
                made.map_err(|why| format!("{}: {why}", path.display()))?;
                // The nodes are told it whole, whatever directory they run in.
                let path = std::path::absolute(&path).unwrap_or(path);
                Ok(Self { path, temporary: None })
            }
            None => {
                let made = tempfile::Builder::new().prefix("kvnode-demo-").tempdir();
                let made = made.map_err(|why| format!("no temporary directory: {why}"))?;
                Ok(Self { path: made.path().to_owned(), temporary: Some(made) })
            }
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// It goes at the end.
    pub(super) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// It stays, for somebody to look at what is in it.
    pub(super) fn keep(&mut self) {
        if let Some(mut temporary) = self.temporary.take() {
            temporary.disable_cleanup(true);
        }
    }
}
