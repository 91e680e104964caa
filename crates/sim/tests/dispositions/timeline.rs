//! A cluster that changes while packets are sent.

use std::path::Path;

use podwire_cluster::{Events, read_events};
use podwire_packet::SimTime;
use podwire_sim::{Options, Place, Query, ServiceStates, Target, Timeline, What};

use crate::lab::Lab;

/// A Service of UDP with one endpoint, `web` of node b.
const METRICS: &str = "\
apiVersion: v1
kind: Service
metadata: {name: metrics, namespace: default}
spec: {clusterIP: 10.96.0.50, ports: [{port: 8125, protocol: UDP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: metrics-1, namespace: default, labels: {kubernetes.io/service-name: metrics}}
addressType: IPv4
ports: [{name: '', port: 8125, protocol: UDP}]
endpoints: [{addresses: [10.244.1.9], nodeName: b}]
";

fn events(text: &str) -> Events {
    events_of(Lab::with(METRICS), text)
}

/// What happens to a cluster.
pub(crate) fn events_of(lab: Lab, text: &str) -> Events {
    let text = format!("Events({text})");
    read_events(Path::new("events.ron"), &text, Some(lab.cluster)).expect("events")
}

fn options(version: &str) -> Options {
    Options {
        kube_proxy_version: version.parse().expect("a release"),
        ..Options::default()
    }
}

/// What happens, a line each: the time in milliseconds and what it is.
pub(crate) fn happenings(events: &Events, version: &str) -> Vec<String> {
    let options = options(version);
    let services = ServiceStates::new(events, options.kube_proxy_version);
    let mut timeline =
        Timeline::new(events, &services, &options, "default", 1).expect("a timeline");
    let mut lines = Vec::new();
    while let Some(happening) = timeline.step(None).expect("rules") {
        let what = match happening.what {
            What::Changed(objects) => objects.join("; "),
            What::SyncBegins { node } => format!("{node} begins"),
            What::SyncWaits { node, until } => format!("{node} waits until {}", millis(until)),
            What::SyncDone { node, report } => {
                let kind = if report.full { "full" } else { "partial" };
                let drain = match report.draining.len() {
                    0 => String::new(),
                    count => format!(", {count} drain"),
                };
                format!("{node} done, {kind}, forgot {}{drain}", report.forgotten)
            }
            What::Drained { node, gone } => {
                let gone: Vec<_> = gone.iter().map(|(_, (ip, _))| ip.to_string()).collect();
                format!("{node} drained {}", gone.join(" "))
            }
            What::Sent { result, .. } => match *result {
                Ok(trace) => {
                    let forward = trace.forward;
                    format!("{} for {}", forward.disposition.name(), forward.arrived.dst)
                }
                Err(error) => error.to_string(),
            },
        };
        lines.push(format!("{} {what}", millis(happening.at)));
    }
    lines
}

const fn millis(at: SimTime) -> u64 {
    at.0 / 1_000_000
}

/// Those of the lines that are about packets.
fn packets(lines: &[String]) -> Vec<&str> {
    let is_packet = |line: &&String| line.contains(" for ");
    lines.iter().filter(is_packet).map(String::as_str).collect()
}

const ONE_WAY: &str = "from: \"pod/default/client-a\", to: \"svc/metrics:8125\", protocol: UDP, sport: 5000, one_way: true";

#[test]
fn a_node_sends_to_a_gone_endpoint_until_its_sync_is_done() {
    let events = events(&format!(
        "watch_delay: \"100ms\", sync_takes: \"50ms\",
         events: [(at: \"1s\", delete: [\"10.244.1.9\"], endpoints: {{\"default/metrics\": [\"10.244.0.9\"]}})],
         probes: [(at: \"900ms\", every: \"100ms\", until: \"1200ms\", {ONE_WAY})]"
    ));
    let lines = happenings(&events, "1.30");
    assert_eq!(
        lines,
        [
            "900 delivered for 10.244.1.9",
            "1000 10.244.1.9 is gone; endpoints of Service default/metrics: 1 ready, now 1",
            "1000 unroutable for 10.244.1.9",
            "1100 a begins",
            "1100 b begins",
            "1100 unroutable for 10.244.1.9",
            "1150 a done, partial, forgot 1",
            "1150 b done, partial, forgot 0",
            "1200 delivered for 10.244.0.9",
        ]
    );
}

#[test]
fn a_flow_to_a_service_without_endpoints_is_swallowed_from_1_32_to_1_36() {
    let events = events(&format!(
        "events: [(at: \"1s\", delete: [\"10.244.1.9\"], endpoints: {{\"default/metrics\": []}})],
         probes: [(at: \"500ms\", every: \"20s\", until: \"80s\", {ONE_WAY})]"
    ));
    for (version, disposition) in [
        ("1.18", "rejected for 10.96.0.50"),
        ("1.31", "rejected for 10.96.0.50"),
        ("1.32", "unroutable for 10.244.1.9"),
        ("1.36", "unroutable for 10.244.1.9"),
        ("1.37", "rejected for 10.96.0.50"),
    ] {
        let lines = happenings(&events, version);
        let last = packets(&lines).pop().expect("packets");
        assert_eq!(last, format!("60500 {disposition}"), "{version}");
    }
}

#[test]
fn a_gone_endpoint_is_met_in_nftables_mode_too() {
    let text = format!(
        "events: [(at: \"1s\", delete: [\"10.244.1.9\"], endpoints: {{\"default/metrics\": []}})],
         probes: [(at: \"995ms\", every: \"20ms\", until: \"1060ms\", {ONE_WAY})]"
    );
    let told = |mode: &str, version: &str| {
        let mut events = events(&text);
        for change in &mut events.changes {
            let config = change.cluster.kube_proxy.get_or_insert_default();
            config.set("mode", mode).expect("a mode");
        }
        let lines = happenings(&events, version);
        packets(&lines)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let told_1_30 = told("nftables", "1.30");
    assert_eq!(
        told_1_30,
        [
            "995 delivered for 10.244.1.9",
            "1015 unroutable for 10.244.1.9",
            "1035 unroutable for 10.244.1.9",
            "1055 rejected for 10.96.0.50",
        ]
    );
    assert_eq!(told("iptables", "1.30"), told_1_30);
    assert_eq!(told("nftables", "1.32"), told("iptables", "1.32"));
}

#[test]
fn a_flow_that_pauses_longer_than_its_timeout_begins_anew() {
    let text = |timeout: &str| {
        format!(
            "events: [(at: \"1s\", delete: [\"10.244.1.9\"], endpoints: {{\"default/metrics\": []}})],
             probes: [(at: \"500ms\", every: \"{timeout}\", until: \"70s\", {ONE_WAY})]"
        )
    };
    // nf_conntrack_udp_timeout is 30 s, counted from the last packet.
    let kept = happenings(&events(&text("29s")), "1.32");
    assert_eq!(packets(&kept)[1], "29500 unroutable for 10.244.1.9");
    let forgotten = happenings(&events(&text("31s")), "1.32");
    assert_eq!(packets(&forgotten)[1], "31500 rejected for 10.96.0.50");
    // kube-proxy may set it.
    let mut events = events(&text("29s"));
    for change in &mut events.changes {
        let config = change.cluster.kube_proxy.get_or_insert_default();
        config.set("conntrack.udpTimeout", "20s").expect("a field");
    }
    let shorter = happenings(&events, "1.32");
    assert_eq!(packets(&shorter)[1], "29500 rejected for 10.96.0.50");
}

#[test]
fn a_third_change_in_a_second_waits_and_labels_do_not() {
    let events = events(
        "watch_delay: \"0s\", sync_takes: \"10ms\",
         events: [
             (at: \"1000ms\", endpoints: {\"default/metrics\": []}),
             (at: \"1005ms\", endpoints: {\"default/metrics\": [\"10.244.1.9\"]}),
             (at: \"1100ms\", endpoints: {\"default/metrics\": []}),
             (at: \"1200ms\", endpoints: {\"default/metrics\": [\"10.244.1.9\"]}),
             (at: \"1300ms\", objects: \"{apiVersion: v1, kind: Node, metadata: {name: a, labels: {rack: r1}}, \
              spec: {podCIDRs: [10.244.0.0/24]}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}\"),
         ]",
    );
    let lines = happenings(&events, "1.30");
    let of_a: Vec<&str> = lines
        .iter()
        .filter(|line| line.contains(" a "))
        .map(String::as_str)
        .collect();
    assert_eq!(
        of_a,
        [
            "1000 a begins",
            // Asked while it ran, it begins again when it is done.
            "1005 a waits until 1010",
            "1010 a done, partial, forgot 0",
            "1010 a begins",
            "1020 a done, partial, forgot 0",
            "1100 a waits until 2020",
            "1200 a waits until 2020",
            "1300 Node a applied",
            "1300 a begins",
            "1310 a done, full, forgot 0",
            "2020 a begins",
            "2030 a done, partial, forgot 0",
        ]
    );
}

#[test]
fn a_question_about_a_moment_changes_nothing() {
    let events = events(&format!(
        "events: [(at: \"1s\", delete: [\"10.244.1.9\"], endpoints: {{\"default/metrics\": []}})],
         probes: [(at: \"500ms\", every: \"1s\", until: \"20s\", {ONE_WAY})]"
    ));
    let options = options("1.32");
    let services = ServiceStates::new(&events, options.kube_proxy_version);
    let mut timeline =
        Timeline::new(&events, &services, &options, "default", 1).expect("a timeline");
    let query = |sport| Query {
        from: Place::parse("pod/client-a", "default").expect("a place"),
        to: Target::parse("svc/metrics:8125", "default").expect("a place"),
        protocol: None,
        sport,
        length: None,
        via: None,
    };
    let at = SimTime(10_000_000_000);
    let ask = |timeline: &mut Timeline<'_>, sport| {
        let trace = timeline
            .trace(at, &query(sport))
            .expect("rules")
            .expect("a trace");
        trace.forward.disposition.name()
    };
    // The flow of the probe has a connection, another has none.
    for _ in 0..2 {
        assert_eq!(ask(&mut timeline, 5_000), "unroutable");
        assert_eq!(ask(&mut timeline, 5_001), "rejected");
    }
    let all = timeline
        .trace_all(at, &query(5_000))
        .expect("rules")
        .expect("traces");
    assert_eq!(all.len(), 1);
    assert_eq!(timeline.now(), at);
}

/// Events of a cluster whose Service `metrics` has these slices too.
fn events_with(slices: &str, text: &str) -> Events {
    let lab = Lab::with(&format!("{METRICS}---\n{slices}"));
    read_events(
        Path::new("events.ron"),
        &format!("Events({text})"),
        Some(lab.cluster),
    )
    .expect("events")
}

/// The slices of `metrics` after the last change: `PORT: ADDRESS ADDRESS`, with `-` before those not ready.
fn slices_at_last(events: &Events) -> Vec<String> {
    let last = events.changes.last().expect("a state");
    let slices = last.cluster.endpoint_slices.values();
    let told = slices.map(|slice| {
        let port = slice.ports[0].port.expect("a port");
        let endpoints = slice.endpoints.iter().map(|endpoint| {
            let mark = if endpoint.ready { "" } else { "-" };
            format!(" {mark}{}", endpoint.addresses[0])
        });
        format!("{port}:{}", endpoints.collect::<String>())
    });
    told.collect()
}

const SECOND_SLICE: &str = "\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: metrics-2, namespace: default, labels: {kubernetes.io/service-name: metrics}}
addressType: IPv4
ports: [{name: '', port: 9125, protocol: UDP}]
endpoints: [{addresses: [10.244.1.10], nodeName: b}, {addresses: [10.244.1.11], nodeName: b, conditions: {ready: false}}]
";

#[test]
fn endpoints_that_stay_keep_their_slice_port_and_conditions() {
    let told = |wanted: &str| {
        let text =
            format!("events: [(at: \"1s\", endpoints: {{\"default/metrics\": [{wanted}]}})]");
        slices_at_last(&events_with(SECOND_SLICE, &text))
    };
    assert_eq!(
        told("\"10.244.1.11\", \"10.244.1.10\""),
        ["8125:", "9125: 10.244.1.10 -10.244.1.11"]
    );
    assert_eq!(
        told("\"10.244.1.10\", \"10.244.1.12\""),
        ["8125: 10.244.1.12", "9125: 10.244.1.10"]
    );
}

#[test]
fn a_pod_of_both_families_is_an_endpoint_in_those_that_its_service_has() {
    let text = "events: [(at: \"1s\", endpoints: {\"default/metrics\": [\"pod/default/web-b\"]})]";
    assert_eq!(slices_at_last(&events(text)), ["8125: 10.244.1.2"]);
}

#[test]
fn an_address_that_was_deleted_comes_back_when_it_is_listed_again() {
    let probe = format!("probes: [(at: \"500ms\", every: \"1s\", until: \"3500ms\", {ONE_WAY})]");
    let listed = "{\"default/metrics\": [\"10.244.1.9\"]}";
    let text = format!(
        "events: [(at: \"1s\", delete: [\"10.244.1.9\"]), \
                  (at: \"2s\", endpoints: {{\"default/metrics\": []}}), \
                  (at: \"3s\", endpoints: {listed})], {probe}"
    );
    assert_eq!(
        packets(&happenings(&events(&text), "1.30")),
        [
            "500 delivered for 10.244.1.9",
            "1500 unroutable for 10.244.1.9",
            "2500 rejected for 10.96.0.50",
            "3500 delivered for 10.244.1.9",
        ]
    );
    // That its slice still lists it says nothing.
    let stale = format!(
        "events: [(at: \"1s\", delete: [\"10.244.1.9\"]), (at: \"2s\", endpoints: {listed})], {probe}"
    );
    let told = happenings(&events(&stale), "1.30");
    assert_eq!(packets(&told)[3], "3500 unroutable for 10.244.1.9");
    // A slice of that name, or another, that lists it anew does.
    let slice = METRICS.split("---\n").nth(1).expect("a slice");
    let applied = format!(
        "events: [(at: \"1s\", delete: [\"10.244.1.9\", \"endpointslice/default/metrics-1\"]), \
                  (at: \"3s\", objects: r#\"{slice}\"#)], {probe}"
    );
    let told = happenings(&events(&applied), "1.30");
    assert_eq!(packets(&told)[3], "3500 delivered for 10.244.1.9");
}

#[test]
fn an_endpoint_that_is_no_object_outlives_its_slice() {
    for gone in [
        "endpoints: {\"default/metrics\": []}",
        "delete: [\"endpointslice/default/metrics-1\"]",
    ] {
        // Until the sync is done at 1050 ms, the node still sends to it.
        let text = format!(
            "events: [(at: \"1s\", {gone})],
             probes: [(at: \"995ms\", every: \"20ms\", until: \"1060ms\", {ONE_WAY})]"
        );
        assert_eq!(
            packets(&happenings(&events(&text), "1.30")),
            [
                "995 delivered for 10.244.1.9",
                "1015 delivered for 10.244.1.9",
                "1035 delivered for 10.244.1.9",
                "1055 rejected for 10.96.0.50",
            ]
        );
    }
}

/// The events with kube-proxy in a mode.
fn in_mode(mode: &str, mut events: Events) -> Events {
    for change in &mut events.changes {
        let config = change.cluster.kube_proxy.get_or_insert_default();
        config.set("mode", mode).expect("a mode");
    }
    events
}

/// Lines about one node, and about packets.
fn of_node<'l>(lines: &'l [String], node: &str) -> Vec<&'l str> {
    let other = if node == "a" { " b " } else { " a " };
    let own = lines.iter().map(String::as_str);
    own.filter(|line| !line.contains(other)).collect()
}

#[test]
fn a_real_server_with_connections_drains_and_goes_when_kube_proxy_looks() {
    let tcp = METRICS.replace("UDP", "TCP");
    let text = "events: [(at: \"10s\", endpoints: {\"default/metrics\": [\"10.244.0.9\"]})],
         probes: [(name: \"flow\", at: \"5s\", every: \"10s\", until: \"25s\", sport: 5000,
                   from: \"pod/default/client-a\", to: \"svc/metrics:8125\"),
                  (name: \"others\", at: \"6s\", every: \"10s\", until: \"26s\",
                   from: \"pod/default/client-a\", to: \"svc/metrics:8125\")]";
    let events = in_mode("ipvs", events_with(&tcp, text));
    // The first connection goes on; a SYN that is answered is remembered for a minute after the last
    // packet, so the look at 120 s is the first that finds none.
    assert_eq!(
        of_node(&happenings(&events, "1.30"), "a"),
        [
            "5000 delivered for 10.244.1.9",
            "6000 delivered for 10.244.1.9",
            "10000 endpoints of Service default/metrics: 1 ready, now 1",
            "10010 a begins",
            "10050 a done, full, forgot 0, 1 drain",
            "15000 delivered for 10.244.1.9",
            "16000 delivered for 10.244.0.9",
            "25000 delivered for 10.244.1.9",
            "26000 delivered for 10.244.0.9",
            "120000 a drained 10.244.1.9",
        ]
    );
}

#[test]
fn udp_does_not_drain_and_its_connection_begins_anew() {
    let events = events(&format!(
        "events: [(at: \"10s\", endpoints: {{\"default/metrics\": [\"10.244.0.9\"]}})],
         probes: [(at: \"5s\", every: \"10s\", until: \"25s\", {ONE_WAY})]"
    ));
    assert_eq!(
        of_node(&happenings(&in_mode("ipvs", events), "1.30"), "a"),
        [
            "5000 delivered for 10.244.1.9",
            "10000 endpoints of Service default/metrics: 1 ready, now 1",
            "10010 a begins",
            "10050 a done, full, forgot 1",
            "15000 delivered for 10.244.0.9",
            "25000 delivered for 10.244.0.9",
        ]
    );
}

#[test]
fn an_endpoint_that_comes_back_keeps_its_connections() {
    let tcp = METRICS.replace("UDP", "TCP");
    let text = "events: [(at: \"10s\", endpoints: {\"default/metrics\": []}),
                  (at: \"20s\", endpoints: {\"default/metrics\": [\"10.244.1.9\"]})],
         probes: [(at: \"5s\", every: \"10s\", until: \"25s\", sport: 5000,
                   from: \"pod/default/client-a\", to: \"svc/metrics:8125\")]";
    let events = in_mode("ipvs", events_with(&tcp, text));
    let lines = happenings(&events, "1.30");
    assert_eq!(
        packets(&lines),
        [
            "5000 delivered for 10.244.1.9",
            "15000 delivered for 10.244.1.9",
            "25000 delivered for 10.244.1.9",
        ]
    );
    assert!(
        !lines.iter().any(|line| line.contains("drained")),
        "{lines:?}"
    );
}

#[test]
fn a_service_that_is_gone_is_no_virtual_server_any_more() {
    let tcp = METRICS.replace("UDP", "TCP");
    let text = "events: [(at: \"10s\", delete: [\"svc/default/metrics\"]), (at: \"20s\", objects: r#\"SERVICE\"#)],
         probes: [(at: \"5s\", every: \"10s\", until: \"25s\",
                   from: \"pod/default/client-a\", to: \"10.96.0.50:8125\")]";
    let text = text.replace("SERVICE", tcp.split("---\n").next().expect("a Service"));
    let events = in_mode("ipvs", events_with(&tcp, &text));
    assert_eq!(
        packets(&happenings(&events, "1.30")),
        [
            "5000 delivered for 10.244.1.9",
            "15000 unroutable for 10.96.0.50",
            "25000 delivered for 10.244.1.9",
        ]
    );
}

#[test]
fn an_unrelated_sync_moves_no_client_in_nftables_mode() {
    const STICKY: &str = "\
apiVersion: v1
kind: Service
metadata: {name: sticky, namespace: default}
spec: {clusterIP: 10.96.0.60, sessionAffinity: ClientIP, ports: [{port: 80, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: sticky-1, namespace: default, labels: {kubernetes.io/service-name: sticky}}
addressType: IPv4
ports: [{name: '', port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.244.1.20]}, {addresses: [10.244.1.21]}, {addresses: [10.244.1.22]}]
";
    // One more Service with affinity, whose name sorts before: its sets come first in the table.
    let other = STICKY.replace("sticky", "another").replace("0.60", "0.61");
    let text = format!(
        "events: [(at: \"2s\", objects: r#\"{other}\"#), (at: \"4s\", delete: [\"svc/default/another\"])], \
         probes: [(at: \"1s\", every: \"100ms\", until: \"6s\", \
                   from: \"pod/default/client-a\", to: \"svc/default/sticky:80\")]"
    );
    let events = in_mode("nftables", events_with(STICKY, &text));
    let told = happenings(&events, "1.30");
    let mut servers: Vec<_> = packets(&told)
        .into_iter()
        .filter_map(|line| line.split_once(' '))
        .map(|(_, end)| end)
        .collect();
    assert_eq!(servers.len(), 51);
    servers.dedup();
    assert_eq!(servers.len(), 1, "{servers:?}");
}
