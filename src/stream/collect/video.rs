//! A video that was put together from pieces, and how it is written.

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use percent_encoding::percent_decode_str;
use url::Url;

use super::pieces::EntryId;
use crate::{
    content::Content,
    media::{self, Kind, Report, Verdict},
    stream::{
        Body,
        join::{
            self,
            choose::{Choice, Missing},
        },
    },
};

/// A video's number within one run.
pub type VideoId = u64;

/// A video that can be put together now.
#[derive(Debug)]
pub struct CachedVideo {
    /// Its number within this run.
    pub id: VideoId,
    /// An incomplete one that was given out before, of which this is more.
    pub replaces: Option<VideoId>,
    /// The cache folder that its pieces come from.
    pub folder: PathBuf,
    /// Address of the playlist, of the file, or of the first segment.
    pub url: String,
    /// Site of the page that it was watched on, if the browser notes it.
    pub site: Option<String>,
    /// When the first of its pieces arrived.
    pub since: Instant,
    /// When the last of its pieces arrived.
    pub until: Instant,
    /// The held entries that it is made of.
    pub entries: Vec<EntryId>,
    /// Title by the playlist.
    pub title: Option<String>,
    /// The name that the server gave the file, if it says something.
    pub file_title: Option<String>,
    /// The last part of the address that can be a title.
    pub address_title: Option<String>,
    /// How it is put together.
    pub contents: Contents,
}

/// How a video is put together.
#[derive(Debug)]
pub enum Contents {
    /// A file as it was sent.
    File(Body),
    /// Segments.
    Stream(Box<Choice>),
}

/// Why a video could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A piece could not be read, or the file not be written.
    #[error("copying out of the browser's cache")]
    Copy(#[from] io::Error),
    /// The segments don't make one file.
    #[error("joining the segments")]
    Join(#[from] join::JoinError),
}

impl CachedVideo {
    /// Its best title without a look inside.
    pub fn best_title(&self) -> Option<&str> {
        let titles = [&self.title, &self.file_title, &self.address_title];
        titles.into_iter().find_map(Option::as_deref)
    }

    /// Whether everything is there, and nothing more can come.
    pub fn whole(&self) -> bool {
        match &self.contents {
            Contents::File(body) => body.is_whole(),
            Contents::Stream(choice) => choice.whole,
        }
    }

    /// The share that is there, 0 to 1: of the bytes of a file, of the time of a stream.
    pub fn fraction(&self) -> f64 {
        match &self.contents {
            Contents::File(body) if body.is_empty() => 0.0,
            Contents::File(body) => body.held() as f64 / body.len() as f64,
            Contents::Stream(choice) => choice.fraction,
        }
    }

    /// How long it is, gaps counted, if that is known without looking inside.
    pub fn duration(&self) -> Option<Duration> {
        match &self.contents {
            Contents::File(_) => None,
            Contents::Stream(choice) => Some(choice.duration),
        }
    }

    /// The stretches of time that are missing.
    pub fn missing(&self) -> &[Missing] {
        match &self.contents {
            Contents::File(_) => &[],
            Contents::Stream(choice) => &choice.missing,
        }
    }

    /// Looks inside and decides how it is written.
    ///
    /// # Errors
    /// When a piece can't be read, when the segments don't make one file.
    pub fn plan(&self) -> Result<PlannedVideo, WriteError> {
        match &self.contents {
            Contents::File(body) => {
                let mut report = media::inspect(&body.open()?.with_holes())?;
                if !body.is_whole() {
                    report.verdict = Verdict::Incomplete {
                        fraction: self.fraction(),
                    };
                }
                Ok(PlannedVideo {
                    report,
                    bytes: body.len(),
                    made_by: MadeBy::Copy(body.clone()),
                })
            }
            Contents::Stream(choice) => {
                let plan = join::plan(choice)?;
                let whole = choice.missing.is_empty();
                let report = Report {
                    container: Some(plan.container),
                    kind: if plan.pictures {
                        Kind::Video
                    } else {
                        Kind::Audio
                    },
                    duration: Some(choice.duration),
                    verdict: if whole {
                        Verdict::Complete
                    } else {
                        Verdict::Incomplete {
                            fraction: choice.fraction,
                        }
                    },
                    title: None,
                    content_len: None,
                    open_ended: !choice.ended,
                    detail: None,
                    missing: Vec::new(),
                };
                Ok(PlannedVideo {
                    report,
                    bytes: plan.len,
                    made_by: MadeBy::Join(Box::new(plan)),
                })
            }
        }
    }

    /// What is missing and what was done, for people: one line, empty when there is nothing to say.
    fn remarks(&self) -> String {
        match &self.contents {
            Contents::File(body) if body.is_whole() => String::new(),
            Contents::File(body) => {
                let gaps: Vec<_> = body
                    .gaps()
                    .iter()
                    .map(|g| format!("bytes {}-{}", g.start, g.end - 1))
                    .collect();
                few("missing", &gaps)
            }
            Contents::Stream(choice) => {
                let gaps: Vec<_> = choice
                    .missing
                    .iter()
                    .map(|m| format!("{}-{} ({})", clock(m.time.start), clock(m.time.end), m.why))
                    .collect();
                let mut parts: Vec<_> = Some(few("missing", &gaps))
                    .filter(|s| !s.is_empty())
                    .into_iter()
                    .collect();
                parts.extend(choice.notes.iter().cloned());
                parts.join("; ")
            }
        }
    }
}

/// A video that is about to be written.
#[derive(Debug)]
pub struct PlannedVideo {
    /// What it will be.
    pub report: Report,
    /// Its size, to within a few headers.
    pub bytes: u64,
    made_by: MadeBy,
}

#[derive(Debug)]
enum MadeBy {
    Copy(Body),
    Join(Box<join::JoinPlan>),
}

impl PlannedVideo {
    /// Writes it into an empty file. Gaps of a file stay holes of the same size; those of a stream
    /// are left out.
    ///
    /// # Errors
    /// When a piece is gone or changed, when writing fails.
    pub fn write(&self, out: &std::fs::File) -> Result<(), WriteError> {
        match &self.made_by {
            MadeBy::Copy(body) => copy(body, out)?,
            MadeBy::Join(plan) => plan.write(out).map(drop)?,
        }
        Ok(())
    }

    /// Subtitles that were played: their language, and a WebVTT file.
    pub fn subtitles(&self) -> Option<(Option<&str>, &str)> {
        match &self.made_by {
            MadeBy::Copy(_) => None,
            MadeBy::Join(plan) => plan
                .subtitles
                .as_ref()
                .map(|(language, text)| (language.as_deref(), &**text)),
        }
    }

    /// What is missing of `video` and what was done, for people: one line, empty when there is
    /// nothing to say.
    pub fn remarks(&self, video: &CachedVideo) -> String {
        let mut parts = vec![video.remarks()];
        if let MadeBy::Join(plan) = &self.made_by {
            parts.extend(plan.notes.iter().cloned());
        }
        parts.retain(|p| !p.is_empty());
        parts.join("; ")
    }
}

impl WriteError {
    /// The error of the new file's file system, if that is at fault.
    ///
    /// # Errors
    /// The error itself, if the pieces are at fault.
    pub fn of_the_file(self) -> Result<io::Error, Self> {
        use rustix::io::Errno;
        match self {
            Self::Join(join::JoinError::Write(e)) => Ok(e),
            Self::Copy(e)
                if matches!(
                    Errno::from_io_error(&e),
                    Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::ROFS)
                ) =>
            {
                Ok(e)
            }
            other => Err(other),
        }
    }
}

/// Copies what is there of a body to the same places of a file.
fn copy(body: &Body, out: &std::fs::File) -> io::Result<()> {
    let open = body.open()?;
    out.set_len(body.len())?;
    let mut out = out;
    let mut at = open.next_data(0)?;
    while at < body.len() {
        let end = open.next_hole(at)?;
        io::Seek::seek(&mut out, io::SeekFrom::Start(at))?;
        open.copy_to(at..end, &mut out)?;
        at = open.next_data(end)?;
    }
    Ok(())
}

fn few(what: &str, list: &[String]) -> String {
    match list {
        [] => String::new(),
        list if list.len() <= 5 => format!("{what}: {}", list.join(", ")),
        list => format!(
            "{what}: {}, and {} more",
            list[..5].join(", "),
            list.len() - 5
        ),
    }
}

/// `1:02:03` or `2:03`.
fn clock(time: Duration) -> String {
    let s = time.as_secs();
    if s < 3600 {
        format!("{}:{:02}", s / 60, s % 60)
    } else {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    }
}

/// The site in a partition: Chromium writes `https://top https://frame`, Firefox
/// `^partitionKey=(https,top)` with `%28` and `%2C`.
pub(crate) fn site(partition: &str) -> Option<String> {
    if let Some((_, key)) = partition.split_once("partitionKey=") {
        let key = percent_decode_str(key.split('&').next()?)
            .decode_utf8()
            .ok()?;
        let mut parts = key.strip_prefix('(')?.split([',', ')']);
        return Some(format!("{}://{}", parts.next()?, parts.next()?));
    }
    partition
        .split(' ')
        .next()
        .and_then(|s| s.find("http").map(|i| s[i..].to_owned()))
}

/// Names that say nothing about what they name.
const GENERIC: [&str; 25] = [
    "audio",
    "chunklist",
    "dash",
    "default",
    "file",
    "hls",
    "index",
    "init",
    "main",
    "manifest",
    "master",
    "media",
    "mono",
    "output",
    "play",
    "playback",
    "playlist",
    "prog_index",
    "seg",
    "segment",
    "stream",
    "v",
    "video",
    "videoplayback",
    "vod",
];

/// The last part of an address that says something: not `master.m3u8`, not a number, not a hash.
pub(crate) fn title(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let parts = url.path_segments()?.rev();
    parts
        .filter_map(|part| percent_decode_str(part).decode_utf8().ok())
        .find_map(|part| file_title(&part))
}

/// What a file's name says: not `video.mp4`, not a number, not a hash.
pub(crate) fn file_title(name: &str) -> Option<String> {
    let title = stem(name).replace(['_', '+'], " ").trim().to_owned();
    telling(&title).then_some(title)
}

fn stem(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, extension))
            if !stem.is_empty() && extension.len() <= 5 && !extension.contains(' ') =>
        {
            stem
        }
        _ => name,
    }
}

fn telling(part: &str) -> bool {
    let lower = part.to_lowercase();
    let letters = lower.chars().filter(|c| c.is_alphabetic()).count();
    let word = lower.trim_end_matches(|c: char| {
        c.is_ascii_digit() || matches!(c, '-' | '_' | ' ' | '.' | 'p' | 'k')
    });
    let hash = lower.len() >= 16
        && !lower.contains([' ', '-'])
        && lower.chars().any(|c| c.is_ascii_digit());
    let hex = lower.len() >= 8 && lower.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    letters >= 3 && !hash && !hex && !GENERIC.contains(&word) && !GENERIC.contains(&&*lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites() {
        let cases = [
            (
                "https://top.example https://frame.example",
                Some("https://top.example"),
            ),
            (
                "s_https://top.example https://frame.example",
                Some("https://top.example"),
            ),
            (
                "^partitionKey=%28https%2Cexample.com%29",
                Some("https://example.com"),
            ),
            (
                "^userContextId=2&partitionKey=%28http%2Clocalhost%2C8201%29",
                Some("http://localhost"),
            ),
            ("", None),
            ("^", None),
        ];
        for (partition, want) in cases {
            assert_eq!(site(partition).as_deref(), want, "{partition}");
        }
    }

    #[test]
    fn titles() {
        let cases = [
            (
                "https://a/films/Big_Buck%20Bunny.mp4?t=1",
                Some("Big Buck Bunny"),
            ),
            (
                "https://a/films/the-harbour/master.m3u8",
                Some("the-harbour"),
            ),
            (
                "https://a/the-harbour/v1/720p/index.m3u8",
                Some("the-harbour"),
            ),
            (
                "https://a/hls/0a1b2c3d4e5f6071/chunklist_w123.m3u8",
                Some("chunklist w123"),
            ),
            (
                "https://a/5f3e2d1c-aaaa-bbbb-cccc-0123456789ab/1080/manifest.mpd",
                None,
            ),
            ("https://a/videoplayback?id=1", None),
            ("https://a/", None),
            ("nonsense", None),
        ];
        for (url, want) in cases {
            assert_eq!(title(url).as_deref(), want, "{url}");
        }
    }

    #[test]
    fn clocks() {
        assert_eq!(
            (
                clock(Duration::from_secs(65)),
                clock(Duration::from_secs(3723))
            ),
            ("1:05".into(), "1:02:03".into())
        );
    }

    #[test]
    fn gaps_of_a_file_stay_where_they_are() {
        use std::io::Read;
        let mut body = Body::empty(10);
        body.add(2, &super::super::Storage::Bytes((*b"cd").into()), 0..2);
        let file = tempfile::NamedTempFile::new().unwrap();
        copy(&body, file.as_file()).unwrap();
        let mut got = Vec::new();
        file.reopen().unwrap().read_to_end(&mut got).unwrap();
        assert_eq!(got, b"\0\0cd\0\0\0\0\0\0");
    }
}
