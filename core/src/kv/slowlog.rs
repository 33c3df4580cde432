//! SLOWLOG and LATENCY: what took long, and where its time went.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::find::{find_full, shown, wrong_form};
use super::number::parse;
use super::{Command, Stop, Txn};
use crate::Value;
use crate::args::Args;
use crate::reply::Reply;
use crate::server::graph;
use crate::server::latency::{Event, Samples};
use crate::server::slowlog::Slow;
use crate::server::stats::CommandStats;

pub(super) fn get(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let entry = |slow: &Slow| {
        Reply::Array(vec![
            Reply::Int(slow.id),
            Reply::Int(i64::try_from(slow.at).unwrap_or(i64::MAX)),
            micros(slow.took),
            Reply::Array(slow.args.iter().cloned().map(Reply::Bulk).collect()),
            Reply::Bulk(slow.address.clone()),
            Reply::Bulk(slow.name.clone()),
        ])
    };
    entries(args, txn, entry)
}

/// The entries that SLOWLOG GET shows have six fields, and there are clients that take no more.
pub(super) fn phases(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let entry = |slow: &Slow| {
        let command = slow.args.first().cloned().unwrap_or_else(Value::empty);
        Reply::Map(vec![
            (bulk("id"), Reply::Int(slow.id)),
            (bulk("command"), Reply::Bulk(command)),
            (bulk("total"), micros(slow.took)),
            (bulk("queue"), micros(slow.phases.queue)),
            (bulk("append"), micros(slow.phases.append)),
            (bulk("fsync"), micros(slow.phases.fsync)),
            (bulk("replicate"), micros(slow.phases.replicate)),
            (bulk("apply"), micros(slow.phases.apply)),
        ])
    };
    entries(args, txn, entry)
}

fn entries(
    args: Args<'_>,
    txn: &mut Txn<'_>,
    entry: impl Fn(&Slow) -> Reply,
) -> Result<Reply, Stop> {
    let count = match args[2..] {
        [] => 10,
        [count] => match parse(count) {
            Some(-1) => usize::MAX,
            Some(count @ 0..) => count as usize,
            Some(_) | None => {
                return Err(Stop::error("ERR count should be greater than or equal to -1"));
            }
        },
        _ => return Err(Stop::Error(wrong_form(args))),
    };
    Ok(Reply::Array(txn.view().server().slowlog.entries().take(count).map(entry).collect()))
}

pub(super) fn len(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(Reply::Int(txn.view().server().slowlog.entries().len() as i64))
}

pub(super) fn reset(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    txn.view().server().slowlog.shorten(0);
    Ok(Reply::OK)
}

pub(super) fn latest(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let event = |(event, samples): (Event, &Samples)| {
        let &(at, ms) = samples.last.back()?;
        let numbers = [at, ms, samples.longest_ms].map(number);
        Some(Reply::Array(core::iter::once(bulk(event.name())).chain(numbers).collect()))
    };
    Ok(Reply::Array(txn.view().server().latency.all().filter_map(event).collect()))
}

pub(super) fn history(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let samples = Event::named(args[2]).and_then(|event| txn.view().server().latency.of(event));
    let sample = |&(at, ms): &(u64, u64)| Reply::Array(vec![number(at), number(ms)]);
    Ok(Reply::Array(samples.map_or(vec![], |samples| samples.last.iter().map(sample).collect())))
}

/// As Redis draws it, under a line that tells what is drawn.
pub(super) fn latency_graph(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let server = txn.view().server();
    let Some((event, samples)) = Event::named(args[2])
        .and_then(|event| Some((event, server.latency.of(event)?)))
        .filter(|(_, samples)| !samples.last.is_empty())
    else {
        let name = shown(args[2]);
        let text = format!("ERR No samples available for event '{name}'");
        return Err(Stop::Error(Reply::error_owned(text)));
    };
    let now = server.now.wall_us / 1_000_000;
    let column = |&(at, ms): &(u64, u64)| (ms, age(now.saturating_sub(at)));
    let columns: Vec<(u64, String)> = samples.last.iter().map(column).collect();
    let of = |end: Option<u64>| end.unwrap_or_default();
    let high = of(columns.iter().map(|(ms, _)| *ms).max());
    let low = of(columns.iter().map(|(ms, _)| *ms).min());
    let (name, longest) = (event.name(), samples.longest_ms);
    let mut text = format!("{name} - high {high} ms, low {low} ms (all time high {longest} ms)\n");
    text.push_str(&"-".repeat(graph::COLUMNS));
    text.push('\n');
    text.push_str(&graph::draw(&columns));
    Ok(Reply::Verbatim(text.into()))
}

/// How many seconds ago, in the largest unit that is not more.
fn age(s: u64) -> String {
    const UNITS: [(u64, char); 3] = [(24 * 60 * 60, 'd'), (60 * 60, 'h'), (60, 'm')];
    let unit = UNITS.into_iter().find(|&(unit, _)| s >= unit);
    let (unit, letter) = unit.unwrap_or((1, 's'));
    format!("{}{letter}", s / unit)
}

pub(super) fn latency_reset(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let latency = &mut txn.view().server().latency;
    if args.len() == 2 {
        return Ok(number(latency.forget_all() as u64));
    }
    let named = args[2..].iter().filter_map(|name| Event::named(name));
    let forgotten: Vec<bool> = named.map(|event| latency.forget(event)).collect();
    Ok(number(forgotten.into_iter().filter(|&forgotten| forgotten).count() as u64))
}

pub(super) fn doctor(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let server = txn.view().server();
    let threshold = server.settings.latency_threshold_ms;
    let mut text = match threshold {
        0 => String::from(
            "Latency monitoring is disabled in this kvnode instance. You may use \"CONFIG SET \
             latency-monitor-threshold <milliseconds>\" in order to enable it.\n",
        ),
        _ => format!("What has taken {threshold} ms or longer:\n"),
    };
    for (event, samples) in server.latency.all() {
        let (name, count, longest) = (event.name(), samples.last.len(), samples.longest_ms);
        text.push_str(&format!("{name}: in {count} seconds, the longest {longest} ms\n"));
    }
    if threshold > 0 && server.latency.all().next().is_none() {
        text.push_str("nothing so far\n");
    }
    text.push_str("SLOWLOG PHASES tells where the time of slow commands went.\n");
    Ok(Reply::Verbatim(text.into()))
}

pub(super) fn histogram(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let wanted: Option<Vec<&Command>> = match args[2..] {
        [] => None,
        ref names => Some(names.iter().filter_map(|name| find_full(name)).collect()),
    };
    let is_wanted = |stats: &CommandStats| {
        wanted.as_ref().is_none_or(|wanted| {
            let name = stats.command.name;
            let within = |c: &&Command| {
                name.strip_prefix(c.name)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('|'))
            };
            wanted.iter().any(within)
        })
    };
    let stats = txn.view().server().stats.commands();
    let described = stats.values().filter(|stats| stats.calls > 0 && is_wanted(stats));
    let describe = |stats: &&CommandStats| {
        let counts = stats.times.by_powers_of_two();
        let counts = counts.into_iter().map(|(us, count)| (number(us), number(count))).collect();
        let fields = vec![
            (bulk("calls"), number(stats.times.total())),
            (bulk("histogram_usec"), Reply::Map(counts)),
        ];
        (bulk(stats.command.name), Reply::Map(fields))
    };
    Ok(Reply::Map(described.map(describe).collect()))
}

fn micros(took: Duration) -> Reply {
    number(took.as_micros() as u64)
}

fn number(n: u64) -> Reply {
    Reply::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn bulk(text: &str) -> Reply {
    Reply::bulk(text.as_bytes())
}
