//! Who a client is and what it may do: AUTH, the AUTH of HELLO, and the check before every command.

use alloc::format;
use alloc::string::String;

use super::command::{Command, Flags};
use super::session::Held;
use super::{Session, Stop, Txn};
use crate::Value;
use crate::acl::{Context, DEFAULT_USER, Denied, Entry, Reason};
use crate::args::Args;
use crate::reply::Reply;
use crate::server::Server;

const NO_AUTH: Reply =
    Reply::Error(alloc::borrow::Cow::Borrowed("NOAUTH Authentication required."));

/// For a node that wants of a leader what it is to do for its client itself.
const NOT_FOR_LEADERS: Reply = Reply::Error(alloc::borrow::Cow::Borrowed(
    "ERR the command is about the connection or its node, and not for the leader of a partition: \
     it was not evaluated",
));

impl Session {
    /// Whether it may run the command now; if not, what it is told. ACL LOG has it then.
    #[inline]
    pub(crate) fn authorize(
        &mut self,
        command: &'static Command,
        args: Args<'_>,
        server: &mut Server,
    ) -> Result<(), Reply> {
        self.note(command);
        if self.is_trusted() {
            return if command.is_for_leaders() { Ok(()) } else { Err(NOT_FOR_LEADERS) };
        }
        if self.in_transaction() && changes_who_one_is(command, args) {
            return self.authorize_slowly(command, args, server);
        }
        if self.is_unrestricted(&server.acl) {
            return Ok(());
        }
        self.authorize_slowly(command, args, server)
    }

    /// Whether [`authorize`](Self::authorize) would let the command pass.
    pub(crate) fn may(&self, command: &Command, args: Args<'_>, server: &Server) -> bool {
        let allowed = || {
            let user = server.acl.user(&self.settings.user);
            (!self.is_stranger(&server.acl) || command.flags.has(Flags::NO_AUTH))
                && (!self.in_transaction() || !changes_who_one_is(command, args))
                && user.is_some_and(|user| user.check(command, args).is_ok())
        };
        self.is_trusted()
            || self.is_unrestricted(&server.acl) && !self.in_transaction()
            || allowed()
    }

    fn authorize_slowly(
        &mut self,
        command: &'static Command,
        args: Args<'_>,
        server: &mut Server,
    ) -> Result<(), Reply> {
        if self.is_stranger(&server.acl) && !command.flags.has(Flags::NO_AUTH) {
            return Err(NO_AUTH);
        }
        if self.in_transaction() && changes_who_one_is(command, args) {
            return Err(Reply::error("ERR Command not allowed inside a transaction"));
        }
        let Err(denied) = self.check(command, args, server) else {
            self.note_rights(&server.acl);
            return Ok(());
        };
        Err(Reply::error_owned(format!("NOPERM {}", explain(denied, self.user(), command, false))))
    }

    /// Whether its user may run the command on these keys. What may not be is in ACL LOG then.
    pub(super) fn check<'a>(
        &self,
        command: &Command,
        args: &[&'a [u8]],
        server: &mut Server,
    ) -> Result<(), Denied<'a>> {
        if self.is_trusted() {
            return Ok(());
        }
        let user = server.acl.user(&self.settings.user);
        let checked = user.map_or(Err(Denied::Command), |user| user.check(command, args));
        match checked {
            Ok(()) => {}
            Err(Denied::Command) => {
                let name = command.name.as_bytes();
                self.log_refusal(server, Reason::Command, name, &self.settings.user);
            }
            Err(Denied::Key(key)) => {
                self.log_refusal(server, Reason::Key, key, &self.settings.user);
            }
        }
        checked
    }

    /// What the client is told of a queued command that it may not run any more.
    pub(crate) fn authorize_queued(
        &self,
        command: &Command,
        args: Args<'_>,
        server: &mut Server,
    ) -> Result<(), Reply> {
        self.check(command, args, server).map_err(|denied| {
            Reply::error_owned(format!(
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and \
                 the EXEC call. This command is no longer allowed for the following reason: {}",
                match denied {
                    Denied::Command => "no permission to execute the command or subcommand",
                    Denied::Key(_) => "no permission to touch the specified keys",
                }
            ))
        })
    }

    /// Becomes the user, if the password is its.
    pub(super) fn authenticate(
        &mut self,
        name: &[u8],
        password: &[u8],
        server: &mut Server,
    ) -> Result<(), Stop> {
        if !server.acl.authenticate(name, password) {
            self.log_refusal(server, Reason::Auth, b"auth", name);
            return Err(Stop::error(
                "WRONGPASS invalid username-password pair or user is disabled.",
            ));
        }
        self.settings.user = Value::copy_from(name);
        self.settings.authenticated = true;
        self.note_rights(&server.acl);
        Ok(())
    }

    /// Becomes what it was when it connected.
    pub(super) fn forget_user(&mut self, server: &Server) {
        self.settings.user = Value::copy_from(DEFAULT_USER);
        self.settings.authenticated = server.acl.admits_strangers();
        self.note_rights(&server.acl);
    }

    fn log_refusal(&self, server: &mut Server, reason: Reason, object: &[u8], user: &[u8]) {
        let cut = |bytes: &[u8]| Value::copy_from(&bytes[..bytes.len().min(SHOWN_BYTES)]);
        let multi = self.in_transaction() || self.executes();
        let entry = Entry {
            id: 0,
            count: 0,
            reason,
            context: if multi { Context::Multi } else { Context::Toplevel },
            object: cut(object),
            user: cut(user),
            client: Value::copy_from(self.describe(server.now.mono, Held::default()).as_bytes()),
            created_ms: 0,
            updated_ms: 0,
        };
        server.acl_log.add(server.now.wall_us / 1_000, entry);
    }
}

/// Why a user may not run a command, in Redis's words; `verbose` names the key.
pub(super) fn explain(denied: Denied<'_>, user: &[u8], command: &Command, verbose: bool) -> String {
    let user = String::from_utf8_lossy(user);
    match denied {
        Denied::Command => {
            let name = command.name;
            format!("User {user} has no permissions to run the '{name}' command")
        }
        Denied::Key(key) if verbose => {
            let key = super::find::shown(key);
            format!("User {user} has no permissions to access the '{key}' key")
        }
        Denied::Key(_) => String::from("No permissions to access a key"),
    }
}

/// Whether what is queued behind the command would be allowed as somebody else's, or it is about
/// users, settings or other connections, which a transaction does not change along with its keys.
fn changes_who_one_is(command: &Command, args: Args<'_>) -> bool {
    let with_auth = || args.iter().any(|arg| arg.eq_ignore_ascii_case(b"AUTH"));
    command.flags.has(Flags::NO_MULTI) || command.name == "hello" && with_auth()
}

/// AUTH is not queued after MULTI, as in Redis it is: what comes behind it would be allowed as the
/// former user's and run as the new one's.
pub(super) fn auth(
    args: Args<'_>,
    session: &mut Session,
    txn: &mut Txn<'_>,
) -> Result<Reply, Stop> {
    let server = txn.view().server();
    let (user, password) = match args[1..] {
        [_] if server.acl.default_user().needs_no_password() => {
            return Err(Stop::error(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ));
        }
        [password] => (DEFAULT_USER, password),
        [user, password] => (user, password),
        _ => return Err(Stop::SYNTAX),
    };
    session.authenticate(user, password, server).map(|()| Reply::OK)
}

/// Bytes of a key or name that ACL LOG keeps.
const SHOWN_BYTES: usize = 128;
