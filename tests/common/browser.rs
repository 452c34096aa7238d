//! Real browsers, in a sandbox and on a display of their own.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{desktop::Xvfb, process::Group, sandbox::Sandbox};

/// A running browser. It ends with the value, and with it every temporary file that it holds.
pub struct Browser {
    pub group: Group,
}

/// WebKitGTK's own little browser, showing a page.
pub fn minibrowser(sandbox: &Sandbox, display: &Xvfb, url: &str) -> Browser {
    minibrowser_with(sandbox, display, url, &[])
}

/// The same with options.
pub fn minibrowser_with(sandbox: &Sandbox, display: &Xvfb, url: &str, args: &[&str]) -> Browser {
    let path = libexec("webkit2gtk-4.1/MiniBrowser", "libwebkit2gtk-4.1-0");
    let mut command = sandbox.command(path);
    // No GPU here.
    command
        .env("WEBKIT_DISABLE_COMPOSITING_MODE", "1")
        .env("WEBKIT_DISABLE_DMABUF_RENDERER", "1")
        .arg("--autoplay-policy=allow")
        .args(args)
        .arg(url);
    start(sandbox, display, command)
}

/// Firefox ESR with a fresh profile in the sandbox's home, showing a page.
pub fn firefox(sandbox: &Sandbox, display: &Xvfb, url: &str, args: &[&str]) -> Browser {
    let profile = sandbox.path("home/profile");
    fs::create_dir_all(&profile).unwrap();
    fs::write(profile.join("user.js"), prefs()).unwrap();
    let mut command = sandbox.command(super::program("firefox-esr", "firefox-esr"));
    command
        .args(["--no-remote", "--profile"])
        .arg(&profile)
        .args(args)
        .arg(url);
    start(sandbox, display, command)
}

/// What a Firefox profile's `user.js` holds.
pub fn prefs() -> String {
    PREFS
        .iter()
        .map(|(name, value)| format!("user_pref(\"{name}\", {value});\n"))
        .collect()
}

fn start(sandbox: &Sandbox, display: &Xvfb, mut command: Command) -> Browser {
    let log = File::create(sandbox.path("browser.log")).unwrap();
    command
        .env("DISPLAY", &display.display)
        .env("LIBGL_ALWAYS_SOFTWARE", "1")
        .stdout(log.try_clone().unwrap())
        .stderr(Stdio::from(log));
    Browser {
        group: Group::start(&mut command),
    }
}

/// A program below `/usr/lib/TRIPLET` or `/usr/libexec`.
fn libexec(relative: &str, package: &str) -> PathBuf {
    let libs = Path::new("/usr/lib")
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path());
    libs.chain(["/usr/lib".into(), "/usr/libexec".into()])
        .map(|folder| folder.join(relative))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{relative} is not installed: apt install {package}"))
}

/// No first-run pages, nothing that calls home, videos may start by themselves. The media cache is
/// as shipped.
const PREFS: [(&str, &str); 21] = [
    ("app.normandy.enabled", "false"),
    ("app.update.enabled", "false"),
    ("browser.aboutwelcome.enabled", "false"),
    ("browser.preonboarding.enabled", "false"),
    ("browser.safebrowsing.malware.enabled", "false"),
    ("browser.safebrowsing.phishing.enabled", "false"),
    ("browser.sessionstore.resume_from_crash", "false"),
    ("browser.shell.checkDefaultBrowser", "false"),
    ("browser.startup.homepage_override.mstone", "\"ignore\""),
    ("browser.tabs.warnOnClose", "false"),
    ("browser.warnOnQuit", "false"),
    ("datareporting.policy.dataSubmissionEnabled", "false"),
    ("datareporting.policy.firstRunURL", "\"\""),
    ("extensions.update.enabled", "false"),
    ("media.autoplay.default", "0"),
    ("network.captive-portal-service.enabled", "false"),
    ("network.connectivity-service.enabled", "false"),
    ("services.settings.server", "\"\""),
    ("termsofuse.bypassNotification", "true"),
    ("toolkit.telemetry.reportingpolicy.firstRun", "false"),
    ("trailhead.firstrun.didSeeAboutWelcome", "true"),
];
