//! Which fields change nothing here.

use serde_json::Value;

use super::KubeProxyConfiguration;

/// Fields, or mappings of fields, that no answer depends on. Those of another mode than the one in use
/// are not among them: whoever compares modes wants to leave them in the file.
const WITHOUT_EFFECT: [&str; 17] = [
    "bindAddressHardFail",
    "clientConnection",
    "configSyncPeriod",
    "enableProfiling",
    "hostnameOverride",
    "ipvs.tcpFinTimeout",
    "ipvs.tcpTimeout",
    "ipvs.udpTimeout",
    "logging.flushFrequency",
    "logging.format",
    "logging.options",
    "logging.vmodule",
    "oomScoreAdj",
    "portRange",
    "showHiddenMetricsForVersion",
    "windowsRunAsService",
    "winkernel",
];

/// Feature gates that are obeyed.
const GATES: [&str; 2] = ["ServiceTrafficDistribution", "TopologyAwareHints"];

impl KubeProxyConfiguration {
    /// The fields that say something and change nothing here, by their paths. A field that holds its
    /// default says nothing.
    #[must_use]
    pub fn without_effect(&self) -> Vec<String> {
        let unsaid = Self::default();
        let (unsaid, assumed) = (unsaid.to_json(), unsaid.with_defaults().to_json());
        let mut fields = Vec::new();
        differing(&self.to_json(), &[&unsaid, &assumed], "", &mut fields);
        fields.retain(|field| {
            let gate = field.strip_prefix("featureGates.");
            gate.is_some_and(|gate| !GATES.contains(&gate))
                || WITHOUT_EFFECT.iter().any(|of| {
                    let rest = field.strip_prefix(of);
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                })
        });
        fields
    }
}

/// Paths of the leaves that none of `others` has.
fn differing(value: &Value, others: &[&Value; 2], path: &str, fields: &mut Vec<String>) {
    let Value::Object(map) = value else {
        if !others.contains(&value) {
            fields.push(path.to_owned());
        }
        return;
    };
    for (key, value) in map {
        let below = others.map(|other| other.get(key).unwrap_or(&Value::Null));
        let dot = if path.is_empty() { "" } else { "." };
        differing(value, &below, &format!("{path}{dot}{key}"), fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_change_nothing_are_named_if_they_say_something() {
        let mut config = KubeProxyConfiguration::default();
        for (field, value) in [
            (
                "clientConnection.kubeconfig",
                "/var/lib/kube-proxy/kubeconfig.conf",
            ),
            ("clientConnection.burst", "10"),
            ("featureGates.TopologyAwareHints", "false"),
            ("featureGates.Anything", "true"),
            ("iptables.masqueradeAll", "true"),
            ("oomScoreAdj", "-500"),
            ("winkernel.sourceVip", "10.0.0.1"),
        ] {
            config.set(field, value).unwrap();
        }
        assert_eq!(
            config.without_effect(),
            [
                "clientConnection.kubeconfig",
                "featureGates.Anything",
                "oomScoreAdj",
                "winkernel.sourceVip"
            ]
        );
        assert_eq!(
            config.with_defaults().without_effect(),
            config.without_effect()
        );
    }

    #[test]
    fn every_name_without_effect_is_a_field() {
        let fields = KubeProxyConfiguration::default().to_json();
        for name in WITHOUT_EFFECT {
            let pointer = format!("/{}", name.replace('.', "/"));
            assert!(fields.pointer(&pointer).is_some(), "{name}");
        }
    }
}
