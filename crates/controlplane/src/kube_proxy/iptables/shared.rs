//! What the rule sets of many nodes have in common, built once.
//!
//! A chain is kept with the service port or endpoint that it is of, once a rule set has it, and the rule
//! sets of later nodes have the same one. Text that is printed and dropped keeps nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use podwire_ruleset::{Chain, ChainName, TableName};

use crate::kube_proxy::local_detector::LocalDetector;
use crate::kube_proxy::tables::{OwnChain, Tables};

/// Whether a node's chains are kept for other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    None,
    Nodes,
}

/// What the first node that asked has, which is what all nodes with the same settings have.
#[derive(Clone, Debug)]
pub(in crate::kube_proxy) struct OfNodes<K, T>(OnceLock<Box<(K, T)>>);

impl<K, T> Default for OfNodes<K, T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<K: PartialEq, T: Clone> OfNodes<K, T> {
    /// What a node with those settings has.
    pub(super) fn get(&self, settings: K, build: impl Fn() -> T) -> T {
        let mut settings = Some(settings);
        let first = self.0.get_or_init(|| {
            let settings = settings.take().expect("it is asked once");
            Box::new((settings, build()))
        });
        match settings {
            Some(settings) if settings != first.0 => build(),
            Some(_) | None => first.1.clone(),
        }
    }
}

/// What chains of policies depend on besides their service port: whether all is masqueraded, and how
/// packets of the node's pods are known.
pub(in crate::kube_proxy) type PolicyKey = (bool, Option<LocalDetector>);

/// The chains of a service port that lead to its endpoints.
#[derive(Clone, Debug, Default)]
pub(in crate::kube_proxy) struct PolicyChains {
    pub(super) chains: Vec<OwnChain>,
    /// The one whose first rule is the ClusterIP's masquerade rule.
    pub(super) masquerade: Option<usize>,
}

/// The chain of an endpoint.
pub(in crate::kube_proxy) type EndpointChain = OfNodes<(), OwnChain>;

/// Chains that every node has, such as KUBE-SERVICES, as the first node has them.
#[derive(Clone, Debug, Default)]
pub(in crate::kube_proxy) struct CommonChains(Arc<Mutex<ByName>>);

type ByName = BTreeMap<(TableName, ChainName), Arc<Chain>>;

impl CommonChains {
    /// Has those chains that are the same be the ones of the first node.
    pub(super) fn share(&self, tables: &mut Tables) {
        // A node that panicked while it looked left nothing half done.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (table, chains) in tables {
            for own in chains {
                let first = all.entry((*table, own.name().clone()));
                let first = first.or_insert_with(|| Arc::clone(&own.chain));
                if is_same(first, &own.chain) {
                    own.chain = Arc::clone(first);
                }
            }
        }
    }
}

/// Whether chains say the same, and come from the same objects.
fn is_same(a: &Chain, b: &Chain) -> bool {
    let origins = |chain: &Chain| {
        chain
            .rules
            .iter()
            .map(|rule| rule.origin)
            .collect::<Vec<_>>()
    };
    a == b && origins(a) == origins(b)
}
