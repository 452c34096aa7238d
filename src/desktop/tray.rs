//! The tray icon: a thread that shows a [`TrayView`] and changes only what differs.
//!
//! A thread of its own, since a panel that hangs (a session that is just starting, say) blocks each
//! call to it, and neither the loop nor the program's end may wait for that. `tray-icon`'s ksni
//! back end needs no display, only the bus: where there is no display to run tao on, a tray host
//! elsewhere on the bus still gets its icon.
//!
//! Entries are changed in place as far as they fit, and the menu lives as long as the thread. That
//! keeps a menu that is open usable while its labels change. It also keeps the check items'
//! reference counts, which are not atomic in `muda` and are touched by `ksni`'s thread, out of this
//! one's hands.

use std::{
    collections::HashMap,
    io, iter,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tray_icon::{
    MouseButton, TrayIcon, TrayIconBuilder, TrayIconEvent,
    menu::{
        CheckMenuItem, IsMenuItem, Menu, MenuEvent, MenuId, MenuItem, PredefinedMenuItem, Submenu,
    },
};

use super::{
    action::Action,
    icon::icon,
    menu::{MenuEntry, TrayView},
    wake::{Wake, Waker},
};

/// How long the end of the program waits for the icon to be removed. A panel that hangs gets no
/// more than that.
const FAREWELL: Duration = Duration::from_millis(60);

/// What a click on an entry asks for.
type Actions = Arc<Mutex<HashMap<MenuId, Action>>>;

/// What the thread receives.
#[derive(Debug)]
enum TrayMessage {
    Show(TrayView),
    Bus(bool),
}

/// The thread. Dropping it takes the icon away.
#[derive(Debug)]
pub struct Tray {
    to: Option<Sender<TrayMessage>>,
    done: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Tray {
    /// Starts the thread, which shows nothing until the bus is there. One in a process: the
    /// toolkit's handlers are set once.
    ///
    /// # Errors
    /// The kernel gives no thread.
    pub fn start(view: TrayView, waker: Waker) -> io::Result<Self> {
        let (to, from) = mpsc::channel();
        let (finished, done) = mpsc::channel();
        let thread = thread::Builder::new().name("tray".into()).spawn(move || {
            Shown::new(view, waker).run(&from);
            drop(finished);
        })?;
        Ok(Self {
            to: Some(to),
            done,
            thread: Some(thread),
        })
    }

    /// Shows it.
    pub fn show(&self, view: TrayView) {
        self.send(TrayMessage::Show(view));
    }

    /// The session bus is there, or gone.
    pub fn bus(&self, is: bool) {
        self.send(TrayMessage::Bus(is));
    }

    fn send(&self, message: TrayMessage) {
        if let Some(to) = &self.to {
            let _ = to.send(message);
        }
    }
}

impl Drop for Tray {
    fn drop(&mut self) {
        self.to = None;
        let hangs = self.done.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Timeout);
        match self.thread.take() {
            Some(_) if hangs => {
                tracing::warn!("the panel doesn't answer; the icon goes with the process")
            }
            Some(thread) => drop(thread.join()),
            None => {}
        }
    }
}

struct Shown {
    view: TrayView,
    menu: Menu,
    entries: Vec<ShownEntry>,
    actions: Actions,
    tray: Option<TrayIcon>,
}

impl Shown {
    fn new(view: TrayView, waker: Waker) -> Self {
        let actions = Actions::default();
        MenuEvent::set_event_handler(Some({
            let (actions, waker) = (actions.clone(), waker.clone());
            move |event: MenuEvent| {
                let action = lock(&actions).get(&event.id).cloned();
                if let Some(action) = action {
                    waker.wake(Wake::Do(action));
                }
            }
        }));
        TrayIconEvent::set_event_handler(Some(move |event| {
            if let TrayIconEvent::Click {
                button: MouseButton::Left,
                ..
            } = event
            {
                waker.wake(Wake::Do(Action::OpenFolder));
            }
        }));
        Self {
            view,
            menu: Menu::new(),
            entries: Vec::new(),
            actions,
            tray: None,
        }
    }

    /// Shows the views that come, until the sender is dropped. Of views that are waiting, only the
    /// last one is shown: a slow panel need not show those before it.
    fn run(mut self, from: &Receiver<TrayMessage>) {
        while let Ok(first) = from.recv() {
            let mut waiting = iter::once(first).chain(from.try_iter()).peekable();
            while let Some(message) = waiting.next() {
                match (message, waiting.peek()) {
                    (TrayMessage::Show(_), Some(TrayMessage::Show(_))) => {}
                    (TrayMessage::Show(view), _) if view == self.view => {}
                    (TrayMessage::Show(view), _) => self.show(view),
                    (TrayMessage::Bus(is), _) => {
                        self.tray = None;
                        if is {
                            self.build();
                        }
                    }
                }
            }
        }
    }

    fn build(&mut self) {
        self.menu_now();
        let builder = TrayIconBuilder::new()
            .with_id("fisga")
            .with_title("fisga")
            .with_tooltip(&self.view.tooltip)
            .with_menu(Box::new(self.menu.clone()));
        let built = icon(self.view.activity)
            .and_then(|icon| builder.with_icon(icon).build().map_err(|e| e.to_string()));
        match built {
            Ok(tray) => self.tray = Some(tray),
            Err(error) => tracing::warn!(%error, "no tray icon"),
        }
    }

    fn show(&mut self, view: TrayView) {
        if let Some(tray) = &self.tray {
            if view.activity != self.view.activity {
                match icon(view.activity) {
                    Ok(icon) => drop(tray.set_icon(Some(icon))),
                    Err(error) => tracing::warn!(%error, "the tray icon stays"),
                }
            }
            if view.tooltip != self.view.tooltip {
                let _ = tray.set_tooltip(Some(&view.tooltip));
            }
        }
        self.view = view;
        if self.tray.is_some() {
            self.menu_now();
        }
    }

    /// Makes the menu match the view. Call it only while there is an icon, or just before: each
    /// change is announced on a channel that nobody else empties.
    fn menu_now(&mut self) {
        if let Err(error) = sync(
            &Parent::Menu(&self.menu),
            &mut self.entries,
            &self.view.menu,
            &self.actions,
        ) {
            tracing::warn!(%error, "the tray menu may be incomplete");
        }
    }
}

fn lock(actions: &Actions) -> std::sync::MutexGuard<'_, HashMap<MenuId, Action>> {
    actions.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An entry as it is shown.
struct ShownEntry {
    item: MenuEntry,
    widget: Widget,
}

enum Widget {
    Plain(MenuItem),
    Check(CheckMenuItem),
    Sub(Submenu, Vec<ShownEntry>),
    Separator(PredefinedMenuItem),
}

enum Parent<'a> {
    Menu(&'a Menu),
    Sub(&'a Submenu),
}

impl Parent<'_> {
    fn insert(&self, widget: &Widget, at: usize) -> tray_icon::menu::Result<()> {
        match self {
            Parent::Menu(menu) => menu.insert(widget.item(), at),
            Parent::Sub(menu) => menu.insert(widget.item(), at),
        }
    }

    fn remove(&self, widget: &Widget) -> tray_icon::menu::Result<()> {
        match self {
            Parent::Menu(menu) => menu.remove(widget.item()),
            Parent::Sub(menu) => menu.remove(widget.item()),
        }
    }
}

impl Widget {
    fn item(&self) -> &dyn IsMenuItem {
        match self {
            Widget::Plain(item) => item,
            Widget::Check(item) => item,
            Widget::Sub(item, _) => item,
            Widget::Separator(item) => item,
        }
    }

    /// Clicks on it mean nothing any more.
    fn forget(&self, actions: &Actions) {
        lock(actions).remove(self.item().id());
        if let Widget::Sub(_, entries) = self {
            entries
                .iter()
                .for_each(|entry| entry.widget.forget(actions));
        }
    }
}

/// Changes the entries below `parent` into the wanted ones. Entries at both ends that fit are
/// changed in place; those between are replaced.
fn sync(
    parent: &Parent<'_>,
    shown: &mut Vec<ShownEntry>,
    wanted: &[MenuEntry],
    actions: &Actions,
) -> tray_icon::menu::Result<()> {
    let fits = |(entry, item): &(&ShownEntry, &MenuEntry)| entry.item.fits(item);
    let head = shown.iter().zip(wanted).take_while(fits).count();
    let tail = shown[head..]
        .iter()
        .rev()
        .zip(wanted[head..].iter().rev())
        .take_while(fits)
        .count();
    for entry in shown.drain(head..shown.len() - tail) {
        entry.widget.forget(actions);
        parent.remove(&entry.widget)?;
    }
    for (at, item) in wanted
        .iter()
        .enumerate()
        .take(wanted.len() - tail)
        .skip(head)
    {
        let entry = create(item, actions);
        parent.insert(&entry.widget, at)?;
        shown.insert(at, entry);
    }
    shown
        .iter_mut()
        .zip(wanted)
        .try_for_each(|(entry, item)| entry.change(item, actions))
}

fn create(item: &MenuEntry, actions: &Actions) -> ShownEntry {
    let widget = match item {
        MenuEntry::Text(label) | MenuEntry::Disabled(label) => {
            Widget::Plain(MenuItem::new(escape(label), false, None))
        }
        MenuEntry::Button(label, action) => {
            let widget = MenuItem::new(escape(label), true, None);
            lock(actions).insert(widget.id().clone(), action.clone());
            Widget::Plain(widget)
        }
        MenuEntry::Check(label, on, action) => {
            let widget = CheckMenuItem::new(escape(label), true, *on, None);
            lock(actions).insert(widget.id().clone(), action.clone());
            Widget::Check(widget)
        }
        MenuEntry::Sub(label, _) => Widget::Sub(Submenu::new(escape(label), true), Vec::new()),
        MenuEntry::Separator => Widget::Separator(PredefinedMenuItem::separator()),
    };
    ShownEntry {
        item: item.clone(),
        widget,
    }
}

impl ShownEntry {
    fn change(&mut self, item: &MenuEntry, actions: &Actions) -> tray_icon::menu::Result<()> {
        let (old, new) = (self.item.label(), item.label());
        match &mut self.widget {
            Widget::Plain(widget) if old != new => widget.set_text(escape(new)),
            Widget::Check(widget) => {
                if old != new {
                    widget.set_text(escape(new));
                }
                // A click toggles the tick by itself, even if the action then failed.
                if let MenuEntry::Check(_, on, _) = item
                    && widget.is_checked() != *on
                {
                    widget.set_checked(*on);
                }
            }
            Widget::Sub(widget, entries) => {
                if let MenuEntry::Sub(_, below) = item {
                    sync(&Parent::Sub(widget), entries, below, actions)?;
                }
            }
            Widget::Plain(_) | Widget::Separator(_) => {}
        }
        self.item = item.clone();
        Ok(())
    }
}

/// `&` marks a mnemonic in muda's labels; doubled, it shows.
fn escape(label: &str) -> String {
    label.replace('&', "&&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tray_icon::menu::MenuItemKind;

    fn labels(items: Vec<MenuItemKind>) -> Vec<String> {
        let label = |item: MenuItemKind| match item {
            MenuItemKind::MenuItem(i) => i.text(),
            MenuItemKind::Check(i) => format!("{} {}", i.text(), i.is_checked()),
            MenuItemKind::Submenu(i) => format!("{} > {}", i.text(), labels(i.items()).join("|")),
            _ => "-".into(),
        };
        items.into_iter().map(label).collect()
    }

    fn button(label: &str, path: &str) -> MenuEntry {
        MenuEntry::Button(label.into(), Action::Show(path.into()))
    }

    #[test]
    fn the_menu_follows_and_what_fits_stays() {
        let (menu, actions, mut shown) = (Menu::new(), Actions::default(), Vec::new());
        let sub = |items| MenuEntry::Sub("Recent".into(), items);
        let check = |on| MenuEntry::Check("Start".into(), on, Action::ToggleAutostart);
        let steps: [(Vec<MenuEntry>, &[&str]); 5] = [
            (
                vec![MenuEntry::Text("A & B".into()), check(false)],
                &["A && B", "Start false"],
            ),
            (
                vec![MenuEntry::Text("C".into()), button("x", "/x"), check(true)],
                &["C", "x", "Start true"],
            ),
            (
                vec![
                    MenuEntry::Text("C".into()),
                    sub(vec![button("1", "/1")]),
                    check(true),
                ],
                &["C", "Recent > 1", "Start true"],
            ),
            (
                vec![
                    MenuEntry::Text("C".into()),
                    sub(vec![button("2", "/2"), button("1", "/1")]),
                    check(true),
                ],
                &["C", "Recent > 2|1", "Start true"],
            ),
            (
                vec![MenuEntry::Separator, check(true)],
                &["-", "Start true"],
            ),
        ];
        let mut ids = Vec::new();
        for (wanted, want) in steps {
            sync(&Parent::Menu(&menu), &mut shown, &wanted, &actions).unwrap();
            assert_eq!(labels(menu.items()), want);
            ids.push(menu.items().last().unwrap().id().clone());
        }
        assert!(
            ids.iter().all(|id| *id == ids[0]),
            "the check item stays: {ids:?}"
        );
        assert_eq!(lock(&actions).len(), 1);
    }
}
