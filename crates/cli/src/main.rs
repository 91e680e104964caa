//! The binary `podwire`: arguments, output, exit codes.
//!
//! Exit codes: 0 answered, and the answer is yes; 1 answered, and the answer is no; 2 could not
//! answer. Data goes to standard output, all else to standard error.

mod args;
mod bench;
mod check;
mod cni;
mod diff;
mod dns;
mod exec;
mod failure;
mod files;
mod ingress;
mod ipam;
mod jsonl;
mod logs;
mod matching;
mod policy;
mod render;
mod run;
mod trace;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::failure::{Answer, Failure};

fn main() -> ExitCode {
    if let Some(plugin) = cni::called_as() {
        return cni::run_as(plugin);
    }
    let cli = Cli::parse();
    cli.global.color.into_choice().write_global();
    let mut out = BufWriter::new(anstream::stdout().lock());
    let result = match &cli.command {
        Command::Render(args) => render::run(&cli.global, args, &mut out),
        Command::Trace(args) => trace::run(&cli.global, args, &mut out),
        Command::Diff(args) => diff::run(&cli.global, args, &mut out),
        Command::Match(args) => matching::run(&cli.global, args, &mut out),
        Command::Bench(args) => bench::run(&cli.global, args, &mut out),
        Command::Logs(args) => logs::run(&cli.global, args, &mut out),
        Command::Run(args) => run::run(&cli.global, args, &mut out),
        Command::Ingress(args) => ingress::run(&cli.global, args, &mut out),
        Command::Policy(args) => policy::run(&cli.global, args, &mut out),
        Command::Check(args) => check::run(&cli.global, args, &mut out),
        Command::Exec(args) => exec::run(&cli.global, args, &mut out),
        Command::Dns(args) => dns::run(&cli.global, args, &mut out),
        Command::Ipam(args) => ipam::run(args, &mut out),
        Command::Cni(args) => cni::run(&cli.global, args, &mut out),
    };
    let result = result.and_then(|answer| Ok(out.flush().map(|()| answer)?));
    match result {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        // Whoever read the output has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            // Nothing is left to tell if standard error is closed too.
            let _ = writeln!(anstream::stderr(), "{failure}");
            ExitCode::from(2)
        }
    }
}
