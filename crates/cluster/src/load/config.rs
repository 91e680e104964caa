//! kube-proxy's configuration, alone or inside its ConfigMap; CoreDNS's inside its own.

use serde::Deserialize;

use super::error::{Place, Problem};
use super::object::Object;
use super::tree::{Tree, Value};
use super::yaml;
use crate::KubeProxyConfiguration;

/// A KubeProxyConfiguration.
pub(super) fn of_tree(tree: &Tree<'_>) -> Result<Object, (Place, Problem)> {
    let config = KubeProxyConfiguration::deserialize(tree)
        .map_err(|fault| fault.0.into_problem(tree.place))?;
    let invalid = config.validate().into_iter().map(|invalid| {
        let place = place_of(tree, &invalid.field)
            .or_else(|| place_of(tree, invalid.because_of?))
            .unwrap_or(tree.place);
        (place, invalid)
    });
    if let Some((place, invalid)) = invalid.min_by_key(|(place, _)| *place) {
        return Err((place, invalid.into()));
    }
    let mut unknown = Vec::new();
    let known = KubeProxyConfiguration::default().to_json();
    unknown_fields(tree, &known, "", &mut unknown);
    Ok(Object::Config(Box::new(config), unknown))
}

/// The configuration in ConfigMap `kube-proxy`, kubelet's in `kubelet-config`, CoreDNS's in `coredns`,
/// or an unused object.
pub(super) fn of_config_map(tree: &Tree<'_>) -> Result<Object, (Place, Problem)> {
    let name = tree.get("metadata").and_then(|meta| meta.get("name"));
    let of_map = |key| tree.get("data").and_then(|data| data.get(key));
    let key = match name.and_then(Tree::text) {
        Some("kube-proxy") => "config.conf",
        // Before 1.24 the release stood behind the name.
        Some(name) if name.starts_with("kubelet-config") => "kubelet",
        Some("coredns") => {
            let text = of_map("Corefile").and_then(Tree::text);
            let unused = || Object::Unused("ConfigMap".into());
            return Ok(text.map_or_else(unused, |text| Object::Corefile(text.into())));
        }
        _ => return Ok(Object::Unused("ConfigMap".into())),
    };
    let Some(at) = of_map(key) else {
        return Ok(Object::Unused("ConfigMap".into()));
    };
    // Places of the inner text are told in words: how they map to places of the file depends on how
    // the text is written there.
    let inside = |place: Place, problem: Problem| {
        let problem = Problem::InConfigMap {
            key,
            place,
            problem: Box::new(problem),
        };
        (at.place, problem)
    };
    let tree = yaml::tree(at.text().unwrap_or_default()).map_err(|found| match found.result {
        Err(problem) => inside(found.place, problem),
        Ok(_) => (
            at.place,
            Problem::NotAnObject {
                found: at.describe(),
            },
        ),
    })?;
    let kind = tree.get("kind").and_then(Tree::text);
    if kind == Some("KubeletConfiguration") {
        let found = super::object::of_kind("", "KubeletConfiguration", &tree);
        return found.result.map_err(|problem| inside(found.place, problem));
    }
    of_tree(&tree).map_err(|(place, problem)| inside(place, problem))
}

/// Where the value at a path such as `nodePortAddresses[1]` stands, if it does.
pub(super) fn place_of(tree: &Tree<'_>, path: &str) -> Option<Place> {
    let found = path.split('.').try_fold(tree, |at, step| {
        let (key, item) = step.split_once('[').unwrap_or((step, ""));
        let at = at.get(key)?;
        match (&at.value, item.trim_end_matches(']').parse::<usize>()) {
            (Value::Seq(items), Ok(item)) => items.get(item),
            _ => Some(at),
        }
    });
    found.map(|at| at.place)
}

/// Paths of the tree that a full configuration does not have.
fn unknown_fields(
    tree: &Tree<'_>,
    known: &serde_json::Value,
    above: &str,
    unknown: &mut Vec<String>,
) {
    let (Value::Map(entries), Some(known)) = (&tree.value, known.as_object()) else {
        return;
    };
    for (key, value) in entries {
        let path = if above.is_empty() {
            key.to_string()
        } else {
            format!("{above}.{key}")
        };
        match known.get(key.as_ref()) {
            Some(known) if path != "featureGates" => unknown_fields(value, known, &path, unknown),
            Some(_) => {}
            None if matches!(&*path, "apiVersion" | "kind" | "metadata") => {}
            None => unknown.push(path),
        }
    }
}
