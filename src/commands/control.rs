//! `fisga status`, `pause`, `resume`, `grab`, `open`, `quit`: sent to the running fisga over the
//! session bus.

use std::io::Write;

use super::Outcome;
use crate::cli::Pause;

/// What to ask of it.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    /// How it is doing.
    Status {
        /// Print it as JSON.
        json: bool,
    },
    /// Hold nothing for a while.
    Pause(Pause),
    /// Hold again.
    Resume,
    /// Save what is playing.
    Grab,
    /// Show the folder.
    Open,
    /// End.
    Quit,
}

#[cfg(feature = "tray")]
pub use bus::{is_not_running, run};

#[cfg(feature = "tray")]
mod bus {
    use super::{Outcome, Pause, Request, Write};
    use chrono::{Local, TimeDelta};
    use serde_json::Value;

    use crate::{
        desktop::control::{Client, ControlError},
        text,
    };

    /// Sends it, and prints the answer.
    ///
    /// # Errors
    /// [`ControlError`]; an `out` that can't be written.
    pub fn run(request: Request, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let fisga = Client::connect()?;
        match request {
            Request::Status { json } => {
                let status = fisga.status()?;
                if json {
                    writeln!(out, "{status}")?
                } else {
                    out.write_all(plain(&status).as_bytes())?
                }
            }
            Request::Pause(Pause { span }) => {
                let until = span
                    .and_then(|span| TimeDelta::from_std(span.0).ok())
                    .map(|span| Local::now() + span);
                fisga.pause(until)?;
            }
            Request::Resume => fisga.resume()?,
            Request::Grab => {
                let line = match fisga.grab()? {
                    0 => "No program is playing anything that is not held already",
                    1 => "One more video is held, and saved when it is whole",
                    count => {
                        &format!("{count} more videos are held, and saved when they are whole")
                    }
                };
                writeln!(out, "{line}")?;
            }
            Request::Open => fisga.open()?,
            Request::Quit => fisga.quit()?,
        }
        Ok(Outcome::Good)
    }

    /// Whether this is the error of one that isn't there: exit status 3.
    pub fn is_not_running(error: &anyhow::Error) -> bool {
        matches!(error.downcast_ref(), Some(ControlError::NotRunning))
    }

    /// The status for people: the tray's line, the library, and what the desktop lacks.
    fn plain(json: &str) -> String {
        let status: Value = serde_json::from_str(json).unwrap_or_default();
        let field = |key: &str| text::one_line(status[key].as_str().unwrap_or_default());
        let mut plain = format!("{}\nVideos go to {}\n", field("status"), field("library"));
        for missing in status["missing"].as_array().into_iter().flatten() {
            let (part, advice) = (missing["part"].as_str(), missing["advice"].as_str());
            plain.push_str(&format!(
                "No {}: {}\n",
                part.unwrap_or_default(),
                advice.unwrap_or_default()
            ));
        }
        plain
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn status_for_people() {
            let json = r#"{"status":"Watching · 3 saved today","library":"/v",
                           "missing":[{"part":"tray","advice":"install it"}]}"#;
            assert_eq!(
                plain(json),
                "Watching · 3 saved today\nVideos go to /v\nNo tray: install it\n"
            );
        }
    }
}

/// Without the desktop's part there is no session bus to send it over.
///
/// # Errors
/// Always.
#[cfg(not(feature = "tray"))]
pub fn run(_request: Request, _out: &mut impl Write) -> anyhow::Result<Outcome> {
    anyhow::bail!("this fisga was built without the desktop, and takes no orders from outside")
}

/// Whether this is the error of one that isn't there: exit status 3.
#[cfg(not(feature = "tray"))]
pub fn is_not_running(_error: &anyhow::Error) -> bool {
    false
}
