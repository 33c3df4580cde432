//! How a benchmark tells what it has measured: a table for people, or JSON.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use comfy_table::{Cell, Table, presets};
use serde::Serialize;

/// Prints a report as JSON or as `text` puts it, or why there is none.
pub fn print<R: Serialize>(
    report: io::Result<R>,
    json: bool,
    text: impl FnOnce(&R) -> String,
) -> ExitCode {
    let told = report.and_then(|report| {
        if json { Ok(serde_json::to_string_pretty(&report)?) } else { Ok(text(&report)) }
    });
    print_text(told)
}

/// Prints a text, or why there is none.
pub fn print_text(text: io::Result<impl Display>) -> ExitCode {
    match text {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// An empty table with these headings.
pub fn table<const COLUMNS: usize>(headings: [&str; COLUMNS]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(headings.map(Cell::new));
    table
}
