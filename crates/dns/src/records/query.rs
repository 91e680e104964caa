//! What a name below a cluster's zone asks for.
//!
//! # Sources
//! `parseRequest`, plugin/kubernetes/parse.go.

/// What a name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query<'n> {
    /// The zone itself, `svc` or `pod` below it: it exists and has no records.
    Apex,
    /// A namespace, below `svc` or `pod`.
    Namespace {
        /// The namespace.
        namespace: &'n str,
        /// Whether it is asked for below `pod`.
        pod: bool,
    },
    /// A pod by its address.
    Pod {
        /// Its namespace.
        namespace: &'n str,
        /// Its address, with dashes.
        address: &'n str,
    },
    /// A service, or a part of it.
    Service {
        /// Its namespace.
        namespace: &'n str,
        /// Its name.
        service: &'n str,
        /// Which of its ports or endpoints.
        part: Part<'n>,
    },
}

/// A part of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'n> {
    /// All of it.
    Whole,
    /// One endpoint, by its hostname.
    Endpoint(&'n str),
    /// One port, by the names of port and protocol; a leading `_` is not part of them. Either may
    /// be empty, and then is not asked for.
    Port {
        /// The port's name.
        port: &'n str,
        /// `tcp`, `udp` or `sctp`.
        protocol: &'n str,
    },
}

/// The name is none that the schema knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchForm;

/// What a name asks for, given the part before the zone: `web.apps.svc`.
///
/// # Errors
/// [`NoSuchForm`] if it is neither below `svc` nor `pod`, or too long.
pub fn parse(below_zone: &str) -> Result<Query<'_>, NoSuchForm> {
    if below_zone.is_empty() {
        return Ok(Query::Apex);
    }
    let mut labels = LabelsFromRight(Some(below_zone));
    let pod = match labels.next() {
        Some("svc") => false,
        Some("pod") => true,
        _ => return Err(NoSuchForm),
    };
    let Some(namespace) = labels.next() else {
        return Ok(Query::Apex);
    };
    let Some(service) = labels.next() else {
        return Ok(Query::Namespace { namespace, pod });
    };
    let (first, second) = (labels.next(), labels.next());
    if labels.next().is_some() {
        return Err(NoSuchForm);
    }
    if pod {
        // Labels before the address are read and not looked at, as in CoreDNS.
        return Ok(Query::Pod {
            namespace,
            address: service,
        });
    }
    let part = match (first, second) {
        (None, _) => Part::Whole,
        (Some(endpoint), None) => Part::Endpoint(endpoint),
        (Some(protocol), Some(port)) => Part::Port {
            port: without_underscore(port),
            protocol: without_underscore(protocol),
        },
    };
    Ok(Query::Service {
        namespace,
        service,
        part,
    })
}

fn without_underscore(label: &str) -> &str {
    label.strip_prefix('_').unwrap_or(label)
}

/// Labels of a name from the right. A dot after a backslash is part of its label.
struct LabelsFromRight<'n>(Option<&'n str>);

impl<'n> Iterator for LabelsFromRight<'n> {
    type Item = &'n str;

    fn next(&mut self) -> Option<&'n str> {
        let rest = self.0?;
        let dot = rest
            .rmatch_indices('.')
            .map(|(at, _)| at)
            .find(|&at| !rest[..at].ends_with('\\'));
        match dot {
            Some(dot) => {
                self.0 = Some(&rest[..dot]);
                Some(&rest[dot + 1..])
            }
            None => {
                self.0 = None;
                Some(rest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_from_the_right() {
        let service = |part| Query::Service {
            namespace: "apps",
            service: "web",
            part,
        };
        assert_eq!(parse("web.apps.svc"), Ok(service(Part::Whole)));
        assert_eq!(
            parse("_http._tcp.web.apps.svc"),
            Ok(service(Part::Port {
                port: "http",
                protocol: "tcp"
            }))
        );
        assert_eq!(parse("a.web.apps.svc"), Ok(service(Part::Endpoint("a"))));
        assert_eq!(parse("svc"), Ok(Query::Apex));
        assert_eq!(parse("apps"), Err(NoSuchForm));
        assert_eq!(parse("x._http._tcp.web.apps.svc"), Err(NoSuchForm));
    }

    #[test]
    fn an_escaped_dot_does_not_end_a_label() {
        assert_eq!(
            parse(r"a\.b.apps.svc"),
            Ok(Query::Service {
                namespace: "apps",
                service: r"a\.b",
                part: Part::Whole
            })
        );
    }
}
