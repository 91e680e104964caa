//! A node that follows changes of slices says what whole states of the cluster say.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use podwire_cluster::{Cluster, EndpointSlice, Input, ObjectName, load};
use podwire_controlplane::kube_proxy::{
    IptablesHistory, IptablesProxier, KubeProxyVersion, LiveIptables, ServicePorts, SliceChange,
};
use podwire_matcher::Live;
use podwire_packet::Family;
use podwire_ruleset::RuleSet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Services of several kinds: with affinity, with local policies, with source ranges, with two ports.
const OBJECTS: &str = "
apiVersion: v1
kind: Node
metadata: {name: node-a, labels: {topology.kubernetes.io/zone: z1}}
status: {addresses: [{type: InternalIP, address: 192.168.10.11}]}
---
apiVersion: v1
kind: Service
metadata: {name: affine, namespace: default}
spec:
  clusterIP: 10.96.0.10
  sessionAffinity: ClientIP
  ports: [{name: http, port: 80, protocol: TCP}, {name: dns, port: 53, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: balanced, namespace: default}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.20
  externalTrafficPolicy: Local
  healthCheckNodePort: 31000
  loadBalancerSourceRanges: [203.0.113.0/24]
  ports: [{name: http, port: 80, nodePort: 30080, protocol: TCP}]
status: {loadBalancer: {ingress: [{ip: 198.51.100.1}]}}
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: default, annotations: {service.kubernetes.io/topology-mode: Auto}}
spec:
  clusterIP: 10.96.0.30
  internalTrafficPolicy: Local
  ports: [{name: http, port: 80, protocol: TCP}]
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clusterCIDR: 10.244.0.0/16
";

/// A slice as text, from few words so that slices collide.
fn slice(name: u8) -> impl Strategy<Value = String> {
    let endpoint = (
        1..6u8,
        select(vec!["node-a", "node-b"]),
        any::<[bool; 3]>(),
        any::<bool>(),
    );
    let endpoint = endpoint.prop_map(|(last, node, [ready, serving, terminating], hinted)| {
        let hints = if hinted {
            ", hints: {forZones: [{name: z1}]}"
        } else {
            ""
        };
        format!(
            "{{addresses: [10.244.0.{last}], nodeName: {node}, conditions: {{ready: {ready}, \
             serving: {serving}, terminating: {terminating}}}{hints}}}"
        )
    });
    let services = select(vec!["affine", "balanced", "plain", "gone"]);
    let ports = select(vec!["http", "dns"]);
    (services, ports, vec(endpoint, 0..4)).prop_map(move |(service, port, endpoints)| {
        let protocol = if port == "dns" { "UDP" } else { "TCP" };
        of_endpoints(&format!("s{name}"), service, port, protocol, &endpoints)
    })
}

/// A slice that brings the cluster to the brink of being a large one, or over it.
fn large() -> impl Strategy<Value = String> {
    select(vec![990, 1_001]).prop_map(|count: u32| {
        let addresses = (0..count).map(|n| format!("10.9.{}.{}", n / 256, n % 256));
        let endpoints: Vec<_> = addresses
            .map(|ip| format!("{{addresses: [{ip}]}}"))
            .collect();
        of_endpoints("large", "gone", "http", "TCP", &endpoints)
    })
}

fn of_endpoints(
    name: &str,
    service: &str,
    port: &str,
    protocol: &str,
    endpoints: &[String],
) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: \
         default, labels: {{kubernetes.io/service-name: {service}}}}}\naddressType: IPv4\nports: \
         [{{name: {port}, port: 8080, protocol: {protocol}}}]\nendpoints: [{}]\n",
        endpoints.join(", ")
    )
}

/// The name of a slice, and the slice if it is not removed.
type Change = (ObjectName, Option<EndpointSlice>);

fn change() -> impl Strategy<Value = Change> {
    let small = (0..4u8).prop_flat_map(|name| {
        let name_text = format!("s{name}");
        option::weighted(0.8, slice(name)).prop_map(move |text| (name_text.clone(), text))
    });
    let large = option::weighted(0.8, large()).prop_map(|text| ("large".to_owned(), text));
    prop_oneof![4 => small, 1 => large].prop_map(|(name, text)| {
        let slice = text.map(|text| {
            let slices = read(&text).endpoint_slices;
            slices.into_values().next().unwrap()
        });
        (ObjectName::new("default", &name), slice)
    })
}

fn read(text: &str) -> Cluster {
    let path = "objects.yaml".into();
    load(vec![Input {
        path,
        text: text.to_owned(),
    }])
    .unwrap()
}

fn services(cluster: &Cluster) -> ServicePorts<'_> {
    ServicePorts::new(cluster, Family::Ipv4, KubeProxyVersion::default())
}

/// Tables with their chains in the order of their names.
fn sorted(mut rules: RuleSet) -> RuleSet {
    for table in rules.tables.values_mut() {
        table.chains.sort_keys();
    }
    rules
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_changes_lead_to_what_the_states_between_them_lead_to(
        steps in vec(vec(change(), 1..3), 1..8),
    ) {
        let mut states = vec![read(OBJECTS)];
        for step in &steps {
            let mut next = states.last().unwrap().clone();
            for (name, slice) in step {
                match slice {
                    Some(slice) => next.endpoint_slices.insert(name.clone(), slice.clone()),
                    None => next.endpoint_slices.remove(name),
                };
            }
            states.push(next);
        }
        let services: Vec<_> = states.iter().map(services).collect();
        let proxier = |step: usize| {
            IptablesProxier::new(&states[step], &services[step], "node-a").unwrap()
        };
        let mut history = IptablesHistory::first(proxier(0));
        let mut live = LiveIptables::new(proxier(0));
        let mut matcher = Live::new(live.rule_set()).unwrap();
        prop_assert_eq!(live.restore_text(), history.restore_text());
        for (step, changes) in (1..).zip(&steps) {
            history.then(proxier(step));
            let changed = live.sync(changes.iter().map(|(name, slice)| match slice {
                Some(slice) => SliceChange::Set(slice),
                None => SliceChange::Remove(name),
            }));
            prop_assert_eq!(live.restore_text(), history.restore_text());
            prop_assert_eq!(live.save_text(), history.save_text());
            let is_large = live.services().is_large_cluster();
            prop_assert_eq!(is_large, services[step].is_large_cluster());
            for change in changed {
                match change.rules {
                    Some(rules) => matcher.set_chain(change.table, &change.chain, rules).unwrap(),
                    None => matcher.remove_chain(change.table, &change.chain).unwrap(),
                }
            }
            let rules = sorted(live.rule_set());
            prop_assert!(sorted(matcher.rules().clone()) == rules);
            let chains = rules.tables.values().flat_map(|table| table.chains.values());
            for rule in chains.flat_map(|chain| &chain.rules) {
                let origin = rule.origin.expect("kube-proxy made it");
                prop_assert!(live.services().provenance().get(origin).is_some());
            }
        }
    }
}
