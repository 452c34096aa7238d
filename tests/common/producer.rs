//! A producer in a process of its own: creates, hides, writes, and waits for a word before it
//! closes.

use std::{
    io::{Read, Write},
    path::Path,
    process::{ChildStdin, Command, Stdio},
};

use super::process::Group;

/// A shell that has a file open for writing.
pub struct Producer {
    group: Group,
    stdin: Option<ChildStdin>,
}

impl Producer {
    /// Creates `path`, removes its name if it is `hidden`, writes `content` into it, and keeps it
    /// open.
    pub fn start(path: &Path, content: &Path, hidden: bool) -> Self {
        let hide = if hidden { "rm -- \"$1\";" } else { "" };
        let script = format!(
            "exec 3>\"$1\"; {hide} cat -- \"$2\" >&3; echo; while read line; do cat -- \"$line\" >&3; echo; done"
        );
        let mut group = Group::start(
            Command::new("sh")
                .args(["-c", &script, "sh"])
                .args([path, content])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        );
        let stdin = group.child().stdin.take();
        let mut producer = Self { group, stdin };
        producer.answer();
        producer
    }

    /// Appends another file.
    pub fn append(&mut self, content: &Path) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin
            .write_all(content.to_str().unwrap().as_bytes())
            .unwrap();
        stdin.write_all(b"\n").unwrap();
        self.answer();
    }

    /// Closes the file and ends.
    pub fn close(mut self) {
        drop(self.stdin.take());
        assert!(self.group.child().wait().unwrap().success());
    }

    pub fn id(&self) -> u32 {
        self.group.id()
    }

    fn answer(&mut self) {
        self.group
            .child()
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut [0])
            .unwrap();
    }
}
