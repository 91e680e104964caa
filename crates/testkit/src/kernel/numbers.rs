//! Which rule a handle of the kernel names.

use std::collections::BTreeMap;

use podwire_ruleset::TableName;

use super::{LaneError, Namespace};

/// Maps the kernel's rule handles to rule numbers, which count from 1 within a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    by_handle: BTreeMap<(String, String, u64), u32>,
}

impl Numbers {
    /// Of the IPv4 tables in a namespace.
    ///
    /// # Errors
    /// [`LaneError`].
    pub fn of(namespace: &Namespace) -> Result<Self, LaneError> {
        let listing = namespace.run(&["nft", "-a", "list", "ruleset", "ip"], "")?;
        Ok(Self::parse(&listing))
    }

    fn parse(listing: &str) -> Self {
        let mut numbers = Self::default();
        let mut table = String::new();
        let mut chain = String::new();
        let mut number = 0;
        for line in listing.lines().map(str::trim) {
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("table"), Some(family), Some(name)) => table = table_label(family, name),
                (Some("chain"), Some(name), Some("{")) => (chain, number) = (name.to_owned(), 0),
                (Some("set" | "map"), Some(_), Some("{")) => {}
                _ => {
                    let handle = line
                        .rsplit_once("# handle ")
                        .and_then(|(_, handle)| handle.parse().ok());
                    if let Some(handle) = handle {
                        number += 1;
                        numbers
                            .by_handle
                            .insert((table.clone(), chain.clone(), handle), number);
                    }
                }
            }
        }
        numbers
    }

    /// The rule's number.
    #[must_use]
    pub fn get(&self, table: &str, chain: &str, handle: u64) -> Option<u32> {
        self.by_handle
            .get(&(table.to_owned(), chain.to_owned(), handle))
            .copied()
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_handle.len()
    }

    /// Whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_handle.is_empty()
    }
}

/// What a table is called in traces: `nat`, as iptables calls its own, or `ip kube-proxy`.
pub(super) fn table_label(family: &str, name: &str) -> String {
    match name.parse::<TableName>() {
        Ok(table) => table.name().to_owned(),
        Err(()) => format!("{family} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_numbered_within_their_chain() {
        let listing = "\
table ip nat { # handle 2
\tchain OUTPUT { # handle 3
\t\ttype nat hook output priority -100; policy accept;
\t\tcounter packets 2 bytes 68 jump KUBE-SERVICES # handle 16
\t\tcounter packets 0 bytes 0 jump X # handle 9
\t}
\tchain X { # handle 5
\t\tcounter packets 0 bytes 0 drop # handle 7
\t}
}
table ip t { # handle 4
\tset s { # handle 9
\t\ttype ipv4_addr
\t}

\tchain a/b { # handle 1
\t\tip saddr @s accept # handle 9
\t}
}
";
        let numbers = Numbers::parse(listing);
        assert_eq!(numbers.get("nat", "OUTPUT", 16), Some(1));
        assert_eq!(numbers.get("nat", "OUTPUT", 9), Some(2));
        assert_eq!(numbers.get("nat", "X", 7), Some(1));
        assert_eq!(numbers.get("ip t", "a/b", 9), Some(1));
        assert_eq!(numbers.len(), 4);
    }
}
