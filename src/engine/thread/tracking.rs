//! Held files on the engine's thread: from our grip until
//! [`Command::Done`](super::super::Command::Done).

use std::{
    fs::File,
    path::PathBuf,
    sync::Arc,
    time::{Instant, SystemTime},
};

use inotify::EventMask;

use super::{
    super::{
        Notice,
        hold::{Hold, HoldId, Producer},
        lease,
        rescue::Request,
        settle::{Look, Settle, Step, Writers},
        staging::{Origin, Staged},
    },
    Core, SANDBOXES, Tracked, manner,
};
use crate::{
    event::How,
    inode::Inode,
    rule::{Rule, Source},
};

impl<N: Fn(Notice)> Core<N> {
    /// From now on the content can't get lost.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn hold(
        &mut self,
        file: File,
        staged: Option<Staged>,
        source: PathBuf,
        rule: Arc<Rule>,
        how: How,
        producer: Option<Producer>,
        at: SystemTime,
    ) {
        let discard = |staged: &Option<Staged>| {
            if let Some(staged) = staged {
                let _ = staged.staging.remove(&staged.name);
            }
        };
        let inode = match Inode::of(&file) {
            Ok(inode) if !self.by_inode.contains_key(&inode) => inode,
            _ => return discard(&staged),
        };
        self.count += 1;
        let id = self.count;
        let hold = Arc::new(Hold::new(id, (file, staged), inode, source, rule, how, at));
        let watch = match self.watches.watch_file(&hold.file, false) {
            Ok(watch) => {
                self.by_watch.insert(watch.get_watch_descriptor_id(), id);
                Some(watch)
            }
            Err(e) => {
                tracing::warn!("{}: changes are not told: {e}", hold.source.display());
                None
            }
        };
        if hold.staged.is_none() {
            let name = hold.source.file_name().unwrap_or_default().to_owned();
            let staged = Origin {
                at,
                rule: hold.rule.name.clone(),
                name,
            }
            .encode(id);
            let library = &self.watches.plan().library;
            if let Err(e) = self.keeper.keep(id, &hold.file, &staged, library) {
                tracing::warn!(
                    "{}: it would not survive a crash: {e}",
                    hold.source.display()
                );
            }
        }
        let now = Instant::now();
        let look = lease::look(&hold.file, hold.own_links()).unwrap_or_else(|e| {
            tracing::warn!("{}: {e}", hold.source.display());
            Look::default()
        });
        self.by_inode.insert(inode, id);
        match producer {
            Some(producer) => drop(hold.producer.set(producer)),
            // Nobody writes, so nobody is to be found.
            None if look.writers == Writers::None => {}
            None if hold.rule.source == Source::Temporary => {
                let name = hold.source.file_name().unwrap_or_default().to_owned();
                self.ask(Request::Who {
                    ticket: id,
                    name,
                    inode,
                });
            }
            None => {}
        }
        let tracked = Tracked {
            hold: hold.clone(),
            settle: Settle::new(manner(&hold), look.stamp, now),
            watch,
            changes: false,
            deadline: None,
            handed: None,
        };
        self.holds.insert(id, tracked);
        (self.notice)(Notice::Held(hold));
        self.step(id, look, now);
    }

    /// The kernel tells of a held file.
    pub(super) fn file(&mut self, descriptor: i32, mask: EventMask) {
        let Some(&id) = self.by_watch.get(&descriptor) else {
            return;
        };
        if mask.contains(EventMask::IGNORED) {
            self.by_watch.remove(&descriptor);
            return;
        }
        let now = Instant::now();
        if mask.contains(EventMask::CLOSE_WRITE)
            && let Some(tracked) = self.holds.get_mut(&id)
        {
            tracked.settle.closed(now);
        }
        self.look(id, now);
    }

    /// Looks at a held file and does what the settle machine says.
    pub(super) fn look(&mut self, id: HoldId, now: Instant) {
        let Some(tracked) = self.holds.get_mut(&id) else {
            return;
        };
        if tracked.handed.is_some() {
            return;
        }
        match lease::look(&tracked.hold.file, tracked.hold.own_links()) {
            Ok(look) => self.step(id, look, now),
            Err(e) => tracing::warn!("{}: {e}", tracked.hold.source.display()),
        }
    }

    pub(super) fn step(&mut self, id: HoldId, look: Look, now: Instant) {
        let Some(tracked) = self.holds.get_mut(&id) else {
            return;
        };
        let step = tracked.settle.step(look, now);
        let due = match step {
            Step::LookAt(due) => Some(due),
            _ => None,
        };
        if let Some(old) = std::mem::replace(&mut tracked.deadline, due) {
            self.deadlines.remove(&(old, id));
        }
        self.deadlines.extend(due.map(|due| (due, id)));
        // While a file grows, a look now and then costs less than an event for each write.
        let changes = matches!(step, Step::Sleep | Step::Quiet) && tracked.settle.wants_changes();
        let mut watched_late = false;
        if tracked.changes != changes
            && let Ok(watch) = self.watches.watch_file(&tracked.hold.file, changes)
        {
            self.by_watch.insert(watch.get_watch_descriptor_id(), id);
            (tracked.watch, tracked.changes) = (Some(watch), changes);
            watched_late = changes;
        }
        match step {
            // What changed between the look and the watch raised no event.
            Step::Sleep if watched_late => {
                let again = lease::look(&tracked.hold.file, tracked.hold.own_links());
                if let Ok(again) = again
                    && again != look
                {
                    self.step(id, again, now);
                }
            }
            Step::Sleep | Step::LookAt(_) => {}
            Step::Ask => {
                let name = tracked
                    .hold
                    .source
                    .file_name()
                    .unwrap_or_default()
                    .to_owned();
                let inode = tracked.hold.inode;
                self.ask(Request::Who {
                    ticket: id,
                    name,
                    inode,
                });
            }
            Step::Quiet | Step::Finished => {
                tracked.handed = Some(look.stamp);
                let (hold, finished) = (tracked.hold.clone(), step == Step::Finished);
                (self.notice)(Notice::Settled { hold, finished });
            }
        }
    }

    /// Looks at everything whose time has come.
    pub(super) fn due(&mut self, now: Instant) {
        while let Some(&(due, id)) = self.deadlines.first()
            && due <= now
        {
            self.deadlines.pop_first();
            if id == SANDBOXES {
                self.ask(Request::Sandboxes);
                continue;
            }
            if let Some(tracked) = self.holds.get_mut(&id) {
                tracked.deadline = None;
            }
            self.look(id, now);
        }
    }

    /// The caller has dealt with a file. If it changed meanwhile, the story goes on.
    pub(super) fn done(&mut self, id: HoldId, keep: bool) {
        let Some(tracked) = self.holds.get_mut(&id) else {
            return;
        };
        let handed = tracked.handed.take();
        let now = lease::stamp(&tracked.hold.file);
        let changed = handed.is_some_and(|handed| now.is_ok_and(|now| now != handed));
        if keep || changed {
            return self.look(id, Instant::now());
        }
        let Some(tracked) = self.holds.remove(&id) else {
            return;
        };
        self.by_inode.remove(&tracked.hold.inode);
        if let Some(watch) = tracked.watch {
            self.by_watch.remove(&watch.get_watch_descriptor_id());
            let _ = self.watches.inotify.watches().remove(watch);
        }
        if let Some(due) = tracked.deadline {
            self.deadlines.remove(&(due, id));
        }
        tracked.hold.release();
        if tracked.hold.staged.is_none() {
            self.keeper.drop(id);
        }
        (self.notice)(Notice::Released(tracked.hold));
    }
}
