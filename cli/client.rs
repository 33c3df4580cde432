//! `kvnode cli`: a client for people and scripts, in the manner of redis-cli.
//!
//! - [`connection`]: one socket, commands out, replies in.
//! - [`follow`]: a client that goes to the leader of its keys where nodes send it there.
//! - [`prompt`]: the interactive loop.
//! - [`assist`]: what the prompt offers while one types: completion and grey hints.
//! - [`help`]: `help COMMAND`, out of the same table.
//!
//! What differs from redis-cli, on purpose: an error reply makes the exit code 1; a command whose
//! connection broke after it was sent is never sent again by itself, since it may have taken
//! effect; `-h` is the host, as there, so help is `--help`.

mod assist;
mod connection;
mod follow;
mod help;
mod prompt;

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use kvnode_io::resp::{Frame, inline};

pub(crate) use connection::Connection;
use follow::Client;

use crate::password::LoginArgs;

/// The command line of `kvnode cli`.
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "With a COMMAND: sends it and prints the reply. Without, on a terminal: a prompt \
        with history, completion (Tab) and hints; `help COMMAND` explains, `quit` leaves. Without, \
        on a pipe: each line is a command.\n\n\
        On a terminal replies are printed for people (`(integer) 1`, quoted strings), elsewhere \
        as they are.\n\n\
        A node that sends clients to the leader of their keys (`--redirect moved`) is followed there, \
        and said so on a terminal.\n\n\
        Exit codes: 0 every reply was good, 1 an error reply or no connection, 2 usage.\n\n\
        Examples:\n  \
        kvnode cli set greeting 'hello world' EX 60\n  \
        kvnode cli -p 7000 --raw get greeting > file\n  \
        printf 'set a 1\\nincr a\\n' | kvnode cli"
)]
pub(crate) struct Args {
    /// Host of the node
    #[arg(short = 'h', long, default_value = "127.0.0.1")]
    host: String,

    /// Its TCP port
    #[arg(short = 'p', long, default_value_t = 6379)]
    port: u16,

    /// Speak RESP3
    #[arg(short = '3', long)]
    resp3: bool,

    /// Print replies as they are, also on a terminal
    #[arg(long, conflicts_with = "no_raw")]
    raw: bool,

    /// Print replies for people, also into a pipe
    #[arg(long)]
    no_raw: bool,

    #[command(flatten)]
    login: LoginArgs,

    /// Print this help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,

    /// The command to send, and its arguments
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<std::ffi::OsString>,
}

/// How replies are printed.
#[derive(Clone, Copy)]
enum Style {
    /// For people: types named, strings quoted.
    Tty,
    /// As they are.
    Raw,
}

/// Runs `kvnode cli`.
pub(crate) fn run(args: Args) -> ExitCode {
    let style = match () {
        () if args.raw => Style::Raw,
        () if args.no_raw || io::stdout().is_terminal() => Style::Tty,
        () => Style::Raw,
    };
    let login = match args.login.login() {
        Ok(login) => login,
        Err(why) => return crate::misused(why),
    };
    let connection = Connection::new(args.host, args.port, args.resp3).by(login);
    let client = Client::new(connection, matches!(style, Style::Tty));
    let result = if !args.command.is_empty() {
        let command = args.command.into_iter().map(|arg| arg.into_encoded_bytes()).collect();
        one_shot(client, style, command)
    } else if io::stdin().is_terminal() {
        prompt::run(client, style)
    } else {
        piped(client, style, io::stdin().lock())
    };
    match result {
        Ok(code) => code,
        // Whoever read our output has had enough of it.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => crate::failed(e),
    }
}

/// Sends one command and prints the reply.
fn one_shot(mut client: Client, style: Style, command: Command) -> io::Result<ExitCode> {
    match client.call(&command) {
        Ok(reply) => {
            print(&reply, style)?;
            Ok(exit_code(is_error(&reply)))
        }
        Err(e) => Ok(crate::failed(e)),
    }
}

/// Sends each line as a command.
fn piped(mut client: Client, style: Style, mut lines: impl BufRead) -> io::Result<ExitCode> {
    let mut any_error = false;
    let mut line = Vec::new();
    while {
        line.clear();
        lines.read_until(b'\n', &mut line)? > 0
    } {
        let Ok(command) = inline::split(&line) else {
            eprintln!("Invalid argument(s)");
            any_error = true;
            continue;
        };
        let Some(name) = command.first() else { continue };
        if is_leaving(name) {
            break;
        }
        match client.call(&command) {
            Ok(reply) => {
                any_error |= is_error(&reply);
                print(&reply, style)?;
            }
            // The lines to come may depend on this one.
            Err(e) => return Ok(crate::failed(e)),
        }
    }
    Ok(exit_code(any_error))
}

/// A command and its arguments.
type Command = Vec<Vec<u8>>;

/// Whether the word leaves the client; the server is not asked.
fn is_leaving(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"quit") || word.eq_ignore_ascii_case(b"exit")
}

fn is_error(reply: &Frame) -> bool {
    matches!(reply, Frame::Error(_))
}

fn exit_code(any_error: bool) -> ExitCode {
    if any_error { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn print(reply: &Frame, style: Style) -> io::Result<()> {
    let text = match style {
        Style::Tty => reply.to_tty(),
        Style::Raw => reply.to_raw(),
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(&text)?;
    stdout.flush()
}
