//! Users, selectors, the file.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::*;
use crate::kv::resolve;
use crate::limits::{ACL_PASSWORDS_MAX, ACL_PATTERNS_MAX};

fn words(rules: &str) -> Vec<&[u8]> {
    rules.split(' ').map(str::as_bytes).collect()
}

/// What the rules make of a new user.
fn described(rules: &str) -> Result<String, String> {
    let mut acl = Acl::default();
    acl.set_user(b"u", &words(rules)).map_err(|why| format!("{why}"))?;
    Ok(String::from_utf8(acl.user(b"u").unwrap().describe()).unwrap())
}

fn may(rules: &str, command: &str) -> bool {
    let mut acl = Acl::default();
    acl.set_user(b"u", &words(rules)).unwrap();
    let args = words(command);
    acl.user(b"u").unwrap().check(resolve(&args).unwrap(), &args).is_ok()
}

#[test]
fn the_last_rule_about_a_command_decides() {
    for (rules, command, expected) in [
        ("allkeys", "GET a", false),
        ("allkeys +@all", "GET a", true),
        ("allkeys +@all -get", "GET a", false),
        ("allkeys +@all -get +@read", "GET a", true),
        ("allkeys +@read -@all", "GET a", false),
        ("allkeys -@all +get", "SET a b", false),
        ("+client|id", "CLIENT ID", true),
        ("+client|id", "CLIENT GETNAME", false),
        ("+client -client|id", "CLIENT ID", false),
        ("+client -client|id", "CLIENT GETNAME", true),
        ("+client|id -client", "CLIENT ID", false),
        ("+@all -@dangerous", "CONFIG GET a", false),
        // Whoever may do nothing may still say who he is.
        ("-@all", "AUTH a b", true),
        ("-@all", "PING", false),
    ] {
        assert_eq!(may(rules, command), expected, "{rules}: {command}");
    }
}

#[test]
fn a_key_is_allowed_by_what_is_done_to_it() {
    for (patterns, command, expected) in [
        ("~a*", "GET ab", true),
        ("~a*", "GET b", false),
        ("~a*", "MGET ab b", false),
        ("~a* ~b", "MGET ab b", true),
        ("%R~a*", "GET ab", true),
        ("%R~a*", "SET ab v", false),
        ("%W~a*", "SET ab v", true),
        ("%W~a*", "GET ab", false),
        // GET makes it a read as well.
        ("%W~a*", "SET ab v GET", false),
        ("%R~a* %W~a*", "INCR ab", true),
        ("%R~src %W~dst", "COPY src dst", true),
        ("%R~src %W~dst", "COPY dst src", false),
        ("~a*", "PING", true),
    ] {
        assert_eq!(may(&format!("+@all {patterns}"), command), expected, "{patterns}: {command}");
    }
}

#[test]
fn any_one_selector_is_enough() {
    let rules = "~a* +get (~b* +set) (%R~c +@read)";
    assert!(may(rules, "GET a") && may(rules, "SET b v") && may(rules, "GET c"));
    assert!(!may(rules, "SET a v") && !may(rules, "GET b") && !may(rules, "SET c v"));
    // Not two halves of two.
    assert!(!may("~a* +get (~b* +mget)", "MGET a b"));
}

#[test]
fn a_user_is_described_by_the_rules_that_make_it() {
    let empty = "off sanitize-payload resetchannels -@all";
    for (rules, expected) in [
        ("off", empty),
        ("on nopass ~* &* +@all", "on nopass sanitize-payload ~* &* +@all"),
        (
            "on ~a* %R~b* +@read -get +config|get (~c +set)",
            "on sanitize-payload ~a* %R~b* resetchannels -@all +@read -get +config|get \
             (~c resetchannels -@all +set)",
        ),
        ("+get -get", "off sanitize-payload resetchannels -@all -get"),
        ("+client|id +client", "off sanitize-payload resetchannels -@all +client"),
        ("%R~a %W~a", "off sanitize-payload ~a resetchannels -@all"),
        ("~a ~b resetkeys ~c", "off sanitize-payload ~c resetchannels -@all"),
        (
            ">pw",
            "off sanitize-payload \
             #30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4 resetchannels -@all",
        ),
        ("on >pw ~a +get (~b +set) reset", empty),
        (">pw <pw", empty),
        ("nopass >pw resetpass", empty),
    ] {
        let made = described(rules).unwrap();
        assert_eq!(made, expected, "{rules}");
        assert_eq!(described(&made).unwrap(), expected, "{rules}, from its own description");
    }
}

#[test]
fn a_wrong_rule_changes_nothing() {
    let mut acl = Acl::default();
    acl.set_user(b"u", &words("on >pw ~a +get")).unwrap();
    let before = acl.clone();
    for (rules, why) in [
        ("off +nosuch", "'+nosuch': Unknown command or category name in ACL"),
        ("off -@nosuch", "'-@nosuch': Unknown command or category name in ACL"),
        ("off +select|0", "'+select|0': Unknown command or category name in ACL"),
        ("off foo", "'foo': Syntax error"),
        ("off %X~a", "'%X~a': Syntax error"),
        ("off %~a", "'%~a': Syntax error"),
        ("off ~* ~b", "'~b': Adding a pattern after the * pattern"),
        ("off ~* %~b", "'%~b': Adding a pattern after the * pattern"),
        ("off <other", "'<other': The password you are trying to remove"),
        ("off #12", "'#12': The password hash must be exactly 64 characters"),
        ("off &news", "'&news': There is no Pub/Sub here"),
        ("off (~a +get", "Unmatched parenthesis in acl selector starting at '(~a'."),
        ("off (~a +nosuch)", "'(~a +nosuch)': Unknown command"),
    ] {
        let said = format!("{}", acl.set_user(b"u", &words(rules)).unwrap_err());
        assert!(said.contains(why), "{rules}: {said}");
        assert_eq!(acl, before, "{rules}");
    }
    assert_eq!(acl.set_user(b"a b", &[]), Err(ChangeError::Name));
    assert_eq!(acl.set_user(b"", &[]), Err(ChangeError::Name));
    assert_eq!(acl.set_user(&[b'x'; 257], &[]), Err(ChangeError::LongName));
}

#[test]
fn everything_is_bounded() {
    let mut acl = Acl::default();
    for i in 0..ACL_USERS_MAX - 1 {
        acl.set_user(format!("u{i}").as_bytes(), &[]).unwrap();
    }
    assert_eq!(acl.set_user(b"more", &[]), Err(ChangeError::TooManyUsers));
    let too_many = |rule: &dyn Fn(usize) -> String, most: usize, expected: RuleError, what| {
        let mut acl = Acl::default();
        for i in 0..most {
            acl.set_user(b"u", &[rule(i).as_bytes()]).unwrap();
        }
        let why = acl.set_user(b"u", &[rule(most).as_bytes()]).unwrap_err();
        let ChangeError::Rule { why: said, .. } = &why else { panic!("{why}") };
        assert_eq!(*said, expected);
        assert!(format!("{why}").contains(what), "{why}");
        assert!(!format!("{why}").contains(">64"), "{why}");
    };
    too_many(
        &|i| format!("~{i}"),
        ACL_PATTERNS_MAX,
        RuleError::TooManyPatterns,
        "at most 512 patterns of keys",
    );
    too_many(
        &|i| format!(">{i}"),
        ACL_PASSWORDS_MAX,
        RuleError::TooManyPasswords,
        "at most 64 passwords",
    );
    too_many(&|i| format!("(~{i})"), 64, RuleError::TooManySelectors, "at most 64 selectors");
    let long = format!("~{}", "x".repeat(1025));
    let why = Acl::default().set_user(b"u", &[long.as_bytes()]).unwrap_err();
    assert!(format!("{why}").ends_with("a pattern of keys has at most 1024 bytes"), "{why}");
}

#[test]
fn a_password_admits_only_its_user() {
    let mut acl = Acl::default();
    acl.set_user(b"ann", &words("on >one >two")).unwrap();
    acl.set_user(b"off", &words("off >one")).unwrap();
    acl.set_user(b"open", &words("on nopass")).unwrap();
    assert!(acl.authenticate(b"ann", b"one") && acl.authenticate(b"ann", b"two"));
    assert!(!acl.authenticate(b"ann", b"") && !acl.authenticate(b"ann", b"three"));
    assert!(!acl.authenticate(b"off", b"one") && !acl.authenticate(b"nobody", b"one"));
    assert!(acl.authenticate(b"open", b"anything") && acl.admits_strangers());
    acl.require_password(b"secret");
    assert!(!acl.admits_strangers() && acl.authenticate(DEFAULT_USER, b"secret"));
    acl.require_password(b"");
    assert!(acl.admits_strangers());
}

#[test]
fn a_file_comes_back_as_it_was_written() {
    let mut acl = Acl::default();
    acl.set_user(b"ann", &words("on >pw ~app:* %R~log +@read -keys (~x +set)")).unwrap();
    acl.require_password(b"secret");
    let text = file::write(&acl);
    assert!(!text.windows(6).any(|part| part == b"secret"));
    assert_eq!(file::parse(&text).unwrap().users, acl.users);
    // What is not named there is as it is at first.
    let parsed = file::parse(b"\n  user ann on nopass \r\n").unwrap();
    assert!(parsed.admits_strangers() && parsed.authenticate(b"ann", b""));
    // And what is begins from nothing.
    assert!(!file::parse(b"user default on").unwrap().default_user().is_unrestricted());
}

#[test]
fn a_wrong_file_is_refused_line_by_line() {
    let text = b"user ann on\nusr bob on\nuser ann off\nuser eve >secret +nosuch";
    let why = file::parse(text).unwrap_err();
    assert_eq!(
        why,
        "line 2: line should start with user keyword followed by the username; line 3: Duplicate \
         user 'ann' found; line 4: user 'eve', rule '+nosuch': Unknown command or category name in \
         ACL"
    );
    assert!(file::parse(b"user eve >secret&\nuser").unwrap_err().starts_with("line 2: "));
    // What may be a password is not shown, nor what is left of one that has a space in it.
    for rules in ["<secret", "#secret", ">a secret", "(~a >secret)", "(>secret", "!secret"] {
        let why = file::parse(format!("user eve {rules}").as_bytes()).unwrap_err();
        assert!(why.starts_with("line 1: user 'eve': ") && !why.contains("secret"), "{why}");
    }
}

#[test]
fn users_that_a_file_changes_are_told() {
    let mut acl = Acl::default();
    for user in ["same", "other", "gone"] {
        acl.set_user(user.as_bytes(), &words("on nopass")).unwrap();
    }
    let by = file::parse(b"user same on nopass\nuser other on >pw\nuser new on").unwrap();
    assert_eq!(acl.replace(by), [Value::copy_from(b"gone"), Value::copy_from(b"other")]);
}

#[test]
fn nothing_shows_a_password() {
    let mut acl = Acl::default();
    acl.set_user(b"ann", &words("on >hunter2")).unwrap();
    let shown = format!("{acl:?}");
    assert!(shown.contains("(redacted)") && !shown.contains("hunter2"));
}
