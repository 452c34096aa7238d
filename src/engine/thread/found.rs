//! Files that no event of ours led to a link of: those that a process has open, those that a crash
//! left, those whose events were lost.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use rustix::fs::{AtFlags, statat};

use super::{
    super::{
        Notice, keeper, lease,
        open::born,
        rescue::{self, Answer, Caught, Folders, Request, Wanted},
        settle::Writers,
        staging::{Origin, Staged, Staging},
        watch::{Node, Target},
    },
    Core, Pending,
};
use crate::{
    event::How,
    inode::Inode,
    rule::{Rule, Source},
};

/// An event is read within this time of what it tells, however busy the machine.
const RECENT: Duration = Duration::from_secs(5);

impl<N: Fn(Notice)> Core<N> {
    /// The name is gone already: whoever has the file open is asked for it.
    pub(super) fn wanted(&mut self, descriptor: i32, name: OsString) {
        let Some(node) = self.watches.get(descriptor) else {
            return;
        };
        let Some(Target::Rule(rule)) = node.target(&name) else {
            return;
        };
        self.count += 1;
        let ticket = self.count;
        let (source, rule) = (node.path().join(&name), rule.clone());
        let since = self.drained.max(SystemTime::now() - RECENT);
        let wanted = Wanted {
            ticket,
            folder: node.path().into(),
            name,
            dev: node.dev,
            since,
        };
        self.pending.insert(
            ticket,
            Pending {
                source,
                rule,
                staging: node.staging.clone(),
            },
        );
        self.ask(Request::Lost(wanted));
    }

    pub(super) fn ask(&self, request: Request) {
        if self.requests.send(rescue::Message::Asked(request)).is_err() {
            tracing::error!("the rescue thread has ended");
        }
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Found { ticket, caught } => {
                let Some(pending) = self.pending.remove(&ticket) else {
                    return;
                };
                for caught in caught {
                    let (source, staging) = (pending.source.clone(), pending.staging.clone());
                    self.caught(caught, source, pending.rule.clone(), staging, How::Rescue);
                }
            }
            Answer::Gone { ticket, unreadable } => {
                let Some(pending) = self.pending.remove(&ticket) else {
                    return;
                };
                let mut reason =
                    String::from("its name was removed, and no process has it open any more");
                if unreadable > 0 {
                    reason.push_str(&format!(" ({unreadable} could not be looked into)"));
                }
                self.lost(pending.source, pending.rule, reason);
            }
            Answer::Who {
                ticket,
                producer,
                written,
            } => {
                let Some(tracked) = self.holds.get(&ticket) else {
                    return;
                };
                if let Some(producer) = producer {
                    let _ = tracked.hold.producer.set(producer);
                }
                let look = lease::look(&tracked.hold.file, tracked.hold.own_links());
                if let Ok(mut look) = look
                    && look.writers == Writers::Unknown
                    && tracked.handed.is_none()
                {
                    look.writers = if written {
                        Writers::Some
                    } else {
                        Writers::None
                    };
                    self.step(ticket, look, Instant::now());
                }
            }
            // Paused since the look began.
            Answer::Open { .. } if self.paused() => {}
            Answer::Open {
                folder,
                name,
                caught,
            } => {
                // A sandbox's folder reads as the one outside: the device tells them apart.
                let nodes = self
                    .watches
                    .nodes()
                    .filter(|(_, node)| node.path() == folder);
                let Some((node, rule)) = nodes
                    .filter_map(|(_, node)| match node.target(&name) {
                        Some(Target::Rule(rule)) => Some((node, rule)),
                        _ => None,
                    })
                    .max_by_key(|(node, _)| node.dev == caught.inode.dev)
                else {
                    return;
                };
                let (rule, staging) = (rule.clone(), node.staging.clone());
                let before = self.holds.len();
                let source = folder.join(&name);
                // It may be the very file that is searched for: then it is found.
                self.pending.retain(|_, pending| pending.source != source);
                self.caught(caught, source, rule, staging, How::Attach);
                self.grabbed += (self.holds.len() - before) as u64;
            }
            Answer::OpenDone { asked } => {
                let grabbed = std::mem::take(&mut self.grabbed);
                std::mem::take(&mut self.orphans)
                    .into_iter()
                    .for_each(keeper::dismiss);
                if let Some(listed) = self.overflowed.take() {
                    (self.notice)(Notice::Overflow {
                        recovered: listed + grabbed,
                    });
                }
                (self.notice)(Notice::Grabbed {
                    count: grabbed,
                    asked,
                });
            }
            Answer::Sandbox { dir, root } => {
                if self.watches.enter_private(dir, &root) {
                    self.after_walk();
                    // What it has open by now was created before we looked.
                    self.look_into(false);
                }
            }
        }
    }

    /// A file taken from a process; with a link of our own where it still has a name, or never had
    /// one (O_TMPFILE).
    pub(super) fn caught(
        &mut self,
        caught: Caught,
        source: PathBuf,
        rule: Arc<Rule>,
        staging: Option<Arc<Staging>>,
        how: How,
    ) {
        if caught.orphan {
            self.orphans.insert(caught.pid);
        }
        if self.by_inode.contains_key(&caught.inode) {
            return;
        }
        self.count += 1;
        let at = SystemTime::now();
        let staged = staging.and_then(|staging| {
            let name = source.file_name().unwrap_or_default().to_owned();
            let name = Origin {
                at,
                rule: rule.name.clone(),
                name,
            }
            .encode(self.count);
            staging.link_open(&caught.file, &name).ok()?;
            Some(Staged { staging, name })
        });
        self.hold(caught.file, staged, source, rule, how, caught.producer, at);
    }

    /// Files that are open already, named or not, wherever a rule looks.
    pub(super) fn look_for_open(&self, asked: bool) {
        self.ask(Request::Sandboxes);
        self.look_into(asked);
    }

    fn look_into(&self, asked: bool) {
        self.ask(Request::Open {
            folders: self.concerns(),
            asked,
        });
    }

    /// The folders that hold candidates, and their globs, as they are now.
    pub(super) fn concerns(&self) -> Folders {
        let leaves = self.watches.nodes().filter(|(_, node)| node.is_leaf());
        let globs: HashMap<PathBuf, Vec<_>> = leaves
            .map(|(_, node)| (node.path().to_owned(), node.matchers()))
            .collect();
        Arc::new(move |folder: &Path, name: &OsStr| {
            globs
                .get(folder)
                .is_some_and(|all| all.iter().any(|matcher| matcher.matches(name)))
        })
    }

    /// What a crash, or the last end, left in staging.
    pub(super) fn recover(&mut self) {
        let stagings: Vec<_> = self.watches.stagings.iter().cloned().collect();
        for staging in stagings.iter().filter(|staging| staging.is_ours_alone()) {
            for name in staging.names().unwrap_or_default() {
                let (Some(origin), Ok(file)) = (Origin::parse(&name), staging.read(&name)) else {
                    continue;
                };
                let known = self
                    .watches
                    .plan()
                    .rules
                    .iter()
                    .find(|rule| rule.name == origin.rule);
                let rule = known.cloned().unwrap_or_else(|| {
                    let (folders, files) = (Vec::new(), Vec::new());
                    let source = Source::Temporary;
                    Arc::new(Rule {
                        name: origin.rule.clone(),
                        folders,
                        files,
                        recursive: false,
                        source,
                    })
                });
                let source = self
                    .origin_of(&rule, &origin.name, &file)
                    .join(&origin.name);
                let staged = Some(Staged {
                    staging: staging.clone(),
                    name,
                });
                self.hold(file, staged, source, rule, How::Link, None, origin.at);
            }
        }
    }

    /// The folder that a staged file came from: where it lies still, else where its name does, else
    /// the only one there is.
    fn origin_of(&self, rule: &Rule, name: &OsStr, file: &File) -> PathBuf {
        let named = |node: &&Node| matches!(node.target(name), Some(Target::Rule(r)) if r.name == rule.name);
        let folders: Vec<&Node> = self
            .watches
            .nodes()
            .map(|(_, node)| node)
            .filter(named)
            .collect();
        let inode = Inode::of(file).ok();
        let there = |node: &Node| statat(node.dir(), name, AtFlags::SYMLINK_NOFOLLOW).ok();
        let same =
            |node: &&&Node| there(node).is_some_and(|stat| inode == Some(Inode::from(&stat)));
        let found = folders
            .iter()
            .find(same)
            .or_else(|| folders.iter().find(|node| there(node).is_some()));
        match (found, &folders[..]) {
            (Some(node), _) | (None, [node]) => node.path().to_owned(),
            _ => rule
                .folders
                .first()
                .filter(|f| !f.contains('*'))
                .map(PathBuf::from)
                .unwrap_or_default(),
        }
    }

    /// Events were lost: everything made since is looked for (inotify(7), IN_Q_OVERFLOW).
    pub(super) fn overflow(&mut self, since: SystemTime) {
        self.watches.rebuild();
        self.watches.list_leaves();
        let found = std::mem::take(&mut self.watches.found);
        let mut recovered = 0;
        for found in found {
            let born = self
                .watches
                .get(found.node)
                .and_then(|node| born(&node.dir(), &found.name).ok());
            if born.is_some_and(|born| born >= since) && self.consider(found.node, &found.name) {
                recovered += 1;
            }
        }
        self.after_walk();
        self.overflowed = Some(self.overflowed.unwrap_or_default() + recovered);
        self.look_for_open(false);
    }
}
