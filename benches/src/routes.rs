//! Ingresses with many paths, and requests for them.

use podwire_cluster::{
    BackendPort, Cluster, Ingress, IngressApi, IngressBackend, IngressPath, IngressRule, Labels,
    Meta, ObjectName, PathType, synthetic,
};
use podwire_ingress::{Controller, Options, Request, Router};

/// Paths of a host where there are many hosts.
const PATHS_OF_HOST: usize = 10;

/// Services that answer.
const SERVICES: u32 = 100;

/// How paths are spread over hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Ten paths each of many hosts.
    Hosts,
    /// Ten paths each of many wildcards.
    Wildcards,
    /// All paths of one host, a tenth of them below another.
    OneHost,
    /// All paths of one host, patterns that are tried one by one: what nginx is slow at too.
    Patterns,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hosts, Self::Wildcards, Self::OneHost, Self::Patterns];

    /// Its name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::Wildcards => "wildcards",
            Self::OneHost => "one-host",
            Self::Patterns => "patterns",
        }
    }

    const fn host_number(self, path: usize) -> usize {
        match self {
            Self::Hosts | Self::Wildcards => path / PATHS_OF_HOST,
            Self::OneHost | Self::Patterns => 0,
        }
    }

    fn path(self, path: usize) -> String {
        match self {
            Self::OneHost if path % 10 == 9 => format!("/service-{}/part-{path}", path - 1),
            Self::Patterns => format!("/service-{path}(/|$)(.*)"),
            Self::Hosts | Self::Wildcards | Self::OneHost => format!("/service-{path}"),
        }
    }

    /// What a client asks of a path, by its number.
    #[must_use]
    pub fn request(self, path: usize) -> Request {
        let number = self.host_number(path);
        let host = match self {
            Self::Wildcards => format!("www.host-{number}.test"),
            Self::Hosts | Self::OneHost | Self::Patterns => format!("host-{number}.test"),
        };
        let path = match self {
            Self::Patterns => format!("/service-{path}/item/7?page=2"),
            Self::Hosts | Self::Wildcards | Self::OneHost => {
                format!("{}/item/7?page=2", self.path(path))
            }
        };
        Request {
            host,
            path,
            ..Request::default()
        }
    }

    /// A controller's decisions about so many paths.
    #[must_use]
    pub fn router(self, controller: Controller, paths: usize) -> Router {
        let router = Router::new(&self.cluster(paths), &Options::of(controller));
        assert!(router.refused().is_empty() && router.ignored().is_empty());
        router
    }

    /// Requests for so many of the paths, spread over all, each of which a Service answers.
    ///
    /// # Panics
    /// If one does not get there.
    #[must_use]
    pub fn requests(self, router: &Router, paths: usize, count: usize) -> Vec<Request> {
        let numbers = (0..count).map(|n| n * 7_919 % paths);
        let requests = numbers.map(|path| {
            let request = self.request(path);
            let answer = router.route(&request);
            let service = answer.service().map(|service| service.name.to_string());
            assert_eq!(service, Some(service_of(path)), "{request:?}");
            request
        });
        requests.collect()
    }

    /// The objects.
    #[must_use]
    pub fn cluster(self, paths: usize) -> Cluster {
        let mut cluster = synthetic::services(SERVICES, 1);
        for first in (0..paths).step_by(PATHS_OF_HOST) {
            let ingress = self.ingress(first, (first + PATHS_OF_HOST).min(paths));
            cluster.ingresses.insert(ingress.meta.name.clone(), ingress);
        }
        cluster
    }

    fn ingress(self, first: usize, behind: usize) -> Ingress {
        let paths = (first..behind).map(|path| IngressPath {
            path: self.path(path).into(),
            path_type: match self {
                Self::Patterns => PathType::ImplementationSpecific,
                Self::Hosts | Self::Wildcards | Self::OneHost => PathType::Prefix,
            },
            backend: IngressBackend::Service {
                name: service_of(path).into(),
                port: BackendPort::Number(80),
            },
        });
        let number = self.host_number(first);
        let wildcard = if self == Self::Wildcards { "*." } else { "" };
        let mut meta = meta(&format!("i{first}"));
        if self == Self::Patterns {
            let key = "nginx.ingress.kubernetes.io/rewrite-target";
            meta.annotations.insert(key.into(), "/$2".into());
        }
        Ingress {
            meta,
            api: IngressApi::Extensions,
            created: None,
            class_name: None,
            default_backend: None,
            tls: Vec::new(),
            rules: vec![IngressRule {
                host: format!("{wildcard}host-{number}.test").into(),
                paths: paths.collect(),
            }],
        }
    }
}

fn meta(name: &str) -> Meta {
    Meta {
        name: ObjectName::new("default", name),
        labels: Labels::new(),
        annotations: Labels::new(),
        source: None,
    }
}

/// The name of the Service that answers for a path.
fn service_of(path: usize) -> String {
    format!("service-{:07}", path % SERVICES as usize)
}
