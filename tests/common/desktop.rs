//! A display and a session bus of one's own.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use super::{process::Group, sandbox::Sandbox};

/// An X server without a screen, on a display number that it picks itself.
pub struct Xvfb {
    /// `:N`, for `$DISPLAY`.
    pub display: String,
    _server: Group,
}

impl Xvfb {
    pub fn start(sandbox: &Sandbox) -> Self {
        let mut command = sandbox.command(super::program("Xvfb", "xvfb"));
        command.args([
            "-displayfd",
            "1",
            "-screen",
            "0",
            "1280x800x24",
            "-nolisten",
            "tcp",
            // As a display manager starts it: the end of its last client is not its own.
            "-noreset",
        ]);
        let (server, line) = first_line(&mut command);
        Self {
            display: format!(":{line}"),
            _server: server,
        }
    }
}

/// A session bus that starts nothing by itself.
pub struct Bus {
    /// For `$DBUS_SESSION_BUS_ADDRESS`.
    pub address: String,
    _daemon: Group,
}

impl Bus {
    pub fn start(sandbox: &Sandbox) -> Self {
        let config = sandbox.path("bus.conf");
        let text = format!(
            "<busconfig><type>session</type><listen>unix:path={}</listen>\
             <policy context='default'><allow send_destination='*' eavesdrop='true'/>\
             <allow eavesdrop='true'/><allow own='*'/></policy></busconfig>",
            sandbox.path("run/bus").display()
        );
        fs::write(&config, text).unwrap();
        // One that was killed leaves its socket.
        let _ = fs::remove_file(sandbox.path("run/bus"));
        let mut command = sandbox.command(super::program("dbus-daemon", "dbus-daemon"));
        command
            .args(["--nofork", "--print-address=1", "--config-file"])
            .arg(&config);
        let (daemon, address) = first_line(&mut command);
        Self {
            address,
            _daemon: daemon,
        }
    }
}

/// Starts a program and waits for the first line that it prints.
fn first_line(command: &mut std::process::Command) -> (Group, String) {
    let mut group = Group::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut line = String::new();
    BufReader::new(group.child().stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let line = line.trim().to_string();
    assert!(!line.is_empty(), "{command:?} printed nothing");
    (group, line)
}
