//! Laws: matching is what its definition says, and no text is too much.

use podwire_cluster::{
    BackendPort, Cluster, Ingress, IngressApi, IngressBackend, IngressPath, IngressRule, Meta,
    ObjectName, PathType,
};
use podwire_ingress::nginx::{Found, How, Location, Locations, Modifier, Pattern, Uri};
use podwire_ingress::{Controller, Options, Request, Router, Scheme};
use proptest::prelude::*;

/// Paths of few elements, so that many are prefixes of each other.
fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "ab", "b", ""]), 0..4)
        .prop_map(|elements| format!("/{}", elements.join("/")))
}

fn ingress(name: &str, rules: Vec<IngressRule>) -> Ingress {
    Ingress {
        meta: Meta {
            name: ObjectName::new("default", name),
            labels: Default::default(),
            annotations: Default::default(),
            source: None,
        },
        api: IngressApi::Extensions,
        created: None,
        class_name: None,
        default_backend: None,
        tls: Vec::new(),
        rules,
    }
}

fn service(name: String) -> IngressBackend {
    IngressBackend::Service {
        name: name.into(),
        port: BackendPort::Number(80),
    }
}

/// The rule that has a path, by the API's words: the exact one, else the longest whose elements begin
/// the path's.
fn by_definition(rules: &[(PathType, String)], path: &str) -> Option<usize> {
    let elements = |path: &str| -> Vec<String> {
        let named = path.split('/').filter(|element| !element.is_empty());
        named.map(str::to_owned).collect()
    };
    let exact = rules
        .iter()
        .position(|(path_type, rule)| *path_type == PathType::Exact && rule == path);
    let asked = elements(path);
    let prefixes = rules.iter().enumerate().filter(|(_, (path_type, rule))| {
        *path_type != PathType::Exact && asked.starts_with(&elements(rule))
    });
    // Of equally long ones the first.
    let longest = prefixes.min_by_key(|(_, (_, rule))| std::cmp::Reverse(elements(rule).len()));
    exact.or(longest.map(|(index, _)| index))
}

/// The location that nginx's documentation says, by its number; and whether a slash is added.
fn location_by_definition(locations: &[(u8, String)], path: &str) -> Option<(usize, How)> {
    let find = |wanted: &dyn Fn(&(u8, String)) -> bool| locations.iter().position(wanted);
    if let Some(exact) = find(&|(kind, name)| *kind == 0 && name == path) {
        return Some((exact, How::Exact));
    }
    let is_prefix = |kind: u8| kind == 1 || kind == 2;
    let prefixes = locations
        .iter()
        .enumerate()
        .filter(|(_, (kind, name))| is_prefix(*kind) && path.starts_with(name));
    let longest = prefixes.min_by_key(|(_, (_, name))| std::cmp::Reverse(name.len()));
    let slashed = format!("{path}/");
    if longest.is_none_or(|(_, (_, name))| name != path)
        && let Some(index) = find(&|(kind, name)| *kind < 3 && *name == slashed)
    {
        return Some((index, How::AddSlash));
    }
    let pattern = find(&|(kind, name)| *kind == 3 && path.starts_with(name));
    match (longest, pattern) {
        (Some((index, (2, _))), _) | (Some((index, _)), None) => Some((index, How::LongestPrefix)),
        (_, Some(index)) => Some((index, How::FirstPattern)),
        (None, None) => None,
    }
}

fn location(number: usize, (kind, name): &(u8, String)) -> Location<usize> {
    Location {
        modifier: match kind {
            0 => Modifier::Exact,
            1 => Modifier::Prefix,
            2 => Modifier::PrefixOnly,
            _ => Modifier::Pattern(Pattern::new(&format!("^{name}")).expect("a pattern")),
        },
        name: name.as_str().into(),
        rewrites: Vec::new(),
        returns: None,
        inside: number,
    }
}

proptest! {
    #[test]
    fn the_spec_compares_prefixes_by_elements(
        rules in prop::collection::vec((any::<bool>(), path()), 1..8),
        asked in path(),
    ) {
        let rules: Vec<_> = rules
            .into_iter()
            .map(|(exact, path)| (if exact { PathType::Exact } else { PathType::Prefix }, path))
            // The API takes no empty element.
            .filter(|(_, path)| !path.contains("//"))
            .collect();
        let paths = rules.iter().enumerate().map(|(number, (path_type, path))| IngressPath {
            path: path.as_str().into(),
            path_type: *path_type,
            backend: service(format!("s{number}")),
        });
        let rule = IngressRule { host: "a.test".into(), paths: paths.collect() };
        let mut cluster = Cluster::default();
        let one = ingress("i", vec![rule]);
        cluster.ingresses.insert(one.meta.name.clone(), one);
        let router = Router::new(&cluster, &Options::of(Controller::Spec));
        let request = Request { host: "a.test".into(), path: asked.clone(), ..Request::default() };
        let answer = router.route(&request);
        let found = answer.backend.map(|backend| backend.service.name.to_string());
        // Of two rules that are the same but for a slash at the end the first counts.
        let wanted = by_definition(&rules, &asked).map(|number| format!("s{number}"));
        prop_assert_eq!(found, wanted, "{:?} on {}", rules, asked);
    }

    #[test]
    fn nginx_chooses_the_location_that_its_documentation_says(
        locations in prop::collection::vec((0_u8..4, path()), 0..10),
        asked in path(),
    ) {
        let built: Locations<usize> = locations
            .iter()
            .enumerate()
            .map(|(number, one)| location(number, one))
            .collect();
        let found = match built.find(asked.as_bytes()) {
            Found::Location(location, how) => Some((location.inside, how)),
            Found::AddSlash(location) => Some((location.inside, How::AddSlash)),
            Found::Nothing => None,
        };
        let wanted = location_by_definition(&locations, &asked);
        // Which of two locations of one name adds the slash makes no difference.
        let named = |found: Option<(usize, How)>| found.map(|(number, how)| {
            let same = locations.iter().position(|(kind, name)| *kind < 3 && *name == locations[number].1);
            (if how == How::AddSlash { same } else { Some(number) }, how)
        });
        prop_assert_eq!(named(found), named(wanted), "{:?} on {}", locations, asked);
    }

    #[test]
    fn a_decoded_path_decodes_to_itself(path in "(/[a-z.]{0,3}){1,6}") {
        if let Ok(uri) = Uri::parse(&path) {
            let once = String::from_utf8(uri.path.into_owned()).unwrap();
            let twice = Uri::parse(&once).unwrap();
            prop_assert_eq!(twice.path.as_ref(), once.as_bytes());
            prop_assert!(!once.contains("//") && !once.contains("/./") && !once.contains("/../"));
        }
    }

    #[test]
    fn no_text_is_too_much(
        paths in prop::collection::vec((".{0,12}", 0_u8..3), 0..6),
        host in "([a-z*.]{0,8}|.{0,8})",
        target in "(/[$a-z0-9{}?]{0,8}|.{0,8})",
        use_regex in any::<bool>(),
        asked in "(/|%|[.]|[a-z]|.){0,16}",
        asked_host in ".{0,8}",
        https in any::<bool>(),
    ) {
        let paths = paths.into_iter().map(|(path, kind)| IngressPath {
            path: path.into(),
            path_type: match kind {
                0 => PathType::Exact,
                1 => PathType::Prefix,
                _ => PathType::ImplementationSpecific,
            },
            backend: service("s".to_owned()),
        });
        let rule = IngressRule { host: host.into(), paths: paths.collect() };
        let mut one = ingress("i", vec![rule]);
        let mut annotate = |name: &str, value: String| {
            let key = format!("nginx.ingress.kubernetes.io/{name}");
            one.meta.annotations.insert(key.into(), value.into());
        };
        annotate("use-regex", use_regex.to_string());
        annotate("app-root", target.clone());
        annotate("server-alias", target.clone());
        annotate("permanent-redirect", format!("http{target}"));
        annotate("rewrite-target", target);
        let mut cluster = Cluster::default();
        cluster.ingresses.insert(one.meta.name.clone(), one);
        for controller in [Controller::Spec, Controller::IngressNginx, Controller::IngressNginx021] {
            let router = Router::new(&cluster, &Options::of(controller));
            for path in [asked.clone(), format!("/{asked}")] {
                let request = Request {
                    scheme: if https { Scheme::Https } else { Scheme::Http },
                    host: asked_host.clone(),
                    path,
                    ..Request::default()
                };
                let answer = router.route(&request);
                prop_assert!((200..600).contains(&answer.status));
                prop_assert!(!answer.why.to_string().is_empty());
            }
        }
    }
}

/// A person's pattern may not cost more than its length and the path's.
#[test]
fn patterns_that_make_others_go_back_are_harmless() {
    let pattern = Pattern::new("^/(a+)+(b+)*$").unwrap();
    assert!(!pattern.is_match(format!("/{}c", "a".repeat(100_000)).as_bytes()));
    assert!(Pattern::new(&"(a?){1000}".repeat(1_000)).is_err());
}
