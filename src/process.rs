//! What `/proc/PID/stat` says of a process (proc_pid_stat(5)).

/// The fields that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessStat {
    /// Field 2: the name, as `/proc/PID/comm` has it.
    pub(crate) comm: String,
    /// Field 4: the parent's process id.
    pub(crate) parent: u32,
    /// Field 5: the process group's id.
    pub(crate) group: u32,
    /// Field 7: whether there is a controlling terminal.
    pub(crate) terminal: bool,
    /// Field 22: when it started, in clock ticks since the start of the system.
    pub(crate) start: u64,
}

impl ProcessStat {
    /// Reads it; nothing when there is no such process (any more).
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name may hold anything, spaces and parentheses too: the last `)` ends it.
    fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.rsplit_once(") ")?;
        let (_, comm) = before.split_once('(')?;
        let fields: Vec<&str> = after.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            comm: comm.into(),
            parent: u32::try_from(number(4)?).ok()?,
            group: u32::try_from(number(5)?).ok()?,
            terminal: number(7)? != 0,
            start: number(22)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let line =
            "301 (a) (odd) name) S 300 299 298 34816 1 2 3 4 5 6 7 8 9 10 20 0 30 0 12345 1 2";
        assert_eq!(
            ProcessStat::parse(line),
            Some(ProcessStat {
                comm: "a) (odd) name".into(),
                parent: 300,
                group: 299,
                terminal: true,
                start: 12345
            })
        );
        for bad in [
            "",
            "301",
            "301 (x",
            "301 (x) S 300",
            "301 (x) S a b c d e f g h i j k l m n o p q r s t",
        ] {
            assert_eq!(ProcessStat::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn this_process() {
        let stat = ProcessStat::of(std::process::id()).unwrap();
        assert!(!stat.comm.is_empty() && stat.parent > 0);
    }
}
