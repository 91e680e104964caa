//! kube-proxy's configuration: every field read, refused where kube-proxy refuses it, and printed back.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::path::Path;

use podwire_cluster::{Input, KubeProxyConfiguration, LoadErrors, load};
use proptest::prelude::*;

const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

fn read(text: &str) -> Result<KubeProxyConfiguration, LoadErrors> {
    let input = Input {
        path: "config.yaml".into(),
        text: text.to_owned(),
    };
    load(vec![input]).map(|cluster| cluster.kube_proxy.unwrap())
}

/// What kube-proxy 1.30 writes of an empty file.
const DEFAULTS: &str = "\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: \"\"
  burst: 10
  contentType: application/vnd.kubernetes.protobuf
  kubeconfig: \"\"
  qps: 5
clusterCIDR: \"\"
configSyncPeriod: 15m0s
conntrack:
  maxPerCore: 32768
  min: 131072
  tcpBeLiberal: false
  tcpCloseWaitTimeout: 1h0m0s
  tcpEstablishedTimeout: 24h0m0s
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: \"\"
  interfaceNamePrefix: \"\"
detectLocalMode: ClusterCIDR
enableProfiling: false
healthzBindAddress: 0.0.0.0:10256
hostnameOverride: \"\"
iptables:
  localhostNodePorts: true
  masqueradeAll: false
  masqueradeBit: 14
  minSyncPeriod: 1s
  syncPeriod: 30s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: \"\"
  strictARP: false
  syncPeriod: 30s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 5s
  format: text
  options:
    json:
      infoBufferSize: \"0\"
  verbosity: 0
metricsBindAddress: 127.0.0.1:10249
mode: iptables
nftables:
  masqueradeAll: false
  masqueradeBit: 14
  minSyncPeriod: 1s
  syncPeriod: 30s
nodePortAddresses: null
oomScoreAdj: -999
portRange: \"\"
showHiddenMetricsForVersion: \"\"
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: \"\"
  rootHnsEndpointName: \"\"
  sourceVip: \"\"
";

#[test]
fn an_empty_file_is_printed_with_every_default() {
    assert_eq!(read(HEAD).unwrap().to_yaml(), DEFAULTS);
    assert_eq!(KubeProxyConfiguration::default().to_yaml(), DEFAULTS);
    // As kubeadm leaves what it does not decide on.
    let kubeadm = DEFAULTS
        .replace(": 10\n", ": 0\n")
        .replace("application/vnd.kubernetes.protobuf", "\"\"")
        .replace("qps: 5", "qps: 0")
        .replace("15m0s", "0s")
        .replace("30s", "0s")
        .replace("minSyncPeriod: 1s", "minSyncPeriod: 0s")
        .replace(": 32768", ": null")
        .replace(": 131072", ": null")
        .replace("1h0m0s", "null")
        .replace("24h0m0s", "null")
        .replace(": ClusterCIDR", ": \"\"")
        .replace(": 0.0.0.0:10256", ": \"\"")
        .replace(": 127.0.0.1:10249", ": \"\"")
        .replace("localhostNodePorts: true", "localhostNodePorts: null")
        .replace(": 14", ": null")
        .replace("flushFrequency: 5s\n  format: text", "flushFrequency: 0")
        .replace("mode: iptables", "mode: \"\"")
        .replace(": -999", ": null");
    assert_ne!(kubeadm, DEFAULTS);
    assert_eq!(read(&kubeadm).unwrap().to_yaml(), DEFAULTS);
}

/// A field, a value that kube-proxy takes, one that it refuses.
const FIELDS: [(&str, &str, &str); 62] = [
    ("bindAddress", "\"::\"", "localhost"),
    ("bindAddressHardFail", "true", "\"yes\""),
    ("clientConnection.acceptContentTypes", "text/plain", "[]"),
    ("clientConnection.burst", "100", "-1"),
    ("clientConnection.contentType", "application/json", "[]"),
    ("clientConnection.kubeconfig", "/etc/kubeconfig", "[]"),
    ("clientConnection.qps", "2.5", "fast"),
    (
        "clusterCIDR",
        "10.244.0.0/16,fd00:10:244::/56",
        "10.244.0.0/16,10.245.0.0/16",
    ),
    ("configSyncPeriod", "1m30s", "-1s"),
    ("conntrack.maxPerCore", "0", "-1"),
    ("conntrack.min", "0", "-5"),
    ("conntrack.tcpBeLiberal", "true", "1"),
    ("conntrack.tcpCloseWaitTimeout", "2h", "2 hours"),
    ("conntrack.tcpEstablishedTimeout", "0s", "-1h"),
    ("conntrack.udpStreamTimeout", "3m", "3"),
    ("conntrack.udpTimeout", "500ms", "[]"),
    ("detectLocal.bridgeInterface", "cni0", "[]"),
    ("detectLocal.interfaceNamePrefix", "cali", "[]"),
    ("detectLocalMode", "NodeCIDR", "PodCIDR"),
    ("enableProfiling", "true", "on or off"),
    (
        "featureGates",
        "{TopologyAwareHints: false}",
        "{TopologyAwareHints: maybe}",
    ),
    ("healthzBindAddress", "127.0.0.1", "127.0.0.1:0"),
    ("hostnameOverride", "node-a", "[]"),
    ("iptables.localhostNodePorts", "false", "0"),
    ("iptables.masqueradeAll", "true", "0"),
    ("iptables.masqueradeBit", "0", "32"),
    ("iptables.minSyncPeriod", "10s", "-1s"),
    ("iptables.syncPeriod", "1h", "999ms"),
    (
        "ipvs.excludeCIDRs",
        "[10.0.0.0/8]",
        "[10.0.0.0/8, 10.0.0.1]",
    ),
    ("ipvs.minSyncPeriod", "5s", "5"),
    ("ipvs.scheduler", "wrr", "[]"),
    ("ipvs.strictARP", "true", "0"),
    ("ipvs.syncPeriod", "1m", "1x"),
    ("ipvs.tcpFinTimeout", "1m", "-1m"),
    ("ipvs.tcpTimeout", "1m", "-1m"),
    ("ipvs.udpTimeout", "1m", "-1m"),
    ("logging.flushFrequency", "5000000000", "-5"),
    ("logging.format", "json", "xml"),
    ("logging.options.json.infoBufferSize", "64Ki", "64kB"),
    ("logging.options.json.splitStream", "true", "0"),
    ("logging.options.text.infoBufferSize", "1M", "much"),
    ("logging.options.text.splitStream", "true", "0"),
    ("logging.verbosity", "4", "-1"),
    (
        "logging.vmodule",
        "[{filePattern: proxier, verbosity: 4}]",
        "proxier=4",
    ),
    ("metricsBindAddress", "\"[::1]:10249\"", "\"::1:99999\""),
    ("mode", "nftables", "ebpf"),
    ("nftables.masqueradeAll", "true", "0"),
    ("nftables.masqueradeBit", "31", "-1"),
    ("nftables.minSyncPeriod", "2s", "2"),
    ("nftables.syncPeriod", "2m", "2"),
    (
        "nodePortAddresses",
        "[127.0.0.0/8, \"::1/128\"]",
        "[127.0.0.1]",
    ),
    ("oomScoreAdj", "1000", "-1001"),
    ("portRange", "30000-32767", "2000-300"),
    ("showHiddenMetricsForVersion", "\"1.29\"", "latest"),
    ("windowsRunAsService", "true", "0"),
    ("winkernel.enableDSR", "true", "0"),
    ("winkernel.forwardHealthCheckVip", "true", "0"),
    ("winkernel.networkName", "l2", "[]"),
    ("winkernel.rootHnsEndpointName", "cbr0", "[]"),
    ("winkernel.sourceVip", "10.0.0.1", "[]"),
    // Values that are refused because of another field.
    ("detectLocalMode", "ClusterCIDR", "BridgeInterface"),
    ("detectLocalMode", "\"\"", "InterfaceNamePrefix"),
];

/// A file that says one field.
fn file(field: &str, value: &str) -> String {
    let mut text = String::from(HEAD);
    for (depth, step) in field.split('.').enumerate() {
        if depth > 0 {
            text.push('\n');
            text.push_str(&"  ".repeat(depth));
        }
        text.push_str(step);
        text.push(':');
    }
    text.push(' ');
    text.push_str(value);
    text.push('\n');
    text
}

#[test]
fn every_field_takes_what_kube_proxy_takes_and_nothing_else() {
    for (field, good, bad) in FIELDS {
        let text = file(field, good);
        let read_back = read(&text).unwrap_or_else(|errors| panic!("{text}{errors}"));
        assert_eq!(
            read(&read_back.to_yaml()).unwrap(),
            read_back.with_defaults(),
            "{field}"
        );

        let text = file(field, bad);
        let Err(errors) = read(&text) else {
            panic!("{field} took {bad}");
        };
        let [error] = &*errors.errors else {
            panic!("{errors}");
        };
        // The line of the value, and a message that names the field and what may stand there.
        assert_eq!(error.place.line as usize, text.lines().count(), "{errors}");
        assert!(error.place.column > 1, "{errors}");
        let last = field.rsplit('.').next().unwrap();
        let told = errors.to_string();
        assert!(told.contains(last) || field == "detectLocalMode", "{told}");
        assert!(told.contains("help: accepted: "), "{told}");
    }
}

#[test]
fn the_table_of_fields_has_all_of_them() {
    // A file with every field that is left out where it says nothing.
    let all = "featureGates: {A: true}\nwindowsRunAsService: true\nlogging: {vmodule: [{}], \
               options: {text: {splitStream: true}, json: {splitStream: true}}}\n";
    let printed = read(&format!("{HEAD}{all}")).unwrap().to_yaml();
    let mut path: Vec<&str> = Vec::new();
    let mut printed_fields = BTreeSet::new();
    for line in printed
        .lines()
        .filter(|line| !line.trim_start().starts_with('-'))
    {
        let depth = (line.len() - line.trim_start().len()) / 2;
        let (key, value) = line.trim_start().split_once(':').unwrap();
        path.truncate(depth);
        path.push(key);
        if !value.is_empty() {
            printed_fields.insert(path.join("."));
        }
    }
    for (of_list_or_map, now) in [
        ("featureGates.A", "featureGates"),
        ("logging.verbosity", "logging.vmodule"),
    ] {
        assert!(
            printed_fields.contains(of_list_or_map),
            "{printed_fields:?}"
        );
        printed_fields.insert(now.to_owned());
    }
    for not_of_the_configuration in ["featureGates.A", "apiVersion", "kind"] {
        printed_fields.remove(not_of_the_configuration);
    }
    let table: BTreeSet<String> = FIELDS
        .iter()
        .map(|(field, ..)| (*field).to_owned())
        .collect();
    printed_fields.retain(|field| !field.starts_with("logging.vmodule."));
    assert_eq!(table, printed_fields);
}

#[test]
fn a_wrong_value_is_told_at_its_place_with_what_is_accepted() {
    let error = |text: &str| read(&format!("{HEAD}{text}")).unwrap_err().to_string();
    assert_eq!(
        error("nodePortAddresses:\n- 10.0.0.0/8\n- everywhere\n"),
        "config.yaml:5:3: `nodePortAddresses[1]` is \"everywhere\"\n  \
         help: accepted: an address prefix such as `10.244.0.0/16` or `fd00:10:244::/56`"
    );
    assert_eq!(
        error("iptables:\n  minSyncPeriod: 1m\n"),
        "config.yaml:4:18: `iptables.syncPeriod` is \"30s\"\n  \
         help: accepted: a period that is not shorter than minSyncPeriod"
    );
    // Of another mode: not looked at.
    assert!(read(&format!("{HEAD}ipvs: {{minSyncPeriod: 1m}}\n")).is_ok());
    assert!(read(&format!("{HEAD}mode: ipvs\nipvs: {{minSyncPeriod: 1m}}\n")).is_err());
}

#[test]
fn golden_configurations_are_printed_and_read_back() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/kube-proxy");
    let mut count = 0;
    for case in std::fs::read_dir(golden).unwrap() {
        let Ok(text) = std::fs::read_to_string(case.unwrap().path().join("config.yaml")) else {
            continue;
        };
        let config = read(&text).unwrap();
        let printed = config.to_yaml();
        assert_eq!(read(&printed).unwrap(), config.with_defaults(), "{printed}");
        count += 1;
    }
    assert!(count > 40, "{count} configurations");
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back_as_it_was(
        chosen in proptest::collection::vec(0..FIELDS.len(), 0..20),
        texts in proptest::collection::vec(any::<String>(), 3),
        numbers in proptest::collection::vec(0..i32::MAX, 3),
    ) {
        let mut config = KubeProxyConfiguration::default();
        for (field, good, _) in chosen.into_iter().map(|i| FIELDS[i]) {
            let value = good.trim_matches(['"', '[', ']']);
            // Lists and mappings of mappings are not set by a path.
            let _ = config.set(field, value);
        }
        [config.hostname_override, config.ipvs.scheduler, config.client_connection.kubeconfig] =
            <[String; 3]>::try_from(texts).unwrap();
        config.conntrack.max_per_core = Some(numbers[0]);
        config.conntrack.min = Some(numbers[1]);
        config.client_connection.qps = numbers[2] as f32 / 16.0;
        prop_assume!(config.validate().is_empty());
        let printed = config.to_yaml();
        let back = read(&printed);
        prop_assert!(back.is_ok(), "{}\n{}", printed, back.unwrap_err());
        prop_assert_eq!(back.unwrap(), config.with_defaults(), "{}", printed);
    }
}
