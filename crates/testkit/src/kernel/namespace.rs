//! A network namespace of one's own.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, setns, unshare};

use super::{FrameSocket, Lane, LaneError, PacketSocket};

/// A network namespace that nobody else has; it ends with the last process or socket in it.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// A new one, with nothing in it but a loopback device that is down. IPv6 is off, so that nothing
    /// speaks unasked.
    ///
    /// # Errors
    /// [`LaneError::System`].
    pub fn new(_: Lane) -> Result<Self, LaneError> {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(LaneError::errno("unshare"))?;
            File::open("/proc/thread-self/ns/net")
                .map_err(LaneError::system("/proc/thread-self/ns/net"))
        };
        let file = on_a_thread(make)?;
        let namespace = Self { file };
        for of in ["all", "default"] {
            namespace.sysctl(&format!("net.ipv6.conf.{of}.disable_ipv6"), "1")?;
        }
        Ok(namespace)
    }

    /// A path that `ip` takes where it wants the name of a namespace.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Does something inside, on a thread of its own.
    ///
    /// # Errors
    /// Those of `work`, and [`LaneError::System`] if the namespace cannot be entered.
    pub fn inside<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, LaneError> + Send,
    ) -> Result<T, LaneError> {
        on_a_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(LaneError::errno("setns"))?;
            work()
        })
    }

    /// Sets a sysctl, `net.ipv4.ip_forward`. A device's name in it may hold no dot.
    ///
    /// # Errors
    /// [`LaneError::System`].
    pub fn sysctl(&self, name: &str, value: &str) -> Result<(), LaneError> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.inside(|| std::fs::write(path, value).map_err(LaneError::system("sysctl")))
    }

    /// Runs a command inside and gives it `input`; what it prints is the answer.
    ///
    /// # Errors
    /// [`LaneError::Command`] if it fails.
    pub fn run(&self, command: &[&str], input: &str) -> Result<String, LaneError> {
        self.inside(|| {
            let mut child = spawn(command)?;
            if let Some(mut stdin) = child.stdin.take() {
                // A command that fails at once closes its end; its own words say more.
                let _ = stdin.write_all(input.as_bytes());
            }
            let output = child
                .wait_with_output()
                .map_err(LaneError::system("wait"))?;
            if !output.status.success() {
                return Err(LaneError::Command {
                    command: command.join(" "),
                    status: output.status,
                    stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
                });
            }
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        })
    }

    /// Runs lines of `ip -batch`.
    ///
    /// # Errors
    /// [`LaneError::Command`].
    pub fn ip(&self, lines: &str) -> Result<(), LaneError> {
        self.run(&["ip", "-batch", "-"], lines).map(drop)
    }

    /// Starts a command inside that goes on running.
    pub(super) fn start(&self, command: &[&str]) -> Result<Child, LaneError> {
        self.inside(|| spawn(command))
    }

    /// A socket that sends frames by a device.
    ///
    /// # Errors
    /// [`LaneError::NoDevice`], [`LaneError::System`].
    pub fn frames(&self, device: &str) -> Result<FrameSocket, LaneError> {
        self.inside(|| FrameSocket::open(device))
    }

    /// A socket that sends IPv4 packets as a local process.
    ///
    /// # Errors
    /// [`LaneError::System`].
    pub fn packets(&self) -> Result<PacketSocket, LaneError> {
        self.inside(PacketSocket::open)
    }
}

/// A thread's namespace is its own: the caller stays where it is.
fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(answer) => answer,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn spawn(command: &[&str]) -> Result<Child, LaneError> {
    let [program, arguments @ ..] = command else {
        let nothing = std::io::Error::from(std::io::ErrorKind::InvalidInput);
        return Err(LaneError::system("spawn")(nothing));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().map_err(LaneError::system("spawn"))
}
