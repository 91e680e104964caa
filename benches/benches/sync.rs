//! How long syncs of kube-proxy take.
//!
//! - `sync/MODE/services=N/first`: objects in memory to the text of a first sync, 10 endpoints a Service.
//!   Reading objects is not timed.
//! - `sync/iptables/services=N/state`: an endpoint is replaced, and service ports, chains and the matcher
//!   follow. `text`: the partial sync that is written then.
//!
//! Each checks what came out before it is timed: of a small cluster every byte, which is kube-proxy's own;
//! of a large one the number of rules.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use podwire_bench::sync::{Mode, NODE, cluster, one_endpoint_changed, ports};
use podwire_cluster::{EndpointSlice, load, read_inputs};
use podwire_controlplane::kube_proxy::{IptablesProxier, LiveIptables, SliceChange};
use podwire_matcher::Live;

const ENDPOINTS: u32 = 10;
const SIZES: [u32; 2] = [1_000, 10_000];

/// What kube-proxy wrote for a small cluster.
const GOLDEN: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/golden/kube-proxy/022-etp-local-lb"
);

fn check_small() {
    let folder = Path::new(GOLDEN);
    let files = [folder.join("objects.yaml"), folder.join("config.yaml")];
    let inputs = read_inputs(&files).expect("the files are there");
    let cluster = load(inputs).expect("the objects are right");
    let ports = ports(&cluster);
    for mode in [Mode::Iptables, Mode::Nftables] {
        let golden = folder.join(format!("{}.node-a.txt", mode.name()));
        let golden = fs::read_to_string(golden).expect("kube-proxy wrote one");
        let text = mode.text(&cluster, &ports, "node-a").expect("a sync");
        assert_eq!(text, golden, "{}", mode.name());
    }
}

fn first_syncs(c: &mut Criterion) {
    check_small();
    for services in SIZES {
        let cluster = cluster(services, ENDPOINTS);
        let sync = |mode: Mode| mode.text(&cluster, &ports(&cluster), NODE).expect("a sync");
        for mode in Mode::ALL {
            let text = sync(mode);
            assert!(mode.is_right(&text, services as usize, ENDPOINTS as usize));
            let name = format!("sync/{}/services={services}", mode.name());
            let mut group = c.benchmark_group(name);
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function("first", |b| b.iter(|| black_box(sync(mode))));
            group.finish();
        }
    }
}

/// A sync after that change, and the matcher as it is then.
fn follow<'a>(live: &mut LiveIptables<'a>, matcher: &mut Live, slice: &'a EndpointSlice) {
    for change in live.sync([SliceChange::Set(slice)]) {
        let changed = match change.rules {
            Some(rules) => matcher.set_chain(change.table, &change.chain, rules),
            None => matcher.remove_chain(change.table, &change.chain),
        };
        changed.expect("chains come in an order in which they can be set");
    }
}

fn changes(c: &mut Criterion) {
    for services in SIZES {
        let cluster = cluster(services, ENDPOINTS);
        let slices = [0, 1].map(|round| one_endpoint_changed(&cluster, round));
        let ports = ports(&cluster);
        let proxier = IptablesProxier::new(&cluster, &ports, NODE).expect("a proxier");
        let mut live = LiveIptables::new(proxier);
        let mut matcher = Live::new(live.rule_set()).expect("a matcher");
        for slice in &slices {
            follow(&mut live, &mut matcher, slice);
            let ip = &slice.endpoints[0].addresses[0];
            let to = format!(" -j DNAT --to-destination {ip}:");
            assert_eq!(live.restore_text().matches(&to).count(), 1);
        }
        let mut group = c.benchmark_group(format!("sync/iptables/services={services}"));
        let mut rounds = slices.iter().cycle();
        group.bench_function("state", |b| {
            b.iter(|| {
                let slice = rounds.next().expect("it goes on for ever");
                follow(&mut live, &mut matcher, slice);
            });
        });
        group.bench_function("text", |b| b.iter(|| black_box(live.restore_text())));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = first_syncs, changes
}
criterion_main!(benches);
