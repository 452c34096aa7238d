//! A page with a video, as a site would have it.

use std::fmt::Write;

use serde_json::json;

/// A page with a `<video>` that reports to the server what happens: `playing`, `seeked`, `ended`,
/// `error …`, each with `2` behind it for the second video.
#[derive(Clone)]
pub struct Page {
    title: String,
    video: String,
    second: Option<String>,
    muted: bool,
    autoplay: bool,
    preload: &'static str,
    rate: f64,
    seeks: Vec<(f64, f64)>,
    again: bool,
}

impl Page {
    /// One video that plays by itself, muted, at normal speed.
    pub fn new(video: &str) -> Self {
        Self {
            title: "A film".into(),
            video: video.into(),
            second: None,
            muted: true,
            autoplay: true,
            preload: "auto",
            rate: 1.0,
            seeks: Vec::new(),
            again: false,
        }
    }

    pub fn title(mut self, title: &str) -> Self {
        self.title = title.into();
        self
    }

    /// Another video beside it, that plays too.
    pub fn second(mut self, video: &str) -> Self {
        self.second = Some(video.into());
        self
    }

    pub fn sound(mut self) -> Self {
        self.muted = false;
        self
    }

    /// Nothing plays by itself; `preload` is "none", "metadata" or "auto".
    pub fn still(mut self, preload: &'static str) -> Self {
        (self.autoplay, self.preload) = (false, preload);
        self
    }

    /// Times normal speed.
    pub fn rate(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }

    /// When the first video comes to `at` seconds, it jumps to `to`; in turn if there are more.
    pub fn seek(mut self, at: f64, to: f64) -> Self {
        self.seeks.push((at, to));
        self
    }

    /// Once at the end, it plays the whole again from its beginning. The second end is reported as
    /// `ended again`.
    pub fn again(mut self) -> Self {
        self.again = true;
        self
    }

    /// The page's text.
    pub fn html(&self) -> String {
        let mut page = String::from("<!doctype html><meta charset=utf-8><title>");
        for c in self.title.chars() {
            match c {
                '<' => page += "&lt;",
                '&' => page += "&amp;",
                c => page.push(c),
            }
        }
        let settings = json!({
            "videos": [Some(&self.video), self.second.as_ref()],
            "muted": self.muted, "autoplay": self.autoplay, "preload": self.preload,
            "rate": self.rate, "seeks": self.seeks, "again": self.again,
        });
        let _ = write!(
            page,
            "</title><body><script>const S = {settings};{SCRIPT}</script>"
        );
        page
    }
}

const SCRIPT: &str = "
const report = event => fetch('/report?event=' + encodeURIComponent(event)).catch(() => {});
S.videos.filter(Boolean).forEach((src, index) => {
  const name = index ? '2' : '', v = document.createElement('video');
  let again = S.again && !index;
  Object.assign(v, {muted: S.muted, autoplay: S.autoplay, preload: S.preload, controls: true, width: 320, src});
  v.defaultPlaybackRate = v.playbackRate = S.rate;
  for (const event of ['loadedmetadata', 'playing', 'seeked'])
    v.addEventListener(event, () => report(event + name));
  v.addEventListener('error', () => report('error' + name + ' ' + v.error.code + ' ' + v.error.message));
  v.addEventListener('ended', () => {
    report(again || index || !S.again ? 'ended' + name : 'ended again');
    if (again) { again = false; v.currentTime = 0; v.play(); }
  });
  v.addEventListener('timeupdate', () => {
    if (!index && S.seeks.length && v.currentTime >= S.seeks[0][0]) v.currentTime = S.seeks.shift()[1];
  });
  document.body.appendChild(v);
});";
