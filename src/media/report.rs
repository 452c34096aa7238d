//! What [`inspect`](super::inspect) answers.

use std::{ops::Range, time::Duration};

use super::gaps;

/// The container of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Container {
    /// ISO base media (MP4, MOV, M4A, fragmented or not).
    Mp4,
    /// QuickTime by its brand.
    Mov,
    /// MPEG-4 audio only.
    M4a,
    /// Matroska.
    Mkv,
    /// WebM.
    Webm,
    /// Flash Video.
    Flv,
    /// Ogg with video.
    Ogv,
    /// Ogg with audio only.
    Ogg,
    /// MPEG transport stream.
    Ts,
    /// MPEG audio, layer 3.
    Mp3,
    /// AAC in ADTS.
    Aac,
    /// FLAC.
    Flac,
    /// AVI.
    Avi,
    /// WAVE.
    Wav,
    /// MPEG program stream.
    Mpg,
}

/// Whether a file is what its container says.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Every byte that the container promises is there.
    Complete,
    /// Some are missing.
    Incomplete {
        /// The share that is there, from 0 to less than 1: bytes present of the bytes that the
        /// container promises. Where [`Report::open_ended`] is set, it is an upper bound.
        fraction: f64,
    },
    /// All may be there, but not in an order that plays.
    Damaged {
        /// What is wrong, for people.
        reason: String,
    },
    /// Encrypted: left alone.
    Protected,
    /// Not a media file.
    NotMedia {
        /// What it is, for people.
        what: String,
    },
}

/// Whether it has pictures, or sound only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// At least one video track.
    Video,
    /// Sound only.
    Audio,
    /// Neither, or unknown.
    Unknown,
}

/// All that [`inspect`](super::inspect) found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The container, if it is media.
    pub container: Option<Container>,
    /// Video or audio.
    pub kind: Kind,
    /// Length, if the container says it.
    pub duration: Option<Duration>,
    /// Whole or not.
    pub verdict: Verdict,
    /// The container's own title tag.
    pub title: Option<String>,
    /// Length in bytes that the container accounts for, if it says it: what follows is padding or
    /// something else.
    pub content_len: Option<u64>,
    /// The format promises no total length (a transport stream, MP3 without a Xing header, live
    /// WebM …): `Complete` then says only that it ends between two packets, and more may follow
    /// while someone is still writing.
    pub open_ended: bool,
    /// What is missing, wrong or remarkable, for people.
    pub detail: Option<String>,
    /// Stretches of bytes that are known to be missing, in order: gaps inside, and what the
    /// container promises behind the end. Empty where only a share of time or samples is known.
    pub missing: Vec<Range<u64>>,
}

impl Container {
    /// The file extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mov => "mov",
            Self::M4a => "m4a",
            Self::Mkv => "mkv",
            Self::Webm => "webm",
            Self::Flv => "flv",
            Self::Ogv => "ogv",
            Self::Ogg => "ogg",
            Self::Ts => "ts",
            Self::Mp3 => "mp3",
            Self::Aac => "aac",
            Self::Flac => "flac",
            Self::Avi => "avi",
            Self::Wav => "wav",
            Self::Mpg => "mpg",
        }
    }
}

impl Report {
    /// The report on a whole file, of which nothing else is known yet.
    pub(crate) fn of(container: Container) -> Self {
        Self {
            container: Some(container),
            kind: Kind::Unknown,
            duration: None,
            verdict: Verdict::Complete,
            title: None,
            content_len: None,
            open_ended: false,
            detail: None,
            missing: Vec::new(),
        }
    }

    /// Nothing that plays.
    pub(crate) fn not_media(what: impl Into<String>) -> Self {
        let verdict = Verdict::NotMedia { what: what.into() };
        Self {
            container: None,
            verdict,
            ..Self::of(Container::Mp4)
        }
    }

    /// Makes it incomplete: `present` bytes (or seconds) of the `promised`.
    pub(crate) fn lacks(&mut self, present: f64, promised: f64, detail: impl Into<String>) {
        // Something is missing, however little, so the share is never 1.
        let fraction = if promised > 0.0 {
            (present / promised).clamp(0.0, 0.9999)
        } else {
            0.0
        };
        self.verdict = Verdict::Incomplete { fraction };
        self.detail = Some(detail.into());
    }

    /// Makes it incomplete: these stretches of its `whole` bytes are missing.
    pub(crate) fn lacks_stretches(&mut self, missing: Vec<Range<u64>>, whole: u64) {
        let sum = gaps::bytes_of(&missing);
        let detail = format!("{sum} bytes are missing inside");
        self.lacks(whole.saturating_sub(sum) as f64, whole as f64, detail);
        self.missing = missing;
    }

    /// Makes it incomplete: the file has `len` bytes of its `whole`, and `missing` ones inside.
    pub(crate) fn lacks_end(
        &mut self,
        len: u64,
        mut missing: Vec<Range<u64>>,
        whole: u64,
        detail: impl Into<String>,
    ) {
        let present = len.saturating_sub(gaps::bytes_of(&missing));
        self.lacks(present as f64, whole.max(len) as f64, detail);
        if whole > len {
            missing.push(len..whole);
        }
        self.missing = missing;
    }

    /// Takes into account that nothing was written between `from` and the end at `len`: a hole at
    /// the end is never padding. If all that the container promises is there, nothing changes.
    pub(crate) fn ends_in_hole(&mut self, from: u64, len: u64) {
        match self.verdict {
            Verdict::Complete if self.open_ended => {}
            Verdict::Complete => {
                self.detail = Some(format!("a hole of {} bytes follows its end", len - from));
                return;
            }
            Verdict::Incomplete { .. } => {}
            _ => return,
        }
        // If the container promises no length, the file's own is the best estimate.
        let whole = match self.content_len {
            Some(whole) if !self.open_ended => whole.max(from),
            _ => len,
        };
        self.missing.retain(|stretch| stretch.end <= from);
        let missing = std::mem::take(&mut self.missing);
        let detail = format!("nothing was written behind byte {from}");
        self.lacks_end(from, missing, whole.max(from + 1), detail);
    }

    /// Makes it damaged.
    pub(crate) fn damaged(&mut self, reason: impl Into<String>) {
        self.verdict = Verdict::Damaged {
            reason: reason.into(),
        };
    }

    /// Makes it protected.
    pub(crate) fn protected(&mut self) {
        self.verdict = Verdict::Protected;
        self.detail = Some("encrypted: only the player that has the key can open it".into());
    }

    /// Video where there are pictures, audio where there is only sound.
    pub(crate) fn set_kind(&mut self, video: bool, audio: bool) {
        self.kind = match (video, audio) {
            (true, _) => Kind::Video,
            (_, true) => Kind::Audio,
            _ => Kind::Unknown,
        };
    }

    /// Takes `seconds` as the length if it is one that a video can have.
    pub(crate) fn set_seconds(&mut self, seconds: f64) {
        const LONGEST: f64 = 10.0 * 365.0 * 86_400.0;
        if seconds > 0.0 && seconds < LONGEST {
            self.duration = Some(Duration::from_secs_f64(seconds));
        }
    }
}
