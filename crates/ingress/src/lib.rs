//! Which back end an HTTP request reaches through Ingresses.
//!
//! A [`Cluster`](podwire_cluster::Cluster) goes in; a [`Router`] comes out, which answers requests as one
//! [`Controller`] would: the API's own text, or ingress-nginx in one of two releases. An [`Answer`] says who
//! gets the request and with which path, or which status the client gets, and why.
//!
//! # Map, in reading order
//! - [`Router`]: made once of a cluster; [`Router::route`] is **the hot path**.
//! - [`Request`], [`Answer`], [`Why`].
//! - `class`: which Ingresses are a controller's, and in which order they count.
//! - `backend`: Services, their ports and endpoints.
//! - `spec`: the API's text: hosts, then exact paths, then prefixes by elements.
//! - `ingress_nginx`: the configuration that the controller writes for nginx, 1.x and 0.21.
//! - [`nginx`]: how nginx decides by a configuration; knows nothing of Kubernetes.
//!
//! ```
//! use podwire_cluster::{Input, load};
//! use podwire_ingress::{Controller, Options, Request, Router};
//!
//! let text = r#"Cluster(
//!     node_count: 1,
//!     workloads: [(name: "web", ports: [(name: "http", port: 8080)])],
//!     services: [(name: "web", selector: {"app": "web"}, ports: [(port: 80, target_port: "http")])],
//!     ingresses: [(name: "web", class: "nginx", rules: [(host: "shop.test", paths: [
//!         (path: "/cart", service: "web", port: 80),
//!     ])])],
//! )"#;
//! let input = Input { path: "shop.ron".into(), text: text.to_owned() };
//! let cluster = load(vec![input]).expect("a model");
//! let router = Router::new(&cluster, &Options::of(Controller::IngressNginx));
//! let answer = router.route(&Request::get("http://shop.test/cart/1").expect("a URL"));
//! assert_eq!(answer.status, 200);
//! assert_eq!(answer.service().expect("a service").to_string(), "default/web");
//! ```
//!
//! # Departures
//! - ingress-nginx 1.x is that of 1.12 with its default configuration, but for the options here; 0.21 likewise.
//!   ConfigMaps of the controller are not read.
//! - Annotations that are heard: `rewrite-target`, `use-regex`, `app-root`, `ssl-redirect`,
//!   `force-ssl-redirect`, `permanent-redirect` and its code, `temporal-redirect` and its code,
//!   `server-alias`, `default-backend`, and `canary`, whose Ingresses get no traffic here. Not heard:
//!   authentication, limits, snippets, mirrors, `from-to-www-redirect`, `service-upstream`, `custom-http-errors`.
//! - Secrets are not read: a host of `tls` has a certificate.
//! - A location that nginx does not take, or that is there already, keeps nginx from loading its new
//!   configuration; here it alone is left out, and [`Router::refused`] names it. Patterns that PCRE takes and
//!   this program does not (look-around, back references) are left out and named likewise, though nginx
//!   would load them: answers of that server may differ.
//! - 0.21 orders Ingresses by `resourceVersion`; here both releases go by age. It knows no path types and no
//!   IngressClass objects, and so goes by the annotation alone.
//! - What the API leaves open, `spec` decides so: ImplementationSpecific is Prefix; a request that no path of
//!   its host takes goes to the default backend of the oldest Ingress that names the host, else of the oldest
//!   that has one; the older of two equal claims has the path.
//!
//! # Sources
//! Kubernetes API networking.k8s.io/v1, *Ingress* of the documentation (path types, host wildcards, multiple
//! matches); ingress-nginx: internal/ingress/controller/{controller,location}.go, template/template.go,
//! rootfs/etc/nginx/template/nginx.tmpl, at 1.12 and at 0.21.

mod answer;
mod backend;
mod class;
mod ingress_nginx;
pub mod nginx;
mod request;
mod router;
mod spec;

pub use answer::{Answer, Why};
pub use backend::{Backend, State};
pub use class::{Ignored, Reason};
pub use ingress_nginx::NginxWhy;
pub use request::{Request, Scheme, UrlError};
pub use router::{Controller, ControllerError, Options, Refused, Router};
pub use spec::SpecWhy;

/// A table whose keys a person's file chooses.
type Table<K, V> = hashbrown::HashMap<Box<K>, V, foldhash::fast::FixedState>;
