//! What an Ingress controller does with a request, as steps.

use podwire_sim::{Requested, World};

use super::record::Record;

/// How the controller decides, and then what.
pub(super) fn records(world: &World<'_>, requested: &Requested) -> Vec<Record> {
    let (node, netns) = world.names(requested.at);
    let said = |verdict: &str, text: String| Record {
        node: node.clone(),
        netns: netns.clone(),
        device: None,
        hook: None,
        table: None,
        chain: None,
        rule: None,
        text,
        verdict: verdict.to_owned(),
        object: None,
    };
    let request = &requested.request;
    let (method, scheme) = (&request.method, request.scheme.name());
    let url = format!("{method} {scheme}://{}{}", request.host, request.path);
    let mut records = vec![said("request", url)];
    records.extend(requested.why.iter().map(|line| {
        let (word, text) = line.split_once(' ').unwrap_or((line, ""));
        said(word, text.trim_start().to_owned())
    }));
    let cluster = world.cluster();
    let object = requested.ingress.as_ref().map(|name| {
        let source = cluster.ingresses.get(name).and_then(|one| one.meta.source);
        let place = source.map_or_else(String::new, |source| {
            format!(" ({})", cluster.place(source))
        });
        format!("Ingress {name}{place}")
    });
    let text = match (&requested.service, &requested.path, &requested.redirect) {
        (Some((service, port)), Some(path), _) => {
            let failed = match requested.status {
                200 => String::new(),
                status => format!(": {status}, no endpoint of it answers"),
            };
            format!("to {service}:{port} as {path}{failed}")
        }
        (_, _, Some(to)) => format!("{} to {to}", requested.status),
        _ => requested.status.to_string(),
    };
    records.push(Record {
        object,
        ..said("routed", text)
    });
    records
}
