//! Differences gathered into findings: one for each service port, endpoint or common chain.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use podwire_controlplane::kube_proxy::{Object, Provenance};
use podwire_ruleset::Origin;

use super::NodeDump;
use super::compare::{Difference, How};
use super::finding::{Code, Evidence, Finding, Place, Severity};
use super::known::Known;
use super::listing::{Listing, Subject};
use super::owners;

/// What findings are told with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'c> {
    pub(super) dump: &'c NodeDump,
    pub(super) known: &'c Known<'c>,
    pub(super) provenance: &'c Provenance,
    pub(super) node: &'c str,
}

/// Differences by what they are about.
#[derive(Debug, Default)]
struct Groups<'l> {
    ports: BTreeMap<Rc<str>, Vec<Difference<'l>>>,
    common: BTreeMap<&'l str, Vec<Difference<'l>>>,
    /// By whether they stand first, where, and whose they are.
    foreign: BTreeMap<(bool, &'l str, &'static str), Vec<Difference<'l>>>,
}

/// Gathers differences. Listings are asked for the service ports that they know.
pub(super) fn findings<'l>(
    context: Context<'_>,
    expected: &[&'l Listing],
    dump: &[&'l Listing],
    differences: Vec<Difference<'l>>,
) -> Vec<Finding> {
    let tables: BTreeSet<&str> = dump.iter().flat_map(|own| own.tables()).collect();
    let mut groups = Groups::default();
    for difference in differences {
        let owner = difference
            .entry
            .map_or(owners::UNKNOWN, |entry| entry.owner);
        let first = difference.how == How::ForeignFirst;
        match (difference.how, difference.of.port()) {
            (How::Foreign | How::ForeignFirst, _) => {
                let key = (first, difference.label, owner);
                groups.foreign.entry(key).or_default().push(difference);
            }
            (_, Some(port)) => {
                let port = Rc::clone(port);
                groups.ports.entry(port).or_default().push(difference);
            }
            (_, None) => {
                let table = difference.label.split(' ').next().unwrap_or_default();
                let label = if tables.contains(table) {
                    difference.label
                } else {
                    table
                };
                groups.common.entry(label).or_default().push(difference);
            }
        }
    }
    let ports_of = |listings: &[&'l Listing]| -> BTreeSet<Rc<str>> {
        let ports = listings.iter().flat_map(|listing| listing.ports());
        ports.cloned().collect()
    };
    let (expected_ports, dump_ports) = (ports_of(expected), ports_of(dump));
    let mut findings = Vec::new();
    for (port, differences) in groups.ports {
        if !dump_ports.contains(&port) {
            findings.push(context.missing_service(&port, &differences));
        } else if !expected_ports.contains(&port) {
            findings.push(context.stale_service(&port, &differences));
        } else {
            context.of_port(&port, differences, &mut findings);
        }
    }
    for (label, differences) in groups.common {
        findings.push(context.of_common(label, &differences));
    }
    for ((first, label, owner), differences) in groups.foreign {
        findings.push(context.of_foreign(first, label, owner, &differences));
    }
    findings
}

impl Context<'_> {
    fn finding(
        &self,
        (code, severity): (Code, Severity),
        subject: String,
        effect: String,
        origin: Option<Origin>,
        differences: &[Difference<'_>],
    ) -> Finding {
        Finding {
            code,
            severity,
            subject: subject.into(),
            effect: effect.into(),
            object: origin.and_then(|origin| self.object(origin)),
            evidence: differences.iter().map(|own| self.evidence(own)).collect(),
        }
    }

    fn object(&self, origin: Origin) -> Option<Object> {
        self.provenance
            .get(origin)
            .map(|(object, _)| object.clone())
    }

    fn evidence(&self, difference: &Difference<'_>) -> Evidence {
        let file = difference.file.map(|file| &self.dump.files()[file]);
        let text = || match difference.entry {
            Some(entry) => entry.text.clone(),
            None => format!("the whole of it, with {} entries", difference.entries).into(),
        };
        let is_missing = difference.how == How::Missing;
        Evidence {
            place: file.map(|file| Place {
                path: file.path.clone(),
                line: difference.line,
            }),
            block: difference.label.into(),
            dump: (!is_missing).then(text),
            expected: is_missing.then(text),
        }
    }

    fn port_origin(&self, port: &str) -> Option<Origin> {
        self.known.port(port).map(|known| known.origin())
    }

    fn missing_service(&self, port: &str, differences: &[Difference<'_>]) -> Finding {
        let addresses = self.known.port(port).map_or_else(String::new, |known| {
            let addresses: Vec<String> = known.addresses().map(|ip| ip.to_string()).collect();
            format!(" at {}", addresses.join(", "))
        });
        self.finding(
            (Code::MissingService, Severity::Error),
            port.to_owned(),
            format!("the node knows nothing of {port}: connections to it{addresses} are neither translated nor refused"),
            self.port_origin(port),
            differences,
        )
    }

    fn stale_service(&self, port: &str, differences: &[Difference<'_>]) -> Finding {
        let why = match self.known.port(port) {
            Some(_) => "for which the objects call for none",
            None => "which no Service has any more",
        };
        // A rule or an element, besides whole chains, is what leads to them.
        let is_reached = differences.iter().any(|own| own.entry.is_some())
            || differences
                .iter()
                .any(|own| own.label.starts_with("virtual server"));
        let (severity, effect) = if is_reached {
            let effect = format!("the node still takes connections to {port}, {why}");
            (Severity::Error, effect)
        } else {
            let effect = format!("chains are left of {port}, {why}; nothing leads to them");
            (Severity::Warning, effect)
        };
        self.finding(
            (Code::StaleService, severity),
            port.to_owned(),
            effect,
            self.port_origin(port),
            differences,
        )
    }

    /// Findings of a port that both sides know.
    fn of_port(&self, port: &str, differences: Vec<Difference<'_>>, findings: &mut Vec<Finding>) {
        let mut endpoints: BTreeMap<Rc<str>, Vec<Difference<'_>>> = BTreeMap::new();
        let mut others = Vec::new();
        for difference in differences {
            if let Subject::Endpoint(_, endpoint) = &difference.of {
                let endpoint = Rc::clone(endpoint);
                endpoints.entry(endpoint).or_default().push(difference);
            } else {
                others.push(difference);
            }
        }
        for (endpoint, differences) in endpoints {
            let has = |how: How, chooses: bool| {
                let mut of = differences.iter().filter(|own| own.how == how);
                of.any(|own| own.entry.map_or(!chooses, |entry| entry.chooses == chooses))
            };
            let is_whole = |how: How| {
                let mut of = differences.iter().filter(|own| own.how == how);
                of.any(|own| own.entry.is_none())
            };
            let draining = differences
                .iter()
                .all(|own| own.entry.is_some_and(|entry| entry.is_draining));
            if has(How::Missing, true) || is_whole(How::Missing) {
                findings.push(self.missing_endpoint(port, &endpoint, &differences));
            } else if has(How::Stale, true) || is_whole(How::Stale) || draining {
                let chooses = has(How::Stale, true);
                let form = (chooses, draining);
                findings.push(self.stale_endpoint(port, &endpoint, form, &differences));
            } else {
                others.extend(differences);
            }
        }
        if !others.is_empty() {
            let (code, what) = code_of(&others);
            let effect = format!("the node {what} of {port}: {}", consequence(&others));
            let origin = self.port_origin(port);
            let kind = (code, Severity::Error);
            findings.push(self.finding(kind, port.to_owned(), effect, origin, &others));
        }
    }

    fn missing_endpoint(&self, port: &str, endpoint: &str, of: &[Difference<'_>]) -> Finding {
        let conditions = self.known.conditions(port, endpoint, self.node);
        self.finding(
            (Code::MissingEndpoint, Severity::Error),
            format!("{port} {endpoint}"),
            format!("new connections to {port} do not go to {endpoint} as they should"),
            conditions.map(|known| known.origin),
            of,
        )
    }

    fn stale_endpoint(
        &self,
        port: &str,
        endpoint: &str,
        (chooses, draining): (bool, bool),
        of: &[Difference<'_>],
    ) -> Finding {
        let conditions = self.known.conditions(port, endpoint, self.node);
        let why = match conditions {
            None => "is gone: no EndpointSlice names it",
            Some(known) if known.terminating => "is terminating",
            Some(known) if !known.ready => "is not ready",
            Some(known) if !known.is_local => "is not one for this node, where it is not local",
            Some(_) => "is not one for this node",
        };
        let (severity, effect) = if draining {
            let effect = format!(
                "{endpoint} gets no new connections of {port} and goes when those that it has end"
            );
            (Severity::Note, effect)
        } else if chooses {
            let effect = format!("new connections to {port} still go to {endpoint}, which {why}");
            (Severity::Error, effect)
        } else {
            let effect = format!(
                "rules for {endpoint} of {port} are left, and nothing chooses it; it {why}"
            );
            (Severity::Warning, effect)
        };
        let origin = conditions.map(|known| known.origin);
        self.finding(
            (Code::StaleEndpoint, severity),
            format!("{port} {endpoint}"),
            effect,
            origin.or_else(|| self.port_origin(port)),
            of,
        )
    }

    fn of_common(&self, label: &str, differences: &[Difference<'_>]) -> Finding {
        let (code, _) = code_of(differences);
        let is_empty = |own: &Difference<'_>| own.entry.is_none() && own.entries == 0;
        let (severity, effect) = if differences.iter().all(is_empty) {
            let effect = "no packet is treated otherwise: only chains without rules are concerned";
            (Severity::Warning, effect.to_owned())
        } else if label == "set" {
            let effect = "the dump has no set of kube-proxy's: rules that ask one match nothing";
            (Severity::Error, effect.to_owned())
        } else if !label.contains(' ') {
            let effect =
                format!("the dump has no table {label}: nothing of kube-proxy's in it is asked");
            (Severity::Error, effect)
        } else {
            (Severity::Error, common_consequence(label).to_owned())
        };
        self.finding(
            (code, severity),
            label.to_owned(),
            effect,
            None,
            differences,
        )
    }

    fn of_foreign(
        &self,
        first: bool,
        label: &str,
        owner: &'static str,
        differences: &[Difference<'_>],
    ) -> Finding {
        let who = if owner == owners::UNKNOWN {
            "an unknown owner"
        } else {
            owner
        };
        let ends = differences
            .iter()
            .any(|own| own.entry.is_some_and(|entry| entry.ends));
        let (code, severity, effect) = if first {
            // Those with a name are made to stand first.
            let severity = if owner == owners::UNKNOWN {
                Severity::Warning
            } else {
                Severity::Note
            };
            let effect =
                format!("packets that a rule of {who} takes first may not come to kube-proxy's");
            (Code::ForeignFirst, severity, effect)
        } else if label.ends_with(" KUBE-FIREWALL") && owner != owners::UNKNOWN {
            let effect = format!("{who} writes into this chain too");
            (Code::ForeignRule, Severity::Note, effect)
        } else {
            let does = if ends {
                "decides about packets"
            } else {
                "stands"
            };
            let effect = format!(
                "a rule of {who} {does} among kube-proxy's, which removes it when it next writes the chain"
            );
            (Code::ForeignRule, Severity::Warning, effect)
        };
        let subject = if owner == owners::UNKNOWN {
            label.to_owned()
        } else {
            format!("{label} ({owner})")
        };
        self.finding((code, severity), subject, effect, None, differences)
    }
}

/// What differences of one thing are together, and what that says of the node.
fn code_of(differences: &[Difference<'_>]) -> (Code, &'static str) {
    let all = |how: How| differences.iter().all(|own| own.how == how);
    if all(How::Missing) {
        (Code::MissingRules, "lacks rules")
    } else if all(How::Stale) {
        (Code::StaleRules, "still has rules that nothing calls for,")
    } else {
        (Code::DifferentRules, "has other rules than are called for")
    }
}

/// What other rules of a service port do to traffic.
fn consequence(differences: &[Difference<'_>]) -> &'static str {
    let about = |part: &str| differences.iter().any(|own| own.label.contains(part));
    let shares = |own: &Difference<'_>| own.entry.is_some_and(|entry| entry.chooses);
    if differences.iter().any(shares) {
        "its endpoints get other shares of new connections"
    } else if about("KUBE-SEP-") || about("endpoint-") {
        "an endpoint's connections are translated or masqueraded otherwise"
    } else if about("KUBE-SERVICES") || about("service-ips") || about("virtual server") {
        "connections to its addresses do not go as they should"
    } else if about("NODEPORT") || about("nodeports") || about("NODE-PORT") {
        "connections to its node port do not go as they should"
    } else if about("FW-") || about("firewall") || about("FIREWALL") {
        "its load balancer addresses take other sources than its ranges say"
    } else if about("SVC-") || about("SVL-") {
        "connections to it do not reach endpoints, or are masqueraded otherwise"
    } else {
        "its connections from outside do not go as they should"
    }
}

/// What other rules in a chain that every node has do to traffic.
fn common_consequence(label: &str) -> &'static str {
    let (_, chain) = label.rsplit_once(' ').unwrap_or(("", label));
    match chain {
        "KUBE-MARK-MASQ" | "mark-for-masquerade" => {
            "connections are not marked as the configuration says, so they may leave with a source that answers do not come back to"
        }
        "KUBE-POSTROUTING" | "masquerading" | "POSTROUTING" | "nat-postrouting" => {
            "marked connections do not get the node's source address as the configuration says, so answers may take another way"
        }
        "KUBE-FORWARD" => {
            "where FORWARD drops what nothing accepts, connections through the node may be lost; invalid packets may pass"
        }
        "KUBE-FIREWALL" => "packets to loopback addresses from outside may be let in",
        "PREROUTING" | "OUTPUT" | "INPUT" | "FORWARD" => {
            "packets do not come to all of kube-proxy's chains at this hook"
        }
        "KUBE-SERVICES" => "packets to node ports may not come to their rules",
        _ => "the node treats packets otherwise than the configuration says",
    }
}
