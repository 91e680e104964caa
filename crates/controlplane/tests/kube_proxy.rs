//! What the golden texts do not show: other releases, odd input, errors, and whose a rule is.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use podwire_cluster::{Cluster, DetectLocalMode, Input, KubeProxyConfiguration, ProxyMode, load};
use podwire_controlplane::kube_proxy::{
    Cleanup, IptablesHistory, IptablesProxier, IpvsHistory, IpvsProxier, KubeProxyVersion,
    NftablesHistory, NftablesProxier, ObjectKind, ProxierError, ServicePorts, UserspaceHistory,
    UserspaceProxier, check_mode,
};
use podwire_packet::{Family, SimTime};
use podwire_ruleset::ipvs::Change;
use podwire_ruleset::{Rule, RuleSet, TableName};

const NODE: &str = "
apiVersion: v1
kind: Node
metadata: {name: node-a}
spec: {podCIDR: 10.244.1.0/24}
status:
  addresses: [{type: InternalIP, address: 192.168.10.11}]
";

const MYSQL: &str = "
apiVersion: v1
kind: Service
metadata: {name: mysql, namespace: payroll}
spec:
  clusterIP: 10.103.132.104
  ports: [{port: 3306, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: mysql-x7k2p
  namespace: payroll
  labels: {kubernetes.io/service-name: mysql}
addressType: IPv4
ports: [{name: '', port: 3306, protocol: TCP}]
endpoints: [{addresses: [10.38.0.1], nodeName: node-a}]
";

fn cluster(documents: &[&str]) -> Cluster {
    let text = documents.join("\n---\n");
    let path = "objects.yaml".into();
    load(vec![Input { path, text }]).unwrap()
}

fn config(fields: &str) -> String {
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n{fields}\n"
    )
}

fn restore_text(cluster: &Cluster, version: &str) -> String {
    let services = ServicePorts::new(cluster, Family::Ipv4, version.parse().unwrap());
    let proxier = IptablesProxier::new(cluster, &services, "node-a").unwrap();
    proxier.restore_text()
}

/// What is said of a configuration that came past the reader's own checks.
fn rejected(configure: impl FnOnce(&mut KubeProxyConfiguration)) -> ProxierError {
    let mut cluster = cluster(&[NODE]);
    configure(cluster.kube_proxy.get_or_insert_default());
    let services = ServicePorts::new(&cluster, Family::Ipv4, KubeProxyVersion::default());
    IptablesProxier::new(&cluster, &services, "node-a").unwrap_err()
}

fn rules<'r>(set: &'r RuleSet, table: TableName, chain: &str) -> &'r [Rule] {
    &set.tables[&table].chains[chain].rules
}

#[test]
fn an_unnamed_port_is_printed_with_a_colon_before_1_19() {
    let cluster = cluster(&[NODE, MYSQL]);
    let old = restore_text(&cluster, "1.18");
    for line in [
        "-A KUBE-SERVICES -m comment --comment \"payroll/mysql: cluster IP\" -m tcp -p tcp \
         -d 10.103.132.104 --dport 3306 -j KUBE-SVC-XA5OGUC7YRHOS3PU\n",
        "-A KUBE-SEP-JBWCWHHQM57V2WN7 -m comment --comment payroll/mysql: -m tcp -p tcp \
         -j DNAT --to-destination 10.38.0.1:3306\n",
    ] {
        assert!(old.contains(line), "{line} is not in\n{old}");
    }
    let new = restore_text(&cluster, "1.30");
    assert!(new.contains("\"payroll/mysql cluster IP\""), "{new}");
    assert!(new.contains("-j KUBE-SVC-PZ5WI4GJHZ2NOPXK\n"), "{new}");
}

#[test]
fn without_a_configuration_no_packet_counts_as_a_pods() {
    let text = restore_text(&cluster(&[NODE, MYSQL]), "1.30");
    assert!(!text.contains("cluster IP\" -m tcp -p tcp -d 10.103.132.104 --dport 3306 !"));
    assert!(text.contains("--mark 0x00004000/0x00004000"));
}

#[test]
fn a_pod_range_of_one_address_keeps_its_length() {
    let config = config("clusterCIDR: 10.38.0.1/32");
    let text = restore_text(&cluster(&[NODE, MYSQL, &config]), "1.30");
    let line = "--dport 3306 ! -s 10.38.0.1/32 -j KUBE-MARK-MASQ\n";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("-d 10.103.132.104 --dport"), "{text}");
}

#[test]
fn a_slice_of_the_other_kind_is_left_out() {
    let fqdn = MYSQL.replace("addressType: IPv4", "addressType: FQDN");
    let text = restore_text(&cluster(&[NODE, &fqdn]), "1.30");
    assert!(text.contains("payroll/mysql has no endpoints"), "{text}");
}

#[test]
fn endpoints_of_slices_without_a_service_make_a_cluster_large() {
    let addresses: Vec<String> = (0..1001u32)
        .map(|n| format!("{{addresses: [10.9.{}.{}]}}", n / 256, n % 256))
        .collect();
    let orphan = MYSQL.replace("mysql", "gone").replace(
        "{addresses: [10.38.0.1], nodeName: node-a}",
        &addresses.join(", "),
    );
    let slice = orphan.split("---").nth(1).unwrap();
    let cluster = cluster(&[NODE, MYSQL, slice]);
    let services = ServicePorts::new(&cluster, Family::Ipv4, KubeProxyVersion::default());
    assert!(services.is_large_cluster());
    assert_eq!(services.len(), 1);
    let text = restore_text(&cluster, "1.30");
    assert!(!text.contains("payroll/mysql -> "), "{text}");
    assert!(text.contains("payroll/mysql cluster IP"), "{text}");
}

#[test]
fn rules_come_from_their_service_slice_or_configuration() {
    let config = config("mode: iptables");
    let cluster = cluster(&[NODE, MYSQL, &config]);
    let services = ServicePorts::new(&cluster, Family::Ipv4, KubeProxyVersion::default());
    let proxier = IptablesProxier::new(&cluster, &services, "node-a").unwrap();
    let set = proxier.rule_set();
    let from = |table, chain: &str, rule: usize| {
        let origin = rules(&set, table, chain)[rule].origin.unwrap();
        services.provenance().get(origin).unwrap()
    };

    let (object, endpoint) = from(TableName::Nat, "KUBE-SERVICES", 0);
    assert_eq!(object.to_string(), "Service payroll/mysql");
    let place = cluster.place(object.source.unwrap()).to_string();
    assert!(place.starts_with("objects.yaml:"), "{place}");
    assert_eq!(endpoint, None);

    let svc = "KUBE-SVC-PZ5WI4GJHZ2NOPXK";
    let (object, endpoint) = from(TableName::Nat, svc, 0);
    assert_eq!(object.to_string(), "EndpointSlice payroll/mysql-x7k2p");
    assert_eq!(endpoint, Some("10.38.0.1:3306"));

    let (object, _) = from(TableName::Nat, "KUBE-SERVICES", 1);
    assert_eq!(object.kind, ObjectKind::KubeProxyConfiguration);
    let (object, _) = from(TableName::Filter, "INPUT", 0);
    assert_eq!(object.kind, ObjectKind::KubeProxyConfiguration);
    let place = cluster.place(object.source.unwrap()).to_string();
    assert!(place.starts_with("objects.yaml:"), "{place}");
}

#[test]
fn what_a_model_implies_of_the_configuration_comes_from_kube_proxy() {
    let base = |text: &str| {
        let path = "model.ron".into();
        let text = text.to_owned();
        let cluster = load(vec![Input { path, text }]).unwrap();
        let services = ServicePorts::new(&cluster, Family::Ipv4, KubeProxyVersion::default());
        let proxier = IptablesProxier::new(&cluster, &services, "node-1").unwrap();
        let set = proxier.rule_set();
        let rule = &rules(&set, TableName::Nat, "KUBE-MARK-MASQ")[0];
        let (object, _) = services.provenance().get(rule.origin.unwrap()).unwrap();
        object.to_string()
    };
    assert_eq!(base("(node_count: 1)"), "kube-proxy");
    assert_eq!(
        base("(node_count: 1, kube_proxy: {\"mode\": \"iptables\"})"),
        "KubeProxyConfiguration"
    );
}

#[test]
fn without_a_configuration_base_rules_come_from_kube_proxy() {
    let cluster = cluster(&[NODE]);
    let services = ServicePorts::new(&cluster, Family::Ipv4, KubeProxyVersion::default());
    let set = IptablesProxier::new(&cluster, &services, "node-a")
        .unwrap()
        .rule_set();
    let origin = rules(&set, TableName::Nat, "KUBE-MARK-MASQ")[0]
        .origin
        .unwrap();
    let (object, _) = services.provenance().get(origin).unwrap();
    assert_eq!(object.to_string(), "kube-proxy");
}

#[test]
fn an_unknown_node_is_an_error_that_names_the_known_ones() {
    let cluster = cluster(&[NODE]);
    let services = ServicePorts::new(&cluster, Family::Ipv4, KubeProxyVersion::default());
    let error = IptablesProxier::new(&cluster, &services, "node-b").unwrap_err();
    assert_eq!(
        error.to_string(),
        "no node is called `node-b`: there are node-a"
    );
}

#[test]
fn modes_that_are_not_modelled_are_refused() {
    const MODELLED: &[ProxyMode] = &[ProxyMode::Iptables, ProxyMode::Nftables];
    assert_eq!(check_mode(ProxyMode::Nftables, MODELLED), Ok(()));
    let error = check_mode(ProxyMode::Userspace, MODELLED).unwrap_err();
    assert_eq!(
        error.to_string(),
        "mode `userspace` is not modelled here: only `iptables` and `nftables` are"
    );
    const THREE: &[ProxyMode] = &[ProxyMode::Iptables, ProxyMode::Nftables, ProxyMode::Ipvs];
    let error = check_mode(ProxyMode::Kernelspace, THREE).unwrap_err();
    assert_eq!(
        error.to_string(),
        "mode `kernelspace` is not modelled here, being that of Windows nodes (HNS policies): only \
         `iptables`, `nftables` and `ipvs` are"
    );
    let error = check_mode(ProxyMode::Nftables, &[ProxyMode::Iptables]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "mode `nftables` is not modelled here: only `iptables` is"
    );
}

#[test]
fn a_configuration_that_cannot_be_used_is_an_error() {
    let error = rejected(|config| config.cluster_cidr = "10.244.0.0/33".to_owned());
    assert_eq!(
        error.to_string(),
        "`clusterCIDR` of the kube-proxy configuration: `10.244.0.0/33` is not an address prefix \
         such as `10.244.0.0/16` or `fd00::/64`"
    );
    let error = rejected(|config| config.node_port_addresses = vec!["all".to_owned()]);
    assert_eq!(
        error.to_string(),
        "`nodePortAddresses` of the kube-proxy configuration: `all` is not an address prefix such \
         as `10.244.0.0/16` or `fd00::/64`"
    );
    let error = rejected(|config| config.detect_local_mode = DetectLocalMode::BridgeInterface);
    assert_eq!(
        error.to_string(),
        "`detectLocal.bridgeInterface` of the kube-proxy configuration: `` is not a device name: 1 \
         to 15 bytes without white space or `/`"
    );
}

#[test]
fn a_partial_sync_leaves_unchanged_services_alone() {
    let other = MYSQL
        .replace("mysql", "web")
        .replace("10.103.132.104", "10.103.132.105");
    let moved = other.replace("10.38.0.1", "10.38.0.2");
    let states = [[NODE, MYSQL, &*other], [NODE, MYSQL, &*moved]].map(|state| cluster(&state));
    let services = states
        .each_ref()
        .map(|state| ServicePorts::new(state, Family::Ipv4, KubeProxyVersion::default()));
    let proxier =
        |step: usize| IptablesProxier::new(&states[step], &services[step], "node-a").unwrap();
    let mut history = IptablesHistory::first(proxier(0));
    history.then(proxier(1));
    let text = history.restore_text();
    assert!(text.contains("payroll/mysql cluster IP"), "{text}");
    assert!(!text.contains(":KUBE-SVC-PZ5WI4GJHZ2NOPXK"), "{text}");
    assert!(text.contains("--to-destination 10.38.0.2:3306"), "{text}");
    assert_eq!(text.matches("-X KUBE-SEP-").count(), 1, "{text}");
    assert!(history.rule_set() == proxier(1).rule_set());
}

#[test]
fn a_new_label_of_the_node_makes_the_next_sync_full() {
    let labelled = NODE.replace("{name: node-a}", "{name: node-a, labels: {rack: r1}}");
    let states = [[NODE, MYSQL], [&*labelled, MYSQL]].map(|state| cluster(&state));
    let services = states
        .each_ref()
        .map(|state| ServicePorts::new(state, Family::Ipv4, KubeProxyVersion::default()));
    let proxier =
        |step: usize| IptablesProxier::new(&states[step], &services[step], "node-a").unwrap();
    let mut history = IptablesHistory::first(proxier(0));
    history.then(proxier(1));
    assert_eq!(history.restore_text(), proxier(1).restore_text());
}

#[test]
fn a_service_that_comes_after_its_slice_ends_no_connection_before_1_32() {
    const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: dns, namespace: default}
spec: {clusterIP: 10.96.0.53, ports: [{port: 53, protocol: UDP}]}
";
    const SLICE: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: dns-1, namespace: default, labels: {kubernetes.io/service-name: dns}}
addressType: IPv4
ports: [{name: '', port: 53, protocol: UDP}]
endpoints: [{addresses: [10.38.0.1], nodeName: node-a}]
";
    let states = [[NODE, ""], [NODE, SLICE], [NODE, SERVICE]].map(|state| cluster(&state));
    let both = cluster(&[NODE, SERVICE, SLICE]);
    let clears = |before: &Cluster, after: &Cluster| -> Vec<String> {
        let [before, after] = [before, after]
            .map(|state| ServicePorts::new(state, Family::Ipv4, KubeProxyVersion::default()));
        let version = KubeProxyVersion::default();
        let cleanup = Cleanup::new(version, Some(&before), &after, "node-a");
        cleanup.clears().iter().map(ToString::to_string).collect()
    };
    let [nothing, slice, service] = &states;
    let all = ["clear orig-dst 10.96.0.53 proto udp"];
    assert_eq!(clears(nothing, &both), all);
    assert_eq!(clears(service, &both), all);
    assert_eq!(clears(slice, &both), [""; 0]);
    // Without its Service nothing is cleared for an endpoint that goes.
    assert_eq!(clears(&both, slice), all);
    assert_eq!(
        clears(&both, service),
        ["clear orig-dst 10.96.0.53 dst-nat 10.38.0.1 proto udp"]
    );
}

fn ipv4_ports(cluster: &Cluster) -> ServicePorts<'_> {
    ServicePorts::new(cluster, Family::Ipv4, KubeProxyVersion::default())
}

#[test]
fn ipvs_takes_the_schedulers_that_the_kernel_has() {
    let of = |name: &str| {
        let config = config(&format!("ipvs: {{scheduler: {name}}}"));
        let cluster = cluster(&[NODE, MYSQL, &config]);
        let services = ipv4_ports(&cluster);
        IpvsProxier::new(&cluster, &services, "node-a").map(|proxier| proxier.program().text())
    };
    assert!(
        of("sed")
            .unwrap()
            .contains("-A -t 10.103.132.104:3306 -s sed\n")
    );
    assert!(
        of("mh")
            .unwrap()
            .contains("-A -t 10.103.132.104:3306 -s mh -b mh-port\n")
    );
    let error = of("fastest").unwrap_err().to_string();
    assert!(
        error.starts_with(
            "`ipvs.scheduler` of the kube-proxy configuration: `fastest` is not an IPVS scheduler"
        ),
        "{error}"
    );
}

#[test]
fn a_node_without_addresses_for_node_ports_has_no_entries_of_them_in_ipvs_mode() {
    const LOCAL: &str = "
apiVersion: v1
kind: Service
metadata: {name: front, namespace: default}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  healthCheckNodePort: 31000
  clusterIP: 10.103.0.1
  ports: [{port: 80, nodePort: 30080, protocol: TCP}]
";
    let sets = |range: &str| {
        let config = config(&format!("nodePortAddresses: [{range}]"));
        let cluster = cluster(&[NODE, LOCAL, &config]);
        let services = ipv4_ports(&cluster);
        let proxier = IpvsProxier::new(&cluster, &services, "node-a").unwrap();
        proxier.program().text()
    };
    for entry in [
        "add KUBE-NODE-PORT-TCP 30080",
        "add KUBE-NODE-PORT-LOCAL-TCP 30080",
        "add KUBE-HEALTH-CHECK-NODE-PORT 31000",
    ] {
        assert!(sets("192.168.10.0/24").contains(entry), "{entry}");
        assert!(!sets("172.16.0.0/12").contains(entry), "{entry}");
    }
}

#[test]
fn virtual_servers_of_excluded_cidrs_outlive_their_service() {
    let with = |cidrs: &str| {
        let config = config(&format!("ipvs: {{excludeCIDRs: [{cidrs}]}}"));
        let before = cluster(&[NODE, MYSQL, &config]);
        let after = cluster(&[NODE, &config]);
        let (services, none) = (ipv4_ports(&before), ipv4_ports(&after));
        let proxier = |cluster, services| IpvsProxier::new(cluster, services, "node-a").unwrap();
        let mut history = IpvsHistory::first(&proxier(&before, &services));
        history.then(&proxier(&after, &none));
        history.program().virtual_servers().len()
    };
    assert_eq!(with("10.103.0.0/16"), 1);
    assert_eq!(with("10.104.0.0/16"), 0);
}

#[test]
fn an_endpoint_is_looped_back_in_the_spelling_of_its_slice() {
    let spelled = MYSQL
        .replace("10.38.0.1", "\"FD00:0:0::1\"")
        .replace("10.103.132.104", "\"fd00:96::1\"")
        .replace("IPv4", "IPv6");
    let cluster = cluster(&[NODE, &spelled]);
    let services = ServicePorts::new(&cluster, Family::Ipv6, KubeProxyVersion::default());
    let proxier = IpvsProxier::new(&cluster, &services, "node-a").unwrap();
    let text = proxier.program().text();
    assert!(
        text.contains("add KUBE-6-LOOP-BACK FD00:0:0::1,tcp:3306,FD00:0:0::1\n"),
        "{text}"
    );
    assert!(text.contains(" -r [fd00::1]:3306 -m -w 1\n"), "{text}");
}

const EVERYTHING: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: prod}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.10
  externalIPs: [198.51.100.7]
  ports: [{name: http, port: 80, nodePort: 30080, protocol: TCP}]
status: {loadBalancer: {ingress: [{ip: 203.0.113.5}]}}
";

fn userspace<'c>(
    cluster: &'c Cluster,
    services: &'c ServicePorts<'c>,
) -> Result<UserspaceProxier<'c>, ProxierError> {
    UserspaceProxier::new(cluster, services, "node-a")
}

fn ipv4(cluster: &Cluster) -> ServicePorts<'_> {
    ServicePorts::new(cluster, Family::Ipv4, KubeProxyVersion::default())
}

#[test]
fn userspace_mode_opens_a_portal_for_each_address() {
    let cluster = cluster(&[NODE, EVERYTHING]);
    let services = ipv4(&cluster);
    let history = UserspaceHistory::first(userspace(&cluster, &services).unwrap());
    let common = "-m comment --comment prod/web:http -p tcp -m tcp --dport";
    let container = "-j REDIRECT --to-ports 32768";
    let host = "-j DNAT --to-destination 192.168.10.11:32768";
    let local = "-m addrtype --dst-type LOCAL";
    assert_eq!(
        history.restore_text(),
        format!(
            "*filter\n\
             :KUBE-NODEPORT-NON-LOCAL - [0:0]\n\
             -A KUBE-NODEPORT-NON-LOCAL {common} 32768 -m state --state NEW -j ACCEPT\n\
             COMMIT\n\
             *nat\n\
             :KUBE-PORTALS-CONTAINER - [0:0]\n\
             :KUBE-PORTALS-HOST - [0:0]\n\
             :KUBE-NODEPORT-CONTAINER - [0:0]\n\
             :KUBE-NODEPORT-HOST - [0:0]\n\
             -A KUBE-PORTALS-CONTAINER {common} 80 -d 10.96.0.10/32 {container}\n\
             -A KUBE-PORTALS-HOST {common} 80 -d 10.96.0.10/32 {host}\n\
             -A KUBE-PORTALS-CONTAINER {common} 80 -d 198.51.100.7/32 -m physdev ! --physdev-is-in {container}\n\
             -A KUBE-PORTALS-CONTAINER {common} 80 -d 198.51.100.7/32 {local} {container}\n\
             -A KUBE-PORTALS-HOST {common} 80 -d 198.51.100.7/32 {local} {host}\n\
             -A KUBE-PORTALS-CONTAINER {common} 80 -d 203.0.113.5/32 {container}\n\
             -A KUBE-PORTALS-HOST {common} 80 -d 203.0.113.5/32 {host}\n\
             -A KUBE-NODEPORT-CONTAINER {common} 30080 {container}\n\
             -A KUBE-NODEPORT-HOST {common} 30080 {host}\n\
             COMMIT\n"
        )
    );
    let set = history.rule_set();
    let jumps = |table, chain| -> Vec<String> {
        let rules = rules(&set, table, chain).iter();
        rules.map(|rule| format!("{:?}", rule.target)).collect()
    };
    for chain in ["PREROUTING", "OUTPUT"] {
        let jumps = jumps(TableName::Nat, chain);
        assert!(jumps[0].contains("KUBE-PORTALS-"), "{jumps:?}");
        assert!(jumps[1].contains("KUBE-NODEPORT-"), "{jumps:?}");
    }
    assert_eq!(jumps(TableName::Filter, "INPUT").len(), 1);
}

#[test]
fn userspace_mode_bound_to_an_address_leads_everything_there() {
    let config = config("mode: userspace\nbindAddress: 192.168.10.11");
    let cluster = cluster(&[NODE, EVERYTHING, &config]);
    let services = ipv4(&cluster);
    let text = UserspaceHistory::first(userspace(&cluster, &services).unwrap()).restore_text();
    assert!(!text.contains("REDIRECT"), "{text}");
    assert_eq!(
        text.matches("DNAT --to-destination 192.168.10.11:32768")
            .count(),
        9
    );
}

#[test]
fn userspace_mode_refuses_what_it_cannot_listen_on() {
    let mut on_loopback = cluster(&[NODE]);
    on_loopback.kube_proxy.get_or_insert_default().bind_address = "127.0.0.1".to_owned();
    let services = ipv4(&on_loopback);
    let error = userspace(&on_loopback, &services).unwrap_err();
    assert_eq!(error, ProxierError::Loopback);

    let cluster = cluster(&[NODE]);
    let services = ServicePorts::new(&cluster, Family::Ipv6, KubeProxyVersion::default());
    assert_eq!(
        userspace(&cluster, &services).unwrap_err().to_string(),
        "userspace mode works in one family, and on node `node-a` that is ipv4"
    );
}

#[test]
fn userspace_mode_takes_ports_of_the_range_while_there_are_any() {
    for (range, ports) in [
        ("''", vec![32_768, 32_769]),
        ("'0-0'", vec![32_768, 32_769]),
        ("40000-40001", vec![40_000, 40_001]),
        ("'40000+5'", vec![40_000, 40_001]),
        ("'65535'", vec![65_535]),
    ] {
        let config = config(&format!("portRange: {range}"));
        let cluster = cluster(&[NODE, MYSQL, EVERYTHING, &config]);
        let services = ipv4(&cluster);
        let history = UserspaceHistory::first(userspace(&cluster, &services).unwrap());
        let given: Vec<u16> = history.sockets().map(|socket| socket.port).collect();
        assert_eq!(given, ports, "{range}");
    }
}

#[test]
fn userspace_mode_keeps_the_port_of_a_portal_that_stays() {
    let dns = "
apiVersion: v1
kind: Service
metadata: {name: dns, namespace: prod}
spec: {clusterIP: 10.96.0.53, ports: [{port: 53, protocol: UDP}]}
";
    let moved = EVERYTHING.replace("port: 80,", "port: 81,");
    let states = [
        cluster(&[NODE, dns, EVERYTHING]),
        cluster(&[NODE, EVERYTHING, MYSQL]),
        cluster(&[NODE, &moved, MYSQL]),
    ];
    let services = states.each_ref().map(ipv4);
    let proxiers = [0, 1, 2].map(|state| userspace(&states[state], &services[state]).unwrap());
    let [first, second, third] = proxiers;
    let of = |history: &UserspaceHistory<'_>| {
        let sockets = history.sockets();
        sockets
            .map(|socket| (socket.port, socket.endpoints.len()))
            .collect::<Vec<_>>()
    };

    let mut history = UserspaceHistory::first(first);
    assert_eq!(of(&history), [(32_768, 0), (32_769, 0)]);
    assert_eq!(history.side_effects().to_string(), "");

    // The UDP Service goes; its proxy's port is the next one's.
    history.then(second);
    assert_eq!(of(&history), [(32_769, 0), (32_768, 1)]);
    assert_eq!(
        history.side_effects().to_string(),
        "### conntrack entries cleared (IPv4)\nclear orig-dst 10.96.0.53 proto udp\n"
    );

    // A portal that changed is closed, and another is opened behind the others.
    history.then(third);
    assert_eq!(of(&history), [(32_768, 1), (32_769, 0)]);
    let text = history.save_text();
    assert!(
        text.contains("--dport 81 -d 10.96.0.10/32 -j REDIRECT --to-ports 32769"),
        "{text}"
    );
    assert!(!text.contains("--dport 80 "), "{text}");
}

#[test]
fn empty_chains_are_deleted_by_a_sync_more_than_a_second_later() {
    let with = cluster(&[NODE, MYSQL]);
    let without = cluster(&[NODE]);
    let (services, none) = (ipv4_ports(&with), ipv4_ports(&without));
    let proxier = |cluster, services| NftablesProxier::new(cluster, services, "node-a").unwrap();
    let at = |millis: u64| SimTime(millis * 1_000_000);
    let chains = |begun: &[u64]| {
        let mut history = NftablesHistory::first(proxier(&with, &services));
        for &millis in begun {
            history.then_at(proxier(&without, &none), at(millis));
        }
        let table = history.table();
        let chains = table.chains.values();
        let of_services = chains.filter(|chain| chain.name.to_string().contains("mysql"));
        of_services
            .map(|chain| chain.rules.len())
            .collect::<Vec<_>>()
    };
    assert_eq!(chains(&[5_000]), [0, 0]);
    assert_eq!(chains(&[5_000, 6_000]), [0, 0]);
    assert_eq!(chains(&[5_000, 6_001]), [] as [usize; 0]);
    // Each sync takes note of them anew.
    assert_eq!(chains(&[5_000, 5_900, 6_800]), [0, 0]);
    assert_eq!(chains(&[5_000, 5_900, 6_901]), [] as [usize; 0]);
}

#[test]
fn a_real_server_waits_for_its_connections_and_may_come_back() {
    let other = MYSQL.replace("10.38.0.1", "10.38.0.9");
    let (one, two) = (cluster(&[NODE, MYSQL]), cluster(&[NODE, &other]));
    let (services, moved) = (ipv4_ports(&one), ipv4_ports(&two));
    let proxier = |cluster, services| IpvsProxier::new(cluster, services, "node-a").unwrap();
    let weights = |history: &IpvsHistory| -> Vec<(String, u16)> {
        let servers = history.program().virtual_servers().values();
        let real = servers.flat_map(|server| &server.real_servers);
        real.map(|real| (real.address.to_string(), real.weight))
            .collect()
    };
    let server = |ip: &str, weight| (ip.to_owned(), weight);
    let mut history = IpvsHistory::first(&proxier(&one, &services));
    let changes = history.sync(&proxier(&two, &moved), |_, _| 1);
    assert!(
        matches!(
            changes.as_slice(),
            [Change::AddReal(..), Change::SetWeight(.., 0)]
        ),
        "{changes:?}"
    );
    let draining = [server("10.38.0.1", 0), server("10.38.0.9", 1)];
    assert_eq!(weights(&history), draining);
    // Neither another sync nor a look ends it while it has a connection.
    assert_eq!(history.sync(&proxier(&two, &moved), |_, _| 1), []);
    assert_eq!(history.look(|_, _| 1), []);
    assert_eq!(weights(&history), draining);
    let mut ended = history.clone();
    assert!(matches!(
        ended.look(|_, _| 0).as_slice(),
        [Change::DeleteReal(..)]
    ));
    assert_eq!(weights(&ended), [server("10.38.0.9", 1)]);
    assert!(!ended.is_waiting());
    // Its endpoint comes back: removed and added, so that it gets connections again.
    let changes = history.sync(&proxier(&one, &services), |_, _| 0);
    assert!(
        matches!(
            changes.as_slice(),
            [
                Change::DeleteReal(..),
                Change::AddReal(..),
                Change::DeleteReal(..)
            ]
        ),
        "{changes:?}"
    );
    assert_eq!(weights(&history), [server("10.38.0.1", 1)]);
    assert!(!history.is_waiting());
}
