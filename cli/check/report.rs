//! What a scan has found.

use std::fmt::Write;

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;

/// Width of the table where stdout is no terminal.
const WIDTH_DEFAULT: u16 = 100;

/// The whole result of one scan.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// What was looked at.
    pub(crate) summary: Summary,
    /// What is worth telling, in the order of the files.
    pub(crate) findings: Vec<Finding>,
    /// Further findings that are not listed.
    pub(crate) left_out: u64,
    /// Losses that were accepted just now.
    pub(crate) accepted: Vec<Accepted>,
    /// Whether any finding is damage, those not listed included.
    #[serde(skip)]
    pub(crate) damaged: bool,
}

/// A loss that was accepted.
#[derive(Debug, Serialize)]
pub(crate) struct Accepted {
    /// The partition.
    pub(crate) partition: u32,
    /// Lost ranges of its log up to this offset are accepted.
    pub(crate) up_to: u64,
}

/// Counts of what was looked at.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    /// Partitions in the directory.
    pub(crate) partitions: u64,
    /// Log files read.
    pub(crate) segments: u64,
    /// Records whose checksum is right.
    pub(crate) records: u64,
    /// Keys that are live.
    pub(crate) keys: u64,
    /// Bytes read.
    pub(crate) bytes: u64,
}

/// One thing that is not as it should be.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    /// How bad it is.
    pub(crate) severity: Severity,
    /// The file, below the data directory.
    pub(crate) file: String,
    /// Where in it, in bytes.
    pub(crate) position: u64,
    /// The log offset there, where one is known.
    pub(crate) offset: Option<u64>,
    /// What is wrong.
    pub(crate) what: String,
    /// What it means for the data.
    pub(crate) meaning: String,
    /// What to do.
    pub(crate) advice: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Nothing is lost: the next start puts it right.
    Note,
    /// Data is damaged.
    Damage,
}

impl Report {
    /// Whether no data is damaged.
    pub(crate) fn is_clean(&self) -> bool {
        !self.damaged
    }

    /// As one JSON object.
    pub(crate) fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Whole<'a> {
            clean: bool,
            #[serde(flatten)]
            report: &'a Report,
        }
        let whole = Whole { clean: self.is_clean(), report: self };
        serde_json::to_string_pretty(&whole).expect("a report is JSON")
    }

    /// As a table and a sentence, as wide as the terminal if `terminal`, and in colour then.
    pub(crate) fn to_text(&self, terminal: bool) -> String {
        let mut text = String::new();
        if !self.findings.is_empty() {
            put(&mut text, format_args!("{}\n\n", self.table(terminal)));
        }
        if self.left_out > 0 {
            put(&mut text, format_args!("… and {} findings more.\n", self.left_out));
        }
        let Summary { partitions, segments, records, keys, bytes } = self.summary;
        put(
            &mut text,
            format_args!(
                "Read {bytes} bytes: {records} records of {keys} live keys in {segments} segments \
                 of {partitions} partition(s).\n"
            ),
        );
        let of = |severity| self.findings.iter().filter(|f| f.severity == severity).count();
        let (damage, notes) = (of(Severity::Damage), of(Severity::Note));
        match (damage, notes) {
            (0, 0) => text.push_str("Clean.\n"),
            (0, _) => put(&mut text, format_args!("Clean, with {notes} note(s).\n")),
            (_, _) => {
                put(&mut text, format_args!("DAMAGED: {damage} finding(s), {notes} note(s).\n"))
            }
        }
        for Accepted { partition, up_to } in &self.accepted {
            put(
                &mut text,
                format_args!(
                    "Accepted: what p{partition} has lost of its log up to offset {up_to}. Its \
                     next start serves what is left.\n"
                ),
            );
        }
        text
    }

    fn table(&self, terminal: bool) -> Table {
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header([
                "",
                "file",
                "byte",
                "offset",
                "what is wrong",
                "what it means, what to do",
            ]);
        if !terminal {
            table.set_width(WIDTH_DEFAULT).force_no_tty();
        }
        for finding in &self.findings {
            let (name, color) = match finding.severity {
                Severity::Note => ("note", Color::Yellow),
                Severity::Damage => ("DAMAGE", Color::Red),
            };
            table.add_row([
                Cell::new(name).fg(color).add_attribute(Attribute::Bold),
                Cell::new(&finding.file),
                Cell::new(finding.position),
                Cell::new(finding.offset.map_or("-".into(), |offset| offset.to_string())),
                Cell::new(&finding.what),
                Cell::new(format!("{} → {}", finding.meaning, finding.advice)),
            ]);
        }
        table
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damaged() -> Report {
        let finding = |severity, offset| Finding {
            severity,
            file: "p0/00000000000000000000-00000001.log".into(),
            position: 4_096,
            offset,
            what: "checksum mismatch".into(),
            meaning: "the record can not be read".into(),
            advice: "restore it from a copy".into(),
        };
        Report {
            summary: Summary { partitions: 1, segments: 1, records: 9, keys: 7, bytes: 8_192 },
            findings: vec![finding(Severity::Damage, Some(17)), finding(Severity::Note, None)],
            damaged: true,
            ..Report::default()
        }
    }

    #[test]
    fn a_clean_directory_is_said_to_be_clean() {
        let report = Report::default();
        assert!(report.is_clean());
        assert!(report.to_text(false).ends_with("\nClean.\n"), "{}", report.to_text(false));
    }

    #[test]
    fn a_note_alone_is_no_damage() {
        let mut report = damaged();
        report.findings.remove(0);
        report.damaged = false;
        assert!(report.is_clean());
        assert!(report.to_text(false).contains("1 note"));
    }

    #[test]
    fn damage_is_shown_with_its_place_and_what_to_do() {
        let text = damaged().to_text(false);
        for part in ["DAMAGE", "4096", "17", "checksum mismatch", "restore it", "1 finding"] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn what_was_accepted_is_said() {
        let accepted = vec![Accepted { partition: 3, up_to: 42 }];
        let report = Report { accepted, ..damaged() };
        let text = report.to_text(false);
        assert!(text.contains("p3") && text.contains("offset 42"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["accepted"][0]["up_to"], 42);
    }

    #[test]
    fn json_says_the_same() {
        let json: serde_json::Value = serde_json::from_str(&damaged().to_json()).unwrap();
        assert_eq!(json["clean"], false);
        assert_eq!(json["summary"]["records"], 9);
        assert_eq!(json["findings"][0]["severity"], "damage");
        assert_eq!(json["findings"][0]["position"], 4_096);
        assert_eq!(json["findings"][1]["offset"], serde_json::Value::Null);
    }
}
