//! NetworkPolicies: what may stand in a model, and what it stands for.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::at::{At, Reader};
use super::schema::{PortProtocol, default_namespace};
use crate::load::{Check, Port, Problem, RawCidr, Sound, Target, policy_port, sound};
use crate::network_policy::InvalidPolicy;
use crate::{
    IpBlock, LabelSelector, Labels, Meta, NetworkPolicy, ObjectName, Operator, Peer, PolicyPort,
    PolicyRule, PolicyType, Requirement,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkPolicyModel {
    name: At<String>,
    #[serde(default = "default_namespace")]
    namespace: String,
    /// All pods of the namespace unless said.
    #[serde(default)]
    pod_selector: Option<At<Sound<SelectorModel>>>,
    #[serde(default)]
    ingress: Vec<IngressModel>,
    #[serde(default)]
    egress: Vec<EgressModel>,
    #[serde(default)]
    policy_types: Vec<PolicyTypeModel>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum PolicyTypeModel {
    Ingress,
    Egress,
}

impl From<PolicyTypeModel> for PolicyType {
    fn from(model: PolicyTypeModel) -> Self {
        match model {
            PolicyTypeModel::Ingress => Self::Ingress,
            PolicyTypeModel::Egress => Self::Egress,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct IngressModel {
    from: Vec<At<Sound<PeerModel>>>,
    ports: Vec<At<Sound<PortModel>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EgressModel {
    to: Vec<At<Sound<PeerModel>>>,
    ports: Vec<At<Sound<PortModel>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SelectorModel {
    match_labels: Labels,
    match_expressions: Vec<RequirementModel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequirementModel {
    key: Box<str>,
    operator: OperatorModel,
    #[serde(default)]
    values: Vec<Box<str>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum OperatorModel {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Check for SelectorModel {
    type Checked = LabelSelector;

    fn check(self) -> Result<LabelSelector, InvalidPolicy> {
        let expressions = self.match_expressions.into_iter().map(|one| {
            let operator = match one.operator {
                OperatorModel::In => Operator::In,
                OperatorModel::NotIn => Operator::NotIn,
                OperatorModel::Exists => Operator::Exists,
                OperatorModel::DoesNotExist => Operator::DoesNotExist,
            };
            Requirement::new(one.key, operator, one.values)
        });
        let expressions = expressions.collect::<Result<_, _>>()?;
        Ok(LabelSelector::new(self.match_labels, expressions))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PeerModel {
    pod_selector: Option<Sound<SelectorModel>>,
    namespace_selector: Option<Sound<SelectorModel>>,
    ip_block: Option<Sound<BlockModel>>,
}

impl Check for PeerModel {
    type Checked = Peer;

    fn check(self) -> Result<Peer, InvalidPolicy> {
        Peer::new(
            self.namespace_selector.map(|selector| selector.0),
            self.pod_selector.map(|selector| selector.0),
            self.ip_block.map(|block| block.0),
        )
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockModel {
    cidr: Sound<RawCidr>,
    #[serde(default)]
    except: Vec<Sound<RawCidr>>,
}

impl Check for BlockModel {
    type Checked = IpBlock;

    fn check(self) -> Result<IpBlock, InvalidPolicy> {
        IpBlock::new(self.cidr.0, sound(self.except))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PortModel {
    protocol: PortProtocol,
    port: Option<Target>,
    end_port: Option<Port<1>>,
}

impl Check for PortModel {
    type Checked = PolicyPort;

    fn check(self) -> Result<PolicyPort, InvalidPolicy> {
        policy_port(self.protocol.into(), self.port, self.end_port)
    }
}

pub(super) fn expand(
    reader: &mut Reader<'_>,
    models: &[NetworkPolicyModel],
) -> Vec<(u32, NetworkPolicy)> {
    let mut names = BTreeSet::new();
    let mut policies = Vec::new();
    for model in models {
        let Some(name) = reader.get(&model.name, "name") else {
            continue;
        };
        let name = ObjectName::new(&model.namespace, name);
        if !names.insert(name.clone()) {
            let problem = Problem::DuplicateName {
                kind: "network policy",
                name: name.to_string(),
            };
            reader.fault(&model.name, problem);
            continue;
        }
        let selector = model.pod_selector.as_ref();
        let selector = selector.and_then(|at| reader.get(at, "pod_selector"));
        let pod_selector = selector.map_or_else(LabelSelector::default, |one| one.0.clone());
        let ingress = model.ingress.iter();
        let ingress = ingress.map(|one| rule(reader, ("from", &one.from), &one.ports));
        let ingress = ingress.collect();
        let egress = model.egress.iter();
        let egress = egress.map(|one| rule(reader, ("to", &one.to), &one.ports));
        let egress: Vec<_> = egress.collect();
        let said = model.policy_types.iter();
        let said: Vec<_> = said.map(|&one| PolicyType::from(one)).collect();
        let policy = NetworkPolicy {
            meta: Meta {
                name,
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
                source: None,
            },
            pod_selector,
            ingress,
            policy_types: if said.is_empty() {
                NetworkPolicy::default_types(&egress)
            } else {
                said
            },
            egress,
        };
        policies.push((reader.place(&model.name).line, policy));
    }
    policies
}

fn rule(
    reader: &mut Reader<'_>,
    (field, peers): (&str, &[At<Sound<PeerModel>>]),
    ports: &[At<Sound<PortModel>>],
) -> PolicyRule {
    PolicyRule {
        peers: list(reader, peers, field),
        ports: list(reader, ports, "ports"),
    }
}

fn list<R: Check>(reader: &mut Reader<'_>, list: &[At<Sound<R>>], field: &str) -> Vec<R::Checked>
where
    R::Checked: Clone,
{
    let sound = |at| reader.get(at, field).map(|one: &Sound<R>| one.0.clone());
    list.iter().filter_map(sound).collect()
}
