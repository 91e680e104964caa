//! Objects, field by field, and what is odd about them.

#[path = "objects/policies.rs"]
mod policies;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use podwire_cluster::{
    AddressKind, Cluster, Input, ObjectName, ReadError, ServiceType, TargetPort, TrafficPolicy,
    load, read_inputs,
};
use podwire_packet::{Family, Protocol};

fn read(text: &str) -> Cluster {
    let path = PathBuf::from("input.yaml");
    let text = text.to_owned();
    load(vec![Input { path, text }]).unwrap_or_else(|errors| panic!("{errors}"))
}

fn warnings(cluster: &Cluster) -> Vec<String> {
    let tell = |w: &podwire_cluster::Warning| {
        let line = w.source.map_or(0, |source| source.line);
        format!("{line}: {}", w.text)
    };
    cluster.warnings.iter().map(tell).collect()
}

#[test]
fn a_service_has_all_that_kube_proxy_reads() {
    let cluster = read(
        "\
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  labels: {app: web}
  annotations: {service.kubernetes.io/topology-mode: auto, empty: }
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.7
  clusterIPs: [10.96.0.7, 'fd00::7']
  ipFamilies: [IPv4, IPv6]
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080, nodePort: 30080}
  - {name: dns, protocol: UDP, port: 53, targetPort: dns}
  - {name: bare, protocol: SCTP, port: 99}
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}
  internalTrafficPolicy: Local
  externalTrafficPolicy: Local
  externalIPs: [192.0.2.1]
  loadBalancerSourceRanges: [192.0.2.0/24]
  healthCheckNodePort: 31000
  publishNotReadyAddresses: true
status:
  loadBalancer:
    ingress:
    - {ip: 203.0.113.9, ipMode: Proxy}
    - {hostname: lb.example.org}
",
    );
    let service = &cluster.services[&ObjectName::new("shop", "web")];
    assert_eq!(service.kind, ServiceType::LoadBalancer);
    assert_eq!(service.cluster_ips.len(), 2);
    assert_eq!(service.ip_families, [Family::Ipv4, Family::Ipv6]);
    assert_eq!(&*service.meta.annotations["empty"], "");
    let targets: Vec<_> = service
        .ports
        .iter()
        .map(|p| p.target_port.clone())
        .collect();
    assert_eq!(
        targets,
        [
            TargetPort::Number(8080),
            TargetPort::Name("dns".into()),
            TargetPort::Number(99)
        ]
    );
    assert_eq!(service.ports[0].node_port, 30_080);
    assert_eq!(service.ports[2].protocol, Protocol::SCTP);
    let affinity = service.session_affinity.unwrap();
    assert_eq!(affinity.timeout, Duration::from_secs(60));
    assert_eq!(service.internal_traffic_policy, TrafficPolicy::Local);
    assert_eq!(service.external_traffic_policy, TrafficPolicy::Local);
    assert_eq!(service.health_check_node_port, 31_000);
    assert!(service.publish_not_ready_addresses);
    assert_eq!(&*service.load_balancer[1].ip, "");
}

#[test]
fn null_is_what_is_not_said() {
    let cluster = read(
        "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: null, labels: null, annotations: ~}
spec: {type: null, ports: null, selector: null, clusterIPs: null, sessionAffinityConfig: null}
status: null
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: null
ports: [{name: null, port: null, protocol: null}]
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {nodeName: null, containers: [{ports: null}]}
status: {podIP: '', podIPs: null, conditions: null}
---
apiVersion: v1
kind: Node
metadata: {name: node-a}
spec: null
",
    );
    let service = &cluster.services[&ObjectName::new("default", "web")];
    assert!(service.ports.is_empty() && service.cluster_ips.is_empty());
    let slice = &cluster.endpoint_slices[&ObjectName::new("default", "web-1")];
    assert_eq!(slice.ports[0].name, None);
    assert!(
        cluster.pods[&ObjectName::new("default", "web")]
            .ips
            .is_empty()
    );
}

#[test]
fn a_pod_has_its_addresses_ports_and_state() {
    let cluster = read(
        "\
apiVersion: v1
kind: Pod
metadata: {name: web, deletionTimestamp: '2024-11-05T09:00:01Z'}
spec:
  nodeName: node-a
  hostNetwork: true
  containers:
  - ports: [{name: http, containerPort: 8080, hostPort: 80, hostIP: 127.0.0.1}]
  - ports: [{containerPort: 53, protocol: UDP}]
  initContainers:
  - ports: [{name: setup, containerPort: 1}]
  - {restartPolicy: Always, ports: [{name: sidecar, containerPort: 9901}]}
status:
  phase: Running
  podIP: 10.244.1.5
  podIPs: [{ip: 10.244.1.5}, {ip: 'fd00::5'}]
  conditions: [{type: Initialized, status: 'True'}, {type: Ready, status: 'True'}]
---
apiVersion: v1
kind: Pod
metadata: {name: done}
status: {phase: Succeeded, podIP: 10.244.1.6}
",
    );
    let pod = &cluster.pods[&ObjectName::new("default", "web")];
    assert!(pod.terminating && pod.host_network && pod.ready && !pod.finished);
    assert_eq!(
        pod.ips,
        ["10.244.1.5", "fd00::5"].map(|ip| ip.parse::<IpAddr>().unwrap())
    );
    assert_eq!(pod.ports[0].host_port, Some(80));
    assert_eq!(pod.ports[0].host_ip, Some(IpAddr::from([127, 0, 0, 1])));
    assert_eq!(
        (pod.ports[1].port, pod.ports[1].protocol),
        (53, Protocol::UDP)
    );
    // Of init containers those alone that run beside the others.
    assert_eq!((pod.ports.len(), pod.ports[2].port), (3, 9901));
    let done = &cluster.pods[&ObjectName::new("default", "done")];
    assert!(done.finished && !done.ready && done.ips.len() == 1);
}

#[test]
fn slices_of_v1beta1_name_the_node_in_their_topology() {
    let cluster = read(
        "\
apiVersion: discovery.k8s.io/v1beta1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints:
- addresses: [10.244.1.5]
  topology: {kubernetes.io/hostname: node-a}
  conditions: {ready: false, terminating: true}
  hints: {forZones: [{name: zone-1}]}
  targetRef: {kind: Pod, name: web, namespace: shop}
",
    );
    let slice = &cluster.endpoint_slices[&ObjectName::new("default", "web-1")];
    let endpoint = &slice.endpoints[0];
    assert_eq!(endpoint.node.as_deref(), Some("node-a"));
    assert!(!endpoint.ready && endpoint.serving && endpoint.terminating);
    assert_eq!(endpoint.zone_hints, ["zone-1".into()]);
    assert_eq!(endpoint.target, Some(ObjectName::new("shop", "web")));
}

#[test]
fn endpoints_become_slices_where_a_service_has_none() {
    let endpoints = "\
apiVersion: v1
kind: Endpoints
metadata: {name: db, namespace: shop, labels: {app: db}}
subsets:
- addresses: [{ip: 10.0.0.5, nodeName: node-a}, {ip: 'fd00::5'}]
  notReadyAddresses: [{ip: 10.0.0.6}]
  ports: [{name: sql, port: 5432}, {name: ctl, port: 99, protocol: UDP}]
- addresses: [{ip: 10.0.0.7}]
  ports: [{port: 5433}]
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
";
    let cluster = read(endpoints);
    let slices: Vec<_> = cluster.endpoint_slices.values().collect();
    let names: Vec<_> = slices.iter().map(|s| s.meta.name.to_string()).collect();
    assert_eq!(names, ["shop/db-1", "shop/db-2", "shop/db-3"]);
    assert!(
        slices
            .iter()
            .all(|s| s.service() == Some(ObjectName::new("shop", "db")))
    );
    assert_eq!(slices[1].address_type, AddressKind::Ipv6);
    let ready: Vec<_> = slices[0].endpoints.iter().map(|e| e.ready).collect();
    assert_eq!(ready, [true, false]);
    assert_eq!(slices[0].endpoints[0].node.as_deref(), Some("node-a"));
    assert_eq!(slices[0].ports[1].protocol, Protocol::UDP);
    assert_eq!(slices[2].ports[0].name.as_deref(), Some(""));
    assert_eq!(slices[2].meta.source.unwrap().line, 1);
    assert_eq!(&*slices[0].meta.labels["app"], "db");
    let own = "\
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-x, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
";
    let cluster = read(&format!("{endpoints}{own}"));
    let names: Vec<_> = cluster
        .endpoint_slices
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["shop/db-x"]);
}

#[test]
fn what_is_odd_is_a_warning() {
    let cluster = read(
        "\
apiVersion: v1
kind: Node
metadata: {name: node-a}
---
apiVersion: v1
kind: Pod
metadata: {name: lost}
spec: {nodeName: node-z}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: wbe}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ghost-1, labels: {kubernetes.io/service-name: ghost}}
addressType: IPv4
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: lone}
addressType: IPv4
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
iptables: {masqueradeAl: true}
featureGates: {Anything: true}
",
    );
    assert_eq!(
        warnings(&cluster),
        [
            "15: service `default/web` stands twice; the later one counts",
            "30: kube-proxy's configuration has no field `iptables.masqueradeAl`; left out",
            "5: pod `default/lost` is on node `node-z`, which is not in the input",
            "20: endpoint slice `default/ghost-1` is of service `default/ghost`, which is not in the input",
            "25: endpoint slice `default/lone` has no label `kubernetes.io/service-name` and serves nothing",
            "15: the selector of service `default/web` matches no pod",
        ]
    );
    let web = &cluster.services[&ObjectName::new("default", "web")];
    assert_eq!(&*web.selector["app"], "wbe");
}

#[test]
fn services_that_lost_their_slices_are_told_once() {
    let pods_and_services = "\
apiVersion: v1
kind: Node
metadata: {name: a}
spec: {podCIDR: 10.244.0.0/24}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, labels: {app: web}}
spec: {nodeName: a}
status: {podIP: 10.244.0.5, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Service
metadata: {name: one}
spec: {selector: {app: web}}
---
apiVersion: v1
kind: Service
metadata: {name: two}
spec: {selector: {app: web}}
";
    assert_eq!(
        warnings(&read(pods_and_services)),
        [
            "12: service `default/one` and 1 more select ready pods but have no EndpointSlice in the \
             input, and so no endpoints: add what `kubectl get endpointslices -A` prints"
        ]
    );
    // An empty slice is a cluster's own word.
    let with_slices = ["one", "two"].map(|name| {
        format!(
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
"
        )
    });
    let all = format!("{pods_and_services}{}", with_slices.concat());
    assert_eq!(warnings(&read(&all)), [] as [String; 0]);
}

#[test]
fn pods_that_the_pod_network_cannot_reach_are_told() {
    let pods = |node: &str, ips: [&str; 2]| {
        let mut text = node.to_owned();
        for (number, ip) in ips.iter().enumerate() {
            text.push_str(&format!(
                "---
apiVersion: v1
kind: Pod
metadata: {{name: web-{number}}}
spec: {{nodeName: a}}
status: {{podIP: {ip}}}
"
            ));
        }
        warnings(&read(&text))
    };
    let node =
        "{apiVersion: v1, kind: Node, metadata: {name: a}, spec: {podCIDR: 10.244.0.0/24}}\n";
    let none = "{apiVersion: v1, kind: Node, metadata: {name: a}}\n";
    let not_there = "not hold: the pod network's own way there is not known, and a route to each such pod by its \
                     node is assumed";
    assert_eq!(pods(node, ["10.244.0.5", "10.244.0.6"]), [] as [String; 0]);
    assert_eq!(
        pods(node, ["10.244.0.5", "192.168.235.6"]),
        [format!(
            "9: pod `default/web-1` has an address that the podCIDR of its node does {not_there}"
        )]
    );
    assert_eq!(
        pods(none, ["10.244.0.5", "10.244.0.6"]),
        [format!(
            "3: pod `default/web-0` and 1 more have addresses that the podCIDRs of their nodes do \
             {not_there}"
        )]
    );
    assert_eq!(
        pods("", ["10.244.0.5", "10.244.0.6"]),
        [
            "2: the input has pods but no Node, and so no way between them: add what \
          `kubectl get nodes` prints"
        ]
    );
}

#[test]
fn every_field_of_kubeadms_configuration_is_known() {
    let cluster = read(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-proxy, namespace: kube-system, labels: {app: kube-proxy}}
data:
  config.conf: |-
    apiVersion: kubeproxy.config.k8s.io/v1alpha1
    bindAddress: 0.0.0.0
    bindAddressHardFail: false
    clientConnection:
      acceptContentTypes: ""
      burst: 0
      contentType: ""
      kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
      qps: 0
    clusterCIDR: 10.244.0.0/16
    configSyncPeriod: 0s
    conntrack:
      maxPerCore: null
      min: null
      tcpBeLiberal: false
      tcpCloseWaitTimeout: null
      tcpEstablishedTimeout: 24h0m0s
      udpStreamTimeout: 0s
      udpTimeout: 0s
    detectLocal:
      bridgeInterface: ""
      interfaceNamePrefix: ""
    detectLocalMode: ""
    enableProfiling: false
    healthzBindAddress: ""
    hostnameOverride: ""
    iptables:
      localhostNodePorts: null
      masqueradeAll: false
      masqueradeBit: null
      minSyncPeriod: 0s
      syncPeriod: 30s
    ipvs:
      excludeCIDRs: null
      minSyncPeriod: 0s
      scheduler: ""
      strictARP: false
      syncPeriod: 0s
      tcpFinTimeout: 0s
      tcpTimeout: 0s
      udpTimeout: 0s
    kind: KubeProxyConfiguration
    logging:
      flushFrequency: 0
      options:
        json:
          infoBufferSize: "0"
      verbosity: 0
    metricsBindAddress: ""
    mode: ""
    nftables:
      masqueradeAll: false
      masqueradeBit: null
      minSyncPeriod: 0s
      syncPeriod: 0s
    nodePortAddresses: null
    oomScoreAdj: null
    portRange: ""
    showHiddenMetricsForVersion: ""
    winkernel:
      enableDSR: false
      forwardHealthCheckVip: false
      networkName: ""
      rootHnsEndpointName: ""
      sourceVip: ""
  kubeconfig.conf: |-
    apiVersion: v1
    kind: Config
"#,
    );
    assert_eq!(warnings(&cluster), [] as [String; 0]);
    let config = cluster.kube_proxy.unwrap();
    assert_eq!(config.cluster_cidr, "10.244.0.0/16");
    assert_eq!(
        config.client_connection.kubeconfig,
        "/var/lib/kube-proxy/kubeconfig.conf"
    );
    let day = Some(Duration::from_secs(86_400));
    assert_eq!(config.conntrack.tcp_established_timeout, day);
    assert_eq!(config.iptables.sync_period, Duration::from_secs(30));
    assert_eq!(config.iptables.masquerade_bit, None);
    assert_eq!(config.logging.options.json.info_buffer_size, "0");
}

#[test]
fn a_folder_is_its_files_by_name() {
    let folder = std::env::temp_dir().join(format!("podwire-inputs-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    assert!(matches!(
        read_inputs(std::slice::from_ref(&folder)),
        Err(ReadError::EmptyFolder { .. })
    ));
    for (name, text) in [
        (
            "b.yml",
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n",
        ),
        (
            "a.json",
            r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}"#,
        ),
        ("c.ron", "(namespaces: [\"c\"])"),
        ("d.yaml", "# nothing\n"),
        ("notes.txt", "words"),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let inputs = read_inputs(std::slice::from_ref(&folder)).unwrap();
    let names: Vec<_> = inputs.iter().map(|i| i.path.file_name().unwrap()).collect();
    assert_eq!(names, ["a.json", "b.yml", "c.ron", "d.yaml"]);
    let cluster = load(inputs).unwrap();
    let names: Vec<_> = cluster.namespaces.keys().map(|n| &**n).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(cluster.files.len(), 4);
    // What PowerShell writes by default.
    let utf16 = folder.join("e.yaml");
    let units = "\u{feff}# nothing\n".encode_utf16();
    std::fs::write(&utf16, units.flat_map(u16::to_le_bytes).collect::<Vec<_>>()).unwrap();
    let mixed = folder.join("f.yaml");
    std::fs::write(&mixed, b"# \xc3\xa9\n# \xc3\xa9\xe9\n").unwrap();
    for (path, place) in [
        (utf16, "e.yaml:1:1: not UTF-8"),
        (mixed, "f.yaml:2:4: not UTF-8"),
    ] {
        let wrong = read_inputs(&[path]).unwrap_err();
        assert!(wrong.to_string().ends_with(place), "{wrong}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let missing = read_inputs(&[folder]).unwrap_err();
    assert!(missing.to_string().contains("podwire-inputs"));
}

#[test]
fn errors_of_all_files_are_told_in_one_run() {
    let input = |name: &str, text: &str| Input {
        path: name.into(),
        text: text.to_owned(),
    };
    let errors = load(vec![
        input(
            "a.yaml",
            "kind: Pod\napiVersion: v1\n---\nkind: [\n---\nkind: Node\napiVersion: v1\n",
        ),
        input(
            "b.json",
            "{\"kind\": \"Pod\", \"apiVersion\": \"v1\", \"metadata\": []}",
        ),
        input("c.ron", "(node_count: many)"),
    ])
    .unwrap_err();
    let told: Vec<_> = errors
        .errors
        .iter()
        .map(|e| format!("{}:{} {}", e.file.display(), e.place.line, e.code()))
        .collect();
    assert_eq!(
        told,
        [
            "a.yaml:1 podwire::cluster::missing_field",
            "a.yaml:4 podwire::cluster::syntax",
            "a.yaml:6 podwire::cluster::missing_field",
            "b.json:1 podwire::cluster::wrong_type",
            "c.ron:1 podwire::cluster::wrong_type",
        ]
    );
}

#[test]
fn what_an_api_server_refuses_is_a_warning() {
    let cluster = read(
        "\
apiVersion: v1
kind: Service
metadata: {name: 9to5, namespace: shop}
spec:
  clusterIP: 10.96.0.7
  externalIPs: [127.0.0.1, 192.0.2.300]
  loadBalancerSourceRanges: [192.0.2.0]
  ports: [{port: 80}, {name: Web, port: 80}, {name: a, port: 81}, {name: a, port: 82}]
status: {loadBalancer: {ingress: [{ip: lb-1}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s, namespace: shop, labels: {kubernetes.io/service-name: 9to5}}
addressType: IPv4
ports: [{name: a, port: 8080}]
endpoints: [{addresses: ['fd00::1']}, {addresses: [10.0.0.300]}, {addresses: [169.254.1.1]}]
",
    );
    let no_label = "has other than 1 to 63 of a-z, 0-9 and `-`,";
    assert_eq!(
        warnings(&cluster),
        [
            &*format!(
                "1: no API server takes service `shop/9to5`: its name {no_label} from a letter to a letter or digit"
            ),
            "1: no API server takes service `shop/9to5`: port 80 has no name, which each of several needs",
            &*format!(
                "1: no API server takes service `shop/9to5`: the name `Web` of a port {no_label} from letter or digit to letter or digit"
            ),
            "1: no API server takes service `shop/9to5`: port 80 of tcp stands twice",
            "1: no API server takes service `shop/9to5`: two ports have the name `a`",
            "1: no API server takes service `shop/9to5`: `127.0.0.1` in `externalIPs` is a loopback, link-local or unspecified address",
            "1: no API server takes service `shop/9to5`: `192.0.2.300` in `externalIPs` is no address",
            "1: no API server takes service `shop/9to5`: `lb-1` in `status.loadBalancer.ingress` is no address",
            "1: no API server takes service `shop/9to5`: `loadBalancerSourceRanges` is for type LoadBalancer only",
            "1: no API server takes service `shop/9to5`: `192.0.2.0` in `loadBalancerSourceRanges` is no range such as 203.0.113.0/24",
            "11: no API server takes endpoint slice `shop/s`: `fd00::1` is no ipv4 address",
            "11: no API server takes endpoint slice `shop/s`: `10.0.0.300` is no address",
            "11: no API server takes endpoint slice `shop/s`: `169.254.1.1` is a loopback, link-local or unspecified address",
        ]
    );
}
