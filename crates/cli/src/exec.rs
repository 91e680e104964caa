//! `podwire exec`: what a tool prints on a node or in a pod.

use std::io::Write;

use podwire_packet::Family;
use podwire_sim::{Inspected, NetnsId, Place, World};
use podwire_tools::{Fault, Host, Neighbor};

use crate::args::{ExecArgs, Global};
use crate::failure::{Answer, Failure};
use crate::files::{options, read_cluster};

pub(crate) fn run(
    global: &Global,
    args: &ExecArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let place = Place::parse(&args.place, &args.cluster.namespace).map_err(Failure::input)?;
    let cluster = read_cluster(global, &args.cluster)?;
    let world = World::new(&cluster, &options(&args.cluster)?).map_err(Failure::input)?;
    // A command may be one argument, as behind `sh -c`.
    let words = args.command.iter().flat_map(|word| word.split_whitespace());
    let words: Vec<&str> = words.collect();
    let host = host(&world, &place, Host::asks_for_neighbors(&words))?;
    match host.run(&words) {
        Ok(text) => {
            out.write_all(text.as_bytes())?;
            Ok(Answer::Yes)
        }
        Err(Fault::Tool { text, .. }) => {
            // The answer is the same if nobody hears this.
            let _ = writeln!(anstream::stderr(), "{text}");
            Ok(Answer::No)
        }
        Err(fault) => Err(Failure::input(fault)),
    }
}

/// The place as its tools see it. Who is on its links is found out by making their namespaces, rules and all.
fn host(world: &World<'_>, place: &Place, with_neighbors: bool) -> Result<Host, Failure> {
    let Inspected {
        id,
        netns,
        node,
        port,
    } = world.inspect(place).map_err(Failure::input)?;
    let (_, name) = world.names(id);
    let of_node = |node: &podwire_controlplane::cni::NodeNetwork| {
        let of = Place::Node(node.name.to_string());
        let inspected = world.inspect(&of).map_err(Failure::input)?;
        Ok::<Host, Failure>(Host::of_node(&node.name, &inspected.netns, &node.links))
    };
    let mut host = match (node, port) {
        (Some(node), Some(port)) => {
            let number = of_node(node)?
                .device(port.as_str())
                .map_or(0, |device| device.index);
            let short = name.rsplit('/').next().unwrap_or(&name);
            Host::of_pod(short, &netns, number)
        }
        (Some(node), None) => of_node(node)?,
        (None, _) => Host::of_node(&name, &netns, &indexmap::IndexMap::new()),
    };
    if with_neighbors {
        let known = world.neighbors(id).map_err(Failure::input)?;
        let known = known.into_iter().map(|(address, device, mac)| Neighbor {
            address,
            device,
            mac,
            permanent: false,
        });
        host.neighbors.splice(0..0, known);
    }
    for node in world.network().nodes() {
        if let Some(ip) = node.internal_ip(Family::Ipv4) {
            host.names.insert(node.name.to_string(), ip);
        }
    }
    let rules = [&netns.ipv4_rules, &netns.ipv6_rules];
    let rules = rules.into_iter().flatten();
    host.rules = rules.map(|rules| rules.rules().clone()).collect();
    if let NetnsId::Pod(_) = id {
        // A pod's /etc/hosts knows the pod alone.
        host.names.clear();
    }
    Ok(host)
}
