//! One field at a time: `--set iptables.masqueradeAll=true`.

use serde_json::Value;
use thiserror::Error;

use super::KubeProxyConfiguration;

/// Why a field could not be set.
#[derive(Clone, Debug, PartialEq, Eq, Error, miette::Diagnostic)]
#[non_exhaustive]
pub enum SetError {
    /// No such field.
    #[error("kube-proxy's configuration has no field `{field}`")]
    #[diagnostic(
        code(podwire::cluster::unknown_field),
        help("accepted: {}", accepted.join(", "))
    )]
    UnknownField {
        /// The field that was asked for.
        field: String,
        /// The fields there are at that place.
        accepted: Vec<String>,
    },
    /// The field takes no such value.
    #[error("`{field}` cannot be `{value}`")]
    #[diagnostic(code(podwire::cluster::wrong_value), help("{reason}"))]
    WrongValue {
        /// The field.
        field: String,
        /// The value that was asked for.
        value: String,
        /// What is accepted.
        reason: String,
    },
}

impl SetError {
    /// What is accepted.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownField { accepted, .. } => format!("accepted: {}", accepted.join(", ")),
            Self::WrongValue { reason, .. } => reason.clone(),
        }
    }
}

impl KubeProxyConfiguration {
    /// Sets a field by its path in the file, such as `conntrack.tcpBeLiberal`, to a value as a person
    /// writes it: a number, `true`, text, or a list with commas.
    ///
    /// # Errors
    /// When there is no such field, or it does not take the value.
    pub fn set(&mut self, field: &str, value: &str) -> Result<(), SetError> {
        let wrong = |reason: String| SetError::WrongValue {
            field: field.to_owned(),
            value: value.to_owned(),
            reason,
        };
        let tree = self.to_json();
        let mut refused = None;
        for candidate in candidates(value) {
            let mut tree = tree.clone();
            *field_of(&mut tree, field)? = candidate;
            match serde_json::from_value::<Self>(tree) {
                Ok(changed) => {
                    // What goes together with other fields is looked at when all are set.
                    let invalid = changed.validate().into_iter().find(|invalid| {
                        let of = invalid.field.split('[').next();
                        of == Some(field) && invalid.because_of.is_none()
                    });
                    if let Some(invalid) = invalid {
                        refused = Some(format!("accepted: {}", invalid.accepted));
                        break;
                    }
                    *self = changed;
                    return Ok(());
                }
                Err(error) => {
                    refused.get_or_insert_with(|| reason(&error));
                }
            }
        }
        Err(wrong(refused.unwrap_or_default()))
    }

    /// The configuration as its file says it, every field there.
    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// What a person may mean by a text, likeliest first.
fn candidates(value: &str) -> Vec<Value> {
    let list = value
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(Value::from)
        .collect();
    let mut found = Vec::new();
    if let Ok(scalar) = serde_json::from_str::<Value>(value)
        && !scalar.is_object()
    {
        found.push(scalar);
    }
    found.push(Value::from(value));
    found.push(Value::Array(list));
    if value.is_empty() {
        found.push(Value::Null);
    }
    found
}

fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split_once("expected ")
        .map_or_else(|| text.clone(), |(_, wanted)| format!("accepted: {wanted}"))
}

fn field_of<'t>(tree: &'t mut Value, field: &str) -> Result<&'t mut Value, SetError> {
    let mut at = tree;
    let mut above = String::new();
    for step in field.split('.') {
        let unknown = |fields: Vec<String>| SetError::UnknownField {
            field: field.to_owned(),
            accepted: fields,
        };
        let Value::Object(map) = at else {
            return Err(unknown(vec![above]));
        };
        let is_known = map.contains_key(step) || above == "featureGates";
        if !is_known {
            let prefix = if above.is_empty() {
                String::new()
            } else {
                format!("{above}.")
            };
            return Err(unknown(
                map.keys().map(|key| format!("{prefix}{key}")).collect(),
            ));
        }
        if !above.is_empty() {
            above.push('.');
        }
        above.push_str(step);
        at = map.entry(step).or_insert(Value::Null);
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DetectLocalMode;

    #[test]
    fn fields_are_set_by_their_path() {
        let mut config = KubeProxyConfiguration::default();
        for (field, value) in [
            ("mode", "ipvs"),
            ("clusterCIDR", "10.244.0.0/16,fd00::/56"),
            ("detectLocalMode", "BridgeInterface"),
            ("detectLocal.bridgeInterface", "cni0"),
            ("iptables.masqueradeAll", "true"),
            ("iptables.masqueradeBit", "0"),
            ("iptables.localhostNodePorts", "false"),
            ("iptables.syncPeriod", "1h30m"),
            ("nodePortAddresses", "10.0.0.0/8, 192.168.0.0/16"),
            ("conntrack.tcpBeLiberal", "true"),
            ("conntrack.maxPerCore", "0"),
            ("featureGates.TopologyAwareHints", "true"),
            ("hostnameOverride", "12345"),
        ] {
            config.set(field, value).unwrap();
        }
        assert_eq!(config.mode, "ipvs");
        assert_eq!(config.cluster_cidr, "10.244.0.0/16,fd00::/56");
        assert_eq!(config.detect_local_mode, DetectLocalMode::BridgeInterface);
        assert_eq!(config.detect_local.bridge_interface, "cni0");
        assert!(config.iptables.masquerade_all);
        assert_eq!(config.iptables.masquerade_bit, Some(0));
        assert_eq!(config.iptables.localhost_node_ports, Some(false));
        assert_eq!(config.iptables.sync_period.as_secs(), 5_400);
        assert_eq!(config.node_port_addresses.len(), 2);
        assert!(config.conntrack.tcp_be_liberal);
        assert_eq!(config.conntrack.max_per_core, Some(0));
        assert!(config.feature_gates["TopologyAwareHints"]);
        assert_eq!(config.hostname_override, "12345");
    }

    #[test]
    fn wrong_values_say_what_is_accepted() {
        let mut config = KubeProxyConfiguration::default();
        for (field, value, text) in [
            (
                "iptables.masqueradeBit",
                "32",
                "accepted: a bit's number from 0 to 31",
            ),
            (
                "detectLocalMode",
                "Magic",
                "accepted: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix",
            ),
            (
                "conntrack.min",
                "-1",
                "accepted: a whole number that is not below 0",
            ),
            ("logging.format", "xml", "accepted: text or json"),
            ("iptables.masqueradeAll", "yes", "accepted: a boolean"),
        ] {
            let error = config.set(field, value).unwrap_err();
            assert_eq!(error.to_string(), format!("`{field}` cannot be `{value}`"));
            assert_eq!(error.hint(), text);
        }
        assert_eq!(config, KubeProxyConfiguration::default());
    }

    #[test]
    fn an_unknown_field_lists_the_known_ones() {
        let mut config = KubeProxyConfiguration::default();
        let error = config.set("detectLocal.iface", "eth0").unwrap_err();
        assert_eq!(
            error.hint(),
            "accepted: detectLocal.bridgeInterface, detectLocal.interfaceNamePrefix"
        );
        assert!(config.set("mode.x", "eth0").is_err());
        assert!(config.set("", "eth0").is_err());
    }
}
