//! Plans as text, a fault a line, as people are shown them: what is printed can be read back.
//!
//! A line is read loosely, by its class and the names and numbers that follow, and then has to print
//! as what it was: so that there is one description of each fault, its `Display`. Empty lines and
//! those that begin with `#` are passed over.

use std::fmt;

use kvnode_core::disk::File;
use kvnode_core::{Offset, PartitionId, SegmentId};

use super::{Class, Fault, Harm, Plan, Planned, Strike, Unsynced, Way};
use crate::story::Lane;

/// A line that is no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Which, from 1.
    pub number: usize,
    /// What it says.
    pub line: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is no fault with its time: {}", self.number, self.line)
    }
}

/// The plan as text.
pub fn write(plan: &Plan) -> String {
    plan.iter().map(|planned| format!("{planned}\n")).collect()
}

/// The plan that a text is.
pub fn read(text: &str) -> Result<Plan, BadLine> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let mut plan = lines
        .map(|(number, line)| {
            planned(line).ok_or_else(|| BadLine { number, line: line.to_owned() })
        })
        .collect::<Result<Plan, _>>()?;
    plan.sort_by_key(|planned| planned.at_ms);
    Ok(plan)
}

fn planned(line: &str) -> Option<Planned> {
    let (at, fault) = line.split_once(" s ")?;
    let (seconds, millis) = at.trim().split_once('.')?;
    let at_ms = seconds.parse::<u64>().ok()?.checked_mul(1000)? + millis.parse::<u64>().ok()?;
    let planned = Planned { at_ms, fault: self::fault(fault.trim())? };
    let same = planned.to_string().split_whitespace().eq(line.split_whitespace());
    same.then_some(planned)
}

fn fault(text: &str) -> Option<Fault> {
    let mut words = text.split_whitespace().map(|word| word.trim_end_matches(','));
    let name = words.next()?;
    let class = *Class::ALL.iter().find(|class| class.name() == name)?;
    let words: Vec<&str> = words.collect();
    let lanes: Vec<Lane> = words.iter().filter_map(|word| lane(word)).collect();
    let numbers: Vec<i64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let signed = |at: usize| numbers.get(at).copied();
    let number = |at: usize| u64::try_from(signed(at)?).ok();
    let node = || match lanes.first()? {
        Lane::Node(id) => Some(*id),
        Lane::World | Lane::Client(_) => None,
    };
    let ends = || Some((*lanes.first()?, *lanes.get(1)?));
    if words.contains(&"sector") {
        let (file, sector) = (file(words.last()?)?, u32::try_from(number(0)?).ok()?);
        return Some(Fault::Spot { node: node()?, file, sector, harm: harm(class)? });
    }
    let power = |unsynced| Some(Fault::Power { node: node()?, unsynced, down_ms: number(0)? });
    Some(match class {
        Class::Kill => Fault::Kill { node: node()?, down_ms: number(0)? },
        Class::PowerKept => power(Unsynced::Kept)?,
        Class::PowerLost => power(Unsynced::Lost)?,
        Class::PowerMixed => power(Unsynced::Mixed)?,
        Class::Wipe => Fault::Wipe { node: node()?, down_ms: number(0)? },
        Class::LostLog => Fault::LoseLog { node: node()?, down_ms: number(0)? },
        Class::Restart => Fault::Restart { node: node()?, down_ms: number(0)? },
        Class::Pause => Fault::Pause { node: node()?, for_ms: number(0)? },
        Class::Jump => Fault::Jump { node: node()?, by_ms: signed(0)? },
        Class::Drift => Fault::Drift { node: node()?, ppm: signed(0)? },
        Class::CutOneWay | Class::CutBothWays => {
            let ((from, to), both_ways) = (ends()?, class == Class::CutBothWays);
            Fault::Cut { from, to, both_ways, for_ms: number(0)? }
        }
        Class::Flap => {
            let (from, to) = ends()?;
            Fault::Flap { from, to, times: number(0)?, each_ms: number(1)? }
        }
        Class::Swizzle => Fault::Swizzle { step_ms: number(0)? },
        Class::Loss => Fault::Loss { percent: number(0)?, for_ms: number(1)? },
        Class::Lag => Fault::Lag { max_ms: number(0)?, for_ms: number(1)? },
        Class::SplitOneWay | Class::SplitBothWays => {
            let ways = [("Out", Way::Out), ("In", Way::In), ("Both", Way::Both)];
            let way = ways.into_iter().find(|(word, _)| words.contains(word))?.1;
            let side = lanes.iter().try_fold(0u32, |side, lane| match lane {
                Lane::Node(id) => Some(side | 1u32.checked_shl(*id)?),
                Lane::World | Lane::Client(_) => None,
            })?;
            Fault::Split { side, way, for_ms: number(0)? }
        }
        Class::Flip => Fault::Flip { per_mille: number(0)?, for_ms: number(2)? },
        Class::Roll => Fault::Roll { down_ms: number(0)? },
        Class::Ask => Fault::Ask,
        Class::Reset => Fault::Reset { node: node()? },
        Class::Strike(strike) => Fault::Strike { node: node()?, strike },
        Class::Rot => Fault::Rot { node: node()? },
        Class::BadSector => Fault::BadSector { node: node()? },
        Class::Full => Fault::Full { node: node()?, room: number(0)?, for_ms: number(1)? },
        Class::SlowDisk => Fault::SlowDisk { node: node()?, times: number(0)?, for_ms: number(1)? },
        Class::Stall => Fault::Stall { node: node()?, for_ms: number(0)? },
        Class::Hunt(trap) => Fault::Hunt { trap, for_ms: number(0)? },
    })
}

fn harm(class: Class) -> Option<Harm> {
    let of = [
        (Class::Rot, Harm::Corrupt),
        (Class::BadSector, Harm::Unreadable),
        (Class::Strike(Strike::Write), Harm::WriteError),
        (Class::Strike(Strike::WriteFull), Harm::Full),
    ];
    of.into_iter().find(|(other, _)| *other == class).map(|(_, harm)| harm)
}

fn lane(word: &str) -> Option<Lane> {
    let id = word.get(1..)?.parse().ok()?;
    match word.as_bytes()[0] {
        b'n' => Some(Lane::Node(id)),
        b'c' => Some(Lane::Client(id)),
        _ => None,
    }
}

fn file(path: &str) -> Option<File> {
    let Some((dir, name)) = path.split_once('/') else {
        if let Some(partition) = path.strip_suffix(".held") {
            return Some(File::Held(PartitionId(partition.strip_prefix('p')?.parse().ok()?)));
        }
        return [File::Meta, File::MetaTmp, File::Unsynced]
            .into_iter()
            .find(|file| file.to_string() == path);
    };
    let partition = PartitionId(dir.strip_prefix('p')?.parse().ok()?);
    Some(match name {
        "MANIFEST" => File::Manifest(partition),
        "MANIFEST.tmp" => File::ManifestTmp(partition),
        "MARK" => File::Mark(partition),
        _ => {
            let (stem, extension) = name.split_once('.')?;
            let (base, id) = stem.split_once('-')?;
            let base = Offset(base.parse().ok()?);
            let id = SegmentId(u32::from_str_radix(id, 16).ok()?);
            match extension {
                "log" => File::Segment(partition, base, id),
                "hint" => File::Hint(partition, base, id),
                _ => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::{Chance, Purpose};
    use crate::settings::{Profile, Settings};

    #[test]
    fn what_is_written_is_read_back() {
        for seed in 0..200 {
            for profile in [Profile::Standard, Profile::Cluster, Profile::Replication] {
                let settings = Settings::draw(profile, seed);
                let plan = crate::plan::draw(&settings, &mut Chance::new(seed, Purpose::Plan));
                assert_eq!(read(&write(&plan)), Ok(plan));
            }
        }
        let p = PartitionId(3);
        for file in [
            File::Meta,
            File::MetaTmp,
            File::Unsynced,
            File::Held(p),
            File::Manifest(p),
            File::ManifestTmp(p),
            File::Mark(p),
            File::Segment(p, Offset(260), SegmentId(0x1d)),
            File::Hint(p, Offset(1), SegmentId(7)),
        ] {
            let harms = Harm::ALL.map(|harm| {
                let fault = Fault::Spot { node: 1, file, sector: 4, harm };
                Planned { at_ms: 5700, fault }
            });
            assert_eq!(read(&write(&harms.to_vec())), Ok(harms.to_vec()));
        }
    }

    #[test]
    fn what_is_no_fault_is_told_by_its_line() {
        assert_eq!(read("# a remark\n\n  1.500 s  reset n1\n").map(|plan| plan.len()), Ok(1));
        for line in [
            "reset n1",
            "1.5 s reset n1",
            "1.500 s reset c1",
            "1.500 s reset n1, please",
            "1.500 s meteor n1",
            "1.500 s kill n1, down -4 ms",
            "1.500 s kill n1",
            "1.500 s pause n1 for 3 s",
            "1.500 s swizzle n1 in sector 3 of META",
            "ß.500 s reset ß",
        ] {
            let bad = BadLine { number: 2, line: line.to_owned() };
            assert_eq!(read(&format!("# a remark\n{line}\n")), Err(bad));
        }
    }
}
