//! Browsers with their cache where a user's is; without a window where the sandbox has no display.

use std::fs::{self, File};

use super::common::{self, browser, process::Group, sandbox::Sandbox};

/// Which browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Browser {
    Chromium,
    Firefox,
}

impl Browser {
    /// Opens a page. `cache` is the size of the disk cache in bytes.
    pub(crate) fn start(self, sandbox: &Sandbox, url: &str, cache: Option<u64>) -> Group {
        let log = File::create(sandbox.path("browser.log")).unwrap();
        let headless = sandbox.variable("DISPLAY").is_none();
        let mut command = match self {
            Self::Chromium => {
                let mut command = sandbox.command(common::program("chromium", "chromium"));
                // Inside $XDG_CONFIG_HOME, so that its cache is in $XDG_CACHE_HOME, as without the
                // option.
                command
                    .arg(format!(
                        "--user-data-dir={}",
                        sandbox.path("home/.config/chromium").display()
                    ))
                    .args(headless.then_some("--headless=new"))
                    .args([
                        "--no-sandbox",
                        "--no-first-run",
                        "--no-default-browser-check",
                        "--disable-background-networking",
                        "--disable-component-update",
                        "--disable-sync",
                        "--password-store=basic",
                        "--autoplay-policy=no-user-gesture-required",
                        "--disable-popup-blocking",
                    ]);
                if let Some(bytes) = cache {
                    command.arg(format!("--disk-cache-size={bytes}"));
                }
                command
            }
            Self::Firefox => {
                let profiles = sandbox.path("home/.mozilla/firefox");
                fs::create_dir_all(profiles.join("test.default")).unwrap();
                let ini = "[Profile0]\nName=test\nIsRelative=1\nPath=test.default\nDefault=1\n";
                fs::write(profiles.join("profiles.ini"), ini).unwrap();
                let mut prefs = browser::prefs();
                prefs += "user_pref(\"dom.disable_open_during_load\", false);\n";
                if let Some(bytes) = cache {
                    prefs += "user_pref(\"browser.cache.disk.smart_size.enabled\", false);\n";
                    prefs += &format!(
                        "user_pref(\"browser.cache.disk.capacity\", {});\n",
                        bytes / 1024
                    );
                }
                fs::write(profiles.join("test.default/user.js"), prefs).unwrap();
                let mut command = sandbox.command(common::program("firefox-esr", "firefox-esr"));
                command
                    .args(headless.then_some("--headless"))
                    .args(["--no-remote", "-P", "test"]);
                command
            }
        };
        command
            .arg(url)
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        Group::start(&mut command)
    }
}
