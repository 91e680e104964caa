//! kube-proxy's configuration, alone or inside its ConfigMap.

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

/// The configuration in ConfigMap `kube-proxy`, or an unused object.
pub(super) fn of_config_map(tree: &Tree<'_>) -> Result<Object, (Place, Problem)> {
    let name = tree.get("metadata").and_then(|meta| meta.get("name"));
    let text = tree.get("data").and_then(|data| data.get("config.conf"));
    let (Some("kube-proxy"), Some(at)) = (name.and_then(Tree::text), text) else {
        return Ok(Object::Unused("ConfigMap".into()));
    };
    // Lines of the inner text are told in words: how they map to lines of the file depends on how
    // the text is written there.
    let inside = |place: Place, problem: Problem| {
        let problem = Problem::InConfigMap {
            line: place.line,
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
