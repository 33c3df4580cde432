//! Passwords: from a file or the environment, never from the command line, which others can see.

use std::path::{Path, PathBuf};

/// The environment variable that has the password of `kvnode cli`, `status` and `cluster`.
const VARIABLE: &str = "KVNODE_PASSWORD";

/// What a command says that lacks a password.
pub(crate) const HOW_TO_LOGIN: &str = "--password-file FILE, or KVNODE_PASSWORD in the environment";

/// Longest password, in bytes: what a client may send that is not known yet.
const BYTES_MAX: usize = 16 << 10;

/// How a client says who it is.
#[derive(clap::Args)]
#[command(next_help_heading = "Users")]
pub(crate) struct LoginArgs {
    /// User to log in as; needs a password
    #[arg(long, value_name = "NAME", default_value = "default", global = true)]
    user: String,

    /// File whose only line is the password; KVNODE_PASSWORD in the environment has it otherwise
    #[arg(long, value_name = "FILE", global = true)]
    password_file: Option<PathBuf>,
}

/// A user and its password.
#[derive(Clone)]
pub(crate) struct Login {
    user: String,
    password: Vec<u8>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl LoginArgs {
    /// What was given; none if there is no password.
    pub(crate) fn login(&self) -> Result<Option<Login>, String> {
        let password = match &self.password_file {
            Some(path) => Some(read(path)?),
            None => std::env::var_os(VARIABLE)
                .map(std::ffi::OsString::into_encoded_bytes)
                .filter(|password| !password.is_empty()),
        };
        match password {
            None if self.user != "default" => {
                Err(format!("--user {} needs a password: {HOW_TO_LOGIN}", self.user))
            }
            password => Ok(password.map(|password| Login { user: self.user.clone(), password })),
        }
    }
}

impl Login {
    /// The user `default`, with the password in a file.
    pub(crate) fn from_file(path: &Path) -> Result<Self, String> {
        Ok(Self { user: "default".into(), password: read(path)? })
    }

    /// By the arguments of an AUTH.
    pub(crate) fn typed(args: &[Vec<u8>]) -> Option<Self> {
        let (user, password) = match args {
            [password] => (b"default".as_slice(), password),
            [user, password] => (user.as_slice(), password),
            _ => return None,
        };
        let user = String::from_utf8(user.to_vec()).ok()?;
        Some(Self { user, password: password.clone() })
    }

    /// The command that says it.
    pub(crate) fn command(&self) -> [&[u8]; 3] {
        [b"AUTH", self.user.as_bytes(), &self.password]
    }
}

/// The password in a file: its only line.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut text = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(BYTES_MAX as u64 + 2).read_to_end(&mut text))
        .map_err(|why| format!("cannot read the password file {}: {why}", path.display()))?;
    let line = text.strip_suffix(b"\n").unwrap_or(&text);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || line.len() > BYTES_MAX || line.contains(&b'\n') {
        return Err(format!(
            "the password file {} has to hold one line of 1 to {BYTES_MAX} bytes",
            path.display()
        ));
    }
    Ok(line.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_holds_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        for (text, password) in [("pw", "pw"), ("p w\n", "p w"), ("pw\r\n", "pw")] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap(), password.as_bytes());
        }
        for text in ["", "\n", "one\ntwo\n", &"x".repeat(BYTES_MAX + 1)] {
            std::fs::write(&path, text).unwrap();
            let why = read(&path).unwrap_err();
            assert!(why.contains("one line") && !why.contains("two"), "{why}");
        }
        assert!(read(&dir.path().join("absent")).unwrap_err().contains("cannot read"));
    }

    #[test]
    fn a_login_does_not_show_its_password() {
        let login = Login { user: "ann".into(), password: b"secret".to_vec() };
        assert!(!format!("{login:?}").contains("secret"));
    }
}
