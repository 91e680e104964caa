//! Rules of endpoints as text, quickly.

use podwire_ruleset::L4;
use podwire_ruleset::nft::{Commands, Rule, Wording, rule_text};

use crate::kube_proxy::endpoint_text::ip_and_port;
use crate::kube_proxy::stencil::Stencil;

/// The rules of endpoints that differ in nothing but address and port: of each protocol.
#[derive(Debug, Default)]
pub(super) struct EndpointLines(Vec<(L4, Vec<Line>)>);

/// A rule, and what of an endpoint is in it.
#[derive(Debug)]
enum Line {
    Ip(Stencil),
    IpAndPort(Stencil),
}

impl EndpointLines {
    /// Appends the rules of an endpoint's chain; `rules` are the same, for the first of a protocol.
    pub(super) fn write(
        &mut self,
        out: &mut String,
        commands: &Commands,
        chain: &str,
        (l4, endpoint): (L4, &str),
        rules: impl FnOnce() -> Vec<Rule>,
    ) {
        let (ip, _) = ip_and_port(endpoint);
        let known = self.0.iter().position(|(of, _)| *of == l4);
        let known = known.unwrap_or_else(|| {
            let lines = rules().into_iter().map(|rule| Line::of(&rule, endpoint));
            self.0.push((l4, lines.collect()));
            self.0.len() - 1
        });
        for line in &self.0[known].1 {
            let (stencil, word) = match line {
                Line::Ip(stencil) => (stencil, ip),
                Line::IpAndPort(stencil) => (stencil, endpoint),
            };
            commands.add_rule_text(out, chain, &[&stencil.before, word, &stencil.after]);
        }
    }
}

impl Line {
    fn of(rule: &Rule, endpoint: &str) -> Self {
        let text = rule_text(rule, Wording::KubeProxy);
        let (ip, _) = ip_and_port(endpoint);
        let whole = Stencil::cut(&text, endpoint).map(Self::IpAndPort);
        let line = whole.or_else(|| Stencil::cut(&text, ip).map(Self::Ip));
        line.expect("every rule of an endpoint without affinity has its address")
    }
}
