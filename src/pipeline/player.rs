//! A player's temporary file: one video, or what Firefox makes of several.

use std::{
    fs::File,
    io,
    os::unix::ffi::OsStrExt,
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::{
    agenda::Waiting,
    item::{GRACE, Item, ItemContent, Key, SaveOutcome},
    worker::Pipeline,
};
use crate::{
    content::Content,
    engine::{Hold, lease},
    library::folder::PlaceError,
    media::{
        self, Report, Verdict,
        firefox::{self, NotProven, RepairPlan},
    },
    stream::OpenBody,
};

/// What Firefox calls the file in which it keeps the media of a content process
/// (nsAnonymousTemporaryFile.cpp).
const FIREFOX: &[u8] = b"mozilla-temp-";
/// How many of a file's first bytes are compared to find it in a cache.
const HEAD: usize = 64 << 10;

impl Pipeline {
    /// A held file is finished, or has stopped growing for now.
    pub(super) fn player(&mut self, hold: Arc<Hold>, finished: bool, settled: Instant) {
        let file = match hold.open() {
            Ok(file) => file,
            Err(e) => return self.give_up(&hold, &super::chain(&PlaceError::Read(e))),
        };
        let stamp = lease::stamp(&file).ok();
        if self.saver.has(hold.id, stamp) {
            return self.done(hold.id, !finished);
        }
        let until = SystemTime::now() - settled.elapsed();
        // Once the file is closed, nobody plays it any more, and no title comes.
        let deadline = if finished { until } else { hold.at + GRACE };
        let outcome = media::inspect(&*file)
            .map_err(PlaceError::Read)
            .and_then(|report| {
                let item = Item {
                    key: Key::Part(hold.id, 0),
                    replaces: None,
                    source: &hold.source,
                    rule: &hold.rule,
                    how: hold.how,
                    producer: hold.producer.get(),
                    at: hold.at,
                    until,
                    deadline,
                    bytes: stamp.map_or(0, |stamp| stamp.size),
                    content: ItemContent::Held(&hold, report.content_len),
                    report: &report,
                    stamp,
                    finished,
                    title: None,
                    file_title: None,
                    address_title: None,
                    address: None,
                    remarks: report.detail.clone(),
                    settled,
                };
                if is_firefox(&hold) {
                    self.firefox(&hold, &file, &item)
                } else {
                    self.saver.keep(&item)
                }
            });
        if matches!(outcome, Ok(SaveOutcome::Waits | SaveOutcome::Untitled(_))) {
            // Of several videos in it, one is saved and another waits: the file is looked at again,
            // even if it doesn't change.
            self.saver.expect_change(hold.id);
        }
        match outcome {
            Ok(SaveOutcome::Untitled(until)) => {
                let waiting = Waiting::Player {
                    hold,
                    finished,
                    at: settled,
                };
                self.agenda.wait_for_title(until, waiting);
            }
            Ok(SaveOutcome::Ended) => self.done(hold.id, !finished),
            Ok(SaveOutcome::Waits) => self.done(hold.id, true),
            // fisga is ending: the file stays held for the next start.
            Err(PlaceError::Stopped) => {}
            Err(e) if e.retry() => self.wait(
                Waiting::Player {
                    hold,
                    finished,
                    at: settled,
                },
                &e,
            ),
            Err(e) => self.give_up(&hold, &super::chain(&e)),
        }
    }

    fn give_up(&mut self, hold: &Hold, reason: &str) {
        let (source, reason) = (&hold.source, reason.to_owned());
        self.saver.fail(format!("{}: {reason}", source.display()));
        self.saver.drop_source(source, &hold.rule, reason);
        self.done(hold.id, false);
    }

    /// Firefox's file has blocks in the order of their arrival. Saves the video as it lies, or each
    /// video that can be put back into order; else the browser's cache may have the video itself.
    fn firefox(
        &mut self,
        hold: &Hold,
        file: &File,
        item: &Item<'_>,
    ) -> Result<SaveOutcome, PlaceError> {
        // While the file is open, it is put in order only if the video is not whole as it lies.
        // When it is closed, a second video may follow the first.
        let whole = item.report.verdict == Verdict::Complete;
        if whole && !item.finished {
            return self.saver.keep(item);
        }
        let (mut videos, mut unproven) = (Vec::new(), None);
        for video in repaired(file).map_err(PlaceError::Read)? {
            match video {
                Ok(video) => videos.push(video),
                Err(why) => unproven = Some(why),
            }
        }
        if videos.is_empty() {
            return match self.exactly_from_cache(item)? {
                Some(outcome) => Ok(outcome),
                None => self.saver.keep(&Item {
                    report: &doubtful(item.report, unproven),
                    ..item.clone()
                }),
            };
        }
        let mut outcome = SaveOutcome::Ended;
        for (plan, report) in &videos {
            let first = plan.parts.first().map_or(0, |part| part.from);
            let view = plan.view(file);
            let part = Item {
                key: Key::Part(hold.id, first),
                bytes: plan.len,
                content: if plan.is_linear() {
                    ItemContent::Held(hold, Some(plan.len))
                } else {
                    ItemContent::Read(&view)
                },
                report,
                ..item.clone()
            };
            match self.saver.keep(&part)? {
                SaveOutcome::Ended => {}
                waits => outcome = waits,
            }
        }
        if let Some(why) = unproven {
            // Saves the file itself too: what could not be taken out of it would be lost otherwise.
            let verdict = Verdict::Damaged {
                reason: format!("one of several videos in a file: {why}"),
            };
            let report = Report {
                verdict,
                ..item.report.clone()
            };
            let rest = Item {
                key: Key::Remainder(hold.id),
                report: &report,
                ..item.clone()
            };
            match self.saver.keep(&rest)? {
                SaveOutcome::Ended => {}
                waits => outcome = waits,
            }
        }
        Ok(outcome)
    }

    /// The same video, whole, from the browser's disk cache.
    fn exactly_from_cache(&mut self, item: &Item<'_>) -> Result<Option<SaveOutcome>, PlaceError> {
        let ItemContent::Held(hold, _) = item.content else {
            return Ok(None);
        };
        let mut head = vec![0; HEAD];
        let file = hold.open().map_err(PlaceError::Read)?;
        let n = Content::read_at(&*file, 0, &mut head).map_err(PlaceError::Read)?;
        let Some(body) = self.collector.exact(&head[..n], None) else {
            return Ok(None);
        };
        let body: OpenBody = body.open().map_err(PlaceError::Read)?;
        let report = media::inspect(&body).map_err(PlaceError::Read)?;
        let (bytes, content) = (Content::len(&body), ItemContent::Read(&body));
        self.saver
            .keep(&Item {
                bytes,
                content,
                report: &report,
                ..item.clone()
            })
            .map(Some)
    }
}

fn is_firefox(hold: &Hold) -> bool {
    hold.source
        .file_name()
        .is_some_and(|name| name.as_bytes().starts_with(FIREFOX))
}

/// A video that can be put back into order, and a report on it; or why not.
type Repaired = Result<(RepairPlan, Report), NotProven>;

/// The videos in a file of Firefox's.
fn repaired(file: &File) -> io::Result<Vec<Repaired>> {
    let judge = |plan: RepairPlan| {
        let mut report = media::inspect(&plan.view(file))?;
        if let Some(doubt) = plan.doubt() {
            report.verdict = Verdict::Damaged {
                reason: doubt.to_string(),
            };
        }
        Ok((plan, report))
    };
    let found = firefox::repair(file)?.into_iter();
    found
        .map(|video| video.map_or_else(|why| Ok(Err(why)), |plan| judge(plan).map(Ok)))
        .collect()
}

/// A file that looks whole by its structure, but whose blocks are not proven to be in order, is not
/// called whole.
fn doubtful(report: &Report, unproven: Option<NotProven>) -> Report {
    match unproven {
        Some(why) if report.verdict != Verdict::Complete => Report {
            verdict: Verdict::Damaged {
                reason: why.to_string(),
            },
            ..report.clone()
        },
        _ => report.clone(),
    }
}
