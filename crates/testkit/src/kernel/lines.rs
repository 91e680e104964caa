//! The lines of a program that goes on running.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::{LaneError, Namespace};

/// How long a program that has something to say may stay silent before it counts as hung. It is no
/// measure of anything: a slow machine may be made slower by a hundred times before it matters.
const HUNG: Duration = Duration::from_secs(60);

/// A running program and the lines that it prints. It is ended when this is dropped.
#[derive(Debug)]
pub(super) struct Lines {
    program: &'static str,
    child: Child,
    lines: Receiver<String>,
}

impl Lines {
    pub(super) fn of(
        namespace: &Namespace,
        program: &'static str,
        arguments: &[&str],
    ) -> Result<Self, LaneError> {
        let mut command = vec![program];
        command.extend(arguments);
        let mut child = namespace.start(&command)?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self {
            program,
            child,
            lines,
        })
    }

    /// The next line.
    pub(super) fn next(&mut self) -> Result<String, LaneError> {
        match self.next_within(HUNG)? {
            Some(line) => Ok(line),
            None => Err(LaneError::Silent {
                program: self.program,
            }),
        }
    }

    /// The next line, if one comes in time.
    pub(super) fn next_within(&mut self, time: Duration) -> Result<Option<String>, LaneError> {
        match self.lines.recv_timeout(time) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                let mut stderr = String::new();
                if let Some(mut pipe) = self.child.stderr.take() {
                    // What it could not say is not worth an error of its own.
                    let _ = pipe.read_to_string(&mut stderr);
                }
                Err(LaneError::Ended {
                    program: self.program,
                    stderr,
                })
            }
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
