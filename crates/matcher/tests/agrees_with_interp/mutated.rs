//! kube-proxy's rule sets with flaws: lines that are missing, twice, moved, or say something else.

use podwire_packet::Family;
use podwire_ruleset::{Draw, RuleSet, iptables};

use super::generated::Lots;

/// Options whose values change places with those of other lines.
const OPTIONS: [&str; 12] = [
    "-s",
    "-d",
    "-p",
    "--dport",
    "--probability",
    "--set-xmark",
    "--mark",
    "--to-destination",
    "-j",
    "--name",
    "--src-type",
    "--ctstate",
];

/// A text to begin with.
#[derive(Debug)]
pub(super) struct Original {
    pub(super) name: String,
    pub(super) family: Family,
    pub(super) text: String,
}

/// The rule sets of kube-proxy of at most so many bytes.
pub(super) fn originals(longest: usize) -> Vec<Original> {
    let mut all: Vec<Original> = super::golden::files()
        .into_iter()
        .map(|path| Original {
            name: path.display().to_string(),
            family: super::golden::family_of(&path),
            text: std::fs::read_to_string(path).unwrap(),
        })
        .filter(|own| own.text.len() <= longest)
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// The text with some flaws.
pub(super) fn flawed(lots: &mut Lots, original: &str) -> String {
    let mut lines: Vec<String> = original.lines().map(str::to_owned).collect();
    for _ in 0..1 + lots.below(12) {
        let rules: Vec<usize> = (0..lines.len())
            .filter(|&at| lines[at].starts_with("-A "))
            .collect();
        if rules.is_empty() {
            break;
        }
        let (one, other) = (
            rules[lots.below(rules.len())],
            rules[lots.below(rules.len())],
        );
        match lots.below(10) {
            0 => {
                lines.remove(one);
            }
            1 => lines.insert(other, lines[one].clone()),
            2 => lines.swap(one, other),
            3 => {
                let line = lines.remove(one);
                lines.insert(other.min(lines.len()), line);
            }
            4 => {
                let option = lots.one(&["-s", "-d", "--dport", "--mark", "--src-type"]);
                lines[one] = negated(&lines[one], option);
            }
            5 => {
                let number = lots.below(1 << 16).to_string();
                lines[one] = with_value(&lines[one], "--dport", &number);
            }
            6 => {
                let chance = ["0.5", "0.33333333349", "0", "1", "0.00000000093"];
                lines[one] = with_value(&lines[one], "--probability", lots.one(&chance));
            }
            _ => {
                // The same option of another line; of several tries one may have it.
                let option = lots.one(&OPTIONS);
                let from = (0..8).find_map(|_| {
                    let from = rules[lots.below(rules.len())];
                    value(lines.get(from)?, option).map(str::to_owned)
                });
                if let Some(from) = from {
                    lines[one] = with_value(&lines[one], option, &from);
                }
            }
        }
    }
    lines.join("\n") + "\n"
}

fn value<'a>(line: &'a str, option: &str) -> Option<&'a str> {
    let mut words = line.split(' ');
    words.find(|word| *word == option)?;
    words.next()
}

fn with_value(line: &str, option: &str, value: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    let at = words.iter().position(|word| *word == option);
    if let Some(old) = at.and_then(|at| words.get_mut(at + 1)) {
        *old = value;
    }
    words.join(" ")
}

/// The line with `!` before the option, or without it if it was there.
fn negated(line: &str, option: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    let Some(at) = words.iter().position(|word| *word == option) else {
        return line.to_owned();
    };
    if words[at - 1] == "!" {
        words.remove(at - 1);
    } else {
        words.insert(at, "!");
    }
    words.join(" ")
}

/// A rule set with flaws that the kernel would still take, and its text.
pub(super) fn rule_set(originals: &[Original], seed: u64) -> Option<(String, RuleSet)> {
    let mut lots = Lots(Draw(seed));
    let original = &originals[lots.below(originals.len())];
    let text = flawed(&mut lots, &original.text);
    let parsed = iptables::parse(&text, original.family).ok()?;
    podwire_ruleset::CallGraph::check(&parsed.rules).ok()?;
    Some((text, parsed.rules))
}
