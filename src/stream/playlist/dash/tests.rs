use super::*;
use crate::stream::{Piece, Ref};

const URL: &str = "https://a.example/v/manifest.mpd?token=1";

/// Holds nothing, or everything.
struct All(Option<Piece>);

impl Pieces for All {
    fn get(&self, _: &Ref) -> Option<&Piece> {
        self.0.as_ref()
    }
}

fn mpd(attributes: &str, inner: &str) -> Result<Assembly, DashError> {
    let text = format!(
        "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' {attributes}>{inner}</MPD>"
    );
    assembly(text.as_bytes(), URL, &All(None))
}

/// One representation of 20 s.
fn one(segments: &str) -> Result<Assembly, DashError> {
    let set = "<AdaptationSet mimeType='video/mp4'>";
    mpd(
        "mediaPresentationDuration='PT20S'",
        &format!(
            "<Period>{set}<Representation id='v1' bandwidth='500'>{segments}</Representation></AdaptationSet></Period>"
        ),
    )
}

/// The end of each address, start in milliseconds, length in milliseconds.
fn slots(assembly: &Assembly) -> Vec<(&str, u128, u128)> {
    let slots = &assembly.tracks[0].variants[0].slots;
    slots
        .iter()
        .map(|s| {
            let url = s.of.as_ref().unwrap().url.as_str();
            (
                url.trim_start_matches("https://a.example/v/"),
                s.start.as_millis(),
                s.duration.as_millis(),
            )
        })
        .collect()
}

#[test]
fn templates() {
    type Listed<'a> = &'a [(&'a str, u128, u128)];
    let cases: [(&str, Listed<'_>); 6] = [
        (
            "<SegmentTemplate timescale='10' duration='80' media='$RepresentationID$/$Number%03d$.m4s' startNumber='7'/>",
            &[
                ("v1/007.m4s", 0, 8000),
                ("v1/008.m4s", 8000, 8000),
                ("v1/009.m4s", 16_000, 4000),
            ],
        ),
        (
            "<SegmentTemplate timescale='10' media='$Time$$$$Bandwidth$'><SegmentTimeline><S t='0' d='100' r='1'/></SegmentTimeline></SegmentTemplate>",
            &[("0$500", 0, 10_000), ("100$500", 10_000, 10_000)],
        ),
        (
            "<SegmentTemplate timescale='10' media='$Time$' presentationTimeOffset='50'><SegmentTimeline><S t='50' d='90' r='-1'/></SegmentTimeline></SegmentTemplate>",
            &[("50", 0, 9000), ("140", 9000, 9000), ("230", 18_000, 9000)],
        ),
        (
            "<SegmentTemplate media='$Number$'><SegmentTimeline><S d='5' r='-1'/><S t='10' d='7'/></SegmentTimeline></SegmentTemplate>",
            &[("1", 0, 5000), ("2", 5000, 5000), ("3", 10_000, 7000)],
        ),
        (
            "<SegmentList duration='10'><SegmentURL media='a'/><SegmentURL media='b'/></SegmentList>",
            &[("a", 0, 10_000), ("b", 10_000, 10_000)],
        ),
        ("<BaseURL>whole.mp4</BaseURL>", &[("whole.mp4", 0, 20_000)]),
    ];
    for (segments, want) in cases {
        assert_eq!(slots(&one(segments).unwrap()), want, "{segments}");
    }
}

#[test]
fn rounding_makes_no_further_segment() {
    let found =
        one("<SegmentTemplate timescale='1000' duration='4999' media='$Number$'/>").unwrap();
    assert_eq!(
        slots(&found).len(),
        4,
        "20 s are four segments of 4.999 s and nothing"
    );
}

#[test]
fn addresses_are_inherited() {
    let found = mpd("mediaPresentationDuration='PT4S'", "<BaseURL>//cdn.example/x/</BaseURL><Period><BaseURL>p/</BaseURL>\
        <SegmentTemplate timescale='2' duration='8'/><AdaptationSet contentType='video'><SegmentTemplate initialization='i'/>\
        <Representation id='a'><BaseURL>r/</BaseURL><SegmentTemplate media='m?x=1&amp;y=2'/></Representation></AdaptationSet></Period>").unwrap();
    let slot = &found.tracks[0].variants[0].slots[0];
    assert_eq!(
        slot.of.as_ref().unwrap().url,
        "https://cdn.example/x/p/r/m?x=1&y=2"
    );
    assert_eq!(slot.init.at().unwrap().url, "https://cdn.example/x/p/r/i");
    assert_eq!(slot.duration, Duration::from_secs(4));
}

#[test]
fn periods_follow_each_other() {
    let period = |id: &str, attributes: &str| {
        format!(
            "<Period {attributes}><AdaptationSet mimeType='video/mp4'><Representation id='{id}' bandwidth='5' height='90'>\
         <SegmentTemplate duration='5' media='{id}-$Number$'/></Representation></AdaptationSet></Period>"
        )
    };
    let found = mpd(
        "",
        &(period("a", "duration='PT10S'") + &period("b", "duration='PT0M5.0S'")),
    )
    .unwrap();
    assert_eq!(found.tracks.len(), 1);
    let all: Vec<_> = found.tracks[0].variants[0]
        .slots
        .iter()
        .map(|s| (s.start.as_secs(), s.discontinuity))
        .collect();
    assert_eq!(all, [(0, 0), (5, 0), (10, 1)]);
}

#[test]
fn what_is_left_out_and_what_is_left_alone() {
    let set = |inner: &str, attributes: &str| {
        format!(
            "<AdaptationSet {attributes}>{inner}<Representation id='1'><SegmentTemplate duration='5' media='$Number$'/></Representation></AdaptationSet>"
        )
    };
    let tracks = |sets: &str| {
        mpd(
            "mediaPresentationDuration='PT10S'",
            &format!("<Period>{sets}</Period>"),
        )
    };
    let trick =
        "<EssentialProperty schemeIdUri='http://dashif.org/guidelines/trickmode' value='1'/>";
    let all = [
        set("", "mimeType='video/mp4'"),
        set(trick, "mimeType='video/mp4'"),
        set("", "mimeType='image/jpeg'"),
        set("", "mimeType='application/mp4' codecs='stpp'"),
        set("", "mimeType='audio/mp4' lang='de'"),
        set("", "mimeType='audio/mp4' lang='en'"),
    ];
    let found = tracks(&all.concat()).unwrap();
    assert_eq!(
        found
            .tracks
            .iter()
            .map(|t| t.language.as_deref())
            .collect::<Vec<_>>(),
        [None, Some("de"), Some("en")]
    );
    let drm = "<ContentProtection schemeIdUri='urn:mpeg:dash:mp4protection:2011' value='cenc'/>";
    assert_eq!(
        tracks(&set(drm, "contentType='video'"))
            .unwrap()
            .protected
            .as_deref(),
        Some("DRM")
    );
    assert_eq!(tracks(&all[2]), Err(DashError::Empty));
}

#[test]
fn a_live_manifest_slides() {
    let version = |from: u64, kind: &str| {
        mpd(&format!("type='{kind}'"), &format!(
        "<Period start='PT100S'><AdaptationSet mimeType='video/mp4'><Representation id='1' bandwidth='5'>\
         <SegmentTemplate media='$Time$'><SegmentTimeline><S t='{from}' d='4' r='2'/></SegmentTimeline></SegmentTemplate>\
         </Representation></AdaptationSet></Period>"
    )).unwrap()
    };
    let mut live = version(1000, "dynamic");
    assert!(!live.ended);
    unite(&mut live, version(1004, "dynamic"));
    unite(&mut live, version(1016, "static"));
    from_zero(&mut live);
    let starts: Vec<_> = slots(&live)
        .iter()
        .map(|s| (s.0.to_owned(), s.1 / 1000))
        .collect();
    let want = [
        ("1000", 0),
        ("1004", 4),
        ("1008", 8),
        ("1012", 12),
        ("1016", 16),
        ("1020", 20),
        ("1024", 24),
    ];
    assert_eq!(starts, want.map(|(n, s)| (n.to_owned(), s)));
    assert!(live.ended);
    let clock = "<Period><AdaptationSet mimeType='video/mp4'><Representation id='1'><SegmentTemplate duration='4' media='$Number$'/></Representation></AdaptationSet></Period>";
    assert_eq!(mpd("type='dynamic'", clock), Err(DashError::Clock));
}

#[test]
fn hostile() {
    let repeat = |r: &str| {
        one(&format!(
            "<SegmentTemplate media='$Time$'><SegmentTimeline><S t='0' d='1' r='{r}'/></SegmentTimeline></SegmentTemplate>"
        ))
    };
    assert_eq!(repeat("1000000"), Err(DashError::TooLarge));
    assert_eq!(repeat("9223372036854775807"), Err(DashError::TooLarge));
    assert!(repeat("-9223372036854775808").is_ok());
    assert!(repeat("x").is_ok());
    let cases = [
        "<SegmentTemplate media='$Number%099999999999d$' duration='5'/>",
        "<SegmentTemplate media='$' duration='5'/>",
        "<SegmentTemplate media='$Number$' duration='18446744073709551615' timescale='18446744073709551615'/>",
        "<SegmentTemplate media='$Time$' presentationTimeOffset='18446744073709551615' duration='18446744073709551615'/>",
        "<SegmentTemplate media='$Time$'><SegmentTimeline><S t='18446744073709551615' d='18446744073709551615' r='5'/></SegmentTimeline></SegmentTemplate>",
        "<SegmentTemplate media='file:///etc/passwd' duration='5'/>",
        "<SegmentTemplate media='../../../../etc/passwd' duration='5'/>",
        "<SegmentList><SegmentURL mediaRange='5-1'/><SegmentURL mediaRange='0-18446744073709551615'/></SegmentList>",
        "<SegmentBase indexRange='0-9223372036854775807'><Initialization range='-'/></SegmentBase>",
        "<BaseURL>http://[</BaseURL>",
    ];
    for case in cases {
        let Ok(found) = one(case) else { continue };
        let urls = found
            .refs()
            .filter(|r| !r.url.starts_with("https://a.example/"));
        assert_eq!(urls.count(), 0, "{case}");
        assert!(found.duration() < Duration::from_secs(1 << 40));
    }
    assert_eq!(
        one("<SegmentTemplate media='$Number$' duration='1' timescale='1000000'/>"),
        Err(DashError::TooLarge)
    );
    let long = format!(
        "<SegmentTemplate media='{}$Number$' duration='1' timescale='1000'/>",
        "x".repeat(5000)
    );
    assert_eq!(one(&long), Err(DashError::TooLarge));
    assert_eq!(
        assembly(&vec![b' '; MAX_TEXT + 1], URL, &All(None)),
        Err(DashError::TooLarge)
    );
    for text in [
        "",
        "<MPD",
        "<html/>",
        "<!DOCTYPE MPD [<!ENTITY x 'y'>]><MPD>&x;</MPD>",
    ] {
        assert_eq!(
            assembly(text.as_bytes(), URL, &All(None)),
            Err(DashError::NotDash),
            "{text}"
        );
    }
    let sets = format!(
        "<AdaptationSet mimeType='video/mp4'>{}</AdaptationSet>",
        "<Representation/>".repeat(5000)
    );
    assert_eq!(
        mpd("", &format!("<Period>{sets}</Period>")),
        Err(DashError::TooLarge)
    );
}

#[test]
fn durations() {
    let cases = [
        ("PT20S", 20.0),
        ("PT1H2M3.5S", 3723.5),
        ("P1DT1S", 86_401.0),
        ("P1M", 2_592_000.0),
        ("PT1M", 60.0),
        ("", 0.0),
        ("x", 0.0),
        ("PT1e9S", 0.0),
        ("PT99999999999999999999999S", 9e9),
    ];
    for (text, want) in cases {
        assert_eq!(duration(text).as_secs_f64(), want, "{text}");
    }
}
