//! Segments of a few hundred bytes that are what they seem to be. Each sample says of which film,
//! track and segment it is, so that what was put together can be read.

/// Length of a segment in seconds.
pub(crate) const SECONDS: u64 = 4;

/// What a sample says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Mark {
    /// Which film.
    pub(crate) film: u8,
    /// `b'v'` pictures, `b'a'` and on: a language's sound.
    pub(crate) track: u8,
    /// Which segment.
    pub(crate) segment: u16,
}

impl Mark {
    fn bytes(self) -> Vec<u8> {
        let Self {
            film,
            track,
            segment,
        } = self;
        format!("<<{film:03}{}{segment:05}>>", char::from(track)).into_bytes()
    }
}

/// The marks in a file, in their order, neighbours that are equal once.
pub(crate) fn marks(file: &[u8]) -> Vec<Mark> {
    let mut found: Vec<Mark> = Vec::new();
    for at in 0..file.len().saturating_sub(12) {
        let text = &file[at..at + 13];
        if !text.starts_with(b"<<") || !text.ends_with(b">>") {
            continue;
        }
        let number =
            |range: std::ops::Range<usize>| std::str::from_utf8(&text[range]).ok()?.parse().ok();
        let (Some(film), Some(segment)) = (number(2..5), number(6..11)) else {
            continue;
        };
        let mark = Mark {
            film: film as u8,
            track: text[5],
            segment,
        };
        if found.last() != Some(&mark) {
            found.push(mark);
        }
    }
    found
}

/// A transport stream segment with pictures, sound, or both.
pub(crate) fn ts(marks: &[Mark], start: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut pmt = vec![2, 0xb0, 0, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0];
    for (i, mark) in marks.iter().enumerate() {
        let kind = if mark.track == b'v' { 0x1b } else { 0x0f };
        pmt.extend([kind, 0xe1, i as u8, 0xf0, 0]);
    }
    let len = pmt.len() + 4 - 3;
    pmt[2] = len as u8;
    packet(
        &mut out,
        0,
        true,
        &section(vec![0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xf0, 0]),
    );
    packet(&mut out, 0x1000, true, &section(pmt));
    for tenths in [0, 10, 20, 30, 39] {
        for (i, mark) in marks.iter().enumerate() {
            let pts = 90_000 + start * 90_000 + tenths * 9_000;
            let stream = if mark.track == b'v' { 0xe0 } else { 0xc0 };
            let mut pes = vec![0, 0, 1, stream, 0, 0, 0x80, 0x80, 5];
            pes.extend(stamp(pts & 0x1_ffff_ffff));
            pes.extend(mark.bytes());
            packet(&mut out, 0x100 + i as u16, true, &pes);
        }
    }
    out
}

fn stamp(time: u64) -> [u8; 5] {
    [
        0x21 | ((time >> 30 & 7) << 1) as u8,
        (time >> 22) as u8,
        ((time >> 15) << 1) as u8 | 1,
        (time >> 7) as u8,
        (time << 1) as u8 | 1,
    ]
}

fn section(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |c, _| {
            if c >> 31 == 1 {
                c << 1 ^ 0x04c1_1db7
            } else {
                c << 1
            }
        })
    });
    bytes.extend(crc.to_be_bytes());
    bytes.insert(0, 0);
    bytes
}

/// One packet, filled up in front of its payload.
fn packet(out: &mut Vec<u8>, pid: u16, start: bool, payload: &[u8]) {
    let [high, low] = pid.to_be_bytes();
    out.extend([0x47, high | if start { 0x40 } else { 0 }, low, 0x30]);
    let fill = 184 - payload.len();
    out.push(fill as u8 - 1);
    out.push(0);
    out.extend(vec![0xff; fill - 2]);
    out.extend(payload);
}

fn atom(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32 + 8).to_be_bytes(), &kind[..], &body].concat()
}

/// An initialisation segment of one track.
pub(crate) fn init(track: u8, timescale: u32) -> Vec<u8> {
    let video = track == b'v';
    let handler: &[u8] = if video { b"vide" } else { b"soun" };
    let mut mvhd = [0_u8; 100];
    mvhd[12..16].copy_from_slice(&1000_u32.to_be_bytes());
    let mut tkhd = [0_u8; 84];
    tkhd[15] = 1;
    let mut mdhd = [0_u8; 24];
    mdhd[12..16].copy_from_slice(&timescale.to_be_bytes());
    let entry = if video {
        atom(b"vp09", &[&[0; 78]])
    } else {
        atom(b"mp4a", &[&[0; 28]])
    };
    let stsd = atom(b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1], &entry]);
    let minf = atom(b"minf", &[&atom(b"stbl", &[&stsd])]);
    let hdlr = atom(b"hdlr", &[&[0; 8], handler, &[0; 13]]);
    let mdia = atom(b"mdia", &[&atom(b"mdhd", &[&mdhd]), &hdlr, &minf]);
    let trak = atom(b"trak", &[&atom(b"tkhd", &[&tkhd]), &mdia]);
    let mut trex = [0_u8; 24];
    (trex[7], trex[11]) = (1, 1);
    let mvex = atom(b"mvex", &[&atom(b"trex", &[&trex])]);
    let moov = atom(b"moov", &[&atom(b"mvhd", &[&mvhd]), &trak, &mvex]);
    [atom(b"ftyp", &[b"iso5\0\0\x02\0iso5"]), moov].concat()
}

/// A fragment of one track.
pub(crate) fn fragment(mark: Mark, start: u64, timescale: u32) -> Vec<u8> {
    let data = mark.bytes();
    let tfhd = atom(b"tfhd", &[&[0, 2, 0, 0, 0, 0, 0, 1]]);
    let time = (start * u64::from(timescale)).to_be_bytes();
    let tfdt = atom(b"tfdt", &[&[1, 0, 0, 0], &time]);
    let duration = (SECONDS as u32 * timescale).to_be_bytes();
    let size = (data.len() as u32).to_be_bytes();
    let run = |offset: u32| {
        let head = [0, 0, 3, 1, 0, 0, 0, 1];
        atom(b"trun", &[&head, &offset.to_be_bytes(), &duration, &size])
    };
    let moof = |offset: u32| {
        let traf = atom(b"traf", &[&tfhd, &tfdt, &run(offset)]);
        atom(b"moof", &[&atom(b"mfhd", &[&[0; 8]]), &traf])
    };
    let offset = moof(0).len() as u32 + 8;
    [moof(offset), atom(b"mdat", &[&data])].concat()
}
