//! Players' own manifests in JSON, written as what they say: a DASH manifest, or the playlist that
//! stands in them.
//!
//! | who | what is in it |
//! |---|---|
//! | Vimeo's `playlist.json` | `video` and `audio`, each with `init_segment` and `segments` |
//! | Bilibili's `playurl` | `dash` with `video` and `audio`, each with `baseUrl` and `SegmentBase` |
//! | others | a playlist as text, or in base64 |
//!
//! Nobody documents these; the fields are those that public programs read.

use quick_xml::escape::escape;
use serde_json::{Map, Value};

use crate::stream::address::base64;

/// Manifests in one answer.
const MAX: usize = 16;
/// How a player's manifest begins, as plain text or in base64.
const WORDS: [&str; 8] = [
    "\"init_segment\"",
    "\"SegmentBase\"",
    "\"segment_base\"",
    "#EXTM3U",
    "<MPD",
    "I0VYVE0zV",
    "PD94bWw",
    "PE1QR",
];
/// Milliseconds.
const SCALE: f64 = 1000.0;

/// Whether an answer that begins so may hold a manifest.
pub(crate) fn is_likely(head: &[u8]) -> bool {
    let has = |word: &&str| head.windows(word.len()).any(|w| w == word.as_bytes());
    matches!(head.first(), Some(b'{' | b'[')) && WORDS.iter().any(has)
}

/// The manifests in a text, as DASH or HLS.
pub(crate) fn manifests(text: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    if let Ok(value) = serde_json::from_slice(text) {
        search(&value, &mut found);
    }
    found
}

fn search(value: &Value, found: &mut Vec<String>) {
    if found.len() == MAX {
        return;
    }
    match value {
        Value::String(text) => found.extend(embedded(text)),
        Value::Array(all) => all.iter().for_each(|value| search(value, found)),
        Value::Object(fields) => match manifest(fields) {
            Some(manifest) => found.push(manifest),
            None => fields.values().for_each(|value| search(value, found)),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A playlist in a string.
fn embedded(text: &str) -> Option<String> {
    let is_playlist = |text: &str| {
        let start = text.trim_start_matches('\u{feff}').trim_start();
        start.starts_with("#EXTM3U") || start.starts_with('<') && start.contains("<MPD")
    };
    if is_playlist(text) {
        return Some(text.to_owned());
    }
    let coded = WORDS[5..].iter().any(|start| text.starts_with(start));
    let plain = coded.then(|| base64(text.as_bytes()))??;
    String::from_utf8(plain)
        .ok()
        .filter(|text| is_playlist(text))
}

/// Pictures and sound in the words of a player.
fn manifest(fields: &Map<String, Value>) -> Option<String> {
    let mut sets = String::new();
    for kind in ["video", "audio"] {
        let representations = fields.get(kind).and_then(Value::as_array);
        let representations: String = (0..)
            .zip(representations.into_iter().flatten())
            .filter_map(|(id, of)| representation(id, of.as_object()?))
            .collect();
        if !representations.is_empty() {
            sets +=
                &format!("<AdaptationSet contentType=\"{kind}\">{representations}</AdaptationSet>");
        }
    }
    let length = number(fields, "duration")
        .map(|seconds| format!(" mediaPresentationDuration=\"PT{seconds}S\""))
        .unwrap_or_default();
    let base = base(text(fields, &["base_url"]));
    (!sets.is_empty())
        .then(|| format!("<MPD type=\"static\"{length}>{base}<Period>{sets}</Period></MPD>"))
}

fn representation(id: usize, fields: &Map<String, Value>) -> Option<String> {
    let inner = segments(fields).or_else(|| index(fields))?;
    let attribute = |name, keys: [&str; 2]| {
        let value = keys.iter().find_map(|key| number(fields, key));
        value
            .map(|n| format!(" {name}=\"{n:.0}\""))
            .unwrap_or_default()
    };
    let bandwidth = attribute("bandwidth", ["bandwidth", "bitrate"]);
    let height = attribute("height", ["height", "height"]);
    let mut bases = base(text(fields, &["base_url", "baseUrl"]));
    for spare in ["backup_url", "backupUrl"] {
        let all = fields
            .get(spare)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        bases.extend(all.map(|url| base(url.as_str())));
    }
    Some(format!(
        "<Representation id=\"{id}\"{bandwidth}{height}>{bases}{inner}</Representation>"
    ))
}

/// Segments by name, and the initialisation segment itself.
fn segments(fields: &Map<String, Value>) -> Option<String> {
    let listed = fields.get("segments")?.as_array()?;
    let init = text(fields, &["init_segment_url", "init_segment"])?;
    // Bytes in base64, if it is no address.
    let is_data = base64(init.as_bytes()).is_some_and(|bytes| bytes.get(4..8) == Some(b"ftyp"));
    let init = if is_data {
        format!("data:video/mp4;base64,{init}")
    } else {
        init.to_owned()
    };
    let (mut times, mut urls) = (String::new(), String::new());
    for segment in listed.iter().filter_map(Value::as_object) {
        let (start, end) = (number(segment, "start")?, number(segment, "end")?);
        let (start, end) = ((start * SCALE).round(), (end * SCALE).round());
        times += &format!("<S t=\"{start}\" d=\"{}\"/>", (end - start).max(0.0));
        let url = escape(text(segment, &["url"])?);
        urls += &format!("<SegmentURL media=\"{url}\"/>");
    }
    let init = escape(&init);
    Some(format!(
        "<SegmentList timescale=\"{SCALE}\"><Initialization sourceURL=\"{init}\"/>\
         <SegmentTimeline>{times}</SegmentTimeline>{urls}</SegmentList>"
    ))
}

/// One file with an index.
fn index(fields: &Map<String, Value>) -> Option<String> {
    let names = ["SegmentBase", "segment_base"];
    let place = names
        .iter()
        .find_map(|name| fields.get(*name)?.as_object())?;
    let init = escape(text(place, &["Initialization", "initialization"])?);
    let index = escape(text(place, &["indexRange", "index_range"])?);
    Some(format!(
        "<SegmentBase indexRange=\"{index}\"><Initialization range=\"{init}\"/></SegmentBase>"
    ))
}

fn base(url: Option<&str>) -> String {
    url.map(|url| format!("<BaseURL>{}</BaseURL>", escape(url)))
        .unwrap_or_default()
}

fn text<'a>(fields: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| fields.get(*key)?.as_str())
}

fn number(fields: &Map<String, Value>, key: &str) -> Option<f64> {
    fields.get(key)?.as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_players_write() {
        let vimeo = r#"{"clip_id":"1","base_url":"../../","video":[{"id":"a","base_url":"v/",
            "bitrate":800000,"height":180,"init_segment":"AAAACGZ0eXA=","segments":[
            {"start":0,"end":4.0,"url":"1.m4s?a=1&b=2"},{"start":4.0,"end":6.52,"url":"2.m4s"}]}],
            "audio":null}"#;
        let bilibili = r#"{"data":{"dash":{"duration":24,"video":[{"id":80,"baseUrl":"https://a/x",
            "backupUrl":["https://b/x"],"bandwidth":1000,"height":180,
            "SegmentBase":{"Initialization":"0-99","indexRange":"100-199"}}],"audio":[]}}}"#;
        let cases = [
            (
                vimeo,
                "<MPD type=\"static\"><BaseURL>../../</BaseURL><Period><AdaptationSet \
                 contentType=\"video\"><Representation id=\"0\" bandwidth=\"800000\" \
                 height=\"180\"><BaseURL>v/</BaseURL><SegmentList timescale=\"1000\">\
                 <Initialization sourceURL=\"data:video/mp4;base64,AAAACGZ0eXA=\"/><SegmentTimeline>\
                 <S t=\"0\" d=\"4000\"/><S t=\"4000\" d=\"2520\"/></SegmentTimeline>\
                 <SegmentURL media=\"1.m4s?a=1&amp;b=2\"/><SegmentURL media=\"2.m4s\"/>\
                 </SegmentList></Representation></AdaptationSet></Period></MPD>",
            ),
            (
                bilibili,
                "<MPD type=\"static\" mediaPresentationDuration=\"PT24S\"><Period>\
                 <AdaptationSet contentType=\"video\"><Representation id=\"0\" \
                 bandwidth=\"1000\" height=\"180\"><BaseURL>https://a/x</BaseURL>\
                 <BaseURL>https://b/x</BaseURL><SegmentBase indexRange=\"100-199\">\
                 <Initialization range=\"0-99\"/></SegmentBase></Representation>\
                 </AdaptationSet></Period></MPD>",
            ),
            (r##"[{"x":"#EXTM3U\n"}]"##, "#EXTM3U\n"),
            (r#"{"manifest":"PE1QRD48L01QRD4="}"#, "<MPD></MPD>"),
        ];
        for (text, want) in cases {
            assert!(is_likely(text.as_bytes()), "{text}");
            assert_eq!(manifests(text.as_bytes()), [want], "{text}");
        }
    }

    #[test]
    fn what_is_none() {
        let nothing = [
            "",
            "{",
            "[]",
            r#"{"video":[{"segments":[{"start":0}],"init_segment":"A"}]}"#,
            r#"{"video":"<p>","audio":3}"#,
            r#"{"a":"PE1QR!"}"#,
            r#"{"dash":{"video":[{"baseUrl":"x"}]}}"#,
        ];
        for text in nothing {
            assert!(manifests(text.as_bytes()).is_empty(), "{text}");
        }
        let many = format!("[{}0]", "\"#EXTM3U\",".repeat(50));
        assert_eq!(manifests(many.as_bytes()).len(), MAX);
        assert!(!is_likely(b"{\"title\":\"a video\"}") && !is_likely(b"#EXTM3U"));
    }
}
