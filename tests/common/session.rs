//! A desktop session of one's own: display, bus, panel, notification server, window manager; the
//! tray's menu from the outside, and what can be seen on the screen.

use std::{
    collections::HashMap,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value as Json;
use zbus::{
    blocking::{Connection, Proxy, connection::Builder, fdo::DBusProxy},
    zvariant::{OwnedValue, Value},
};

use super::{desktop::Xvfb, media, process::Group, producer::Producer, program, sandbox::Sandbox};

pub const HOST: &str = "org.kde.StatusNotifierWatcher";
pub const NOTIFICATIONS: &str = "org.freedesktop.Notifications";
pub const FISGA: &str = "io.github.fisga.Fisga";
pub const OBJECT: &str = "/io/github/fisga/Fisga";

/// Enough for a machine that does much else; a video without a title waits 20 seconds for one.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The colours of the four icons, as in `icons/*.svg`.
pub const WATCHING: [u8; 3] = [0x12, 0x8a, 0x7e];
pub const SAVING: [u8; 3] = [0x2f, 0x6f, 0xd0];
pub const PAUSED: [u8; 3] = [0x7b, 0x82, 0x88];
pub const ATTENTION: [u8; 3] = [0xd9, 0x66, 0x0a];
/// What GTK's own theme marks a selection with.
const SELECTED: [u8; 3] = [0x35, 0x84, 0xe4];

/// Asks again, a little later each time, until there is an answer. For what raises no event, such
/// as pixels.
///
/// # Panics
/// If there is none in time.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Where programs register themselves below `/usr/share`: a session sees none of that but
/// [`SERVICES`], so that it is the same whatever else is installed.
const REGISTERED: [&str; 5] = [
    "applications",
    "autostart",
    "dbus-1",
    "thumbnailers",
    "xdg-desktop-portal",
];
/// What the bus starts: the file below `/usr/share/dbus-1/services`, and its Debian package.
const SERVICES: [(&str, &str); 2] = [
    ("org.xfce.Thunar.FileManager1.service", "thunar"),
    ("org.xfce.Xfconf.service", "xfconf"),
];

/// A bus in the sandbox, always at the same address, as systemd's is.
pub struct Session {
    pub sandbox: Sandbox,
    pub display: Option<Xvfb>,
    bus: Option<Group>,
}

/// A session that failed shows the end of what fisga said.
impl Drop for Session {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read(self.sandbox.path("fisga.log")).unwrap_or_default();
            let end = log.len().saturating_sub(16 * 1024);
            eprintln!("fisga's log:\n{}", String::from_utf8_lossy(&log[end..]));
            for command in [&["status", "--json"][..], &["history", "--json"]] {
                let said = self.sandbox.run(command);
                eprintln!(
                    "fisga {}:\n{}",
                    command[0],
                    String::from_utf8_lossy(&said.stdout)
                );
            }
        }
    }
}

impl Session {
    /// A bus that starts a file manager and a panel's settings, and nothing else.
    pub fn bare() -> Self {
        Self::with_services(&SERVICES)
    }

    /// A bus that starts no services: what isn't there stays away.
    pub fn barren() -> Self {
        Self::with_services(&[])
    }

    fn with_services(services: &[(&str, &str)]) -> Self {
        let mut sandbox = Sandbox::new();
        share(&mut sandbox, services);
        let bus = bus(&sandbox);
        let address = format!("unix:path={}", sandbox.path("run/bus").display());
        sandbox.set("DBUS_SESSION_BUS_ADDRESS", address);
        Self {
            sandbox,
            display: None,
            bus: Some(bus),
        }
    }

    /// With a display, and a window manager for what opens on it.
    pub fn on_x11() -> Self {
        let mut session = Self::bare();
        let display = Xvfb::start(&session.sandbox);
        session.sandbox.set("DISPLAY", display.display.clone());
        session.sandbox.set("XDG_CURRENT_DESKTOP", "XFCE");
        session.display = Some(display);
        session.announce(&["DISPLAY"]);
        session
    }

    /// Tells the bus of variables for the services that it starts, as a session does when its
    /// display is there.
    pub fn announce(&self, names: &[&str]) {
        let variables: HashMap<&str, &str> = names
            .iter()
            .map(|name| {
                (
                    *name,
                    self.sandbox.variable(name).expect("a variable that is set"),
                )
            })
            .collect();
        let (bus, object) = ("org.freedesktop.DBus", "/org/freedesktop/DBus");
        let method = "UpdateActivationEnvironment";
        self.connect()
            .call_method(Some(bus), object, Some(bus), method, &variables)
            .unwrap();
    }

    /// A connection to the bus.
    pub fn connect(&self) -> Connection {
        let address = format!("unix:path={}", self.sandbox.path("run/bus").display());
        let builder = Builder::address(address.as_str()).unwrap();
        builder.method_timeout(PATIENCE).build().unwrap()
    }

    pub fn kill_bus(&mut self) {
        self.bus = None;
    }

    /// Stops the bus, or lets it go on.
    pub fn signal_bus(&self, signal: Signal) {
        self.bus.as_ref().expect("a bus").signal(signal);
    }

    pub fn restart_bus(&mut self) {
        self.bus = Some(bus(&self.sandbox));
        if self.display.is_some() {
            self.announce(&["DISPLAY"]);
        }
    }

    /// Starts a program and waits until it owns a name on the bus.
    pub fn start(&self, command: &mut Command, name: &str) -> Group {
        let bus = self.connect();
        let arrival = Arrival::watch(&bus, name);
        let group = Group::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        arrival.wait();
        group
    }

    /// xfce4-panel with a tray and nothing else.
    pub fn panel(&self, dark: bool) -> Group {
        let folder = self
            .sandbox
            .path("home/.config/xfce4/xfconf/xfce-perchannel-xml");
        std::fs::create_dir_all(&folder).unwrap();
        let xml =
            include_str!("xfce4-panel.xml").replace("@DARK@", if dark { "true" } else { "false" });
        std::fs::write(folder.join("xfce4-panel.xml"), xml).unwrap();
        let mut command = self.sandbox.command(program("xfce4-panel", "xfce4-panel"));
        self.start(command.arg("--disable-wm-check"), HOST)
    }

    /// dunst, whose popups a left click acts on and then closes.
    pub fn dunst(&self) -> Group {
        let folder = self.sandbox.path("home/.config/dunst");
        std::fs::create_dir_all(&folder).unwrap();
        let rc = "[global]\norigin = top-right\noffset = 20x60\nwidth = (0, 380)\nmarkup = full\n\
                  mouse_left_click = do_action, close_current\nmax_icon_size = 96\n\
                  [urgency_normal]\ntimeout = 0\n[urgency_critical]\ntimeout = 0\n";
        std::fs::write(folder.join("dunstrc"), rc).unwrap();
        self.start(
            &mut self.sandbox.command(program("dunst", "dunst")),
            NOTIFICATIONS,
        )
    }

    /// A window manager, for the file manager's window; returns when it manages windows, as it
    /// does in a desktop before a panel starts. A window that is mapped while it begins may never
    /// be seen.
    pub fn openbox(&self) -> Group {
        let group = Group::start(
            self.sandbox
                .command(program("openbox", "openbox"))
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let check = "_NET_SUPPORTING_WM_CHECK";
        eventually("a window manager", || {
            self.tool("xprop", "x11-utils", &["-root", check])
                .contains("window id")
                .then_some(())
        });
        group
    }

    /// fisga in the tray; returns when it is on the bus.
    pub fn fisga(&self) -> Group {
        let bus = self.connect();
        let arrival = Arrival::watch(&bus, FISGA);
        let group = self.fisga_alone();
        arrival.wait();
        self.wait_status("watches in place", |status| status["ready"] == true);
        group
    }

    /// fisga, just started.
    pub fn fisga_alone(&self) -> Group {
        let log = std::fs::File::create(self.sandbox.path("fisga.log")).unwrap();
        Group::start(
            self.sandbox
                .fisga(&["-vv"])
                .stdout(Stdio::null())
                .stderr(log),
        )
    }

    /// What `fisga status --json` says.
    pub fn status(&self) -> Json {
        let output = self.sandbox.run(&["status", "--json"]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until the status is as wanted.
    pub fn wait_status(&self, what: &str, wanted: impl Fn(&Json) -> bool) -> Json {
        let bus = self.connect();
        eventually(what, || {
            let reply = bus
                .call_method(Some(FISGA), OBJECT, Some(FISGA), "Status", &())
                .ok()?;
            let text: String = reply.body().deserialize().unwrap();
            let status: Json = serde_json::from_str(&text).unwrap();
            wanted(&status).then_some(status)
        })
    }

    /// A file that its producer has hidden and still has open.
    pub fn hide(&self, name: &str, content: &Path) -> Producer {
        Producer::start(
            &self.sandbox.tmp().join(format!("Flash-{name}")),
            content,
            true,
        )
    }

    /// A short video with a title.
    pub fn video(&self, title: &str) -> PathBuf {
        let name: String = title.chars().filter(char::is_ascii_alphanumeric).collect();
        let path = self.sandbox.path(&format!("{name}.mp4"));
        let status = Command::new(program("ffmpeg", "ffmpeg"))
            .args(["-nostdin", "-v", "error", "-y", "-i"])
            .arg(media::clip("short.mp4"))
            .args([
                "-c",
                "copy",
                "-movflags",
                "+faststart",
                "-metadata",
                &format!("title={title}"),
            ])
            .arg(&path)
            .status()
            .unwrap();
        assert!(status.success());
        path
    }

    /// How many pixels of the panel have this colour.
    pub fn panel_pixels(&self, colour: [u8; 3]) -> usize {
        self.pixels("1280x32+0+0", colour)
    }

    /// Waits until the file manager shows a file as selected.
    pub fn see_selected(&self) {
        eventually("the file is selected", || {
            (self.pixels("1280x768+0+32", SELECTED) > 300).then_some(())
        });
    }

    /// How many pixels of a part of the screen have this colour.
    fn pixels(&self, part: &str, colour: [u8; 3]) -> usize {
        let mut command = self.sandbox.command(program("import", "imagemagick"));
        command.args(["-window", "root", "-crop", part, "-depth", "8", "rgb:-"]);
        let shot = command.output().unwrap();
        assert!(
            shot.status.success(),
            "{}",
            String::from_utf8_lossy(&shot.stderr)
        );
        let close = |pixel: &&[u8]| pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(b) <= 2);
        shot.stdout.chunks_exact(3).filter(close).count()
    }

    /// Waits until the icon of this colour is on the panel.
    pub fn see(&self, what: &str, colour: [u8; 3]) {
        eventually(what, || (self.panel_pixels(colour) > 30).then_some(()));
    }

    /// How many popups dunst shows.
    pub fn popups(&self) -> usize {
        self.tool("dunstctl", "dunst", &["count", "displayed"])
            .trim()
            .parse()
            .unwrap()
    }

    /// Waits for the welcome and closes it.
    pub fn close_welcome(&self) {
        eventually("the welcome", || (self.popups() == 1).then_some(()));
        self.tool("dunstctl", "dunst", &["close-all"]);
        eventually("the welcome is gone", || (self.popups() == 0).then_some(()));
    }

    /// A real click on the upper part of dunst's popup, which is no button, and the file manager
    /// that comes of it, with the file selected. Returns its window.
    pub fn click_popup(&self) -> String {
        let window = self.tool("xdotool", "xdotool", &["search", "--class", "Dunst"]);
        let window = window.split_whitespace().last().unwrap();
        self.tool(
            "xdotool",
            "xdotool",
            &["mousemove", "--window", window, "60", "20", "click", "1"],
        );
        let folder = eventually("the file manager's window", || self.window("Fisga"));
        self.see_selected();
        folder
    }

    /// A visible window with this in its title.
    pub fn window(&self, title: &str) -> Option<String> {
        let found = self.tool(
            "xdotool",
            "xdotool",
            &["search", "--onlyvisible", "--name", title],
        );
        found.split_whitespace().last().map(String::from)
    }

    /// Runs a tool and returns what it prints.
    pub fn tool(&self, name: &str, package: &str, args: &[&str]) -> String {
        let output = self
            .sandbox
            .command(program(name, package))
            .args(args)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A picture of the whole screen, if the environment asks for pictures.
    pub fn picture(&self, name: &str) {
        if let Some(folder) = std::env::var_os("FISGA_TEST_PICTURES") {
            let path = Path::new(&folder).join(format!("{name}.png"));
            self.tool(
                "import",
                "imagemagick",
                &["-window", "root", path.to_str().unwrap()],
            );
        }
    }
}

/// Makes the `$XDG_DATA_DIRS` of a session: what is in `/usr/share`, with these services alone.
fn share(sandbox: &mut Sandbox, services: &[(&str, &str)]) {
    let (system, own) = (Path::new("/usr/share"), sandbox.path("share"));
    let folder = own.join("dbus-1/services");
    std::fs::create_dir_all(&folder).unwrap();
    for entry in std::fs::read_dir(system).unwrap().flatten() {
        if !REGISTERED.iter().any(|name| entry.file_name() == *name) {
            symlink(entry.path(), own.join(entry.file_name())).unwrap();
        }
    }
    for (name, package) in services {
        let service = system.join("dbus-1/services").join(name);
        assert!(
            service.exists(),
            "{name} is not installed: apt install {package}"
        );
        symlink(service, folder.join(name)).unwrap();
    }
    sandbox.set("XDG_DATA_DIRS", own.to_str().unwrap());
}

/// A bus that starts the services of [`share`]. Returns when it listens.
fn bus(sandbox: &Sandbox) -> Group {
    let config = sandbox.path("session.conf");
    let text = format!(
        "<busconfig><type>session</type><listen>unix:path={}</listen>\
         <servicedir>{}</servicedir>\
         <policy context='default'><allow send_destination='*' eavesdrop='true'/>\
         <allow eavesdrop='true'/><allow own='*'/></policy></busconfig>",
        sandbox.path("run/bus").display(),
        sandbox.path("share/dbus-1/services").display()
    );
    std::fs::write(&config, text).unwrap();
    let _ = std::fs::remove_file(sandbox.path("run/bus"));
    let mut command = sandbox.command(program("dbus-daemon", "dbus-daemon"));
    command
        .args(["--nofork", "--print-address=1", "--config-file"])
        .arg(&config);
    let mut daemon = Group::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut line = String::new();
    let stdout = daemon.child().stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    assert!(!line.is_empty(), "dbus-daemon doesn't start");
    daemon
}

/// Waits for a name to be owned, told by the bus.
pub struct Arrival {
    owners: zbus::blocking::fdo::NameOwnerChangedIterator,
    there: bool,
}

impl Arrival {
    pub fn watch(bus: &Connection, name: &str) -> Self {
        let proxy = DBusProxy::new(bus).unwrap();
        let owners = proxy
            .receive_name_owner_changed_with_args(&[(0, name)])
            .unwrap();
        let there = proxy.name_has_owner(name.try_into().unwrap()).unwrap();
        Self { owners, there }
    }

    pub fn wait(mut self) {
        let (tx, rx) = std::sync::mpsc::channel();
        if self.there {
            return;
        }
        std::thread::spawn(move || {
            let new = self
                .owners
                .find(|o| o.args().is_ok_and(|a| a.new_owner().is_some()));
            let _ = tx.send(new.is_some());
        });
        assert!(
            rx.recv_timeout(PATIENCE).unwrap_or(false),
            "the name is not owned within {PATIENCE:?}"
        );
    }
}

/// An entry of a tray menu.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: i32,
    /// "Recent/Film (1.0 MB)".
    pub label: String,
    pub enabled: bool,
    pub ticked: Option<bool>,
}

/// The tray icon as a panel sees it.
pub struct Item {
    bus: Connection,
    service: String,
    menu: String,
}

impl Item {
    /// Waits for the item to be registered with the host.
    pub fn find(session: &Session) -> Self {
        let bus = session.connect();
        eventually("the item is registered", || Self::now(&bus))
    }

    /// The item, if it is there.
    pub fn now(bus: &Connection) -> Option<Self> {
        let host = Proxy::new(bus, HOST, "/StatusNotifierWatcher", HOST).ok()?;
        let items: Vec<String> = host.get_property("RegisteredStatusNotifierItems").ok()?;
        let item = items.iter().rev().find_map(|item| {
            let (service, path) = item.split_at(item.find('/')?);
            let proxy = Proxy::new(
                bus,
                service.to_owned(),
                path.to_owned(),
                "org.kde.StatusNotifierItem",
            );
            let menu: zbus::zvariant::OwnedObjectPath = proxy.ok()?.get_property("Menu").ok()?;
            Some(Self {
                bus: bus.clone(),
                service: service.into(),
                menu: menu.to_string(),
            })
        });
        item.filter(|item| item.try_entries().is_some())
    }

    /// All entries, those of submenus after their parent.
    pub fn entries(&self) -> Vec<Entry> {
        self.try_entries().unwrap()
    }

    fn try_entries(&self) -> Option<Vec<Entry>> {
        type Node = (i32, HashMap<String, OwnedValue>, Vec<OwnedValue>);
        let proxy = self.proxy()?;
        let _: bool = proxy.call("AboutToShow", &(0,)).ok()?;
        let (_, root): (u32, Node) = proxy.call("GetLayout", &(0, -1, Vec::<&str>::new())).ok()?;
        let mut entries = Vec::new();
        walk(&Value::from(root), "", &mut entries);
        Some(entries)
    }

    /// An entry by its label.
    pub fn entry(&self, label: &str) -> Option<Entry> {
        self.entries()
            .into_iter()
            .find(|entry| entry.label == label)
    }

    pub fn click(&self, label: &str) {
        let entry = self
            .entry(label)
            .unwrap_or_else(|| panic!("no {label:?} in {:#?}", self.entries()));
        let body = (entry.id, "clicked", Value::from(0), 0_u32);
        let _: () = self.proxy().unwrap().call("Event", &body).unwrap();
    }

    /// A left click on the icon.
    pub fn activate(&self) {
        let path = "/StatusNotifierItem";
        let item = "org.kde.StatusNotifierItem";
        self.bus
            .call_method(
                Some(self.service.as_str()),
                path,
                Some(item),
                "Activate",
                &(1, 1),
            )
            .unwrap();
    }

    fn proxy(&self) -> Option<Proxy<'static>> {
        Proxy::new(
            &self.bus,
            self.service.clone(),
            self.menu.clone(),
            "com.canonical.dbusmenu",
        )
        .ok()
    }
}

fn walk(node: &Value<'_>, above: &str, entries: &mut Vec<Entry>) {
    let Value::Structure(node) = node else { return };
    let [id, properties, children] = node.fields() else {
        return;
    };
    let properties: HashMap<String, OwnedValue> =
        properties.try_clone().unwrap().try_into().unwrap();
    let text = |key: &str| properties.get(key).and_then(|v| <&str>::try_from(v).ok());
    // A doubled underline is one, a single one marks a mnemonic.
    let label = text("label")
        .unwrap_or("-")
        .replace("__", "\u{0}")
        .replace('_', "")
        .replace('\u{0}', "_");
    let id = i32::try_from(id).unwrap();
    let label = if above.is_empty() {
        label
    } else {
        format!("{above}/{label}")
    };
    if id != 0 {
        let enabled = properties
            .get("enabled")
            .is_none_or(|v| bool::try_from(v).unwrap());
        let ticked = properties
            .get("toggle-state")
            .map(|v| i32::try_from(v).unwrap() == 1);
        entries.push(Entry {
            id,
            label: label.clone(),
            enabled,
            ticked,
        });
    }
    if let Value::Array(children) = children {
        let above = if id == 0 { "" } else { &label };
        for child in children.iter() {
            match child {
                Value::Value(child) => walk(child, above, entries),
                child => walk(child, above, entries),
            }
        }
    }
}

/// Ends a fisga by SIGTERM, and returns how long that took.
pub fn terminate(mut fisga: Group) -> Duration {
    let start = Instant::now();
    fisga.signal(Signal::TERM);
    let status = fisga.wait(PATIENCE).expect("fisga goes on after SIGTERM");
    assert!(status.success(), "{status}");
    start.elapsed()
}
