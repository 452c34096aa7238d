//! A sound server without a sound card: browsers show a title only while they are heard.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio, time::Duration};

use super::{Appearance, process::Group, sandbox::Sandbox};

/// Starts PulseAudio with a sink that swallows all; returns when it listens.
pub fn server(sandbox: &Sandbox) -> Group {
    let folder = sandbox.path("run/pulse");
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
    let socket = Appearance::watch(&folder.join("native"));
    let mut command = sandbox.command(super::program("pulseaudio", "pulseaudio"));
    command.args([
        "-n",
        "--daemonize=no",
        "--exit-idle-time=-1",
        "--use-pid-file=no",
    ]);
    command.args([
        "-L",
        "module-null-sink",
        "-L",
        "module-native-protocol-unix",
    ]);
    let server = Group::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    socket.wait("pulseaudio's socket", Duration::from_secs(30));
    server
}
