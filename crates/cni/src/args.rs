//! `CNI_ARGS`: `KEY=VALUE;KEY=VALUE`.
//!
//! Source: `LoadArgs`, pkg/types/args.go of containernetworking/cni; messages as there. Every plugin
//! refuses keys that it does not know unless `IgnoreUnknown` is among them, as runtimes of Kubernetes
//! set it.

use std::collections::BTreeMap;

use crate::CniError;

/// The values of the keys that a plugin knows.
pub(crate) fn load(args: &str, known: &[&str]) -> Result<BTreeMap<String, String>, CniError> {
    let mut found = BTreeMap::new();
    let mut unknown = Vec::new();
    let mut ignore_unknown = false;
    let pairs = args.split(';').filter(|_| !args.is_empty());
    for pair in pairs {
        let Some((key, value)) = pair.split_once('=').filter(|(_, v)| !v.contains('=')) else {
            return Err(CniError::other(format!("ARGS: invalid pair {pair:?}")));
        };
        if key == "IgnoreUnknown" {
            ignore_unknown = match value.to_ascii_lowercase().as_str() {
                "1" | "true" => true,
                "0" | "false" => false,
                other => {
                    let why = format!("boolean unmarshal error: invalid input {other}");
                    return Err(wrong_value(pair, &why));
                }
            };
        } else if known.contains(&key) {
            found.insert(key.to_owned(), value.to_owned());
        } else {
            unknown.push(format!("{pair:?}"));
        }
    }
    if unknown.is_empty() || ignore_unknown {
        Ok(found)
    } else {
        let unknown = unknown.join(" ");
        Err(CniError::other(format!("ARGS: unknown args [{unknown}]")))
    }
}

/// A known key's value is not what it should be.
pub(crate) fn wrong_value(pair: &str, why: &str) -> CniError {
    CniError::other(format!("ARGS: error parsing value of pair {pair:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_refused_unless_they_are_to_be_ignored() {
        let error = load("K8S_POD_NAME=web;X=1", &["IP"]).unwrap_err();
        let wanted = r#"ARGS: unknown args ["K8S_POD_NAME=web" "X=1"]"#;
        assert_eq!(error.msg, wanted);
        let loaded = load("K8S_POD_NAME=web;IP=10.0.0.1;IgnoreUnknown=1", &["IP"]).unwrap();
        assert_eq!(loaded["IP"], "10.0.0.1");
        for wrong in ["IP", "IP=1=2", "IgnoreUnknown=yes", ";"] {
            assert!(load(wrong, &["IP"]).is_err(), "{wrong}");
        }
        assert_eq!(load("", &[]), Ok(BTreeMap::new()));
    }
}
