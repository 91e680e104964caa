//! Texts that kube-proxy passes on as they were written.

use super::endpoints::ProxiedEndpoint;

/// A text that kube-proxy writes otherwise than the printer, in the rules of a chain.
///
/// A rule holds addresses, not texts. Where kube-proxy passes a text on, the two may differ: an
/// endpoint's IPv6 address as its slice spells it, or a pod range of one address with its `/32`,
/// beside a ClusterIP without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spelling {
    /// The last place where a line has this,
    pub(super) printed: String,
    /// it gets this.
    pub(super) written: String,
}

impl Spelling {
    /// Of an endpoint's address, where its slice spells it otherwise than it is printed.
    pub(super) fn of_endpoint(endpoint: &ProxiedEndpoint<'_>) -> Option<Self> {
        (!endpoint.is_canonical).then(|| Self {
            printed: endpoint.address.to_string(),
            written: endpoint.ip_text().to_owned(),
        })
    }

    /// Spells the line that begins at `line`.
    pub(super) fn apply(&self, text: &mut String, line: usize) {
        // A comment or a name before it may hold the same text.
        if let Some(at) = text[line..].rfind(&self.printed) {
            let at = line + at;
            text.replace_range(at..at + self.printed.len(), &self.written);
        }
    }
}
