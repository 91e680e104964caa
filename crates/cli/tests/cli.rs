//! The command line as a person meets it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use snapbox::data::DataFormat;
use snapbox::{Assert, Data};

/// Columns of a help text, whatever the terminal.
const COLUMNS: &str = "100";

fn podwire() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podwire"));
    command.env("COLUMNS", COLUMNS);
    command
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs a command line from the root of the repository: what it printed, what it said besides, and
/// its exit code.
fn run_from_root(arguments: &str) -> (String, String, Option<i32>) {
    assert!(
        !arguments.contains(['"', '\'', '|', '\\']),
        "arguments are words with spaces between: {arguments}"
    );
    // Wide: an example is one line of a help text.
    let run = podwire()
        .env("COLUMNS", "200")
        .args(arguments.split_whitespace())
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .expect("podwire runs");
    let text = |bytes| String::from_utf8(bytes).expect("podwire prints UTF-8");
    (text(run.stdout), text(run.stderr), run.status.code())
}

#[test]
fn commands_answer_as_written_down() {
    trycmd::TestCases::new()
        .case("tests/cmd/*.trycmd")
        .env("COLUMNS", COLUMNS)
        .run();
}

#[test]
fn examples_of_every_help_give_an_answer() {
    let mut tried = 0;
    let mut verbs = vec![String::new()];
    while let Some(verb) = verbs.pop() {
        let (help, ..) = run_from_root(&format!("{verb} --help"));
        let below = help
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split_whitespace().next());
        verbs.extend(below.map(|below| format!("{verb} {below}")));
        let examples = help.lines().skip_while(|line| *line != "Examples:");
        for example in examples.filter_map(|line| line.trim().strip_prefix("podwire ")) {
            // The one measures for seconds and reads no file, the other answers until it is stopped.
            if example.starts_with("bench --services") || example.starts_with("dns serve") {
                continue;
            }
            let (_, said, code) = run_from_root(example);
            assert!(matches!(code, Some(0 | 1)), "podwire {example}\n{said}");
            tried += 1;
        }
    }
    assert!(tried >= 6, "{tried} examples were found");
}

#[test]
fn what_models_say_to_try_gives_an_answer() {
    let models = ["models", "models/events"]
        .into_iter()
        .flat_map(|folder| std::fs::read_dir(root().join(folder)).expect("a folder"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file());
    let mut tried = 0;
    for model in models {
        let text = read(&model);
        let lines = text.lines();
        for line in lines.filter_map(|line| line.strip_prefix("// Try:")) {
            let arguments = line.trim().strip_prefix("podwire ").unwrap_or(line);
            let (_, said, code) = run_from_root(arguments);
            assert!(matches!(code, Some(0 | 1)), "podwire {arguments}\n{said}");
            tried += 1;
        }
    }
    assert!(tried >= 5, "{tried} models say what to try");
}

#[test]
fn both_evaluators_print_the_same_lines() {
    let data = "--sets tests/data/node.sets --packets tests/data/packets.jsonl";
    let ask = |evaluator: &str| {
        let options = format!("--rules tests/data/node.rules {data} --evaluator {evaluator}");
        run_from_root(&format!("match -q {options}"))
    };
    let (printed, said, code) = ask("interp");
    assert_eq!(code, Some(0), "{said}");
    assert!(printed.lines().count() >= 5, "{printed}");
    assert_eq!(ask("matcher"), (printed, said, code));
}

#[test]
fn the_readme_shows_what_is_printed() {
    let page = read(&root().join("README.md"));
    let mut compared = 0;
    for block in page.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for command in block.split("$ ").skip(1) {
            let (line, expected) = command.split_once('\n').unwrap_or((command, ""));
            let Some(arguments) = line.strip_prefix("cargo run --release -- ") else {
                continue;
            };
            let (printed, said, code) = run_from_root(arguments);
            assert!(matches!(code, Some(0 | 1)), "podwire {arguments}\n{said}");
            // A line of `...` stands for any lines.
            let expected = Data::from(expected.to_owned()).is(DataFormat::Text);
            Assert::new().eq(printed, expected);
            compared += 1;
        }
    }
    assert!(compared > 0, "README.md shows no command with its output");
}

/// What a render says of a file of `tests/data` on its standard input, once `close` has closed one of
/// its pipes. podwire still waits for its input then: there is nothing to read yet.
fn render_with(close: impl FnOnce(&mut Child), file: &str) -> Output {
    let mut child = podwire()
        .args(["render", "-f", "-", "--node", "node-a"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("podwire runs");
    close(&mut child);
    let mut input = child.stdin.take().expect("a pipe");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let cluster = read(&data.join(file));
    input.write_all(cluster.as_bytes()).expect("podwire reads");
    drop(input);
    child.wait_with_output().expect("podwire ends")
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let end = render_with(|child| drop(child.stdout.take()), "cluster.yaml");
    assert_eq!(end.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&end.stderr), "");
}

#[test]
fn an_answer_needs_nobody_to_hear_warnings() {
    let end = render_with(|child| drop(child.stderr.take()), "dangling.yaml");
    assert_eq!(end.status.code(), Some(0));
    assert!(end.stdout.starts_with(b"*filter\n"), "{:?}", end.stdout);
}

/// Histories and what Weave's own ring and space made of them: tests/data/weave/ring.jsonl.
#[test]
fn a_ring_is_shared_out_as_weave_itself_shares_it_out() {
    const FILE: &str = "crates/cli/tests/data/weave/ring.jsonl";
    /// The fields of a step that are its outcome.
    const OUTCOME: [&str; 11] = [
        "got",
        "first",
        "last",
        "count",
        "ok",
        "owned",
        "free",
        "donated",
        "donated_size",
        "ranges",
        "owner",
    ];
    let wanted = read(&root().join(FILE));
    let (told, said, code) = run_from_root(&format!("ipam replay --ipam weave {FILE} -o json"));
    assert_eq!(code, Some(0), "{said}");
    let cases = wanted.lines().zip(told.lines());
    let mut steps = 0;
    for (wanted, told) in cases {
        let [wanted, told] = [wanted, told]
            .map(|line| -> serde_json::Value { serde_json::from_str(line).expect("JSON") });
        let [wanted_steps, told_steps] =
            [&wanted, &told].map(|case| case["steps"].as_array().expect("steps"));
        assert_eq!(wanted_steps.len(), told_steps.len());
        for (number, (wanted_step, told_step)) in wanted_steps.iter().zip(told_steps).enumerate() {
            for field in OUTCOME {
                // What is freed is named like what is free.
                let is_outcome = field != "free" || wanted_step["free"].is_object();
                if let Some(value) = wanted_step.get(field).filter(|_| is_outcome) {
                    assert_eq!(
                        value, &told_step[field],
                        "{} step {number} {field}",
                        wanted["id"]
                    );
                }
            }
            steps += 1;
        }
    }
    assert_eq!(steps, 115);
}
