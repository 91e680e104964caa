//! What was measured, in each of its forms, and beside an older one.

use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::args::Percent;
use crate::failure::Failure;

/// One evaluator, asked about the packets of one case.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) services: u32,
    pub(crate) evaluator: String,
    /// Nanoseconds a packet: medians of all rounds.
    pub(crate) ns: f64,
    pub(crate) bare_probe_ns: f64,
    pub(crate) floor_ns: f64,
    /// Median over pairs of rounds of this evaluator's time over the floor's.
    pub(crate) ratio: f64,
    /// Its first and third quartile.
    pub(crate) quartiles: [f64; 2],
    pub(crate) pairs: usize,
    pub(crate) packets: usize,
    /// Of the reference: its time over the compiled matcher's on the same packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_to_matcher: Option<f64>,
}

/// What it took to compile the rules.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Build {
    pub(crate) services: u32,
    pub(crate) rules: u64,
    pub(crate) text_bytes: u64,
    /// From text to matcher, without the making of the text: CPU time.
    pub(crate) seconds: f64,
    /// Growth of what is resident (VmRSS) from before to after.
    pub(crate) matcher_bytes: Option<u64>,
    /// The same at its height (VmHWM).
    pub(crate) peak_bytes: Option<u64>,
}

/// All of a run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    #[serde(default)]
    pub(crate) builds: Vec<Build>,
}

/// A value of github-action-benchmark's customSmallerIsBetter.
#[derive(Serialize)]
struct Value {
    name: String,
    unit: &'static str,
    value: f64,
    range: String,
    extra: String,
}

impl Report {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let about = |error: &dyn std::fmt::Display| {
            Failure::input(format_args!(
                "{}: {error}; accepted is a file that --save wrote",
                path.display()
            ))
        };
        let text = std::fs::read(path).map_err(|error| about(&error))?;
        serde_json::from_slice(&text).map_err(|error| about(&error))
    }

    pub(crate) fn save(&self, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).map_err(Failure::input)?;
        std::fs::write(path, text + "\n")
            .map_err(|error| Failure::input(format_args!("{}: {error}", path.display())))
    }

    pub(crate) fn json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }

    pub(crate) fn gha(&self, out: &mut impl Write) -> io::Result<()> {
        let ratios = self.rows.iter().map(|row| Value {
            name: format!("{}/{}/{}", row.case, row.services, row.evaluator),
            unit: "times the floor",
            value: row.ratio,
            range: format!("{:.3} to {:.3}", row.quartiles[0], row.quartiles[1]),
            extra: format!("{:.1} ns, floor {:.1} ns", row.ns, row.floor_ns),
        });
        let seconds = self.builds.iter().map(|build| Value {
            name: format!("build/{}", build.services),
            unit: "ns a rule",
            value: build.seconds * 1e9 / build.rules as f64,
            range: String::new(),
            extra: format!("{} rules in {:.3} s", build.rules, build.seconds),
        });
        let values: Vec<Value> = ratios.chain(seconds).collect();
        serde_json::to_writer_pretty(&mut *out, &values)?;
        writeln!(out)
    }

    pub(crate) fn table(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<17} {:>8} {:<13} {:>11} {:>9} {:>9} {:>9}  {:<15} {:>8}",
            "CASE",
            "SERVICES",
            "EVALUATOR",
            "NS",
            "BARE NS",
            "FLOOR NS",
            "RATIO",
            "QUARTILES",
            "PACKETS"
        )?;
        for row in &self.rows {
            let quartiles = format!("{} to {}", short(row.quartiles[0]), short(row.quartiles[1]));
            write!(
                out,
                "{:<17} {:>8} {:<13} {:>11.1} {:>9.1} {:>9.1} {:>9}  {quartiles:<15} {:>8}",
                row.case,
                row.services,
                row.evaluator,
                row.ns,
                row.bare_probe_ns,
                row.floor_ns,
                short(row.ratio),
                row.packets
            )?;
            if let Some(ratio) = row.ratio_to_matcher {
                write!(out, "  {ratio:.0} times the matcher")?;
            }
            writeln!(out)?;
        }
        writeln!(
            out,
            "\n{:>8} {:>9} {:>8} {:>8} {:>10} {:>12} {:>9}",
            "SERVICES", "RULES", "TEXT MB", "BUILD S", "NS/RULE", "MATCHER MB", "PEAK MB"
        )?;
        for build in &self.builds {
            let mb = |bytes: Option<u64>| {
                bytes.map_or_else(|| "-".into(), |bytes| format!("{:.1}", bytes as f64 / 1e6))
            };
            writeln!(
                out,
                "{:>8} {:>9} {:>8} {:>8.3} {:>10.0} {:>12} {:>9}",
                build.services,
                build.rules,
                mb(Some(build.text_bytes)),
                build.seconds,
                build.seconds * 1e9 / build.rules as f64,
                mb(build.matcher_bytes),
                mb(build.peak_bytes)
            )?;
        }
        writeln!(
            out,
            "\nRATIO: median over pairs of rounds of a packet's time over the floor's: one probe of a hash\n\
             table and the load of the endpoint that it leads to. Times are of the CPU. Packets are headers of {} bytes each, no\n\
             huge pages are asked for.",
            size_of::<podwire_packet::Headers>()
        )
    }

    /// What is slower against its floor than it was, by more than so much.
    pub(crate) fn slower_than(&self, baseline: &Self, by: Percent) -> Vec<String> {
        let key = |row: &Row| (row.case.clone(), row.services, row.evaluator.clone());
        let mut slower = Vec::new();
        for row in &self.rows {
            let Some(was) = baseline.rows.iter().find(|was| key(was) == key(row)) else {
                continue;
            };
            if row.ratio > was.ratio * by.factor() {
                slower.push(format!(
                    "{} of {} services, {}: {} times the floor, {} in the baseline",
                    row.case,
                    row.services,
                    row.evaluator,
                    short(row.ratio),
                    short(was.ratio)
                ));
            }
        }
        slower
    }

    /// Whether they have a row in common.
    pub(crate) fn is_comparable(&self, baseline: &Self) -> bool {
        self.rows.iter().any(|row| {
            baseline.rows.iter().any(|was| {
                (&was.case, was.services, &was.evaluator)
                    == (&row.case, row.services, &row.evaluator)
            })
        })
    }
}

fn short(ratio: f64) -> String {
    if ratio < 99.995 {
        format!("{ratio:.2}")
    } else {
        format!("{ratio:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ratio: f64) -> Report {
        Report {
            rows: vec![Row {
                case: "clusterip/random".into(),
                services: 10,
                evaluator: "matcher".into(),
                ns: 12.0,
                bare_probe_ns: 4.0,
                floor_ns: 6.0,
                ratio,
                quartiles: [ratio, ratio],
                pairs: 31,
                packets: 64,
                ratio_to_matcher: None,
            }],
            builds: Vec::new(),
        }
    }

    #[test]
    fn a_ratio_above_the_baseline_by_more_than_is_allowed_is_slower() {
        let (baseline, by) = (report(2.0), "5%".parse().unwrap());
        assert!(report(2.09).slower_than(&baseline, by).is_empty());
        assert_eq!(
            report(2.11).slower_than(&baseline, by),
            [
                "clusterip/random of 10 services, matcher: 2.11 times the floor, 2.00 in the baseline"
            ]
        );
        assert!(report(2.0).is_comparable(&baseline));
        assert!(!report(2.0).is_comparable(&Report::default()));
    }
}
