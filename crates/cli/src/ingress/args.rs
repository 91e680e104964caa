//! The command line of `podwire ingress`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use podwire_ingress::Controller;

use crate::args::{ClusterArgs, TextOrJson};

/// `podwire ingress`.
#[derive(Debug, Args)]
pub(crate) struct IngressArgs {
    #[command(subcommand)]
    pub(crate) command: IngressCommand,
}

/// What is asked of Ingresses.
#[derive(Debug, Subcommand)]
pub(crate) enum IngressCommand {
    /// Say which Service gets a request, with which path, and why
    Route(RouteArgs),
}

/// `podwire ingress route`.
#[derive(Debug, Args)]
#[command(after_help = "\
A request is a line of JSON:
  {\"id\":1,\"scheme\":\"http\",\"host\":\"shop.test\",\"path\":\"/cart?x=1\",\"method\":\"GET\",\"headers\":{}}
Only host and path are needed. An answer is a line per request with -o json:
  {\"id\",\"ingress\",\"service\",\"port\",\"path\",\"redirect\",\"status\"}
where path is what the back end sees, and service is null where none serves.
Exit code 1: a request ends with a status of 400 or more.

Examples:
  podwire ingress route -f models/ingress-quiz.ron http://node01:30080/wear/hats
  podwire ingress route -f models/ingress-quiz.ron http://node01:30080/pay --controller spec
  podwire ingress route -f models/ingress-quiz.ron --requests crates/cli/tests/data/requests.jsonl -o json")]
pub(crate) struct RouteArgs {
    /// A file, a folder (its .yaml, .yml, .json and .ron files) or - for standard input; repeatable
    #[arg(short, long = "filename", value_name = "PATH", required = true)]
    pub(crate) filename: Vec<PathBuf>,
    /// Who decides. If not said, the release that a pod of ingress-nginx in the input runs, else
    /// ingress-nginx, which is 1.x
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) controller: Option<ControllerArg>,
    /// The class that Ingresses name in the annotation kubernetes.io/ingress.class
    #[arg(long, value_name = "NAME")]
    pub(crate) ingress_class: Option<Box<str>>,
    /// Take Ingresses that name no class, as ingress-nginx 1.x does when it is told so
    #[arg(long)]
    pub(crate) watch_ingress_without_class: bool,
    /// Who answers what no Ingress takes, as NAMESPACE/NAME; the controller does, with 404, if not said
    #[arg(long, value_name = "SERVICE")]
    pub(crate) default_backend_service: Option<String>,
    /// The request's URL
    #[arg(value_name = "URL", required_unless_present = "requests")]
    pub(crate) url: Option<String>,
    /// A header of the request; Host stands for the URL's; repeatable
    #[arg(long, value_name = "NAME=VALUE", conflicts_with = "requests")]
    pub(crate) header: Vec<String>,
    /// Requests as JSON lines, or - for standard input
    #[arg(long, value_name = "FILE.jsonl", conflicts_with = "url")]
    pub(crate) requests: Option<PathBuf>,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "text")]
    pub(crate) output: TextOrJson,
}

impl RouteArgs {
    /// The cluster of the files.
    pub(crate) fn cluster(&self) -> ClusterArgs {
        ClusterArgs {
            filename: self.filename.clone(),
            namespace: "default".to_owned(),
            mode: None,
            set: Vec::new(),
            kube_proxy_version: None,
        }
    }
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ControllerArg {
    /// The API's text.
    Spec,
    /// ingress-nginx 1.x.
    IngressNginx,
    /// ingress-nginx before 0.22.
    #[value(name = "ingress-nginx-0.21")]
    IngressNginx021,
}

impl From<ControllerArg> for Controller {
    fn from(controller: ControllerArg) -> Self {
        match controller {
            ControllerArg::Spec => Self::Spec,
            ControllerArg::IngressNginx => Self::IngressNginx,
            ControllerArg::IngressNginx021 => Self::IngressNginx021,
        }
    }
}
