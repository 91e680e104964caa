//! Lines of a dump at which rules stand, by chain: readers keep rules and not their places.

use std::collections::BTreeMap;

/// Where a block stands, and each of its entries.
#[derive(Clone, Debug, Default)]
pub(super) struct BlockLines {
    pub(super) declared: Option<u32>,
    entries: Vec<u32>,
}

impl BlockLines {
    /// The line of an entry, of a block of so many: none if a line made more than one of them.
    pub(super) fn entry(&self, index: usize, count: usize) -> Option<u32> {
        let fits = self.entries.len() == count;
        fits.then(|| self.entries.get(index).copied()).flatten()
    }
}

/// Blocks by their labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(BTreeMap<String, BlockLines>);

impl Lines {
    pub(super) fn block(&self, label: &str) -> BlockLines {
        self.0.get(label).cloned().unwrap_or_default()
    }

    fn declare(&mut self, label: String, line: u32) {
        let declared = &mut self.0.entry(label).or_default().declared;
        declared.get_or_insert(line);
    }

    fn add(&mut self, label: String, line: u32) {
        self.0.entry(label).or_default().entries.push(line);
    }

    /// Lines of iptables text, by table and chain: `nat KUBE-SERVICES`.
    pub(super) fn of_iptables(text: &str) -> Self {
        let mut lines = Self::default();
        let mut table = "";
        for (number, line) in numbered(text) {
            if let Some(name) = line.strip_prefix('*') {
                table = name;
            } else if let Some(chain) = line.strip_prefix(':') {
                let chain = chain.split_whitespace().next().unwrap_or_default();
                lines.declare(format!("{table} {chain}"), number);
            } else {
                let mut words = line.split_whitespace().skip_while(|w| w.starts_with('['));
                if words.next() == Some("-A")
                    && let Some(chain) = words.next()
                {
                    lines.add(format!("{table} {chain}"), number);
                }
            }
        }
        lines
    }

    /// Lines of the blocks of nft text, by table and name: `ip kube-proxy services`. Elements have none.
    pub(super) fn of_nft(text: &str) -> Self {
        const PROPERTIES: [&str; 3] = ["type", "comment", "policy"];
        let mut lines = Self::default();
        let mut table = String::new();
        let mut chain: Option<String> = None;
        // Braces that are open inside a rule, which nft may break into lines.
        let mut open = 0_usize;
        for (number, line) in numbered(text) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let opened = line.matches('{').count();
            let closed = line.matches('}').count();
            match (&chain, words.as_slice()) {
                (None, ["table", family, name, ..]) => table = format!("{family}/{name}"),
                (None, [kind @ ("chain" | "set" | "map"), name, ..]) => {
                    let label = format!("{table} {name}");
                    lines.declare(label.clone(), number);
                    if *kind == "chain" {
                        chain = Some(label);
                    }
                }
                (Some(_), ["}"]) if open == 0 => chain = None,
                (Some(label), [first, ..]) => {
                    if open == 0 && !PROPERTIES.contains(first) && !first.starts_with('#') {
                        lines.add(label.clone(), number);
                    }
                    open = (open + opened).saturating_sub(closed);
                }
                _ => {}
            }
        }
        lines
    }

    /// Lines of text of ipvsadm, by virtual server, and of ipset, by set.
    pub(super) fn of_commands(text: &str) -> Self {
        let mut lines = Self::default();
        for (number, line) in numbered(text) {
            let mut words = line.split_whitespace();
            let (command, name) = (words.next(), words.next());
            match (command, name, words.next()) {
                (Some("create"), Some(name), _) => lines.declare(format!("set {name}"), number),
                (Some("add"), Some(name), _) => lines.add(format!("set {name}"), number),
                (Some("-A"), Some(option), Some(address)) => {
                    let label = format!("virtual server {option} {address}");
                    lines.declare(label.clone(), number);
                    lines.add(label, number);
                }
                (Some("-a"), Some(option), Some(address)) => {
                    lines.add(format!("virtual server {option} {address}"), number);
                }
                _ => {}
            }
        }
        lines
    }
}

/// Lines without the blanks around them, and their numbers from 1.
fn numbered(text: &str) -> impl Iterator<Item = (u32, &str)> {
    (1..).zip(text.lines().map(str::trim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_with_counters_have_their_lines() {
        let text = "*nat\n:A - [0:0]\n[1:2] -A A -j RETURN\n-A A -j RETURN\nCOMMIT\n";
        let block = Lines::of_iptables(text).block("nat A");
        assert_eq!(block.declared, Some(2));
        assert_eq!([block.entry(0, 2), block.entry(1, 2)], [Some(3), Some(4)]);
        assert_eq!(block.entry(0, 3), None);
    }

    #[test]
    fn a_rule_of_nft_may_take_several_lines() {
        let text = "table ip t {\n\tset s {\n\t\ttype ipv4_addr\n\t}\n\n\tchain c {\n\t\ttype filter hook input priority 0; policy accept;\n\t\tip saddr { 10.0.0.1,\n\t\t\t10.0.0.2 } drop\n\t\taccept\n\t}\n}\n";
        let lines = Lines::of_nft(text);
        assert_eq!(lines.block("ip/t s").declared, Some(2));
        let chain = lines.block("ip/t c");
        assert_eq!([chain.entry(0, 2), chain.entry(1, 2)], [Some(8), Some(10)]);
    }
}
