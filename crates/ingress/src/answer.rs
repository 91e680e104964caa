//! What becomes of a request.

use std::fmt;

use podwire_cluster::ObjectName;

use crate::backend::Backend;
use crate::ingress_nginx::NginxWhy;
use crate::nginx::BadRequest;
use crate::spec::SpecWhy;

/// What becomes of a request.
#[derive(Debug)]
pub struct Answer<'r> {
    /// 200 where a Service gets it, else what the client gets.
    pub status: u16,
    /// The Ingress that decided, if one did.
    pub ingress: Option<&'r ObjectName>,
    /// The back end that it is for; with status 503, one that cannot answer.
    pub backend: Option<&'r Backend>,
    /// Path and arguments that the back end sees.
    pub path: Option<String>,
    /// Where the client is sent.
    pub redirect: Option<String>,
    /// How it was decided.
    pub why: Why<'r>,
}

/// How a request was decided; written, a line for each step.
#[derive(Debug)]
pub enum Why<'r> {
    /// Not at all: it is no request.
    Bad(BadRequest),
    /// By the API's text.
    Spec(SpecWhy<'r>),
    /// By nginx.
    Nginx(NginxWhy<'r>),
}

impl<'r> Answer<'r> {
    /// The Service that gets the request.
    #[must_use]
    pub fn service(&self) -> Option<&'r ObjectName> {
        self.backend
            .filter(|_| self.status == 200)
            .map(|backend| &backend.service)
    }

    /// The Service's port that gets it.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.backend.filter(|_| self.status == 200)?.port
    }

    pub(crate) const fn bad(why: BadRequest) -> Self {
        Self {
            status: 400,
            ingress: None,
            backend: None,
            path: None,
            redirect: None,
            why: Why::Bad(why),
        }
    }
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(why) => writeln!(f, "refused: {why}"),
            Self::Spec(why) => why.fmt(f),
            Self::Nginx(why) => why.fmt(f),
        }
    }
}
