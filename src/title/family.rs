//! Which processes belong to one program: a process and its ancestors, up to the session that we
//! run in ourselves.

use std::fs;

/// Longer chains than this are no program's.
const MOST: usize = 32;

/// A process and those above it, nearest first, without what isn't special to one program: init,
/// the ancestors of fisga itself (the session, the terminal), and the shell of a terminal that
/// started it as a job.
///
/// A process is known by its id and its start, so that an id that is used again is another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family(Vec<Process>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    /// In clock ticks since the start of the system.
    start: u64,
}

/// What `/proc/PID/stat` tells of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    group: u32,
    terminal: bool,
    start: u64,
}

impl Family {
    /// The family of a process, as it is now: empty when there is no such process (any more).
    ///
    /// Ask early: when a program has ended, its processes no longer tell where they belonged.
    pub fn of(pid: u32) -> Self {
        Self::climb(pid, &own_ancestors(std::process::id(), read), read)
    }

    fn climb(pid: u32, strangers: &[u32], stat: impl Fn(u32) -> Option<Stat>) -> Self {
        let mut chain = Vec::new();
        let mut next = Some(pid);
        while let Some(pid) =
            next.filter(|pid| *pid > 1 && !strangers.contains(pid) && chain.len() < MOST)
        {
            let Some(Stat {
                parent,
                group,
                start,
                ..
            }) = stat(pid)
            else {
                break;
            };
            chain.push(Process { pid, start });
            // A shell gives each job a process group of its own (setpgid(2), termios(3)).
            let is_job =
                stat(parent).is_some_and(|parent| parent.terminal && parent.group != group);
            next = (!is_job).then_some(parent);
        }
        Self(chain)
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many generations above the first process the nearest common ancestor is; `None` if there
    /// is none.
    pub fn steps_to(&self, other: &Self) -> Option<usize> {
        self.0.iter().position(|process| other.0.contains(process))
    }
}

/// A process and all above it.
fn own_ancestors(pid: u32, stat: impl Fn(u32) -> Option<Stat>) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = pid;
    while let Some(Stat { parent, .. }) =
        stat(at).filter(|stat| stat.parent > 0 && all.len() < MOST)
    {
        all.push(parent);
        at = parent;
    }
    all
}

fn read(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 4, 5, 7 and 22 of proc(5), `/proc/PID/stat`; the name before them may hold spaces and
/// parentheses.
fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: number(4)? as u32,
        group: number(5)? as u32,
        terminal: number(7)? != 0,
        start: number(22)?,
    })
}

#[cfg(test)]
impl Family {
    /// For tables of cases: process ids, nearest first.
    pub(super) fn test(pids: &[u32]) -> Self {
        Self(
            pids.iter()
                .map(|pid| Process {
                    pid: *pid,
                    start: 0,
                })
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// pid, parent, group, on a terminal
    const SYSTEM: &[(u32, u32, u32, bool)] = &[
        (100, 1, 100, false),   // the session
        (200, 100, 200, false), // fisga
        (300, 100, 300, false), // a browser
        (301, 300, 300, false), // its content process
        (400, 100, 400, false), // a terminal window
        (401, 400, 401, true),  // its shell
        (402, 401, 402, true),  // a job: a browser
        (403, 402, 402, true),  // its network process
        (404, 401, 404, true),  // a job: a player
        (500, 100, 500, false), // a sandboxed browser
        (501, 500, 500, false), // bwrap
        (502, 501, 500, false), // its network process
        (503, 500, 500, false), // its bus proxy
    ];

    fn stat(pid: u32) -> Option<Stat> {
        let (_, parent, group, terminal) = *SYSTEM.iter().find(|process| process.0 == pid)?;
        Some(Stat {
            parent,
            group,
            terminal,
            start: u64::from(pid),
        })
    }

    fn family(pid: u32) -> Family {
        Family::climb(pid, &own_ancestors(200, stat), stat)
    }

    #[test]
    fn steps() {
        for (holder, player, steps, what) in [
            (301, 300, Some(1), "content process and browser"),
            (301, 301, Some(0), "one process"),
            (502, 503, Some(2), "sandbox and bus proxy"),
            (403, 402, Some(1), "a browser started in a terminal"),
            (403, 404, None, "two jobs of one shell"),
            (301, 502, None, "two browsers of one session"),
            (301, 200, None, "fisga itself"),
            (301, 999, None, "a process that is gone"),
        ] {
            assert_eq!(family(holder).steps_to(&family(player)), steps, "{what}");
        }
    }

    #[test]
    fn an_id_that_is_used_again_is_another_process() {
        let then = Family(vec![Process { pid: 7, start: 1 }]);
        let now = Family(vec![Process { pid: 7, start: 2 }]);
        assert_eq!(then.steps_to(&now), None);
    }

    #[test]
    fn stat_lines() {
        let line =
            "301 (a (odd) name) S 300 299 298 34816 1 2 3 4 5 6 7 8 9 10 20 0 30 0 12345 1 2";
        assert_eq!(
            parse(line),
            Some(Stat {
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
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_real_process() {
        assert!(
            Family::of(std::process::id()).is_empty(),
            "fisga is no player"
        );
        assert!(Family::of(u32::MAX).is_empty());
    }
}
