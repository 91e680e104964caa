//! Counts instructions and allocations of each operation and compares them with `benches/baseline.json`.
//!
//! `gate` compares and ends with 1 where an operation takes more than [`ALLOWED`] more instructions than
//! in the baseline, or more allocations, or grows with its size ([`growth`]); `gate --write` writes the
//! baseline.
//!
//! It runs itself under valgrind's callgrind, which counts in [`counted`] alone and writes a file for
//! every call of it. Every operation is done once before, where its allocations are counted.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use podwire_bench::gate::{operations, write_rules};
use podwire_bench::growth;
use serde::{Deserialize, Serialize};

/// How much of an operation's instructions it may take more: 3 %.
const ALLOWED: f64 = 1.03;

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.json");

/// What an operation costs a unit of its work: a packet, a rule, a change.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cost {
    instructions: f64,
    allocations: f64,
}

type Costs = BTreeMap<String, Cost>;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--operations", folder] => {
            operate(Path::new(folder))?;
            Ok(ExitCode::SUCCESS)
        }
        ["--write"] => {
            let mut costs = costs()?;
            costs.retain(|name, _| !grows(name));
            let text = serde_json::to_string_pretty(&costs)? + "\n";
            fs::write(BASELINE, text)?;
            Ok(ExitCode::SUCCESS)
        }
        [] => {
            let baseline: Costs = serde_json::from_slice(&fs::read(BASELINE)?)?;
            Ok(compare(&baseline, &costs()?)?)
        }
        _ => Err("accepted is nothing, or --write".into()),
    }
}

/// Prints a line for each operation: its name, units of work, allocations.
fn operate(folder: &Path) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut result = Ok(());
    operations(folder, |name, units, call| {
        let allocations = allocation_counter::measure(&mut *call).count_total;
        counted(call);
        if result.is_ok() {
            result = writeln!(out, "{name} {units} {allocations}");
        }
    })?;
    result
}

/// Instructions are counted in here. Callgrind finds it by its name.
#[inline(never)]
fn counted(call: &mut dyn FnMut()) {
    call();
    // Something behind the call, so that it is not the caller that goes on.
    std::hint::black_box(());
}

/// A folder that goes when this does.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is in the system's folder for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn costs() -> Result<Costs, Box<dyn Error>> {
    let folder = env::temp_dir().join(format!("podwire-gate-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let folder = Folder(folder);
    write_rules(&folder.0)?;
    let counts = folder.0.join("counts");
    let ran = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind"])
        .args([
            "--toggle-collect=gate::counted",
            "--dump-after=gate::counted",
        ])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(env::current_exe()?)
        .arg("--operations")
        .arg(&folder.0)
        .output()
        .map_err(|error| format!("valgrind: {error}; it is a package of that name"))?;
    if !ran.status.success() {
        return Err(String::from_utf8_lossy(&ran.stderr).into());
    }
    let mut costs = Costs::new();
    for (line, part) in String::from_utf8(ran.stdout)?.lines().zip(1..) {
        let counted = fs::read_to_string(format!("{}.{part}", counts.display()))?;
        let total = counted
            .lines()
            .find_map(|line| line.strip_prefix("totals: "));
        let instructions: f64 = total.ok_or("callgrind wrote no totals")?.trim().parse()?;
        let &[name, units, allocations] = &line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("not a line of an operation: {line}").into());
        };
        let units: f64 = units.parse()?;
        let cost = Cost {
            instructions: rounded(instructions / units),
            allocations: rounded(allocations.parse::<f64>()? / units),
        };
        costs.insert(name.into(), cost);
    }
    Ok(costs)
}

/// To two digits behind the point.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Whether an operation is compared with itself at another size, not with the baseline.
fn grows(name: &str) -> bool {
    growth::PAIRS
        .iter()
        .any(|(small, large)| [*small, *large].contains(&name))
}

fn compare(baseline: &Costs, now: &Costs) -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut is_worse = false;
    writeln!(
        out,
        "{:<40} {:>13} {:>9} {:>8} {:>12}",
        "OPERATION", "INSTRUCTIONS", "BASELINE", "CHANGE", "ALLOCATIONS"
    )?;
    for (name, cost) in now.iter().filter(|(name, _)| !grows(name)) {
        let Some(was) = baseline.get(name) else {
            is_worse = true;
            writeln!(
                out,
                "{name:<40} {:>13}  not in the baseline",
                cost.instructions
            )?;
            continue;
        };
        let change = cost.instructions / was.instructions;
        let more = change > ALLOWED;
        let more_allocations = cost.allocations > was.allocations;
        is_worse |= more || more_allocations;
        writeln!(
            out,
            "{name:<40} {:>13.2} {:>9.2} {:>+7.2}% {:>12.2}{}{}",
            cost.instructions,
            was.instructions,
            (change - 1.0) * 100.0,
            cost.allocations,
            if more { "  more instructions" } else { "" },
            if more_allocations {
                "  more allocations"
            } else {
                ""
            }
        )?;
    }
    for name in baseline.keys().filter(|name| !now.contains_key(*name)) {
        is_worse = true;
        writeln!(out, "{name:<40} is in the baseline and is not measured")?;
    }
    for (small, large) in growth::PAIRS {
        let (Some(small_cost), Some(large_cost)) = (now.get(small), now.get(large)) else {
            continue;
        };
        let growth = large_cost.instructions / small_cost.instructions;
        if growth > growth::ALLOWED {
            is_worse = true;
            writeln!(
                out,
                "{large} costs {growth:.2} times as much a unit as {small}"
            )?;
        }
    }
    if is_worse {
        writeln!(
            out,
            "\n`make gate-baseline` writes what is measured now, if it is meant."
        )?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
