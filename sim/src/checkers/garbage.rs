//! No garbage: every reply is one that its command can have, and every value one that somebody
//! wrote whole (the RESP reply of each command, in the Redis command reference).

use super::{Violation, words};
use crate::history::{History, Outcome};

/// The checker's name.
pub const NAME: &str = "no garbage";

pub(super) fn check(history: &History) -> Vec<Violation> {
    let calls = history.calls.iter().enumerate();
    let garbage = calls.filter(|(_, call)| matches!(call.outcome, Outcome::Garbage(_)));
    let violation = |(i, call)| {
        let text = format!("this reply means nothing:\n  {}", words::call(call));
        Violation::at(NAME, history, i, Vec::new(), text)
    };
    garbage.map(violation).collect()
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forge, get, is, set};
    use super::*;
    use crate::history::Answer;

    #[test]
    fn a_reply_that_means_nothing_is_told() {
        let mut forge = Forge::default();
        forge.call(1, set(0, 1), Answer::Done);
        let read = forge.call(1, get(0), is(1));
        assert_eq!(check(forge.history()), []);
        forge.garbage(read);
        let [violation] = check(forge.history()).try_into().expect("one violation");
        assert_eq!(violation.calls, [read]);
        assert!(violation.text.contains("+PONG"), "{}", violation.text);
    }
}
