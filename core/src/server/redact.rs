//! Commands without the passwords in them, for whatever shows commands: MONITOR, SLOWLOG.

use crate::args::Args;

/// What stands in a password's place.
const REDACTED: &[u8] = b"(redacted)";

/// The arguments, the name first, those that are or may be passwords left out.
pub(crate) fn redacted<'a>(args: Args<'a>) -> impl Iterator<Item = &'a [u8]> {
    let secret = secrets(args);
    args.iter().enumerate().map(move |(at, arg)| if secret(at) { REDACTED } else { *arg })
}

/// Whether some are left out, or may be.
pub(crate) fn hides(args: Args<'_>) -> bool {
    let names: [&[u8]; 4] = [b"AUTH", b"ACL", b"HELLO", b"CONFIG"];
    names.iter().any(|name| args[0].eq_ignore_ascii_case(name))
}

/// Which arguments those are.
fn secrets(args: Args<'_>) -> impl Fn(usize) -> bool {
    let is = |at: usize, word: &str| {
        args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    };
    let from = if is(0, "AUTH") {
        1
    } else if is(0, "ACL") && (is(1, "SETUSER") || is(1, "DELUSER") || is(1, "GETUSER")) {
        2
    } else {
        usize::MAX
    };
    // The option AUTH takes two.
    let hello = is(0, "HELLO");
    let login = args.iter().position(|arg| arg.eq_ignore_ascii_case(b"AUTH")).filter(|_| hello);
    let config = is(0, "CONFIG") && is(1, "SET");
    let pass: alloc::vec::Vec<usize> = if config {
        (2..args.len()).filter(|&at| at % 2 == 0 && is(at, "requirepass")).collect()
    } else {
        alloc::vec::Vec::new()
    };
    move |at| {
        at >= from
            || login.is_some_and(|login| at == login + 1 || at == login + 2)
            || pass.iter().any(|&name| at == name + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec::Vec;

    #[test]
    fn passwords_are_left_out() {
        for (line, expected) in [
            ("AUTH pw", "AUTH (redacted)"),
            ("auth ann pw", "auth (redacted) (redacted)"),
            ("AUTH a b c", "AUTH (redacted) (redacted) (redacted)"),
            ("HELLO 3 AUTH ann pw SETNAME x", "HELLO 3 AUTH (redacted) (redacted) SETNAME x"),
            ("HELLO 3 SETNAME AUTH", "HELLO 3 SETNAME AUTH"),
            ("ACL SETUSER ann >pw on", "ACL SETUSER (redacted) (redacted) (redacted)"),
            (
                "CONFIG SET maxclients 5 RequirePass pw",
                "CONFIG SET maxclients 5 RequirePass (redacted)",
            ),
            ("CONFIG GET requirepass", "CONFIG GET requirepass"),
            ("SET requirepass pw", "SET requirepass pw"),
        ] {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let shown: Vec<_> = redacted(&args).map(String::from_utf8_lossy).collect();
            assert_eq!(shown.join(" "), expected);
        }
    }
}
