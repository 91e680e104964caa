//! Lists far beyond the YAML reader's own limits.

use std::fmt::Write as _;
use std::path::PathBuf;

use podwire_cluster::{Input, load};

/// A List of Services as kubectl prints it, some 120 nodes each.
fn services(count: usize) -> String {
    let mut text = "apiVersion: v1\nitems:\n".to_owned();
    for n in 0..count {
        let (high, low) = (n / 250, n % 250 + 1);
        write!(
            text,
            "\
- apiVersion: v1
  kind: Service
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{{\"name\":\"service-{n}\"}}}}
    creationTimestamp: \"2024-11-05T09:00:01Z\"
    labels:
      app: app-{n}
      tier: backend
    name: service-{n}
    namespace: shop
    resourceVersion: \"{n}\"
    uid: c662cff2-4242-4217-aeef-{n:012}
  spec:
    clusterIP: 10.100.{high}.{low}
    clusterIPs:
    - 10.100.{high}.{low}
    internalTrafficPolicy: Cluster
    ipFamilies:
    - IPv4
    ipFamilyPolicy: SingleStack
    ports:
    - name: http
      port: 80
      protocol: TCP
      targetPort: 8080
    - name: metrics
      port: 9100
      protocol: TCP
      targetPort: metrics
    selector:
      app: app-{n}
    sessionAffinity: None
    type: ClusterIP
  status:
    loadBalancer: {{}}
"
        )
        .expect("a string takes all");
    }
    text.push_str("kind: List\nmetadata:\n  resourceVersion: \"\"\n");
    text
}

#[test]
fn ten_thousand_services_are_a_list_like_any_other() {
    let count = if cfg!(debug_assertions) {
        4_000
    } else {
        10_000
    };
    let text = services(count);
    // The reader's own budget ends at 250,000 nodes.
    assert!(serde_saphyr::from_str::<serde_json::Value>(&text).is_err());
    let path = PathBuf::from("services.yaml");
    let cluster = load(vec![Input { path, text }]).unwrap();
    assert_eq!(cluster.services.len(), count);
    let lines = u32::try_from(count).unwrap();
    let last = cluster
        .services
        .values()
        .map(|s| s.meta.source.unwrap().line);
    assert_eq!(last.max(), Some(3 + (lines - 1) * 37));
}

#[test]
fn two_thousand_documents_are_a_stream_like_any_other() {
    let mut text = String::new();
    for n in 0..2_000 {
        write!(
            text,
            "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: n{n}\n"
        )
        .unwrap();
    }
    let path = PathBuf::from("namespaces.yaml");
    let cluster = load(vec![Input { path, text }]).unwrap();
    assert_eq!(cluster.namespaces.len(), 2_000);
    assert_eq!(
        cluster.namespaces["n1999"].source.unwrap().line,
        1_999 * 5 + 2
    );
}
