//! `podwire cni` as container runtimes call it: many at once, and some of them killed.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// Processes at once.
const PROCESSES: usize = 8;

const CONF: &str = r#"{"cniVersion":"1.0.0","name":"net","type":"bridge","isDefaultGateway":true,
    "ipam":{"type":"host-local","subnet":"10.22.0.0/16"}}"#;

/// A state folder, which goes with it.
struct State(PathBuf);

impl State {
    fn new(name: &str) -> Self {
        let name = format!("podwire-cni-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).expect("a folder");
        Self(dir)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podwire"));
        command.arg("cni").arg("--state").arg(&self.0);
        command
    }

    /// Starts a call about a pod.
    fn start(&self, action: &str, pod: usize) -> Child {
        let name = format!("pod-{pod}");
        let mut command = self.command();
        command
            .args(["--plugin", "bridge"])
            .envs([
                ("CNI_COMMAND", action),
                ("CNI_CONTAINERID", &name),
                ("CNI_NETNS", &name),
                ("CNI_IFNAME", "eth0"),
                ("CNI_ARGS", ""),
                ("CNI_PATH", "/opt/cni/bin"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("podwire runs");
        let mut stdin = child.stdin.take().expect("it was piped");
        stdin.write_all(CONF.as_bytes()).expect("podwire reads");
        child
    }

    fn call(&self, action: &str, pod: usize) -> Value {
        let Output { status, stdout, .. } =
            self.start(action, pod).wait_with_output().expect("it ends");
        let stdout = String::from_utf8(stdout).expect("UTF-8");
        assert!(status.success(), "{action} of pod {pod}: {stdout}");
        serde_json::from_str(&stdout).unwrap_or_default()
    }

    fn dump(&self) -> Value {
        let output = self.command().args(["--dump", "-o", "json"]).output();
        let output = output.expect("podwire runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The files of host-local: addresses that are taken, and by whom.
    fn taken(&self) -> Vec<(String, String)> {
        let mut taken = Vec::new();
        for file in fs::read_dir(self.0.join("net"))
            .expect("a folder")
            .flatten()
        {
            let name = file.file_name().into_string().expect("UTF-8");
            if name == "lock" || name.starts_with('.') {
                continue;
            }
            let text = fs::read_to_string(file.path()).expect("a file");
            taken.push((name, text));
        }
        taken
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Does something for each of `count` pods, from eight threads at once.
fn each_pod<T: Send>(count: usize, act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let pod = next.fetch_add(1, Ordering::Relaxed);
            if pod >= count {
                return done;
            }
            done.push(act(pod));
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(work)).collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().expect("a thread"));
        joined.flatten().collect()
    })
}

/// How many pods: 200, or what PODWIRE_CNI_PODS says.
fn pods() -> usize {
    let told = std::env::var("PODWIRE_CNI_PODS").ok();
    told.map_or(200, |count| {
        count.parse().expect("PODWIRE_CNI_PODS is a number")
    })
}

#[test]
fn pods_added_and_deleted_by_eight_processes_at_once_have_an_address_each() {
    let state = State::new("at-once");
    let count = pods();
    let addresses = each_pod(count, |pod| {
        let result = state.call("ADD", pod);
        let address = result["ips"][0]["address"].as_str();
        address.expect("an address").to_owned()
    });
    let distinct: BTreeSet<&String> = addresses.iter().collect();
    assert_eq!(distinct.len(), count, "an address was given twice");
    let dump = state.dump();
    let containers = dump["containers"].as_object().expect("containers");
    let told = containers
        .values()
        .map(|pod| &pod["links"]["eth0"]["addrs"][0]);
    let told: BTreeSet<&str> = told.filter_map(Value::as_str).collect();
    assert_eq!(told.len(), count, "an address was lost");
    let ports = dump["bridges"]["cni0"]["ports"].as_array();
    assert_eq!(ports.map(Vec::len), Some(count));

    each_pod(count, |pod| state.call("DEL", pod));
    let taken = state.taken();
    assert!(
        taken.iter().all(|(name, _)| name == "last_reserved_ip.0"),
        "{taken:?}"
    );
    let dump = state.dump();
    assert_eq!(dump["bridges"]["cni0"]["ports"], Value::Array(Vec::new()));
}

#[test]
fn a_process_killed_at_any_moment_leaves_files_that_the_next_one_reads() {
    let state = State::new("killed");
    let count = 48;
    // Moments spread over the time that a call takes, start and end among them.
    let pause = |pod: usize| Duration::from_millis((pod * 7 % 60) as u64);
    for action in ["ADD", "DEL"] {
        each_pod(count, |pod| {
            let mut child = state.start(action, pod);
            thread::sleep(pause(pod));
            child.kill().expect("it is ours");
            child.wait().expect("it ends");
        });
        check_files(&state);
    }
    // A runtime calls again until it is told that the pod is gone.
    each_pod(count, |pod| state.call("DEL", pod));
    check_files(&state);
    let taken = state.taken();
    assert!(
        taken.iter().all(|(name, _)| name == "last_reserved_ip.0"),
        "{taken:?}"
    );
    let dump = state.dump();
    let ports = dump["bridges"]["cni0"]["ports"].as_array();
    assert!(ports.is_none_or(Vec::is_empty), "{dump}");
    state.call("ADD", 0);
}

/// No file is half of one.
fn check_files(state: &State) {
    // All namespaces are read.
    state.dump();
    if !state.0.join("net").exists() {
        return;
    }
    for (name, text) in state.taken() {
        if name.starts_with("last_reserved_ip.") {
            assert!(text.parse::<std::net::IpAddr>().is_ok(), "{name}: {text:?}");
        } else {
            assert!(name.parse::<std::net::IpAddr>().is_ok(), "{name}");
            let pod = text
                .strip_suffix("\r\neth0")
                .and_then(|pod| pod.strip_prefix("pod-"));
            assert!(
                pod.is_some_and(|pod| pod.parse::<usize>().is_ok()),
                "{name}: {text:?}"
            );
        }
    }
}

#[test]
fn a_link_with_a_plugins_name_is_that_plugin() {
    let state = State::new("link");
    let link = state.0.join("host-local");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_podwire"), &link).expect("a link");
    let run = |command: &str, program: &Path| {
        let output = Command::new(program)
            .env("CNI_COMMAND", command)
            .env("PODWIRE_STATE", &state.0)
            .stdin(Stdio::null())
            .output();
        output.expect("podwire runs")
    };
    let version = run("VERSION", &link);
    let told: Value = serde_json::from_slice(&version.stdout).expect("JSON");
    assert_eq!(told["cniVersion"], "1.1.0");
    let about = run("", &link);
    assert!(about.status.success());
    assert!(String::from_utf8_lossy(&about.stderr).starts_with("CNI host-local plugin v1.9.1\n"));
    let error = run("ADD", &link);
    assert_eq!(error.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&error.stdout).expect("JSON");
    assert_eq!(told["code"], 4);
}

#[test]
fn a_list_is_added_checked_and_deleted_with_ports() {
    let state = State::new("list");
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/cni/10-bridge.conflist");
    let run = |action: &str| {
        let mut command = state.command();
        command
            .arg("--list")
            .arg(&list)
            .args([action, "web-1", "web-1"]);
        command.env(
            "CAP_ARGS",
            r#"{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}"#,
        );
        let output = command.output().expect("podwire runs");
        let stdout = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.success(), "{action}: {stdout}");
        stdout
    };
    assert!(run("ADD").contains("\"10.22.0.2/24\""));
    let rules = state.dump()["iptables_nat"].to_string();
    assert!(rules.contains("--to-destination 10.22.0.2:80"), "{rules}");
    assert_eq!(run("CHECK"), "");
    assert_eq!(run("DEL"), "");
    let rules = state.dump()["iptables_nat"].to_string();
    assert!(!rules.contains("--to-destination"), "{rules}");
}

#[test]
fn a_pod_without_weaves_daemon_gets_dockershims_event() {
    let state = State::new("event");
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/cni/weave.conflist");
    let mut command = state.command();
    command.arg("--list").arg(&list);
    command.args(["--runtime", "dockershim", "ADD", "6b3b648ea4a5", "app"]);
    command.env("CNI_ARGS", "K8S_POD_NAMESPACE=default;K8S_POD_NAME=app");
    let output = command.output().expect("podwire runs");
    let event = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{event}");
    let refused = "dial tcp 127.0.0.1:6784: connect: connection refused";
    let last = format!(
        "networkPlugin cni failed to teardown pod \"app_default\" network: Delete \
         \"http://127.0.0.1:6784/ip/6b3b648ea4a5\": {refused}]\n"
    );
    assert!(event.starts_with("FailedCreatePodSandBox: "), "{event}");
    assert!(event.ends_with(&last), "{event}");
}
