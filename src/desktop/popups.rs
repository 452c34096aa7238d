//! Which popups to show, replace and close, and what a click on one means. Pure: time is an
//! argument.
//!
//! A popup costs an entry in a list of at most [`LIVE`], nothing else. Files that are saved within
//! [`GAP`] of a popup join it as a summary, so that a burst costs one popup, and a server that
//! hangs gets one call at a time.

use std::{
    collections::{HashSet, VecDeque},
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{action::Action, menu::shorten};
use crate::text;

/// Popups whose clicks are awaited. The oldest beyond is closed.
pub const LIVE: usize = 16;

/// After a popup of a saved file, the time within which the next one joins it.
pub const GAP: Duration = Duration::from_secs(3);

/// Titles that a summary names.
const NAMED: usize = 3;

/// A saved file, as far as a popup is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its title.
    pub title: String,
    /// Its size.
    pub bytes: u64,
    /// Its length.
    pub length: Option<Duration>,
    /// The program that played it.
    pub program: Option<String>,
    /// A picture of it.
    pub thumbnail: Option<PathBuf>,
}

/// A popup to show, in plain text.
#[derive(Clone, Debug, PartialEq)]
pub struct Popup {
    /// The headline.
    pub summary: String,
    /// What follows.
    pub body: String,
    /// A picture.
    pub image: Option<PathBuf>,
    /// Whether something is wrong.
    pub warning: bool,
    /// Keys and labels of what can be clicked. `default` is the popup itself.
    pub buttons: Vec<(&'static str, &'static str)>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum PopupInput {
    /// A file was saved.
    Saved(SavedFile),
    /// Something went wrong that the user should know.
    Failed(String),
    /// The user asked to save what is playing: how many files are held that were not before.
    Grabbed(u64),
    /// The very first start.
    Welcome {
        /// Where videos will go.
        library: String,
    },
    /// The server has shown what [`PopupEffect::Show`] asked for, under this id, or has not.
    Shown(Option<u32>),
    /// The user clicked.
    Clicked {
        /// Which popup.
        id: u32,
        /// Which button.
        key: String,
    },
    /// A popup is gone.
    Closed(u32),
    /// The server came, was replaced (`true`) or went (`false`): its ids start over.
    Server(bool),
    /// Whether popups are wanted.
    Enabled(bool),
    /// A deadline has passed.
    Tick,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub enum PopupEffect {
    /// Show it, in place of the popup with this id if there is one. The result comes back as
    /// [`PopupInput::Shown`].
    Show(Popup, Option<u32>),
    /// Close it.
    Close(u32),
    /// The user asks for it.
    Do(Action),
}

/// The state machine.
#[derive(Debug)]
pub struct Popups {
    enabled: bool,
    live: VecDeque<(u32, ClickTarget)>,
    shown: Option<ClickTarget>,
    burst: Option<Burst>,
    reported: HashSet<String>,
    /// Whether someone shows popups.
    server: bool,
    /// What can't be shown yet and must not be lost: the welcome, failures.
    backlog: VecDeque<Popup>,
}

/// What the buttons of a popup do.
#[derive(Clone, Debug, PartialEq)]
enum ClickTarget {
    One(PathBuf),
    Folder,
    Burst,
}

/// Files that were saved close upon one another, and their common popup.
#[derive(Debug)]
struct Burst {
    count: usize,
    bytes: u64,
    titles: Vec<String>,
    /// Its popup, while the server shows it.
    popup: Option<u32>,
    last: Instant,
    due: bool,
}

impl Popups {
    /// No popup yet.
    pub fn new(enabled: bool) -> Self {
        Self {
            enabled,
            live: VecDeque::new(),
            shown: None,
            burst: None,
            reported: HashSet::new(),
            server: false,
            backlog: VecDeque::new(),
        }
    }

    /// When to send [`PopupInput::Tick`].
    pub fn deadline(&self) -> Option<Instant> {
        self.burst.as_ref().filter(|b| b.due).map(|b| b.last + GAP)
    }

    /// How many popups' clicks are awaited.
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Takes in an input and performs its effects, in order. What `perform` returns is the next
    /// input.
    pub fn run(
        &mut self,
        input: PopupInput,
        now: impl Fn() -> Instant,
        mut perform: impl FnMut(PopupEffect) -> Option<PopupInput>,
    ) {
        let mut queue = VecDeque::from(self.on(input, now()));
        while let Some(effect) = queue.pop_front() {
            if let Some(input) = perform(effect) {
                queue.extend(self.on(input, now()));
            }
        }
    }

    /// Takes in what happened at `now`.
    fn on(&mut self, input: PopupInput, now: Instant) -> Vec<PopupEffect> {
        match input {
            PopupInput::Saved(file) => self.saved(file, now),
            PopupInput::Failed(message) if self.enabled && self.is_news(&message) => {
                self.queue(failure(message))
            }
            PopupInput::Welcome { library } if self.enabled => self.queue(welcome(&library)),
            PopupInput::Grabbed(count) if self.enabled => self.queue(grabbed(count)),
            PopupInput::Failed(_) | PopupInput::Welcome { .. } | PopupInput::Grabbed(_) => vec![],
            PopupInput::Shown(id) => {
                let mut effects = self.shown(id);
                effects.extend(self.next_of_backlog());
                effects
            }
            PopupInput::Clicked { id, key } => self.clicked(id, &key),
            PopupInput::Closed(id) => {
                self.live.retain(|(live, _)| *live != id);
                if let Some(burst) = &mut self.burst {
                    burst.popup.take_if(|popup| *popup == id);
                }
                vec![]
            }
            PopupInput::Server(is) => {
                self.server = is;
                self.live.clear();
                self.burst.iter_mut().for_each(|b| b.popup = None);
                self.next_of_backlog()
            }
            PopupInput::Enabled(enabled) => {
                self.enabled = enabled;
                self.burst.take_if(|_| !enabled);
                vec![]
            }
            PopupInput::Tick => self.tick(now),
        }
    }

    /// Shows it now, or as soon as a server can.
    fn queue(&mut self, popup: Popup) -> Vec<PopupEffect> {
        self.backlog.push_back(popup);
        let excess = self.backlog.len().saturating_sub(LIVE);
        self.backlog.drain(..excess);
        self.next_of_backlog()
    }

    fn next_of_backlog(&mut self) -> Vec<PopupEffect> {
        let free = self.server && self.shown.is_none();
        match self.backlog.pop_front_if(|_| free) {
            Some(popup) => self.show(popup, ClickTarget::Folder, None),
            None => vec![],
        }
    }

    fn saved(&mut self, file: SavedFile, now: Instant) -> Vec<PopupEffect> {
        self.reported.clear();
        if !self.enabled || !self.server {
            return vec![];
        }
        if let Some(burst) = self.burst.as_mut().filter(|b| b.due || now < b.last + GAP) {
            burst.add(&file);
            burst.due = true;
            return vec![];
        }
        let mut burst = Burst {
            count: 0,
            bytes: 0,
            titles: vec![],
            popup: None,
            last: now,
            due: false,
        };
        burst.add(&file);
        self.burst = Some(burst);
        self.show(one(&file), ClickTarget::One(file.path), None)
    }

    fn tick(&mut self, now: Instant) -> Vec<PopupEffect> {
        let Some(burst) = self.burst.as_mut().filter(|b| b.due && b.last + GAP <= now) else {
            return vec![];
        };
        (burst.last, burst.due) = (now, false);
        let (summary, replaces) = (burst.summary(), burst.popup);
        self.show(summary, ClickTarget::Burst, replaces)
    }

    fn show(
        &mut self,
        popup: Popup,
        target: ClickTarget,
        replaces: Option<u32>,
    ) -> Vec<PopupEffect> {
        self.shown = Some(target);
        vec![PopupEffect::Show(popup, replaces)]
    }

    fn shown(&mut self, id: Option<u32>) -> Vec<PopupEffect> {
        let (Some(target), Some(id)) = (self.shown.take(), id) else {
            return vec![];
        };
        if target != ClickTarget::Folder {
            self.burst.iter_mut().for_each(|b| b.popup = Some(id));
        }
        self.live.retain(|(live, _)| *live != id);
        self.live.push_back((id, target));
        let excess = self.live.len().saturating_sub(LIVE);
        self.live
            .drain(..excess)
            .map(|(id, _)| PopupEffect::Close(id))
            .collect()
    }

    fn clicked(&mut self, id: u32, key: &str) -> Vec<PopupEffect> {
        let Some((_, target)) = self.live.iter().find(|(live, _)| *live == id) else {
            return vec![];
        };
        let action = match (target, key) {
            (ClickTarget::One(path), "play") => Action::Play(path.clone()),
            (ClickTarget::One(path), "discard") => Action::Discard(path.clone()),
            (ClickTarget::One(path), "default" | "open") => Action::Show(path.clone()),
            (ClickTarget::Folder | ClickTarget::Burst, "default" | "open") => Action::OpenFolder,
            _ => return vec![],
        };
        vec![PopupEffect::Do(action)]
    }

    /// Whether this failure was not reported yet. Saving a file clears the list.
    fn is_news(&mut self, message: &str) -> bool {
        if self.reported.len() >= LIVE {
            self.reported.clear();
        }
        self.reported.insert(message.to_owned())
    }
}

impl Burst {
    fn add(&mut self, file: &SavedFile) {
        self.count += 1;
        self.bytes += file.bytes;
        if self.titles.len() < NAMED {
            self.titles.push(shorten(&file.title, 60));
        }
    }

    fn summary(&self) -> Popup {
        let mut lines = self.titles.clone();
        let more = self.count.saturating_sub(lines.len());
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        lines.push(text::size(self.bytes));
        Popup {
            summary: format!("{} videos saved", self.count),
            body: lines.join("\n"),
            image: None,
            warning: false,
            buttons: FOLDER.to_vec(),
        }
    }
}

const FOLDER: [(&str, &str); 2] = [("default", "Open folder"), ("open", "Open folder")];

fn one(file: &SavedFile) -> Popup {
    let facts = [
        Some(text::size(file.bytes)),
        file.length.map(text::clock),
        file.program.clone(),
    ];
    let facts: Vec<_> = facts.into_iter().flatten().collect();
    let mut buttons = FOLDER.to_vec();
    buttons.extend([("play", "Play"), ("discard", "Discard")]);
    Popup {
        summary: "Video saved".into(),
        body: format!("{}\n{}", shorten(&file.title, 200), facts.join(" · ")),
        image: file.thumbnail.clone(),
        warning: false,
        buttons,
    }
}

fn failure(message: String) -> Popup {
    Popup {
        summary: "Videos can't be saved".into(),
        body: message,
        image: None,
        warning: true,
        buttons: FOLDER.to_vec(),
    }
}

fn grabbed(count: u64) -> Popup {
    let (summary, body) = match count {
        0 => (
            "Nothing new to save",
            "No program is playing anything that is not held already.".into(),
        ),
        1 => (
            "Saving what is playing",
            "One more video is held, and saved when it is whole.".into(),
        ),
        _ => (
            "Saving what is playing",
            format!("{count} more videos are held, and saved when they are whole."),
        ),
    };
    Popup {
        summary: summary.into(),
        body,
        image: None,
        warning: false,
        buttons: FOLDER.to_vec(),
    }
}

fn welcome(library: &str) -> Popup {
    Popup {
        summary: "fisga keeps the videos that you watch".into(),
        body: format!(
            "They go to {library} as soon as they are whole. To pause, use the icon in the panel, \
             or run: fisga pause"
        ),
        image: None,
        warning: false,
        buttons: FOLDER.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(n: usize) -> SavedFile {
        SavedFile {
            path: format!("/v/{n}.mp4").into(),
            title: format!("Film {n}"),
            bytes: 48_000_000,
            length: Some(Duration::from_secs(205)),
            program: Some("Firefox".into()),
            thumbnail: None,
        }
    }

    struct Scene {
        popups: Popups,
        now: Instant,
        next: u32,
    }

    impl Scene {
        fn new() -> Self {
            let mut popups = Popups::new(true);
            popups.on(PopupInput::Server(true), Instant::now());
            Self {
                popups,
                now: Instant::now(),
                next: 1,
            }
        }

        /// Sends the input after `ms`; a server that works answers, with ids as a server gives
        /// them.
        fn on(&mut self, ms: u64, input: PopupInput) -> Vec<PopupEffect> {
            self.now += Duration::from_millis(ms);
            let (now, next) = (self.now, &mut self.next);
            let mut effects = Vec::new();
            self.popups.run(
                input,
                || now,
                |effect| {
                    let answer = match effect {
                        PopupEffect::Show(_, None) => {
                            *next += 1;
                            Some(*next - 1)
                        }
                        PopupEffect::Show(_, replaces) => replaces,
                        _ => None,
                    };
                    effects.push(effect);
                    answer.map(|id| PopupInput::Shown(Some(id)))
                },
            );
            effects
        }
    }

    fn summaries(effects: &[PopupEffect]) -> Vec<(&str, Option<u32>)> {
        let shown = |e| {
            if let &PopupEffect::Show(ref p, r) = e {
                Some((p.summary.as_str(), r))
            } else {
                None
            }
        };
        effects.iter().filter_map(shown).collect()
    }

    fn click(id: u32, key: &str) -> PopupInput {
        PopupInput::Clicked {
            id,
            key: key.into(),
        }
    }

    #[test]
    fn one_file_and_its_clicks() {
        let mut scene = Scene::new();
        let effects = scene.on(0, PopupInput::Saved(file(1)));
        let [PopupEffect::Show(popup, None)] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!(
            (popup.summary.as_str(), popup.body.as_str()),
            ("Video saved", "Film 1\n48 MB · 3:25 · Firefox")
        );
        let path = || PathBuf::from("/v/1.mp4");
        let cases = [
            ("default", Some(Action::Show(path()))),
            ("open", Some(Action::Show(path()))),
            ("play", Some(Action::Play(path()))),
            ("discard", Some(Action::Discard(path()))),
            ("nonsense", None),
        ];
        for (key, action) in cases {
            let want: Vec<_> = action.into_iter().map(PopupEffect::Do).collect();
            assert_eq!(scene.on(1, click(1, key)), want, "{key}");
        }
        assert_eq!(scene.on(1, click(2, "play")), []);
        scene.on(1, PopupInput::Closed(1));
        assert_eq!(scene.on(1, click(1, "play")), []);
    }

    #[test]
    fn what_a_grab_came_to() {
        for (count, summary) in [
            (0, "Nothing new to save"),
            (1, "Saving what is playing"),
            (9, "Saving what is playing"),
        ] {
            assert_eq!(
                summaries(&Scene::new().on(0, PopupInput::Grabbed(count))),
                [(summary, None)]
            );
        }
    }

    #[test]
    fn a_burst_becomes_one_summary_in_the_same_popup() {
        let mut scene = Scene::new();
        assert_eq!(
            summaries(&scene.on(0, PopupInput::Saved(file(0)))),
            [("Video saved", None)]
        );
        for n in 1..100 {
            assert_eq!(scene.on(1, PopupInput::Saved(file(n))), []);
        }
        assert_eq!(scene.on(1, PopupInput::Tick), []);
        let due = scene.popups.deadline().unwrap();
        let wait = (due - scene.now).as_millis() as u64 + 1;
        let effects = scene.on(wait, PopupInput::Tick);
        let [PopupEffect::Show(popup, Some(1))] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!(popup.summary, "100 videos saved");
        assert_eq!(popup.body, "Film 0\nFilm 1\nFilm 2\nand 97 more\n4.8 GB");
        assert_eq!(scene.popups.deadline(), None);
        assert_eq!(
            scene.on(1, click(1, "default")),
            [PopupEffect::Do(Action::OpenFolder)]
        );
        // Later, each file has its own popup again.
        assert_eq!(
            summaries(&scene.on(4000, PopupInput::Saved(file(200)))),
            [("Video saved", None)]
        );
    }

    #[test]
    fn a_summary_replaces_nothing_that_is_gone() {
        for gone in [PopupInput::Closed(1), PopupInput::Server(true)] {
            let mut scene = Scene::new();
            scene.on(0, PopupInput::Saved(file(0)));
            scene.on(1, PopupInput::Saved(file(1)));
            scene.on(1, gone);
            assert_eq!(
                summaries(&scene.on(4000, PopupInput::Tick)),
                [("2 videos saved", None)]
            );
        }
    }

    #[test]
    fn a_thousand_that_nobody_clicks_leave_few() {
        let mut scene = Scene::new();
        let mut closed = 0;
        for n in 0..1000 {
            let effects = scene.on(5000, PopupInput::Saved(file(n)));
            closed += effects
                .iter()
                .filter(|e| matches!(e, PopupEffect::Close(_)))
                .count();
        }
        assert_eq!((scene.popups.live(), closed), (LIVE, 1000 - LIVE));
    }

    #[test]
    fn a_server_that_starts_over_opens_no_wrong_file() {
        let mut scene = Scene::new();
        scene.on(0, PopupInput::Saved(file(1)));
        scene.on(1, PopupInput::Server(true));
        assert_eq!(scene.on(1, click(1, "discard")), []);
        assert_eq!(scene.popups.live(), 0);
    }

    #[test]
    fn a_server_that_never_answers_costs_one_popup() {
        let mut scene = Scene::new();
        let effects = scene.popups.on(PopupInput::Saved(file(1)), scene.now);
        assert_eq!(summaries(&effects), [("Video saved", None)]);
        scene.popups.on(PopupInput::Shown(None), scene.now);
        assert_eq!(scene.popups.live(), 0);
        assert_eq!(
            summaries(&scene.on(9000, PopupInput::Saved(file(2)))),
            [("Video saved", None)]
        );
        assert_eq!(
            scene.on(1, click(1, "play")),
            [PopupEffect::Do(Action::Play("/v/2.mp4".into()))]
        );
    }

    #[test]
    fn failures_are_said_once_until_something_is_saved() {
        let mut scene = Scene::new();
        let failed = || PopupInput::Failed("The disk is full".into());
        assert_eq!(
            summaries(&scene.on(0, failed())),
            [("Videos can't be saved", None)]
        );
        assert_eq!(scene.on(1, failed()), []);
        scene.on(1, PopupInput::Saved(file(1)));
        assert_eq!(
            summaries(&scene.on(1, failed())),
            [("Videos can't be saved", None)]
        );
        // The failure in between is no part of the burst.
        scene.on(1, PopupInput::Saved(file(2)));
        assert_eq!(
            summaries(&scene.on(4000, PopupInput::Tick)),
            [("2 videos saved", Some(2))]
        );
    }

    #[test]
    fn what_must_not_be_lost_waits_for_a_server() {
        let mut scene = Scene::new();
        scene.on(0, PopupInput::Server(false));
        let said = [
            PopupInput::Saved(file(1)),
            PopupInput::Welcome {
                library: "/v".into(),
            },
            PopupInput::Failed("x".into()),
        ];
        for input in said {
            assert_eq!(scene.on(1, input), []);
        }
        let effects = scene.on(1, PopupInput::Server(true));
        assert_eq!(
            summaries(&effects),
            [
                ("fisga keeps the videos that you watch", None),
                ("Videos can't be saved", None)
            ]
        );
    }

    #[test]
    fn switched_off_says_nothing() {
        let mut scene = Scene::new();
        scene.on(0, PopupInput::Saved(file(1)));
        scene.on(0, PopupInput::Saved(file(2)));
        scene.on(0, PopupInput::Enabled(false));
        let inputs = [
            PopupInput::Tick,
            PopupInput::Saved(file(3)),
            PopupInput::Failed("x".into()),
        ];
        for input in inputs.into_iter().chain([PopupInput::Welcome {
            library: "/v".into(),
        }]) {
            assert_eq!(scene.on(5000, input), []);
        }
    }
}
