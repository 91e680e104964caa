//! Rules that lead to endpoints, and those of endpoints, as text and without the rules.
//!
//! In a large cluster they have no comments: they differ in names of chains, addresses and probabilities
//! alone, and are nearly all that there is.

use podwire_packet::Family;
use podwire_ruleset::iptables::{Wording, write_rule};
use podwire_ruleset::{L4, Rule};

use super::PortWriter;
use crate::kube_proxy::endpoint_text::ip_and_port;
use crate::kube_proxy::endpoints::NodeEndpoint;
use crate::kube_proxy::iptables::sync_text::SyncText;
use crate::kube_proxy::names::ChainHash;
use crate::kube_proxy::stencil::Stencil;
use crate::kube_proxy::tables::chain_line_of;

/// What stands around the words of endpoints in their lines.
#[derive(Debug, Default)]
pub(in crate::kube_proxy::iptables) struct EndpointLines {
    /// Of rules that lead to one of so many, by their number less one.
    rungs: Vec<Option<Stencil>>,
    /// Of each protocol: around the address, in the rule for hairpins, and around address and port, in the
    /// one that translates.
    endpoints: Vec<(L4, [Stencil; 2])>,
    /// Names of the chains of the port at hand.
    names: String,
}

/// The endpoints' chains are called so, with a hash behind it.
const PREFIX: &str = "KUBE-SEP-";

/// Bytes of such a name.
const NAME: usize = PREFIX.len() + 16;

/// Longer ladders are printed rule by rule: a probability that one Service alone has is not worth keeping.
const LONGEST: usize = 1024;

impl PortWriter<'_> {
    /// Whether its rules about endpoints are of the plain kind.
    pub(super) fn is_plain(&self) -> bool {
        self.proxier.services.is_large_cluster()
            && self.port.addresses.affinity_seconds.is_none()
            && self.policies().all(|(_, all)| all.len() <= LONGEST)
    }

    /// Adds their text: ladders, then endpoints' chains.
    pub(super) fn print_plain(&self, lines: &mut EndpointLines, text: &mut SyncText) {
        let port = self.port;
        lines.names.clear();
        for found in self.on_node.choice.reachable() {
            let text = &found.endpoint.text;
            lines.names.push_str(PREFIX);
            ChainHash::of_endpoint(&port.name, port.l4.name(), text).push_to(&mut lines.names);
        }
        for (chain, endpoints) in self.policies() {
            let rungs = (1..=endpoints.len()).rev();
            let placed = self.on_node.choice.placed(endpoints);
            for (left, (found, place)) in rungs.zip(placed) {
                self.keep_rung(found, left, lines);
                if let Some(Some(rung)) = lines.rungs.get(left - 1) {
                    let to = lines.name(place);
                    let pieces = [chain.as_str(), &rung.before, to, &rung.after];
                    push_line(&pieces, &mut text.rules);
                }
            }
        }
        for (place, found) in self.on_node.choice.reachable().iter().enumerate() {
            self.print_plain_endpoint(place, found, lines, text);
        }
    }

    fn print_plain_endpoint(
        &self,
        place: usize,
        found: &NodeEndpoint<'_>,
        lines: &mut EndpointLines,
        text: &mut SyncText,
    ) {
        chain_line_of(lines.name(place), &mut text.chains);
        if !found.endpoint.is_canonical {
            return self.print_endpoint(found, &mut Rule::default(), &mut text.rules);
        }
        let l4 = self.port.l4;
        let known = lines.endpoints.iter().position(|(of, _)| *of == l4);
        let known = known.unwrap_or_else(|| {
            lines.endpoints.push((l4, self.endpoint_stencils(found)));
            lines.endpoints.len() - 1
        });
        let (_, [hairpin, translate]) = &lines.endpoints[known];
        let to = &*found.endpoint.text;
        let (ip, _) = ip_and_port(to);
        for (stencil, word) in [(hairpin, ip), (translate, to)] {
            let pieces = [lines.name(place), &stencil.before, word, &stencil.after];
            push_line(&pieces, &mut text.rules);
        }
    }

    fn keep_rung(&self, found: &NodeEndpoint<'_>, left: usize, lines: &mut EndpointLines) {
        if lines.rungs.len() < left {
            lines.rungs.resize(left, None);
        }
        lines.rungs[left - 1].get_or_insert_with(|| {
            let rule = self.rung(found, left);
            let to = self.port.endpoint_chain(found.endpoint);
            self.stencil(&rule, to.as_str())
        });
    }

    fn endpoint_stencils(&self, found: &NodeEndpoint<'_>) -> [Stencil; 2] {
        let to = &*found.endpoint.text;
        let mut words = [ip_and_port(to).0, to].into_iter();
        let mut stencils = Vec::with_capacity(2);
        self.write_endpoint(found, &mut Rule::default(), |rule| {
            let word = words.next().expect("such an endpoint has two rules");
            stencils.push(self.stencil(rule, word));
            rule.matches.clear();
        });
        stencils.try_into().expect("such an endpoint has two rules")
    }

    fn stencil(&self, rule: &Rule, word: &str) -> Stencil {
        let family: Family = self.proxier.services.family;
        let mut text = String::new();
        write_rule(&mut text, rule, Wording::KubeProxy, family);
        Stencil::cut(&text, word).expect("the rule names the endpoint")
    }
}

impl EndpointLines {
    /// The name of the chain of the endpoint at that place.
    fn name(&self, place: usize) -> &str {
        &self.names[place * NAME..][..NAME]
    }
}

/// Appends a rule's line, whose first piece is the chain.
fn push_line(pieces: &[&str], text: &mut String) {
    text.push_str("-A ");
    for piece in pieces {
        text.push_str(piece);
    }
    text.push('\n');
}
