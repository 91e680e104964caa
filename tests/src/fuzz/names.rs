//! Names: messages for a server, and master files.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use podwire_cluster::synthetic;
use podwire_dns::corefile::{Corefile, Nothing};
use podwire_dns::message::wire::{Received, receive};
use podwire_dns::message::{Request, Transport, name};
use podwire_dns::version::Version;
use podwire_dns::zone::master;
use podwire_dns::{Server, Setup, World};

/// Every plugin that changes questions or answers, over a small cluster and a zone.
const COREFILE: &str = ". {
    acl {
        filter type ANY net *
    }
    loadbalance
    cache 30
    rewrite continue name suffix .old.test .default.svc.cluster.local answer auto
    rewrite continue name regex (.*)-(.*)\\.swap\\.test {2}-{1}.example.com answer auto
    template IN A ip.test {
        match ^ip-(?P<a>[0-9]+)[.]ip[.]test[.]$
        answer \"{{ .Name }} 60 IN A 10.0.0.{{ .Group.a }}\"
        fallthrough
    }
    hosts {
        192.0.2.1 gateway.lan
        fallthrough
    }
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }
    forward . 192.0.2.53
}
";
const ZONE: &str = "$ORIGIN example.com.
@ 3600 IN SOA ns admin 1 2h 30m 1d 5m
@ IN NS ns
www IN CNAME @
loop IN CNAME loop
*.wild IN A 192.0.2.1
sub IN NS ns.sub
ns.sub IN A 192.0.2.2
";

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let version = Version::default();
    let corefile = Corefile::load("Corefile", COREFILE, version, &Nothing).expect("it loads");
    let zone = master::zone(ZONE, None).expect("it is one");
    let setup = Setup {
        cluster: &synthetic::services(4, 2),
        version,
        world: World::Zones(vec![zone]),
        local: Vec::new(),
        seed: 1,
        surroundings: &Nothing,
    };
    Server::new(&corefile, setup).expect("it starts")
});

/// A message to a server on a socket: what comes back, if anything does, is a response with its id,
/// and no longer than the asker takes.
///
/// # Panics
/// If that does not hold.
pub fn dns_message(bytes: &[u8]) {
    let client = SocketAddr::from(([192, 0, 2, 1], 5_353));
    for transport in [Transport::Udp, Transport::Tcp] {
        let answer = match receive(bytes, client, transport) {
            Received::Ignored => continue,
            Received::Refused(answer) => answer,
            Received::Asked(asked) => {
                let Some(reply) = SERVER.answer(&asked.request, Duration::ZERO) else {
                    continue;
                };
                let answer = asked.bytes(reply);
                assert!(answer.len() <= asked.request.largest_reply());
                answer
            }
        };
        assert_eq!(answer[..2], bytes[..2], "the id");
        assert!(answer[2] & 0x80 != 0, "a response");
    }
}

/// A master file: it is a zone that answers, or has a line at which it is none.
///
/// # Panics
/// If that does not hold.
pub fn zone(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match master::zone(&text, None) {
        Err(error) => assert!(error.line >= 1 && error.line <= text.lines().count().max(1)),
        Ok(zone) => {
            for below in ["", "a.", "www.", "a.b.c."] {
                let Some(name) = name(&format!("{below}{}", zone.origin())) else {
                    continue;
                };
                let request = Request::new(name, hickory_proto::rr::RecordType::A);
                zone.lookup(&request, &mut |_, _| None);
            }
        }
    }
}
