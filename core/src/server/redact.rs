//! Commands without the passwords in them, for whatever shows commands: MONITOR, SLOWLOG, traces, the
//! history of `kvnode cli`.

use crate::args::Args;

/// What stands in a password's place.
const REDACTED: &[u8] = b"(redacted)";

/// Parameters of CONFIG SET that Redis hides, those included that cannot be set here.
const PARAMETERS: [&str; 5] =
    ["requirepass", "masterauth", "masteruser", "tls-key-file-pass", "tls-client-key-file-pass"];

/// The arguments, the name first, those that are or may be passwords left out.
pub(crate) fn redacted<'a>(args: Args<'a>) -> impl Iterator<Item = &'a [u8]> {
    let secret = secrets(args);
    args.iter().enumerate().map(move |(at, arg)| if secret(at) { REDACTED } else { *arg })
}

/// Whether some are left out.
pub fn hides(args: Args<'_>) -> bool {
    let names: [&[u8]; 5] = [b"AUTH", b"ACL", b"HELLO", b"CONFIG", b"COMMAND"];
    let may = |args: Args<'_>| names.iter().any(|name| args[0].eq_ignore_ascii_case(name));
    !args.is_empty() && may(args) && (0..args.len()).any(secrets(args))
}

/// Which arguments those are. One that may be a password is taken for one.
fn secrets<'a>(all: Args<'a>) -> impl Fn(usize) -> bool + 'a {
    let mut args = all;
    // A command that is only asked about.
    loop {
        args = match args {
            [_, _, rest @ ..] if is(args, 0, "COMMAND") && is_keys_of(args) => rest,
            [_, _, _, rest @ ..] if is(args, 0, "ACL") && is(args, 1, "DRYRUN") => rest,
            _ => break,
        };
    }
    let skipped = all.len() - args.len();
    let users = ["SETUSER", "DELUSER", "GETUSER"];
    // From here on all of them.
    let from = if is(args, 0, "AUTH") {
        1
    } else if is(args, 0, "ACL") && users.iter().any(|word| is(args, 1, word)) {
        2
    } else if is(args, 0, "HELLO") {
        // Whatever comes after the first AUTH, which may be a name or the option.
        (1..args.len()).find(|&at| is(args, at, "AUTH")).map_or(usize::MAX, |at| at + 1)
    } else {
        usize::MAX
    };
    let config = is(args, 0, "CONFIG") && is(args, 1, "SET");
    let secret = move |at: usize| {
        at >= from
            // At any place: a word that is missing or one too many must not give it away.
            || config && at > 2 && PARAMETERS.iter().any(|name| is(args, at - 1, name))
    };
    move |at| at >= skipped && secret(at - skipped)
}

fn is(args: Args<'_>, at: usize, word: &str) -> bool {
    args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
}

fn is_keys_of(args: Args<'_>) -> bool {
    is(args, 1, "GETKEYS") || is(args, 1, "GETKEYSANDFLAGS")
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
            ("HELLO 3 SETNAME x AUTH ann pw", "HELLO 3 SETNAME x AUTH (redacted) (redacted)"),
            (
                "HELLO 3 SETNAME auth AUTH ann pw",
                "HELLO 3 SETNAME auth (redacted) (redacted) (redacted)",
            ),
            (
                "HELLO 3 AUTH ann pw AUTH ann pw",
                "HELLO 3 AUTH (redacted) (redacted) (redacted) (redacted) (redacted)",
            ),
            ("HELLO 3 SETNAME AUTH", "HELLO 3 SETNAME AUTH"),
            ("ACL SETUSER ann >pw on", "ACL SETUSER (redacted) (redacted) (redacted)"),
            (
                "CONFIG SET maxclients 5 RequirePass pw",
                "CONFIG SET maxclients 5 RequirePass (redacted)",
            ),
            ("CONFIG SET masterauth pw", "CONFIG SET masterauth (redacted)"),
            ("CONFIG SET MasterUser ann timeout 5", "CONFIG SET MasterUser (redacted) timeout 5"),
            ("CONFIG SET tls-key-file-pass pw", "CONFIG SET tls-key-file-pass (redacted)"),
            ("CONFIG GET requirepass", "CONFIG GET requirepass"),
            ("CONFIG SET x requirepass pw", "CONFIG SET x requirepass (redacted)"),
            ("SET requirepass pw", "SET requirepass pw"),
            ("ACL DRYRUN ann AUTH pw", "ACL DRYRUN ann AUTH (redacted)"),
            ("ACL DRYRUN ann", "ACL DRYRUN ann"),
            ("COMMAND GETKEYS AUTH pw", "COMMAND GETKEYS AUTH (redacted)"),
            (
                "COMMAND GETKEYS COMMAND GETKEYS AUTH pw",
                "COMMAND GETKEYS COMMAND GETKEYS AUTH (redacted)",
            ),
            ("COMMAND GETKEYS SET k v", "COMMAND GETKEYS SET k v"),
            ("HELLO AUTH ann pw", "HELLO AUTH (redacted) (redacted)"),
            ("ACL", "ACL"),
        ] {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let shown: Vec<_> = redacted(&args).map(String::from_utf8_lossy).collect();
            assert_eq!(shown.join(" "), expected);
            assert_eq!(hides(&args), expected.contains("redacted"), "{line}");
        }
    }
}
