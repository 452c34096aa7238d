//! Which processes belong to one program: a process and its ancestors, up to the session that we
//! run in ourselves.

use crate::process::ProcessStat;

/// Most generations that are followed upwards.
const MAX_GENERATIONS: usize = 32;

/// A process and its ancestors, nearest first. Ancestors that unrelated programs share are left
/// out: init, the ancestors of fisga itself (the session, the terminal), and the shell that started
/// the program as a job.
///
/// A process is identified by its id and its start time, because ids are used again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family(Vec<Process>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    /// In clock ticks since the start of the system.
    start: u64,
}

impl Family {
    /// That of a process that isn't known.
    pub const fn unknown() -> Self {
        Self(Vec::new())
    }

    /// The family of a process, as it is now; empty when there is no such process.
    ///
    /// It has to be asked for while the program runs: nothing is known of processes that have ended.
    pub fn of(pid: u32) -> Self {
        Self::collect(
            pid,
            &own_ancestors(std::process::id(), ProcessStat::of),
            ProcessStat::of,
        )
    }

    fn collect(pid: u32, shared: &[u32], stat: impl Fn(u32) -> Option<ProcessStat>) -> Self {
        let mut chain = Vec::new();
        let mut next = Some(pid);
        while let Some(pid) =
            next.filter(|pid| *pid > 1 && !shared.contains(pid) && chain.len() < MAX_GENERATIONS)
        {
            let Some(ProcessStat {
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

    /// How many generations above this process the nearest common ancestor of both is; `None` if
    /// there is none.
    pub fn distance_to(&self, other: &Self) -> Option<usize> {
        self.0.iter().position(|process| other.0.contains(process))
    }
}

/// A process and all its ancestors.
fn own_ancestors(pid: u32, stat: impl Fn(u32) -> Option<ProcessStat>) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = pid;
    while let Some(ProcessStat { parent, .. }) =
        stat(at).filter(|stat| stat.parent > 0 && all.len() < MAX_GENERATIONS)
    {
        all.push(parent);
        at = parent;
    }
    all
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

    fn stat(pid: u32) -> Option<ProcessStat> {
        let (_, parent, group, terminal) = *SYSTEM.iter().find(|process| process.0 == pid)?;
        Some(ProcessStat {
            comm: String::new(),
            parent,
            group,
            terminal,
            start: u64::from(pid),
        })
    }

    fn family(pid: u32) -> Family {
        Family::collect(pid, &own_ancestors(200, stat), stat)
    }

    #[test]
    fn distances() {
        for (holder, player, distance, what) in [
            (301, 300, Some(1), "content process and browser"),
            (301, 301, Some(0), "one process"),
            (502, 503, Some(2), "sandbox and bus proxy"),
            (403, 402, Some(1), "a browser started in a terminal"),
            (403, 404, None, "two jobs of one shell"),
            (301, 502, None, "two browsers of one session"),
            (301, 200, None, "fisga itself"),
            (301, 999, None, "a process that is gone"),
        ] {
            assert_eq!(
                family(holder).distance_to(&family(player)),
                distance,
                "{what}"
            );
        }
    }

    #[test]
    fn an_id_that_is_used_again_is_another_process() {
        let then = Family(vec![Process { pid: 7, start: 1 }]);
        let now = Family(vec![Process { pid: 7, start: 2 }]);
        assert_eq!(then.distance_to(&now), None);
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
