//! NetworkPolicies and Namespaces.

use std::net::IpAddr;

use podwire_cluster::{
    Input, LabelSelector, Labels, NAMESPACE_NAME_LABEL, NetworkPolicy, ObjectName, Peer,
    PolicyType, PortNumbers, load,
};
use podwire_packet::Protocol;

use super::read;

const POLICY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector:
    matchLabels: {tier: front}
    matchExpressions:
    - {key: app, operator: In, values: [web, api]}
    - {key: canary, operator: DoesNotExist}
  policyTypes: [Egress, Ingress]
  ingress:
  - from:
    - ipBlock: {cidr: 10.244.1.77/16, except: [10.244.9.0/24]}
    - namespaceSelector: {matchExpressions: [{key: env, operator: NotIn, values: [dev]}]}
    - podSelector: {}
      namespaceSelector: {}
    ports:
    - {port: 80}
    - {port: 8000, endPort: 8100, protocol: SCTP}
    - {port: http, protocol: UDP}
    - {}
  egress: null
";

const MODEL: &str = r#"(
    namespace_labels: {"shop": {"team": "a"}},
    policies: [(
        name: "db", namespace: "shop",
        pod_selector: (match_labels: {"tier": "front"}, match_expressions: [
            (key: "app", operator: In, values: ["web", "api"]),
            (key: "canary", operator: DoesNotExist),
        ]),
        policy_types: [Egress, Ingress],
        ingress: [(
            from: [
                (ip_block: (cidr: "10.244.1.77/16", except: ["10.244.9.0/24"])),
                (namespace_selector: (match_expressions: [(key: "env", operator: NotIn, values: ["dev"])])),
                (pod_selector: (), namespace_selector: ()),
            ],
            ports: [(port: 80), (port: 8000, end_port: 8100, protocol: SCTP), (port: "http", protocol: UDP), ()],
        )],
    )],
)"#;

fn policy(text: &str) -> NetworkPolicy {
    let input = Input {
        path: "input".into(),
        text: text.to_owned(),
    };
    let cluster = load(vec![input]).unwrap_or_else(|errors| panic!("{errors}"));
    let mut policy = cluster.network_policies[&ObjectName::new("shop", "db")].clone();
    assert!(policy.meta.source.take().is_some());
    policy
}

#[test]
fn a_policy_has_all_that_it_says() {
    let policy = policy(POLICY);
    assert_eq!(
        policy.pod_selector.to_string(),
        "app in (api,web),!canary,tier=front"
    );
    assert_eq!(
        policy.policy_types,
        [PolicyType::Egress, PolicyType::Ingress]
    );
    assert_eq!(policy.egress, []);
    let rule = &policy.ingress[0];
    let Peer::Block(block) = &rule.peers[0] else {
        panic!("{rule:?}")
    };
    assert_eq!(&*block.cidr.text, "10.244.1.77/16");
    assert!(block.cidr.prefix.contains(IpAddr::from([10, 244, 200, 1])));
    let all = Some(LabelSelector::default());
    assert_eq!(
        rule.peers[2],
        Peer::Pods {
            namespaces: all.clone(),
            pods: all
        }
    );
    let ports: Vec<_> = rule.ports.iter().map(|port| &port.numbers).collect();
    assert_eq!(
        ports,
        [
            &PortNumbers::Range(80..=80),
            &PortNumbers::Range(8_000..=8_100),
            &PortNumbers::Named("http".into()),
            &PortNumbers::All
        ]
    );
    assert_eq!(rule.ports[1].protocol, Protocol::SCTP);
}

#[test]
fn a_model_says_a_policy_as_yaml_does() {
    assert_eq!(policy(MODEL), policy(POLICY));
}

#[test]
fn policy_types_are_what_the_api_server_puts_in() {
    let types = |rest: &str| {
        let text = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: db, namespace: shop}}\nspec: {{{rest}}}\n"
        );
        policy(&text).policy_types
    };
    let (ingress, both) = (
        [PolicyType::Ingress],
        [PolicyType::Ingress, PolicyType::Egress],
    );
    assert_eq!(types("podSelector: {}"), ingress);
    assert_eq!(types("egress: null, policyTypes: []"), ingress);
    assert_eq!(types("egress: []"), ingress);
    assert_eq!(types("egress: [{}]"), both);
    assert_eq!(
        types("egress: [{}], policyTypes: [Egress]"),
        [PolicyType::Egress]
    );
}

#[test]
fn a_missing_label_is_not_in_any_list() {
    let selector = policy(POLICY).pod_selector;
    let labels = |pairs: &[(&str, &str)]| -> Labels {
        let pairs = pairs.iter().map(|&(key, value)| (key.into(), value.into()));
        pairs.collect()
    };
    assert!(selector.matches(&labels(&[("tier", "front"), ("app", "web")])));
    assert!(!selector.matches(&labels(&[("tier", "front")])));
    assert!(!selector.matches(&labels(&[
        ("tier", "front"),
        ("app", "web"),
        ("canary", "")
    ])));
    let Peer::Pods {
        namespaces: Some(namespaces),
        ..
    } = &policy(POLICY).ingress[0].peers[1]
    else {
        panic!("a peer of namespaces")
    };
    assert!(namespaces.matches(&labels(&[])));
    assert!(!namespaces.matches(&labels(&[("env", "dev")])));
}

#[test]
fn a_namespace_has_its_name_as_a_label() {
    let cluster = read(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a}}\n---\n\
         apiVersion: v1\nkind: Namespace\nmetadata: {name: bare}\n",
    );
    let labels = |name: &str| &cluster.namespaces[name].labels;
    assert_eq!(&*labels("shop")["team"], "a");
    assert_eq!(&*labels("shop")[NAMESPACE_NAME_LABEL], "shop");
    assert_eq!(&*labels("bare")[NAMESPACE_NAME_LABEL], "bare");
}
