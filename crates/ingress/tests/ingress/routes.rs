//! Answers that nginx 1.22 gave with the configuration that the controller writes (`routes/`); which
//! Ingress wins, and the statuses 503, are the controller's own rules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use podwire_ingress::{Controller, Options, Request, Router};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    set: String,
    controllers: Vec<String>,
    #[serde(default)]
    method: Option<String>,
    url: String,
    status: u16,
    /// Service and port.
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    redirect: Option<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ingress/routes")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect("test data")
}

#[test]
fn requests_go_where_nginx_sends_them() {
    let services = read("services.ron");
    let mut sets = BTreeMap::<String, Vec<Route>>::new();
    for line in read("routes.jsonl").lines() {
        let route: Route = serde_json::from_str(line).expect("a route");
        sets.entry(route.set.clone()).or_default().push(route);
    }
    let mut asked = 0;
    for (set, routes) in sets {
        let cluster = super::cluster(&[&services, &read(&format!("{set}.yaml"))]);
        for controller in ["spec", "ingress-nginx", "ingress-nginx-0.21"] {
            let of: Controller = controller.parse().unwrap();
            let router = Router::new(&cluster, &Options::of(of));
            for route in &routes {
                if !route.controllers.iter().any(|of| of == controller) {
                    continue;
                }
                let mut request = Request::get(&route.url).unwrap();
                request
                    .method
                    .clone_from(route.method.as_ref().unwrap_or(&"GET".to_owned()));
                let answer = router.route(&request);
                let to = answer.service().map(|service| {
                    format!(
                        "{service}:{}",
                        answer.port().expect("a Service has its port")
                    )
                });
                let have = (answer.status, &to, &answer.path);
                let context = format!("{set} {} [{controller}]\n{}", route.url, answer.why);
                assert_eq!(have, (route.status, &route.to, &route.path), "{context}");
                if route.redirect.is_some() {
                    assert_eq!(answer.redirect, route.redirect, "{context}");
                }
                asked += 1;
            }
        }
    }
    assert!(asked > 150, "{asked}");
}
