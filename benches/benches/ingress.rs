//! How long it takes to decide who gets a request, among 10, 1,000 and 10,000 paths.
//!
//! Timed: `Router::route`, from a request in memory to an answer with the path that the back end sees; 1,024
//! requests for paths all over. Not timed: reading objects and making the router.
//!
//! - `hosts`, `wildcards`: ten paths each of many hosts.
//! - `one-host`: all paths of one host.
//! - `patterns`: all paths of one host that rewrites, and so patterns that are tried one by one, as nginx tries
//!   them; up to 1,000.
//!
//! `compile` makes a router of 10,000 paths. Each request's answer is checked before anything is timed.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use podwire_bench::routes::Shape;
use podwire_ingress::{Controller, Options, Router};

const PATHS: [usize; 3] = [10, 1_000, 10_000];

const REQUESTS: usize = 1_024;

fn route(c: &mut Criterion) {
    let cases = [
        (Controller::IngressNginx, &Shape::ALL[..]),
        (Controller::Spec, &[Shape::Hosts, Shape::OneHost]),
    ];
    for (controller, shapes) in cases {
        for &shape in shapes {
            let mut group = c.benchmark_group(format!("route/{controller}/{}", shape.name()));
            group.throughput(Throughput::Elements(REQUESTS as u64));
            group.warm_up_time(Duration::from_millis(500));
            group.measurement_time(Duration::from_secs(2));
            for paths in PATHS {
                if shape == Shape::Patterns && paths > 1_000 {
                    continue;
                }
                let router = shape.router(controller, paths);
                let requests = shape.requests(&router, paths, REQUESTS);
                group.bench_function(BenchmarkId::from_parameter(paths), |b| {
                    b.iter(|| {
                        for request in &requests {
                            black_box(&router.route(black_box(request)));
                        }
                    });
                });
            }
        }
    }
}

fn compile(c: &mut Criterion) {
    let mut group = c.benchmark_group("compile/ingress-nginx");
    group.sample_size(10);
    for shape in [Shape::Hosts, Shape::OneHost] {
        let cluster = shape.cluster(10_000);
        group.bench_function(shape.name(), |b| {
            let options = Options::of(Controller::IngressNginx);
            b.iter(|| black_box(&Router::new(&cluster, &options)).refused().len());
        });
    }
}

criterion_group!(benches, route, compile);
criterion_main!(benches);
