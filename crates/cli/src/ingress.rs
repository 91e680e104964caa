//! `podwire ingress`: which Service gets a request, with which path, and why.

pub(crate) mod args;
pub(crate) mod request;

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use podwire_cluster::{BackendPort, Cluster, ObjectName};
use podwire_ingress::{Answer as Routed, Backend, Options, Router, State, Why};
use serde::Serialize;
use serde_json::Value;

use self::args::{IngressArgs, IngressCommand, RouteArgs};
use self::request::{Asked, requests};
use crate::args::{Global, TextOrJson};
use crate::failure::{Answer, Failure};
use crate::files::read_cluster;

/// What is said in passing.
const ASIDE: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

pub(crate) fn run(
    global: &Global,
    args: &IngressArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    match &args.command {
        IngressCommand::Route(args) => route(global, args, out),
    }
}

fn route(global: &Global, args: &RouteArgs, out: &mut impl Write) -> Result<Answer, Failure> {
    let asked = requests(args)?;
    let cluster = read_cluster(global, &args.cluster())?;
    let router = Router::new(&cluster, &options(&cluster, args)?);
    if !global.quiet {
        // The answer is the same if nobody hears this.
        let _ = tell_left_out(&cluster, &router);
    }
    let mut all_served = true;
    // The first request whose answer is not known; the others are answered.
    let mut unknown = None;
    for Asked { id, request } in &asked {
        let answer = router.route(request);
        if let Why::Nginx(why) = &answer.why
            && let mut refused = router.refused().iter()
            && let Some(refused) = refused.find(|one| one.is_unread && *one.server == *why.server())
        {
            let (host, path) = (&request.host, &request.path);
            unknown.get_or_insert_with(|| {
                Failure::input(format_args!(
                    "{host}{path}: server {} has a pattern of ingress {} that is not read here: {}",
                    refused.server, refused.ingress, refused.reason
                ))
            });
            continue;
        }
        all_served &= answer.status < 400;
        match args.output {
            TextOrJson::Json => {
                serde_json::to_writer(&mut *out, &RouteJson::new(id, &answer))
                    .map_err(io::Error::from)?;
                writeln!(out)?;
            }
            TextOrJson::Text => {
                let (scheme, host) = (request.scheme.name(), &request.host);
                let (method, path) = (&request.method, &request.path);
                write!(out, "{method} {scheme}://{host}{path} => ")?;
                write_answer(&cluster, &answer, out)?;
            }
        }
    }
    unknown.map_or(Ok(all_served.into()), Err)
}

/// What the command line says of the controller, and else what its pod says.
fn options(cluster: &Cluster, args: &RouteArgs) -> Result<Options, Failure> {
    let of_pod = cluster.pods.values().find_map(Options::of_pod);
    let controller = args.controller.map(Into::into);
    let usual = Options::of(controller.unwrap_or_default());
    let mut options = match (of_pod, controller) {
        (Some(of_pod), None) => of_pod,
        // Another release with what the pod's is told.
        (Some(of_pod), Some(controller)) => Options {
            controller,
            without_class: usual.without_class,
            ..of_pod
        },
        (None, _) => usual,
    };
    options.without_class |= args.watch_ingress_without_class;
    if let Some(class) = &args.ingress_class {
        options.class.clone_from(class);
    }
    if let Some(service) = &args.default_backend_service {
        let (namespace, name) = service.split_once('/').ok_or_else(|| {
            Failure::input(format_args!(
                "--default-backend-service {service}: accepted is NAMESPACE/NAME"
            ))
        })?;
        options.default_backend = Some(ObjectName::new(namespace, name));
    }
    Ok(options)
}

/// Says on standard error which Ingresses, or parts of them, the controller has not taken.
fn tell_left_out(cluster: &Cluster, router: &Router) -> io::Result<()> {
    let mut err = anstream::stderr().lock();
    let place = |name: &ObjectName| {
        let source = cluster.ingresses.get(name).and_then(|one| one.meta.source);
        source.map_or_else(String::new, |source| format!("{}: ", cluster.place(source)))
    };
    for ignored in router.ignored() {
        let (name, reason) = (&ignored.ingress, &ignored.reason);
        writeln!(
            err,
            "warning: {}ingress {name} is left out: {reason}",
            place(name)
        )?;
    }
    for refused in router.refused() {
        let (name, reason) = (&refused.ingress, &refused.reason);
        writeln!(
            err,
            "warning: {}a part of ingress {name} is left out: {reason}",
            place(name)
        )?;
    }
    Ok(())
}

/// An answer as JSON.
#[derive(Debug, Serialize)]
struct RouteJson<'a> {
    id: &'a Value,
    ingress: Option<String>,
    service: Option<String>,
    port: Option<u16>,
    path: Option<&'a str>,
    redirect: Option<&'a str>,
    status: u16,
}

impl<'a> RouteJson<'a> {
    fn new(id: &'a Value, answer: &'a Routed<'_>) -> Self {
        Self {
            id,
            ingress: answer.ingress.map(ToString::to_string),
            service: answer.service().map(ToString::to_string),
            port: answer.port(),
            path: answer.path.as_deref(),
            redirect: answer.redirect.as_deref(),
            status: answer.status,
        }
    }
}

/// The rest of the first line, then how it was decided and who is behind the Service.
fn write_answer(cluster: &Cluster, answer: &Routed<'_>, out: &mut impl Write) -> io::Result<()> {
    match (answer.service(), answer.port(), &answer.path) {
        (Some(service), Some(port), Some(path)) => {
            writeln!(out, "{GOOD}{service}:{port}{GOOD:#} as {path}")?;
        }
        _ => match &answer.redirect {
            Some(to) => writeln!(out, "{GOOD}{}{GOOD:#} to {to}", answer.status)?,
            None => writeln!(out, "{BAD}{}{BAD:#}", answer.status)?,
        },
    }
    for line in answer.why.to_string().lines() {
        writeln!(out, "  {line}")?;
    }
    if let Some(name) = answer.ingress {
        let source = cluster.ingresses.get(name).and_then(|one| one.meta.source);
        let place = source.map(|source| format!("  {ASIDE}[{}]{ASIDE:#}", cluster.place(source)));
        writeln!(out, "  ingress   {name}{}", place.unwrap_or_default())?;
    }
    if let Some(backend) = answer.backend {
        write_backend(cluster, backend, out)?;
    }
    Ok(())
}

fn write_backend(cluster: &Cluster, backend: &Backend, out: &mut impl Write) -> io::Result<()> {
    let service = cluster.services.get(&backend.service);
    let source = service.and_then(|service| service.meta.source);
    let place = source.map(|source| format!("  {ASIDE}[{}]{ASIDE:#}", cluster.place(source)));
    let port = match &backend.named {
        BackendPort::Number(number) => number.to_string(),
        BackendPort::Name(name) => name.to_string(),
    };
    let why = match backend.state {
        State::Serves => "",
        State::NoService => ", which there is not",
        State::NoPort => ", a port that it does not have",
        State::NoEndpoints => ", which has no ready endpoint",
    };
    writeln!(
        out,
        "  service   {} port {port}{why}{}",
        backend.service,
        place.unwrap_or_default()
    )?;
    for endpoint in &backend.endpoints {
        writeln!(out, "  endpoint  {endpoint}")?;
    }
    Ok(())
}
