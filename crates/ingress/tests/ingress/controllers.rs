//! What the controllers do besides matching paths.

use podwire_cluster::Cluster;
use podwire_ingress::{Controller, Options, Reason, Request, Router};

use crate::cluster;

const NGINX: Controller = Controller::IngressNginx;

/// Services `a`, `b` and `c` in namespace `default`, and these Ingresses.
fn with(ingresses: &str) -> Cluster {
    let service = |name: &str, end: u8| {
        format!(
            r#"(name: "{name}", endpoints: ["10.0.0.{end}"], ports: [(name: "http", port: 80, target_port: 8080)]),"#
        )
    };
    let services: String = [("a", 1), ("b", 2), ("c", 3)]
        .map(|(n, end)| service(n, end))
        .concat();
    cluster(&[&format!(
        r#"Cluster(
            node_count: 1,
            ingress_classes: [(name: "nginx", controller: "k8s.io/ingress-nginx"), (name: "other", controller: "x")],
            services: [{services}(name: "empty", ports: [(port: 80)])],
            ingresses: [{ingresses}],
        )"#
    )])
}

/// An answer in a line: `SERVICE PATH`, or the status and where the client is sent.
fn ask(cluster: &Cluster, controller: Controller, url: &str) -> String {
    let router = Router::new(cluster, &Options::of(controller));
    let answer = router.route(&Request::get(url).expect("a URL"));
    match (answer.service(), &answer.path, &answer.redirect) {
        (Some(service), Some(path), _) => format!("{} {path}", service.name),
        (_, _, Some(to)) => format!("{} {to}", answer.status),
        _ => answer.status.to_string(),
    }
}

#[test]
fn a_host_with_a_certificate_is_for_https() {
    let cluster = with(
        r#"(name: "i", class: "nginx", tls: ["a.test"], rules: [
            (host: "a.test", paths: [(path: "/x", service: "a", port: 80)]),
            (host: "b.test", paths: [(path: "/x", service: "b", port: 80)]),
        ])"#,
    );
    for (url, answer) in [
        ("http://a.test:8080/x/y?q", "308 https://a.test/x/y?q"),
        ("https://a.test/x/y?q", "a /x/y?q"),
        // The whole Ingress is under TLS, and so are its other hosts, with the controller's certificate.
        ("http://b.test/x", "308 https://b.test/x"),
        ("http://a.test/none", "308 https://a.test/none"),
        ("http://c.test/x", "404"),
    ] {
        assert_eq!(ask(&cluster, NGINX, url), answer, "{url}");
    }
    assert_eq!(ask(&cluster, Controller::Spec, "http://a.test/x"), "a /x");
}

#[test]
fn force_ssl_redirect_needs_no_certificate() {
    let cluster = with(
        r#"(name: "i", class: "nginx",
            annotations: {"nginx.ingress.kubernetes.io/force-ssl-redirect": "True"},
            rules: [(host: "a.test", paths: [(path: "/", service: "a", port: 80)])])"#,
    );
    assert_eq!(
        ask(&cluster, NGINX, "http://a.test/"),
        "308 https://a.test/"
    );
}

/// The server for all hosts has a certificate of the controller's own in 0.21, and a location's
/// ssl-redirect is on unless said.
#[test]
fn the_old_release_sends_clients_of_rules_without_a_host_to_https() {
    let ingress = |annotations: &str| {
        with(&format!(
            r#"(name: "i", api: Extensions, annotations: {{{annotations}}},
                rules: [(paths: [(path: "/x", service: "a", port: 80)])])"#
        ))
    };
    let old = Controller::IngressNginx021;
    assert_eq!(ask(&ingress(""), old, "http://n/x"), "308 https://n/x");
    assert_eq!(ask(&ingress(""), NGINX, "http://n/x"), "a /x");
    let off = r#""nginx.ingress.kubernetes.io/ssl-redirect": "false""#;
    assert_eq!(ask(&ingress(off), old, "http://n/x"), "a /x");
}

#[test]
fn nginx_adds_the_slash_that_a_location_has() {
    let cluster = with(
        r#"(name: "i", class: "nginx", rules: [(host: "a.test", paths: [
            (path: "/x/", service: "a", port: 80),
            (path: "/y", service: "b", port: 80),
        ])])"#,
    );
    for (url, answer) in [
        ("http://a.test/x?q=1", "301 /x/?q=1"),
        ("http://a.test/x/", "a /x/"),
        ("http://a.test/y", "b /y"),
        ("http://a.test/y/", "b /y/"),
        ("http://a.test/yy", "404"),
    ] {
        assert_eq!(ask(&cluster, NGINX, url), answer, "{url}");
    }
    // The text of the API knows no slash at the end.
    assert_eq!(ask(&cluster, Controller::Spec, "http://a.test/x"), "a /x");
}

#[test]
fn a_class_says_whose_an_ingress_is() {
    let rules = |service: &str| {
        format!(r#"rules: [(host: "{service}.test", paths: [(service: "{service}", port: 80)])]"#)
    };
    let cluster = with(&format!(
        r#"(name: "none", {}), (name: "other", class: "other", {}), (name: "old", api: Beta, {})"#,
        rules("a"),
        rules("b"),
        rules("c")
    ));
    let answers = |controller| {
        ["a", "b", "c"].map(|host| ask(&cluster, controller, &format!("http://{host}.test/")))
    };
    assert_eq!(answers(NGINX), ["404", "404", "c /"]);
    assert_eq!(answers(Controller::Spec), ["a /", "404", "c /"]);
    // It was before the field; what has no annotation is its own.
    assert_eq!(answers(Controller::IngressNginx021), ["a /", "b /", "c /"]);
    let router = Router::new(&cluster, &Options::of(NGINX));
    let reasons: Vec<_> = router
        .ignored()
        .iter()
        .map(|ignored| &ignored.reason)
        .collect();
    assert_eq!(reasons, [&Reason::NoClass, &Reason::Class("other".into())]);
}

#[test]
fn a_controller_may_take_other_classes_and_what_names_none() {
    let cluster = with(
        r#"(name: "none", rules: [(host: "a.test", paths: [(service: "a", port: 80)])]),
           (name: "other", class: "other", rules: [(host: "b.test", paths: [(service: "b", port: 80)])]),
           (name: "own", class: "nginx", rules: [(host: "c.test", paths: [(service: "c", port: 80)])])"#,
    );
    let options = Options {
        controller_class: "x".into(),
        without_class: true,
        ..Options::of(NGINX)
    };
    let router = Router::new(&cluster, &options);
    let status = |url: &str| router.route(&Request::get(url).expect("a URL")).status;
    let all = ["http://a.test/", "http://b.test/", "http://c.test/"].map(status);
    assert_eq!(all, [200, 200, 404]);
}

#[test]
fn an_ingress_without_a_class_gets_the_default_one() {
    let cluster = cluster(&[r#"Cluster(
        node_count: 1,
        ingress_classes: [(name: "web", controller: "k8s.io/ingress-nginx", default: true)],
        services: [(name: "a", endpoints: ["10.0.0.1"], ports: [(port: 80)])],
        ingresses: [(name: "i", rules: [(paths: [(service: "a", port: 80)])])],
    )"#]);
    assert_eq!(ask(&cluster, NGINX, "http://n/x"), "a /x");
}

#[test]
fn of_two_as_old_the_later_name_has_the_path() {
    let ingress = |name: &str, service: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\nspec:\n  ingressClassName: nginx\n  rules:\n  - host: a.test\n    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}]}}\n"
        )
    };
    let services = r#"Cluster(node_count: 1, services: [
        (name: "a", endpoints: ["10.0.0.1"], ports: [(port: 80)]),
        (name: "b", endpoints: ["10.0.0.2"], ports: [(port: 80)]),
    ])"#;
    let cluster = cluster(&[services, &ingress("one", "a"), &ingress("two", "b")]);
    assert_eq!(ask(&cluster, NGINX, "http://a.test/"), "b /");
}

#[test]
fn what_is_for_all_hosts_goes_before_a_root_without_a_host() {
    let cluster = with(
        r#"(name: "rules", class: "nginx", rules: [(paths: [(path: "/", service: "a", port: 80), (path: "/x", service: "b", port: 80)])]),
           (name: "catch-all", class: "nginx", default_backend: (service: "c", port: 80))"#,
    );
    assert_eq!(ask(&cluster, NGINX, "http://n/"), "c /");
    assert_eq!(ask(&cluster, NGINX, "http://n/x/y"), "b /x/y");
}

#[test]
fn redirects_and_fallbacks_are_annotations() {
    let ingress = |name: &str, annotations: &str, service: &str| {
        format!(
            r#"(name: "{name}", class: "nginx", annotations: {{{annotations}}}, rules: [(host: "{name}.test", paths: [(path: "/", service: "{service}", port: 80)])]),"#
        )
    };
    let key =
        |name: &str, value: &str| format!(r#""nginx.ingress.kubernetes.io/{name}": "{value}","#);
    let cluster = with(
        &[
            ingress(
                "away",
                &key("permanent-redirect", "https://x.test$request_uri"),
                "a",
            ),
            ingress(
                "soon",
                &[
                    key("temporal-redirect", "https://y.test"),
                    key("permanent-redirect", "https://x.test"),
                ]
                .concat(),
                "a",
            ),
            ingress("down", &key("default-backend", "b"), "empty"),
            ingress("gone", "", "empty"),
            ingress(
                "called",
                &key("server-alias", "www.called.test, *.called.test"),
                "c",
            ),
        ]
        .concat(),
    );
    for (url, answer) in [
        ("http://away.test/x?y", "301 https://x.test/x?y"),
        ("http://soon.test/", "302 https://y.test"),
        ("http://down.test/x", "b /x"),
        ("http://gone.test/x", "503"),
        ("http://www.called.test/x", "c /x"),
        ("http://a.b.called.test/x", "c /x"),
    ] {
        assert_eq!(ask(&cluster, NGINX, url), answer, "{url}");
    }
}

#[test]
fn what_nginx_would_not_load_is_named_and_left_out() {
    let cluster = with(
        r#"(name: "i", class: "nginx", annotations: {"nginx.ingress.kubernetes.io/use-regex": "true"},
            rules: [(host: "a.test", paths: [
                (path: "/(?!x).*", type: ImplementationSpecific, service: "a", port: 80),
                (path: "/x[0-9]{2}$", type: ImplementationSpecific, service: "b", port: 80),
            ])])"#,
    );
    let router = Router::new(&cluster, &Options::of(NGINX));
    let refused = &router.refused()[0];
    assert_eq!(refused.ingress.to_string(), "default/i");
    assert!(refused.reason.contains("look-around"), "{}", refused.reason);
    assert_eq!(ask(&cluster, NGINX, "http://a.test/X07"), "b /X07");
    assert_eq!(ask(&cluster, NGINX, "http://a.test/x7"), "404");
}

#[test]
fn a_controllers_pod_says_its_release_and_options() {
    let cluster = cluster(&[r#"Cluster(node_count: 1, workloads: [
            (name: "old", image: "quay.io/kubernetes-ingress-controller/nginx-ingress-controller:0.21.0",
                args: ["/nginx-ingress-controller", "--default-backend-service=app/none", "--ingress-class=mine"]),
            (name: "today", image: "registry.k8s.io/ingress-nginx/controller:v1.12.1@sha256:0123"),
            (name: "inner", image: "registry.k8s.io/ingress-nginx/controller:v1.12.1",
                args: ["--controller-class=k8s.io/inner", "--watch-ingress-without-class=true"]),
            (name: "web", image: "nginx:1.27"),
        ])"#]);
    let of = |name: &str| {
        let pods = &cluster.pods;
        Options::of_pod(&pods[&podwire_cluster::ObjectName::new("default", name)])
    };
    let old = of("old").unwrap();
    assert_eq!(old.controller, Controller::IngressNginx021);
    assert_eq!(
        (&*old.class, old.default_backend.unwrap().to_string()),
        ("mine", "app/none".to_owned())
    );
    assert_eq!(of("today").unwrap(), Options::of(NGINX));
    assert_eq!(of("web"), None);
    let inner = of("inner").unwrap();
    assert_eq!(
        (&*inner.controller_class, inner.without_class),
        ("k8s.io/inner", true)
    );
}

#[test]
fn a_certificates_challenge_is_answered_in_the_clear() {
    let cluster = with(
        r#"(name: "i", class: "nginx", tls: ["a.test"],
            annotations: {"nginx.ingress.kubernetes.io/force-ssl-redirect": "true"},
            rules: [(host: "a.test", paths: [
                (path: "/", service: "a", port: 80),
                (path: "/.well-known/acme-challenge/token", service: "b", port: 80),
                (path: "/.well-known/other", service: "c", port: 80),
            ])])"#,
    );
    for controller in [NGINX, Controller::IngressNginx021] {
        for (path, answer) in [
            (
                "/.well-known/acme-challenge/token",
                "b /.well-known/acme-challenge/token",
            ),
            ("/.well-known/other", "308 https://a.test/.well-known/other"),
            // It is the location's path that counts, not the request's.
            (
                "/.well-known/acme-challenge/x",
                "308 https://a.test/.well-known/acme-challenge/x",
            ),
        ] {
            let url = format!("http://a.test{path}");
            assert_eq!(
                ask(&cluster, controller, &url),
                answer,
                "{controller} {path}"
            );
        }
    }
}

#[test]
fn a_location_that_is_there_twice_is_named() {
    // `/x` becomes `/x/` and `= /x`, and `/x/` is `/x/` again.
    let cluster = with(
        r#"(name: "i", class: "nginx", rules: [(host: "a.test", paths: [
            (path: "/x", service: "a", port: 80),
            (path: "/x/", service: "b", port: 80),
            (path: "/y", service: "c", port: 80),
        ])])"#,
    );
    let router = Router::new(&cluster, &Options::of(NGINX));
    let reasons: Vec<_> = router.refused().iter().map(|one| &*one.reason).collect();
    assert_eq!(
        reasons,
        ["duplicate location `/x/`: nginx does not load a configuration with it"]
    );
    assert_eq!(ask(&cluster, NGINX, "http://a.test/y"), "c /y");
}

#[test]
fn a_pattern_that_is_not_read_makes_its_server_unknown() {
    let cluster = with(
        r#"(name: "i", class: "nginx", annotations: {"nginx.ingress.kubernetes.io/use-regex": "true"},
            rules: [(host: "a.test", paths: [
                (path: "/(?!x).*", type: ImplementationSpecific, service: "a", port: 80),
            ])])"#,
    );
    let router = Router::new(&cluster, &Options::of(NGINX));
    let unread: Vec<_> = router
        .refused()
        .iter()
        .map(|one| (&*one.server, one.is_unread))
        .collect();
    assert_eq!(unread, [("a.test", true)]);
}
