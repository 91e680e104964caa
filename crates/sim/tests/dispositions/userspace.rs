//! Userspace mode: a proxy on the node takes connections and opens its own.

use podwire_dataplane::{Disposition, DropReason, Event};
use podwire_sim::{NetnsId, Options, Trace, World};

use crate::lab::{BOTH, CLUSTER_IP, Lab, ON_A, OUTSIDE, service};
use crate::timeline::{events_of, happenings};

const MODE: &str = "mode: userspace\n";

fn lab(endpoints: &[&str]) -> Lab {
    let spec = format!("type: NodePort, {CLUSTER_IP}");
    Lab::configured(MODE, &service(&spec, endpoints))
}

/// How often kube-proxy dialled.
fn dials(trace: &Trace) -> usize {
    let steps = trace.forward.steps.iter();
    steps
        .filter(|step| matches!(step.event, Event::Proxied { .. }))
        .count()
}

/// Every way, where nobody has those addresses.
fn without(lab: &Lab, absent: &[&str]) -> Vec<Trace> {
    let options = Options {
        absent: absent
            .iter()
            .map(|ip| ip.parse().expect("an address"))
            .collect(),
        ..Options::default()
    };
    let mut world = World::new(&lab.cluster, &options).expect("userspace mode");
    world
        .trace_all(&Lab::query("pod/client-a", "svc/web"))
        .expect("a trace")
}

#[test]
fn an_endpoint_sees_the_address_of_the_node_that_proxies() {
    // Towards a pod of its own, that is the bridge's.
    let own = "10.244.0.2 answered 10.244.0.1";
    let other = "10.244.1.2 answered 192.168.0.1";
    let lab = lab(&BOTH);
    for (from, to) in [
        ("pod/client-a", "svc/web"),
        ("node/a", "svc/web"),
        ("pod/client-a", "node/a:30080"),
        ("node/a", "127.0.0.1:30080"),
        (OUTSIDE, "node/a:30080"),
        ("pod/client-b", "node/a:30080"),
    ] {
        assert_eq!(lab.ends(from, to), [own, other], "{from} to {to}");
    }
}

#[test]
fn both_connections_are_walked_and_both_answers() {
    let trace = lab(&ON_A).one(&Lab::query("pod/client-a", "svc/web"));
    let delivered = |steps: &[podwire_sim::Step]| -> Vec<NetnsId> {
        let of_socket = |step: &&podwire_sim::Step| matches!(step.event, Event::Delivered { .. });
        steps.iter().filter(of_socket).map(|step| step.at).collect()
    };
    let reply = trace.reply.expect("an answer");
    assert_eq!(
        delivered(&trace.forward.steps),
        [NetnsId::Node(0), trace.forward.at]
    );
    assert_eq!(
        delivered(&reply.steps),
        [NetnsId::Node(0), trace.forward.from]
    );
    assert_eq!(reply.arrived, trace.forward.sent.reversed());
}

#[test]
fn without_endpoints_the_proxy_takes_the_connection_for_nothing() {
    let trace = lab(&[]).one(&Lab::query("pod/client-a", "svc/web"));
    let end = trace.forward.disposition;
    assert_eq!(end, Disposition::Dropped(DropReason::NoEndpoint));
    assert_eq!(dials(&trace), 0);
}

#[test]
fn an_endpoint_that_takes_no_connection_is_passed_over() {
    let lab = lab(&["10.244.0.2@a", "10.244.1.77@b", "10.244.1.78@b"]);
    let traces = without(&lab, &["10.244.1.77", "10.244.1.78"]);
    let mut shares = [0.0; 4];
    for trace in &traces {
        assert!(trace.arrived());
        assert_eq!(trace.forward.arrived.dst.to_string(), "10.244.0.2");
        shares[dials(trace)] += trace.probability;
    }
    // It is first, second or third of a shuffled list.
    for share in &shares[1..] {
        assert!((share - 1.0 / 3.0).abs() < 1e-12, "{shares:?}");
    }
}

#[test]
fn the_proxy_gives_up_after_four_dials() {
    let gone = ["10.244.1.77", "10.244.1.78"];
    let traces = without(&lab(&["10.244.1.77@b", "10.244.1.78@b"]), &gone);
    assert_eq!(traces.len(), 2);
    for trace in traces {
        let end = trace.forward.disposition;
        assert_eq!(end, Disposition::Dropped(DropReason::NoEndpointAnswers));
        assert_eq!(dials(&trace), 4);
        assert_eq!(trace.forward.at, NetnsId::Node(0));
    }
}

#[test]
fn an_endpoint_that_leads_back_to_the_proxy_is_a_loop() {
    let objects = service(CLUSTER_IP, &["10.96.0.10@a"])
        .replace("port: 8080, protocol", "port: 80, protocol");
    let lab = Lab::configured(MODE, &objects);
    let trace = lab.one(&Lab::query("pod/client-a", "svc/web"));
    let end = trace.forward.disposition;
    assert_eq!(end, Disposition::Dropped(DropReason::Loop));
}

#[test]
fn the_other_family_has_no_proxy() {
    let end = lab(&BOTH).end("pod/client-a", "[fd96::10]:80");
    assert!(end.starts_with("unroutable: fd96::10"), "{end}");
}

#[test]
fn a_proxy_bound_to_an_address_is_reached_there_only() {
    let objects = service(CLUSTER_IP, &ON_A);
    let lab = Lab::configured("mode: userspace\nbindAddress: 192.168.0.1\n", &objects);
    let ask = |to: &str| lab.end("pod/client-a", to);
    assert_eq!(ask("svc/web"), "10.244.0.2 answered 10.244.0.1");
    assert_eq!(ask("192.168.0.1:32768"), "10.244.0.2 answered 10.244.0.1");
    assert_eq!(ask("10.244.0.1:32768"), "refused");
}

/// Where the packets of events go: the endpoint of each, in order, and what else happens.
fn run(lab: Lab, events: &str) -> (Vec<String>, Vec<String>) {
    let lines = happenings(&events_of(lab, events), "1.25");
    let (packets, others): (Vec<String>, Vec<String>) =
        lines.into_iter().partition(|line| line.contains(" for "));
    let end = |line: String| line.rsplit(' ').next().unwrap_or_default().to_owned();
    (packets.into_iter().map(end).collect(), others)
}

const PROBE: &str = "from: \"pod/default/client-a\", to: \"svc/web:80\"";

#[test]
fn connections_take_turns_and_a_client_with_affinity_keeps_its_endpoint() {
    let web = |affinity: &str| {
        let spec = format!("{CLUSTER_IP}{affinity}");
        Lab::configured(MODE, &service(&spec, &BOTH))
    };
    let four = format!("probes: [(at: \"1s\", every: \"4s\", until: \"13s\", {PROBE})]");
    let (turns, _) = run(web(""), &four);
    assert_eq!(turns.len(), 4);
    assert_ne!(turns[0], turns[1]);
    assert_eq!(turns[..2], turns[2..]);

    let affinity = |seconds| {
        format!(
            ", sessionAffinity: ClientIP, \
             sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {seconds}}}}}"
        )
    };
    let (kept, _) = run(web(&affinity(5)), &four);
    assert_eq!(kept, vec![kept[0].clone(); 4]);
    let (late, _) = run(web(&affinity(4)), &four);
    assert_ne!(late[0], late[1]);
    assert_eq!(late[..2], late[2..]);
}

#[test]
fn endpoints_are_known_without_a_sync() {
    let lab = Lab::configured(MODE, &service(CLUSTER_IP, &["10.244.0.2@a"]));
    let (ends, others) = run(
        lab,
        &format!(
            "watch_delay: \"100ms\", sync_takes: \"50ms\",
             events: [(at: \"1s\", endpoints: {{\"default/web\": [\"10.244.1.2\"]}})],
             probes: [(at: \"1050ms\", every: \"100ms\", until: \"1150ms\", {PROBE})]"
        ),
    );
    assert_eq!(ends, ["10.244.0.2", "10.244.1.2"]);
    assert_eq!(
        others,
        ["1000 endpoints of Service default/web: 1 ready, now 1"]
    );
}
