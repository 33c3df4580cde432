//! The ACL file: read as a whole, and replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use kvnode_core::limits::ACL_FILE_BYTES_MAX;

/// See the module's header.
#[derive(Clone, Debug)]
pub(crate) struct AclFile(PathBuf);

impl AclFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// What is in it. Of one that is too long, as much as shows that.
    pub(crate) fn read(&self) -> Result<Vec<u8>, String> {
        let read = || -> io::Result<Vec<u8>> {
            let mut text = Vec::new();
            File::open(&self.0)?.take(ACL_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
            Ok(text)
        };
        read().map_err(|why| format!("Error loading ACLs, {}: {why}", self.0.display()))
    }

    /// Puts `text` in its place; a crash leaves the one or the other.
    pub(crate) fn write(&self, text: &[u8]) -> Result<(), String> {
        let write = || -> io::Result<()> {
            let mut name = self.0.file_name().unwrap_or_default().to_owned();
            name.push(".new");
            let new = self.0.with_file_name(name);
            let mut file = private(&new)?;
            file.write_all(text)?;
            file.sync_all()?;
            fs::rename(&new, &self.0)?;
            let dir = self.0.parent().filter(|dir| !dir.as_os_str().is_empty());
            File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|why| format!("{}: {why}", self.0.display()))
    }
}

/// A new file that nobody else may read: it tells of passwords.
fn private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}
