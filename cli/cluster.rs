//! `kvnode cluster`: what an operator asks of the controller, by way of any node.
//!
//! The node is asked first how the cluster is, so that what would be lost or taken away is said
//! before anything is done ([`outlook`]), and then for the thing itself, by the same commands that
//! any Redis client can send (`CLUSTER ELECT` and so on). Nothing is decided here.

mod outlook;

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use kvnode_io::resp::Frame;

use crate::client::Connection;
use crate::password::LoginArgs;
use crate::status;
use outlook::Outlook;

/// The command line of `kvnode cluster`.
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Any node takes it and hands it to the controller. It says what would be lost or \
        taken away before it does anything, and asks on a terminal; elsewhere --yes is needed.\n\n\
        Partitions and nodes are named as `kvnode status` prints them: p0, n2.\n\n\
        Exit codes: 0 done, 1 refused, not known whether it was done, or called off, 2 usage.\n\n\
        Examples:\n  \
        kvnode cluster move p0 n2\n  \
        kvnode cluster elect p0 n2 --unclean\n  \
        kvnode cluster accept-loss p0\n  \
        kvnode cluster reassign p0 n1 n2 n4\n  \
        kvnode cluster forget n3 -h ant -p 7000"
)]
pub(crate) struct Args {
    /// Host of the node to ask
    #[arg(short = 'h', long, default_value = "127.0.0.1", global = true)]
    host: String,

    /// Its TCP port
    #[arg(short = 'p', long, default_value_t = 6379, global = true)]
    port: u16,

    /// Do it without asking
    #[arg(short = 'y', long, global = true)]
    yes: bool,

    #[command(flatten)]
    login: LoginArgs,

    /// Print this help
    #[arg(long, action = clap::ArgAction::Help, global = true)]
    help: Option<bool>,

    #[command(subcommand)]
    what: What,
}

/// What is asked for.
#[derive(clap::Subcommand)]
enum What {
    /// Let another replica lead that is in sync, now and from now on: nothing is lost
    ///
    /// It becomes the partition's preferred leader: it leads again when it has been away.
    Move {
        /// The partition, as p0
        #[arg(value_parser = partition)]
        partition: u32,
        /// Who is to lead, as n2
        #[arg(value_parser = node)]
        node: u32,
    },
    /// Let a replica lead that is not in sync, when nobody in sync comes back: writes are lost
    ///
    /// Only while no replica in sync is there. What was acknowledged after this copy was last in
    /// sync is gone from then on, also if those who have it come back later: they take over this
    /// copy. `kvnode status` says that acknowledged writes may be missing until `accept-loss`.
    Elect {
        /// The partition, as p0
        #[arg(value_parser = partition)]
        partition: u32,
        /// Whose copy is to be taken, as n2
        #[arg(value_parser = node)]
        node: u32,
        /// I know that acknowledged writes are lost by this
        #[arg(long, required = true)]
        unclean: bool,
    },
    /// Take note that acknowledged writes may be missing, so that `status` says so no longer
    AcceptLoss {
        /// The partition, as p0
        #[arg(value_parser = partition)]
        partition: u32,
    },
    /// Say which nodes have the replicas of a partition
    ///
    /// Who is new copies the partition and is in sync when it has all of it; who is left out is a
    /// replica no longer. The leader must stay, and enough of those in sync: to move everything,
    /// add the new ones first, and leave out the old ones when `kvnode status` shows the new ones
    /// in sync.
    Reassign {
        /// The partition, as p0
        #[arg(value_parser = partition)]
        partition: u32,
        /// All its replicas, the preferred leader first, as n1 n2 n4
        #[arg(value_parser = node, required = true)]
        nodes: Vec<u32>,
    },
    /// Take a node out that does not come back: it must be down and have no replica
    Forget {
        /// The node, as n3
        #[arg(value_parser = node)]
        node: u32,
    },
    /// Raise the feature level, once all nodes run a version that has it: for good
    Feature {
        /// The level
        level: u32,
    },
}

impl What {
    /// As the node is asked.
    fn command(&self) -> Vec<String> {
        let words = match self {
            Self::Move { partition, node } => vec![format!("MOVE p{partition} n{node}")],
            Self::Elect { partition, node, .. } => {
                vec![format!("ELECT p{partition} n{node} UNCLEAN")]
            }
            Self::AcceptLoss { partition } => vec![format!("ACCEPT-LOSS p{partition}")],
            Self::Reassign { partition, nodes } => {
                let nodes = nodes.iter().map(|node| format!("n{node}"));
                std::iter::once(format!("REASSIGN p{partition}")).chain(nodes).collect()
            }
            Self::Forget { node } => vec![format!("FORGET n{node}")],
            Self::Feature { level } => vec![format!("FEATURE {level}")],
        };
        let words = words.iter().flat_map(|part| part.split(' ')).map(str::to_owned);
        std::iter::once("CLUSTER".to_owned()).chain(words).collect()
    }
}

/// Runs `kvnode cluster`.
pub(crate) fn run(args: Args) -> ExitCode {
    let login = match args.login.login() {
        Ok(login) => login,
        Err(why) => return crate::misused(why),
    };
    let mut connection = Connection::new(args.host, args.port, true).by(login.clone());
    let status = match status::fetch(&mut connection) {
        Ok(status) => status,
        Err(why) => return crate::failed(why),
    };
    let Outlook { says, asks, cannot } = Outlook::of(&args.what, &status, login.as_ref());
    print!("{says}");
    if let Some(why) = cannot {
        return crate::failed(why);
    }
    if let Some(question) = asks.filter(|_| !args.yes) {
        match confirmed(&question) {
            Ok(true) => {}
            Ok(false) => return crate::failed("nothing was done"),
            Err(why) => return crate::misused(why),
        }
    }
    match connection.call(&args.what.command()) {
        Ok(Frame::Error(text)) => crate::failed(String::from_utf8_lossy(&text)),
        Ok(Frame::Simple(_)) => {
            println!("{}", outlook::done(&args.what));
            ExitCode::SUCCESS
        }
        Ok(other) => crate::failed(format!("the node answers {other:?}: is it a kvnode?")),
        Err(why) => crate::failed(format!("{why}; see kvnode status")),
    }
}

/// Whether the person at the terminal says yes; an error if there is nobody.
fn confirmed(question: &str) -> Result<bool, &'static str> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err("nobody is at a terminal to be asked: add --yes");
    }
    print!("{question} [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdout().flush().and_then(|()| stdin.lock().read_line(&mut answer));
    Ok(read.is_ok() && ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

fn partition(text: &str) -> Result<u32, String> {
    numbered(text, 'p').ok_or_else(|| "write a partition as p0".to_owned())
}

fn node(text: &str) -> Result<u32, String> {
    numbered(text, 'n').ok_or_else(|| "write a node as n1".to_owned())
}

fn numbered(text: &str, letter: char) -> Option<u32> {
    text.strip_prefix(letter).unwrap_or(text).parse().ok()
}
