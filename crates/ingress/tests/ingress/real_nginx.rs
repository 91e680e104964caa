//! Random servers, locations and rewrites beside a real nginx, if one is installed.
//!
//! `PODWIRE_KERNEL=require`, which `.ci/run` sets, makes a missing nginx a failure. `PODWIRE_NGINX` names the
//! program if it is not in the usual places.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use podwire_ingress::Request;
use podwire_ingress::nginx::{
    Config, Location, Modifier, Outcome, Pattern, Return, Rewrite, Script, Server, ServerName,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

const SERVERS: usize = 60;
const REQUESTS: usize = 50;

/// A server before it is written.
#[derive(Clone, Debug)]
struct Drawn {
    /// Kind and path, or pattern.
    locations: Vec<(u8, String)>,
    /// The replacement of every location's own pattern.
    target: Option<String>,
    app_root: bool,
}

fn element() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "foo", "bar", "a.b", "A", "~x", "é", "a+b"])
}

fn path() -> impl Strategy<Value = String> {
    (prop::collection::vec(element(), 0..4), any::<bool>()).prop_map(|(elements, slash)| {
        let slash = if slash && !elements.is_empty() {
            "/"
        } else {
            ""
        };
        format!("/{}{slash}", elements.join("/"))
    })
}

fn pattern() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "/foo(/|$)(.*)",
        "/a/.*",
        "/([^/]+)/b/?(.*)",
        "/a(/[a-z]*)?",
        "/(foo|bar)/(.*)",
        "/x[0-9]{1,2}$",
        "/b{id}",
        r"/\d+",
        "/(.*)",
        r"/a\.b",
        "/[^a-z]+/x",
        "/",
    ])
    .prop_map(|pattern| format!("^{pattern}"))
}

fn server() -> impl Strategy<Value = Drawn> {
    let target = prop::sample::select(vec![
        "/",
        "/$1",
        "/$2",
        "/x/$2?",
        "/y?p=$1",
        "/$2/from/$1",
        "/foo",
        "/a$1/",
        "/é$2",
        "/z?$args",
    ]);
    let location = (0_u8..4).prop_flat_map(|kind| {
        let name = if kind == 3 {
            pattern().boxed()
        } else {
            path().boxed()
        };
        name.prop_map(move |name| (kind, name))
    });
    let target = prop::option::weighted(0.5, target.prop_map(str::to_owned));
    let locations = prop::collection::vec(location, 1..7);
    (locations, target, prop::bool::weighted(0.2)).prop_map(|(mut locations, target, app_root)| {
        // nginx takes no two of the same name; every server has a root.
        locations.push((1, "/".to_owned()));
        let mut seen = std::collections::BTreeSet::new();
        locations
            .retain(|(kind, name)| seen.insert((if *kind == 2 { 1 } else { *kind }, name.clone())));
        Drawn {
            locations,
            target,
            app_root,
        }
    })
}

fn asked() -> impl Strategy<Value = String> {
    let element = prop::sample::select(vec![
        "a", "b", "foo", "bar", ".", "..", "", "a.b", "A", "FOO", "%66oo", "a%2Fb", "%2e%2e",
        "%2E", "x%20y", "%e9", "a+b", "%25", "%3F", "%23", "\"", "<", "^", "{1}", "|", "b{id}",
        "7", "x12", "%5B", "~x", "é", "%7f", "%01", "%zz", "%0", "a;b&c", r"\", "`",
    ]);
    let tail = prop::sample::select(vec![
        "",
        "",
        "",
        "?",
        "?x=1",
        "?a=b&c=/..",
        "?%zz",
        "#f",
        "?q#f",
        "?a?b",
    ]);
    (prop::collection::vec(element, 0..5), tail)
        .prop_map(|(elements, tail)| format!("/{}{tail}", elements.join("/")))
}

fn built(drawn: &Drawn, name: &str) -> Server<usize> {
    let own_pattern = |kind: u8, name: &str| match kind {
        3 => name.to_owned(),
        _ => format!("{name}(/?)(.*)"),
    };
    let locations = drawn
        .locations
        .iter()
        .enumerate()
        .map(|(number, (kind, name))| {
            let rewrite = drawn.target.as_ref().map(|target| {
                let pattern = Pattern::new(&own_pattern(*kind, name)).expect("a pattern");
                Rewrite::new(pattern, target).expect("a replacement")
            });
            Location {
                modifier: match kind {
                    0 => Modifier::Exact,
                    1 => Modifier::Prefix,
                    2 => Modifier::PrefixOnly,
                    _ => Modifier::Pattern(Pattern::new(name).expect("a pattern")),
                },
                name: name.as_str().into(),
                rewrites: rewrite.into_iter().collect(),
                returns: None,
                inside: number,
            }
        });
    Server {
        name: name.into(),
        at_root: drawn.app_root.then(|| Return {
            status: 302,
            to: Some(Script::new("$scheme://$http_host/app").expect("a text")),
        }),
        locations: locations.collect(),
    }
}

/// The configuration as nginx reads it, and the same as it is asked here.
fn configuration(folder: &Path, servers: &[Drawn]) -> (String, Config<usize>) {
    let dir = folder.display();
    let mut text = format!(
        "daemon off; master_process off; error_log {dir}/error.log crit; pid {dir}/pid;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log off; absolute_redirect off; server_names_hash_bucket_size 128;\n\
         client_body_temp_path {dir}/t; proxy_temp_path {dir}/t; fastcgi_temp_path {dir}/t;\n\
         uwsgi_temp_path {dir}/t; scgi_temp_path {dir}/t;\n\
         server {{ listen unix:{dir}/back; location / {{ return 200 \"$http_x_location $request_uri\"; }} }}\n"
    );
    let mut config = Config::default();
    for (number, drawn) in servers.iter().enumerate() {
        let name = format!("h{number}.test");
        let server = built(drawn, &name);
        let _ = writeln!(
            text,
            "server {{ listen unix:{dir}/front; server_name {name};"
        );
        if let Some(at_root) = &server.at_root {
            let to = at_root.to.as_ref().expect("it redirects");
            let _ = writeln!(text, "if ($uri = /) {{ return {} {to}; }}", at_root.status);
        }
        for location in server.locations.iter() {
            let _ = write!(text, "location {location} {{ ");
            for rewrite in &location.rewrites {
                let _ = write!(text, "rewrite {rewrite} break; ");
            }
            let _ = writeln!(
                text,
                "proxy_set_header X-Location {}; proxy_pass http://unix:{dir}/back; }}",
                location.inside
            );
        }
        text.push_str("}\n");
        config.add(server, [ServerName::Exact(name.into())]);
    }
    text.push_str("}\n");
    (text, config)
}

/// An nginx that ends with its owner.
struct Nginx {
    child: Child,
    folder: PathBuf,
}

impl Nginx {
    fn start(program: &Path, folder: &Path) -> Self {
        let child = Command::new(program)
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .arg("-p")
            .arg(folder)
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        let nginx = Self {
            child,
            folder: folder.to_owned(),
        };
        let listens = || UnixStream::connect(nginx.folder.join("front")).is_ok();
        for _ in 0..500 {
            if listens() {
                return nginx;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("nginx does not listen: {}", folder.display());
    }

    /// Status, header Location, and what the back end saw.
    fn ask(&self, host: &str, path: &str) -> (u16, Option<String>, String) {
        let mut stream = UnixStream::connect(self.folder.join("front")).expect("nginx listens");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").expect("nginx reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("nginx answers");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer of HTTP");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let location = head
            .lines()
            .find_map(|line| line.strip_prefix("Location: "));
        (
            status.expect("a status"),
            location.map(str::to_owned),
            body.to_owned(),
        )
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It has ended by itself if this does not work.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The program, if it is installed.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("PODWIRE_NGINX").map(PathBuf::from);
    let usual = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"];
    let usual = usual.iter().map(PathBuf::from);
    named.into_iter().chain(usual).find(|path| path.is_file())
}

#[test]
fn a_real_nginx_decides_the_same() {
    let Some(program) = program() else {
        let is_required =
            std::env::var_os("PODWIRE_KERNEL").is_some_and(|value| value == "require");
        assert!(
            !is_required,
            "there is no nginx, and PODWIRE_KERNEL=require"
        );
        println!("skipped: there is no nginx");
        return;
    };
    let mut runner = TestRunner::deterministic();
    let mut draw = |strategy: &BoxedStrategy<Drawn>| {
        strategy.new_tree(&mut runner).expect("a server").current()
    };
    let strategy = server().boxed();
    let servers: Vec<Drawn> = (0..SERVERS).map(|_| draw(&strategy)).collect();
    let folder = std::env::temp_dir().join(format!("podwire-nginx-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (text, config) = configuration(&folder, &servers);
    std::fs::write(folder.join("nginx.conf"), text).expect("a file");
    let nginx = Nginx::start(&program, &folder);
    let paths = asked();
    let mut passed = 0;
    for (number, drawn) in servers.iter().enumerate() {
        let host = format!("h{number}.test");
        for _ in 0..REQUESTS {
            let path = paths.new_tree(&mut runner).expect("a path").current();
            let real = nginx.ask(&host, &path);
            let request = Request {
                host: host.clone(),
                path: path.clone(),
                ..Request::default()
            };
            let ours = match config.handle(&request) {
                Err(_) => (400, None, None),
                Ok(handled) => match handled.outcome {
                    Outcome::Answer { status, location } => (status, location, None),
                    Outcome::Pass { uri, .. } => {
                        passed += 1;
                        let (location, _) = handled.location.expect("a location passes it on");
                        (200, None, Some(format!("{} {uri}", location.inside)))
                    }
                },
            };
            let body = Some(real.2).filter(|_| real.0 == 200);
            assert_eq!((real.0, real.1, body), ours, "{path} of {drawn:#?}");
        }
    }
    assert!(passed > SERVERS * REQUESTS / 3, "{passed} were passed on");
}
