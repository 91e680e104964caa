//! The same objects in YAML and JSON, alone and in lists, are the same cluster.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use podwire_cluster::{Cluster, Input, ObjectName, PathType, load};

const CASES: [&str; 4] = [
    "002-clusterip-plain",
    "008-no-endpoints",
    "086-manual-slices",
    "110-odd-slices",
];

fn golden(case: &str, file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::fs::read_to_string(path.join(case).join(file)).expect("golden data")
}

fn read(text: &str) -> Cluster {
    let path = PathBuf::from("input");
    let text = text.to_owned();
    load(vec![Input { path, text }]).unwrap_or_else(|errors| panic!("{errors}"))
}

/// All that a cluster holds, but not where it was read.
fn content(mut cluster: Cluster) -> String {
    let metas = cluster.nodes.values_mut().map(|o| &mut o.meta);
    let metas = metas.chain(cluster.pods.values_mut().map(|o| &mut o.meta));
    let metas = metas.chain(cluster.services.values_mut().map(|o| &mut o.meta));
    let metas = metas.chain(cluster.endpoint_slices.values_mut().map(|o| &mut o.meta));
    for meta in metas {
        assert!(meta.source.take().is_some());
    }
    for namespace in cluster.namespaces.values_mut() {
        namespace.source = None;
    }
    for warning in &mut cluster.warnings {
        warning.source = None;
    }
    format!("{cluster:#?}")
}

fn documents(yaml: &str) -> Vec<serde_json::Value> {
    serde_saphyr::from_multiple(yaml).expect("golden data")
}

#[test]
fn yaml_and_json_give_equal_clusters() {
    for case in CASES {
        let yaml = golden(case, "objects.yaml");
        let documents = documents(&yaml);
        assert!(!documents.is_empty());
        let from_yaml = content(read(&yaml));
        let list = serde_json::json!({"apiVersion": "v1", "items": documents, "kind": "List"});
        let lines = documents.iter().fold(String::new(), |mut text, one| {
            writeln!(text, "{one}").unwrap();
            text
        });
        for json in [
            serde_json::to_string(&list).unwrap(),
            serde_json::to_string_pretty(&list).unwrap(),
            serde_json::to_string(&documents).unwrap(),
            lines,
            // JSON is YAML too: the same list, read by the other reader.
            format!(
                "# a comment\n{}",
                serde_json::to_string_pretty(&list).unwrap()
            ),
        ] {
            assert_eq!(content(read(&json)), from_yaml, "{case}");
        }
    }
}

#[test]
fn configurations_are_read_bare_and_from_the_config_map() {
    for case in CASES {
        let text = golden(case, "config.yaml");
        let bare = read(&text).kube_proxy.unwrap();
        assert_eq!(bare.mode, "iptables");
        let map = serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
            "data": {"config.conf": text, "kubeconfig.conf": "apiVersion: v1"},
        });
        let map = serde_json::to_string(&map).unwrap();
        assert_eq!(read(&map).kube_proxy, Some(bare.clone()));
        assert_eq!(read(&format!("---\n{map}")).kube_proxy, Some(bare));
    }
}

#[test]
fn items_of_a_typed_list_take_their_kind_from_it() {
    let yaml = "\
apiVersion: v1
kind: ServiceList
items:
- metadata: {name: web}
  spec: {clusterIP: 10.96.0.7, ports: [{port: 80}]}
";
    let json = r#"{"apiVersion": "v1", "kind": "ServiceList", "items": [
        {"metadata": {"name": "web"}, "spec": {"clusterIP": "10.96.0.7", "ports": [{"port": 80}]}}
    ]}"#;
    for text in [yaml, json] {
        let cluster = read(text);
        let web = &cluster.services[&ObjectName::new("default", "web")];
        assert_eq!(web.cluster_ips, ["10.96.0.7".into()]);
        assert_eq!(
            web.meta.source.unwrap().line,
            if text == yaml { 4 } else { 2 }
        );
    }
}

#[test]
fn sources_are_lines_of_first_keys() {
    let yaml = "\
# a comment
---
kind: Namespace
metadata: {name: shop}
apiVersion: v1
---

apiVersion: v1
items:
  # another
  -
    # and another
    apiVersion: v1
    kind: Pod
    metadata: {name: a}
  - metadata: {name: b}
    kind: Pod
    apiVersion: v1
kind: List
";
    let cluster = read(yaml);
    let line = |name| {
        let pod = &cluster.pods[&ObjectName::new("default", name)];
        pod.meta.source.unwrap().line
    };
    assert_eq!(cluster.namespaces["shop"].source.unwrap().line, 3);
    assert_eq!((line("a"), line("b")), (13, 16));
    let place = cluster.place(cluster.namespaces["shop"].source.unwrap());
    assert_eq!(place.to_string(), "input:3");
}

#[test]
fn nothing_but_comments_is_an_empty_cluster() {
    for text in [
        "",
        "\n\n",
        "# words\n",
        "---\n",
        "---\n# words\n---\n",
        "\u{feff}",
        "null\n",
        "[]",
        "---\n...\n",
        "%YAML 1.2\n---\n",
        "apiVersion: v1\nkind: List\nitems: null\n",
        "apiVersion: v1\nkind: List\n",
        r#"{"kind": "List", "apiVersion": "v1", "items": null}"#,
        r#"{"kind": "List", "apiVersion": "v1"}"#,
        "apiVersion: v1\nkind: PodList\n",
    ] {
        let cluster = read(text);
        assert!(
            cluster.nodes.is_empty() && cluster.unused_kinds.is_empty(),
            "{text}"
        );
    }
}

#[test]
fn other_kinds_are_counted() {
    let cluster = read(
        "kind: Secret\napiVersion: v1\nmetadata: {name: a}\n---\nkind: Secret\napiVersion: v1\n---\n\
         kind: Service\napiVersion: serving.knative.dev/v1\nspec: {ports: none}\n",
    );
    let counted: Vec<_> = cluster
        .unused_kinds
        .iter()
        .map(|(k, n)| (&**k, *n))
        .collect();
    assert_eq!(counted, [("Secret", 2), ("Service", 1)]);
}

/// YAML 1.1 takes some words for booleans, the API's own readers among them; YAML 1.2 does not.
#[test]
fn a_name_may_be_a_word_that_was_a_boolean_once() {
    let cluster = read(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: n\n  labels: {on: off}\nspec:\n  hostNetwork: yes\n",
    );
    let pod = &cluster.pods[&ObjectName::new("default", "n")];
    assert!(pod.host_network);
    assert_eq!(pod.meta.labels.get("on").map(|value| &**value), Some("off"));
}

#[test]
fn an_ingress_is_the_same_in_all_three_apis() {
    let of = |api: &str, paths: &str, default: &str| {
        let text = format!(
            "apiVersion: {api}\nkind: Ingress\nmetadata: {{name: a, creationTimestamp: '2021-07-25T07:00:00Z'}}\nspec:\n  {default}\n  tls: [{{hosts: [a.test], secretName: s}}]\n  rules:\n  - host: '*.a.test'\n    http:\n      paths:\n      - {paths}\n"
        );
        let mut cluster = read(&text);
        let (_, ingress) = cluster.ingresses.pop_first().expect("an Ingress");
        ingress
    };
    let v1 = of(
        "networking.k8s.io/v1",
        "{path: /x, pathType: Exact, backend: {service: {name: web, port: {name: http}}}}",
        "defaultBackend: {service: {name: web, port: {number: 80}}}",
    );
    for api in ["networking.k8s.io/v1beta1", "extensions/v1beta1"] {
        let old = of(
            api,
            "{path: /x, pathType: Exact, backend: {serviceName: web, servicePort: http}}",
            "backend: {serviceName: web, servicePort: 80}",
        );
        assert_eq!((&old.rules, &old.tls), (&v1.rules, &v1.tls));
        assert_eq!(old.default_backend, v1.default_backend);
        assert!(old.created.is_some() && old.created == v1.created);
    }
    let untyped = of(
        "extensions/v1beta1",
        "{path: /x, backend: {serviceName: web, servicePort: http}}",
        "backend:",
    );
    assert_eq!(
        untyped.rules[0].paths[0].path_type,
        PathType::ImplementationSpecific
    );
}
