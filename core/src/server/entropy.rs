//! Random bits that nobody can guess: the SHA-256 of a secret and a counter.

use alloc::string::String;
use core::fmt::Write;

use sha2::{Digest, Sha256};

use super::Secret;

/// See the module's header.
#[derive(Debug, Default)]
pub(crate) struct Entropy {
    secret: Secret,
    drawn: u64,
}

impl Entropy {
    pub(super) fn new(secret: Secret) -> Self {
        Self { secret, drawn: 0 }
    }

    /// So many hexadecimal digits.
    pub(crate) fn hex(&mut self, digits: usize) -> String {
        let mut text = String::new();
        while text.len() < digits {
            self.drawn += 1;
            let block =
                Sha256::new().chain_update(self.secret.0).chain_update(self.drawn.to_le_bytes());
            for byte in block.finalize() {
                write!(text, "{byte:02x}").expect("a String takes all");
            }
        }
        text.truncate(digits);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_do_not_repeat_and_depend_on_the_secret() {
        let (mut one, mut other) = (Entropy::new(Secret([1; 32])), Entropy::new(Secret([2; 32])));
        let (first, second) = (one.hex(64), one.hex(64));
        assert!(first != second && first != other.hex(64) && first.len() == 64);
        assert_eq!(one.hex(3).len(), 3);
        assert_eq!(one.hex(1_024).len(), 1_024);
        assert!(!alloc::format!("{one:?}").contains("1, 1"));
    }
}
