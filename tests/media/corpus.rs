//! Good media files of all containers and many layouts, made by ffmpeg, GStreamer and mkvtoolnix.
//!
//! A few clips are coded once; nearly all files are those clips in another container or layout.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use fisga::media::{Container, Kind};

/// One good file.
#[derive(Clone, Debug)]
pub(crate) struct Good {
    pub(crate) path: PathBuf,
    pub(crate) container: Container,
    pub(crate) kind: Kind,
}

/// How to make a file: a shell line that knows `$in` (a coded clip) and `$out`.
struct Layout {
    name: &'static str,
    container: Container,
    /// Which clips it takes.
    clips: &'static [&'static str],
    line: &'static str,
}

const fn layout(
    name: &'static str,
    container: Container,
    clips: &'static [&'static str],
    line: &'static str,
) -> Layout {
    Layout {
        name,
        container,
        clips,
        line,
    }
}

/// Clips: video is moving noise, so that frames have some size, and sound is a sweep.
const CLIPS: &[(&str, &str)] = &[
    (
        "h264",
        "ffmpeg $v $a -c:v libx264 -preset ultrafast -bf 2 -flags +cgop -g 25 -c:a aac -b:a 96k $out.mkv",
    ),
    (
        "h264b",
        "ffmpeg $v $a -t 2.3 -c:v libx264 -preset veryfast -bf 3 -g 12 -c:a libmp3lame $out.mkv",
    ),
    (
        "h264s",
        "ffmpeg $v -an -c:v libx264 -preset ultrafast -g 1000 $out.mkv",
    ),
    (
        "mpeg4",
        "ffmpeg $v $a -c:v mpeg4 -b:v 900k -g 25 -c:a libmp3lame -b:a 128k $out.mkv",
    ),
    (
        "mpeg2",
        "ffmpeg $v $a -c:v mpeg2video -b:v 1500k -g 15 -c:a mp2 $out.mkv",
    ),
    (
        "vp8",
        "ffmpeg $v $a -c:v libvpx -deadline realtime -cpu-used 8 -b:v 900k -g 30 -c:a libvorbis $out.mkv",
    ),
    (
        "vp9",
        "ffmpeg $v $a -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 900k -g 30 -c:a libopus $out.mkv",
    ),
    (
        "av1",
        "ffmpeg $v $a -t 2 -c:v libsvtav1 -preset 12 -crf 40 -c:a libopus $out.mkv",
    ),
    (
        "theora",
        "ffmpeg $v $a -c:v libtheora -b:v 900k -c:a libvorbis $out.mkv",
    ),
    (
        "flv1",
        "ffmpeg $v $a -c:v flv -b:v 900k -ar 44100 -c:a libmp3lame $out.mkv",
    ),
    ("aac", "ffmpeg $a -vn -c:a aac -b:a 160k $out.mkv"),
    ("mp3", "ffmpeg $a -vn -c:a libmp3lame -b:a 160k $out.mkv"),
    ("mp3v", "ffmpeg $a -vn -c:a libmp3lame -q:a 3 $out.mkv"),
    ("opus", "ffmpeg $a -vn -c:a libopus $out.mkv"),
    ("vorbis", "ffmpeg $a -vn -c:a libvorbis -q:a 6 $out.mkv"),
    ("flac", "ffmpeg $a -vn -c:a flac $out.mkv"),
    ("pcm", "ffmpeg $a -vn -c:a pcm_s16le $out.mkv"),
    (
        "h264pcm",
        "ffmpeg $v $a -t 2 -c:v libx264 -preset ultrafast -c:a pcm_s16le $out.mkv",
    ),
    (
        "mjpeg",
        "ffmpeg $v $a -t 2 -c:v mjpeg -q:v 5 -c:a pcm_s16le $out.mkv",
    ),
];

const VIDEO: &str = "-f lavfi -i testsrc2=s=192x144:r=25:d=3,noise=alls=24:allf=t";
const AUDIO: &str =
    "-f lavfi -i aevalsrc=0.4*sin(2*PI*(300+200*t)*t)+0.05*random(0)|0.3*sin(880*t*6):s=44100:d=3";

const MP4S: &[&str] = &[
    "h264", "h264b", "h264s", "mpeg4", "vp9", "av1", "aac", "mp3", "flac", "opus",
];
const MP4AV: &[&str] = &["h264", "h264b", "h264s", "mpeg4", "vp9", "av1"];
const MKVS: &[&str] = &[
    "h264", "vp8", "vp9", "theora", "av1", "flac", "h264pcm", "mpeg4", "mpeg2", "vorbis", "aac",
    "mjpeg", "h264b",
];
const WEBMS: &[&str] = &["vp9", "vp8", "av1", "opus", "vorbis"];

const LAYOUTS: &[Layout] = &{
    use Container::*;
    [
        layout(
            "faststart",
            Mp4,
            MP4S,
            "ffmpeg $in $copy -movflags +faststart -f mp4 $out",
        ),
        layout("moovend", Mp4, MP4S, "ffmpeg $in $copy -f mp4 $out"),
        layout(
            "titled",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -metadata title=Título -movflags +faststart -f mp4 $out",
        ),
        layout(
            "tags",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -metadata title=T -movflags use_metadata_tags -f mp4 $out",
        ),
        layout(
            "rawmoov",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -moov_size 60000 -f mp4 $out",
        ),
        layout(
            "negcts",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -movflags negative_cts_offsets -f mp4 $out",
        ),
        layout(
            "noedits",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -use_editlist 0 -movflags +faststart -f mp4 $out",
        ),
        layout(
            "offset",
            Mp4,
            MP4AV,
            "ffmpeg -ss 0.7 $in $copy -movflags +faststart -f mp4 $out",
        ),
        layout(
            "delayed",
            Mp4,
            MP4AV,
            "ffmpeg -itsoffset 0.8 $in $copy -movflags +faststart -f mp4 $out",
        ),
        layout(
            "frag",
            Mp4,
            MP4S,
            "ffmpeg $in $copy -movflags frag_keyframe+empty_moov -frag_duration 500000 -f mp4 $out",
        ),
        layout(
            "fragmoov",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -movflags frag_keyframe -f mp4 $out",
        ),
        layout(
            "fragbase",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -movflags frag_keyframe+empty_moov+default_base_moof -f mp4 $out",
        ),
        layout(
            "fragframe",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -movflags frag_every_frame+empty_moov+default_base_moof -f mp4 $out",
        ),
        layout(
            "fragsep",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -movflags frag_keyframe+empty_moov+separate_moof -f mp4 $out",
        ),
        layout(
            "fragomit",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -movflags frag_keyframe+empty_moov+omit_tfhd_offset -f mp4 $out",
        ),
        layout(
            "fragskip",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -movflags frag_keyframe+empty_moov+skip_trailer -f mp4 $out",
        ),
        layout(
            "fragdelay",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -movflags frag_keyframe+delay_moov -f mp4 $out",
        ),
        layout(
            "dash",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -movflags dash+frag_keyframe+empty_moov -f mp4 $out",
        ),
        layout(
            "gsidx",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -movflags global_sidx+dash+frag_keyframe -f mp4 $out",
        ),
        layout(
            "cmaf",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -movflags cmaf+frag_keyframe -f mp4 $out",
        ),
        layout(
            "ismv",
            Mp4,
            &["h264", "h264b"],
            "ffmpeg $in $copy -movflags frag_keyframe -f ismv $out",
        ),
        layout(
            "prft",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -write_prft wallclock -movflags frag_keyframe+empty_moov -f mp4 $out",
        ),
        layout(
            "timecode",
            Mov,
            &["h264", "mpeg4", "h264s"],
            "ffmpeg $in $copy -timecode 00:00:01:00 -f mov $out",
        ),
        layout(
            "mov",
            Mov,
            &["h264", "mpeg4", "h264pcm", "mjpeg", "mpeg2", "h264b"],
            "ffmpeg $in $copy -f mov $out",
        ),
        layout(
            "movfast",
            Mov,
            &["h264", "mpeg4", "h264pcm", "mjpeg"],
            "ffmpeg $in $copy -movflags faststart -f mov $out",
        ),
        layout(
            "movfrag",
            Mov,
            &["h264", "mpeg4"],
            "ffmpeg $in $copy -movflags frag_keyframe+empty_moov -f mov $out",
        ),
        layout(
            "3gp",
            Mp4,
            &["h264", "h264s"],
            "ffmpeg $in $copy -f 3gp $out",
        ),
        layout("ipod", M4a, &["aac"], "ffmpeg $in $copy -f ipod $out"),
        layout("ipodv", Mp4, &["h264"], "ffmpeg $in $copy -f ipod $out"),
        layout("psp", Mp4, &["h264"], "ffmpeg $in $copy -f psp $out"),
        layout(
            "f4v",
            Mp4,
            &["h264", "h264b"],
            "ffmpeg $in $copy -f f4v $out",
        ),
        layout(
            "two",
            Mp4,
            &["h264", "mpeg4"],
            "ffmpeg $in -map 0:v -map 0:a -map 0:a -c copy -movflags +faststart -f mp4 $out",
        ),
        layout(
            "chapters",
            Mp4,
            MP4AV,
            "ffmpeg $in -i $dir/chapters.txt -map 0 -map_chapters 1 -c copy -f mp4 $out",
        ),
        layout(
            "subs",
            Mp4,
            MP4AV,
            "ffmpeg $in -i $dir/subs.srt -map 0 -map 1 -c copy -c:s mov_text -f mp4 $out",
        ),
        layout(
            "cover",
            Mp4,
            MP4AV,
            "ffmpeg $in -i $dir/cover.png -map 0 -map 1 -c copy -disposition:v:1 attached_pic -f mp4 $out",
        ),
        layout(
            "m4acover",
            M4a,
            &["aac"],
            "ffmpeg $in -i $dir/cover.png -map 0 -map 1 -c copy -disposition:v:0 attached_pic -f ipod $out",
        ),
        layout(
            "shortest",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -t 1.4 -movflags +faststart -f mp4 $out",
        ),
        layout(
            "brand",
            Mp4,
            MP4AV,
            "ffmpeg $in $copy -brand mp42 -f mp4 $out",
        ),
        layout("mkv", Mkv, MKVS, "ffmpeg $in $copy -f matroska $out"),
        layout(
            "mkvtitle",
            Mkv,
            MKVS,
            "ffmpeg $in $copy -metadata title=Título -f matroska $out",
        ),
        layout(
            "mkvlive",
            Mkv,
            MKVS,
            "ffmpeg $in $copy -live 1 -f matroska $out",
        ),
        layout("mkvpipe", Mkv, MKVS, "ffmpeg $in $copy -f matroska - >$out"),
        layout(
            "mkvcues",
            Mkv,
            MKVS,
            "ffmpeg $in $copy -cues_to_front 1 -f matroska $out",
        ),
        layout(
            "mkvreserve",
            Mkv,
            MKVS,
            "ffmpeg $in $copy -reserve_index_space 20000 -f matroska $out",
        ),
        layout(
            "mkvsmall",
            Mkv,
            MKVS,
            "ffmpeg $in $copy -cluster_time_limit 200 -f matroska $out",
        ),
        layout(
            "mkvattach",
            Mkv,
            &["h264", "vp9"],
            "ffmpeg $in $copy -attach $dir/cover.png -metadata:s:t mimetype=image/png -f matroska $out",
        ),
        layout(
            "mkvsubs",
            Mkv,
            &["h264", "vp9"],
            "ffmpeg $in -i $dir/subs.srt -map 0 -map 1 -c copy -c:s srt -f matroska $out",
        ),
        layout(
            "mkvchap",
            Mkv,
            &["h264", "vp9"],
            "ffmpeg $in -i $dir/chapters.txt -map 0 -map_chapters 1 -c copy -f matroska $out",
        ),
        layout("webm", Webm, WEBMS, "ffmpeg $in $copy -f webm $out"),
        layout(
            "webmlive",
            Webm,
            WEBMS,
            "ffmpeg $in $copy -live 1 -f webm $out",
        ),
        layout("webmpipe", Webm, WEBMS, "ffmpeg $in $copy -f webm - >$out"),
        layout(
            "webmdash",
            Webm,
            WEBMS,
            "ffmpeg $in -map 0:0 -c copy -dash 1 -f webm $out",
        ),
        layout(
            "webmtitle",
            Webm,
            WEBMS,
            "ffmpeg $in $copy -metadata title=Título -f webm $out",
        ),
        layout(
            "webmtiny",
            Webm,
            WEBMS,
            "ffmpeg $in $copy -cluster_size_limit 20000 -f webm $out",
        ),
        layout("merge", Mkv, MKVS, "mkvmerge -q -o $out $clip"),
        layout(
            "mergenoc",
            Mkv,
            MKVS,
            "mkvmerge -q --no-cues --clusters-in-meta-seek -o $out $clip",
        ),
        layout(
            "mergeblk",
            Mkv,
            MKVS,
            "mkvmerge -q --cluster-length 5 --enable-durations -o $out $clip",
        ),
        layout(
            "mergesimple",
            Mkv,
            MKVS,
            "mkvmerge -q --engage no_simpleblocks --engage no_cue_duration -o $out $clip",
        ),
        layout(
            "mergelace",
            Mkv,
            &["aac", "vorbis", "h264", "vp8"],
            "mkvmerge -q --title Título --engage lacing_xiph -o $out $clip",
        ),
        layout(
            "mergezlib",
            Mkv,
            &["h264"],
            "mkvmerge -q --compression -1:zlib -o $out $clip $dir/subs.srt",
        ),
        layout("mergewebm", Webm, WEBMS, "mkvmerge -q --webm -o $out $clip"),
        layout(
            "flv",
            Flv,
            &["flv1", "h264", "h264s", "h264b"],
            "ffmpeg $in $copy -f flv $out",
        ),
        layout(
            "flvpipe",
            Flv,
            &["flv1", "h264", "h264s"],
            "ffmpeg $in $copy -f flv - >$out",
        ),
        layout(
            "flvnosize",
            Flv,
            &["flv1", "h264", "h264s"],
            "ffmpeg $in $copy -flvflags no_duration_filesize -f flv $out",
        ),
        layout(
            "flvindex",
            Flv,
            &["flv1", "h264", "h264s"],
            "ffmpeg $in $copy -flvflags add_keyframe_index -f flv $out",
        ),
        layout(
            "flvnoend",
            Flv,
            &["h264", "h264s"],
            "ffmpeg $in $copy -flvflags no_sequence_end -f flv $out",
        ),
        layout(
            "flvnometa",
            Flv,
            &["flv1", "h264"],
            "ffmpeg $in $copy -flvflags no_metadata -f flv $out",
        ),
        layout(
            "flvtitle",
            Flv,
            &["flv1", "h264"],
            "ffmpeg $in $copy -metadata title=Título -f flv $out",
        ),
        layout("flvaudio", Flv, &["aac"], "ffmpeg $in $copy -f flv $out"),
        layout("ogv", Ogv, &["theora"], "ffmpeg $in $copy -f ogg $out"),
        layout(
            "ogvtitle",
            Ogv,
            &["theora"],
            "ffmpeg $in $copy -metadata title=Título -f ogv $out",
        ),
        layout(
            "ogvpages",
            Ogv,
            &["theora"],
            "ffmpeg $in $copy -page_duration 100000 -f ogg $out",
        ),
        layout("ogvvp8", Ogv, &["vp8"], "ffmpeg $in $copy -f ogg $out"),
        layout(
            "oggsound",
            Ogg,
            &["vorbis", "opus", "flac"],
            "ffmpeg $in $copy -f ogg $out",
        ),
        layout(
            "oggtitle",
            Ogg,
            &["vorbis", "opus", "flac"],
            "ffmpeg $in $copy -metadata title=Título -f ogg $out",
        ),
        layout(
            "oggpages",
            Ogg,
            &["vorbis", "opus", "flac"],
            "ffmpeg $in $copy -page_duration 200000 -f ogg $out",
        ),
        layout(
            "oggchain",
            Ogg,
            &["vorbis", "opus"],
            "ffmpeg $in $copy -f ogg - >$out && ffmpeg $in $copy -serial_offset 7 -f ogg - >>$out",
        ),
        layout(
            "ts",
            Ts,
            &["h264", "mpeg2", "h264b", "h264s", "aac"],
            "ffmpeg $in $copy -f mpegts $out",
        ),
        layout(
            "m2ts",
            Ts,
            &["h264", "mpeg2", "h264b"],
            "ffmpeg $in $copy -mpegts_m2ts_mode 1 -f mpegts $out",
        ),
        layout(
            "tscbr",
            Ts,
            &["h264", "mpeg2", "h264b"],
            "ffmpeg $in $copy -muxrate 4M -f mpegts $out",
        ),
        layout(
            "tslatm",
            Ts,
            &["h264"],
            "ffmpeg $in $copy -mpegts_flags latm -f mpegts $out",
        ),
        layout(
            "tspat",
            Ts,
            &["h264", "mpeg2"],
            "ffmpeg $in $copy -mpegts_flags resend_headers+pat_pmt_at_frames -f mpegts $out",
        ),
        layout(
            "tsoffset",
            Ts,
            &["h264", "h264b"],
            "ffmpeg $in $copy -output_ts_offset 95440 -f mpegts $out",
        ),
        layout("mp3", Mp3, &["mp3", "mp3v"], "ffmpeg $in $copy -f mp3 $out"),
        layout(
            "mp3tags",
            Mp3,
            &["mp3", "mp3v"],
            "ffmpeg $in $copy -metadata title=Título -write_id3v1 1 -f mp3 $out",
        ),
        layout(
            "mp3v23",
            Mp3,
            &["mp3", "mp3v"],
            "ffmpeg $in $copy -metadata title=Título -id3v2_version 3 -f mp3 $out",
        ),
        layout(
            "mp3bare",
            Mp3,
            &["mp3", "mp3v"],
            "ffmpeg $in $copy -write_xing 0 -id3v2_version 0 -f mp3 $out",
        ),
        layout(
            "mp3cover",
            Mp3,
            &["mp3"],
            "ffmpeg $in -i $dir/cover.png -map 0 -map 1 -c copy -f mp3 $out",
        ),
        layout(
            "mp3pipe",
            Mp3,
            &["mp3", "mp3v"],
            "ffmpeg $in $copy -f mp3 - >$out",
        ),
        layout("adts", Aac, &["aac"], "ffmpeg $in $copy -f adts $out"),
        layout(
            "adtsid3",
            Aac,
            &["aac"],
            "ffmpeg $in $copy -metadata title=Título -write_id3v2 1 -f adts $out",
        ),
        layout(
            "adtscrc",
            Aac,
            &["aac"],
            "ffmpeg $in $copy -write_apetag 1 -f adts $out",
        ),
        layout("flac", Flac, &["flac"], "ffmpeg $in $copy -f flac $out"),
        layout(
            "flactitle",
            Flac,
            &["flac"],
            "ffmpeg $in $copy -metadata title=Título -f flac $out",
        ),
        layout(
            "flaccover",
            Flac,
            &["flac"],
            "ffmpeg $in -i $dir/cover.png -map 0 -map 1 -c copy -disposition:v attached_pic -f flac $out",
        ),
        layout(
            "flacpipe",
            Flac,
            &["flac"],
            "ffmpeg $in $copy -f flac - >$out",
        ),
        layout(
            "flacblock",
            Flac,
            &["pcm"],
            "ffmpeg $in -c:a flac -frame_size 1000 -compression_level 0 -f flac $out",
        ),
        layout(
            "avi",
            Avi,
            &["mpeg4", "mjpeg", "mpeg2"],
            "ffmpeg $in $copy -f avi $out",
        ),
        layout(
            "avititle",
            Avi,
            &["mpeg4"],
            "ffmpeg $in $copy -metadata title=Titulo -f avi $out",
        ),
        layout("wav", Wav, &["pcm"], "ffmpeg $in $copy -f wav $out"),
        layout(
            "wavtitle",
            Wav,
            &["pcm"],
            "ffmpeg $in $copy -metadata title=Titulo -f wav $out",
        ),
        layout("wavpipe", Wav, &["pcm"], "ffmpeg $in $copy -f wav - >$out"),
        layout(
            "rf64",
            Wav,
            &["pcm"],
            "ffmpeg $in $copy -rf64 always -f wav $out",
        ),
        layout("mpg", Mpg, &["mpeg2"], "ffmpeg $in $copy -f mpeg $out"),
        layout("vob", Mpg, &["mpeg2"], "ffmpeg $in $copy -f vob $out"),
        layout("svcd", Mpg, &["mpeg2"], "ffmpeg $in $copy -f svcd $out"),
        layout(
            "gmp4",
            Mp4,
            GSTAV,
            "gst-launch-1.0 -q mp4mux name=mux ! filesink location=$out $demux",
        ),
        layout(
            "gmp4fast",
            Mp4,
            GSTAV,
            "gst-launch-1.0 -q mp4mux name=mux faststart=true ! filesink location=$out $demux",
        ),
        layout(
            "gmp4frag",
            Mp4,
            GSTAV,
            "gst-launch-1.0 -q mp4mux name=mux fragment-duration=500 ! filesink location=$out $demux",
        ),
        layout(
            "gmp4live",
            Mp4,
            GSTAV,
            "gst-launch-1.0 -q mp4mux name=mux fragment-duration=500 streamable=true ! filesink location=$out $demux",
        ),
        layout(
            "gmp4final",
            Mp4,
            GSTAV,
            "gst-launch-1.0 -q mp4mux name=mux fragment-duration=500 fragment-mode=first-moov-then-finalise ! filesink location=$out $demux",
        ),
        layout(
            "gmov",
            Mov,
            GSTAV,
            "gst-launch-1.0 -q qtmux name=mux ! filesink location=$out $demux",
        ),
        layout(
            "gmovgap",
            Mov,
            GSTAV,
            "gst-launch-1.0 -q qtmux name=mux reserved-max-duration=20000000000 reserved-moov-update-period=1000000000 ! filesink location=$out $demux",
        ),
        layout(
            "gmkv",
            Mkv,
            GSTAV,
            "gst-launch-1.0 -q matroskamux name=mux ! filesink location=$out $demux",
        ),
        layout(
            "gmkvlive",
            Mkv,
            GSTAV,
            "gst-launch-1.0 -q matroskamux name=mux streamable=true ! filesink location=$out $demux",
        ),
        layout(
            "gmkvmin",
            Mkv,
            GSTAV,
            "gst-launch-1.0 -q matroskamux name=mux min-cluster-duration=0 max-cluster-duration=400000000 ! filesink location=$out $demux",
        ),
        layout(
            "gwebm",
            Webm,
            GSTWEBM,
            "gst-launch-1.0 -q webmmux name=mux ! filesink location=$out $demux",
        ),
        layout(
            "gwebmlive",
            Webm,
            GSTWEBM,
            "gst-launch-1.0 -q webmmux name=mux streamable=true ! filesink location=$out $demux",
        ),
        layout(
            "gflv",
            Flv,
            GSTAV,
            "gst-launch-1.0 -q flvmux name=mux ! filesink location=$out $demux",
        ),
        layout(
            "gflvlive",
            Flv,
            GSTAV,
            "gst-launch-1.0 -q flvmux name=mux streamable=true ! filesink location=$out $demux",
        ),
        layout(
            "gts",
            Ts,
            GSTAV,
            "gst-launch-1.0 -q mpegtsmux name=mux ! filesink location=$out $demux",
        ),
        layout(
            "gm2ts",
            Ts,
            GSTAV,
            "gst-launch-1.0 -q mpegtsmux name=mux m2ts-mode=true ! filesink location=$out $demux",
        ),
        layout(
            "gtsalign",
            Ts,
            GSTAV,
            "gst-launch-1.0 -q mpegtsmux name=mux alignment=7 ! filesink location=$out $demux",
        ),
        layout(
            "gogg",
            Ogv,
            &["theora"],
            "gst-launch-1.0 -q oggmux name=mux ! filesink location=$out $demux",
        ),
        layout(
            "goggskel",
            Ogv,
            &["theora"],
            "gst-launch-1.0 -q oggmux name=mux skeleton=true ! filesink location=$out $demux",
        ),
        layout(
            "goggdelay",
            Ogv,
            &["theora"],
            "gst-launch-1.0 -q oggmux name=mux max-delay=0 max-page-delay=100000000 ! filesink location=$out $demux",
        ),
        layout(
            "gavi",
            Avi,
            GSTAV,
            "gst-launch-1.0 -q avimux name=mux ! filesink location=$out $demux",
        ),
        layout(
            "gwav",
            Wav,
            &["pcm"],
            "gst-launch-1.0 -q filesrc location=$clip ! matroskademux ! wavenc ! filesink location=$out",
        ),
        layout(
            "gflac",
            Flac,
            &["pcm"],
            "gst-launch-1.0 -q filesrc location=$clip ! matroskademux ! audioconvert ! flacenc ! filesink location=$out",
        ),
        layout(
            "gmp3",
            Mp3,
            &["mp3", "mp3v"],
            "gst-launch-1.0 -q filesrc location=$clip ! matroskademux ! mpegaudioparse ! id3v2mux ! filesink location=$out",
        ),
        layout(
            "gxing",
            Mp3,
            &["mp3", "mp3v"],
            "gst-launch-1.0 -q filesrc location=$clip ! matroskademux ! mpegaudioparse ! xingmux ! filesink location=$out",
        ),
        layout(
            "gogga",
            Ogg,
            &["vorbis"],
            "gst-launch-1.0 -q filesrc location=$clip ! matroskademux ! vorbisparse ! oggmux ! filesink location=$out",
        ),
    ]
};

const GSTAV: &[&str] = &["h264", "h264b"];
const GSTWEBM: &[&str] = &["vp8"];

/// Builds the corpus in `dir`: the part for every run, or all of it. Panics where a tool is
/// missing.
pub(crate) fn build(dir: &Path, short: bool) -> Vec<Good> {
    std::fs::write(
        dir.join("subs.srt"),
        "1\n00:00:00,200 --> 00:00:01,000\nHello\n\n2\n00:00:01,500 --> 00:00:02,000\nBye\n",
    )
    .unwrap();
    let chapters = ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=One\n\
                    [CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=2000\ntitle=Two\n";
    std::fs::write(dir.join("chapters.txt"), chapters).unwrap();
    shell(
        dir,
        "ffmpeg -f lavfi -i testsrc2=s=160x120 -frames:v 1 $out",
        "",
        &dir.join("cover.png"),
    )
    .unwrap();
    let used = |clip: &str| {
        LAYOUTS
            .iter()
            .any(|l| l.clips[..clips(l, short)].contains(&clip))
    };
    each(
        CLIPS.iter().filter(|(name, _)| used(name)),
        |(name, line)| {
            shell(
                dir,
                &line.replace("$out.mkv", "$out"),
                "",
                &dir.join(format!("{name}.mkv")),
            )
            .unwrap();
        },
    );
    let (made, failed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    // Every other layout, with its first clip, is the short run.
    let jobs = LAYOUTS.iter().step_by(if short { 2 } else { 1 });
    let jobs = jobs.flat_map(|l| {
        l.clips[..clips(l, short)]
            .iter()
            .map(move |clip| (l, *clip))
    });
    each(jobs, |(layout, clip)| {
        let path = dir.join(format!(
            "{}-{clip}.{}",
            layout.name,
            layout.container.extension()
        ));
        if let Err(e) = shell(dir, layout.line, clip, &path) {
            failed.lock().unwrap().push(e);
            return;
        }
        let sound = ["aac", "mp3", "mp3v", "opus", "vorbis", "flac", "pcm"].contains(&clip);
        let kind = if sound { Kind::Audio } else { Kind::Video };
        let container = match (layout.container, kind) {
            (Container::Mp4, Kind::Audio) => Container::M4a,
            (container, _) => container,
        };
        made.lock().unwrap().push(Good {
            path,
            container,
            kind,
        });
    });
    let failed = failed.into_inner().unwrap();
    let packages = "Debian packages: ffmpeg mkvtoolnix gstreamer1.0-tools gstreamer1.0-plugins-{base,good,bad,ugly}";
    assert!(failed.is_empty(), "{}\n({packages})", failed.join("\n"));
    let mut made = made.into_inner().unwrap();
    made.sort_by(|a, b| a.path.cmp(&b.path));
    made
}

/// How many of its clips a layout takes.
fn clips(layout: &Layout, short: bool) -> usize {
    if short { 1 } else { layout.clips.len() }
}

/// Runs `work` on all items, as many at once as the machine has processors.
pub(crate) fn each<T: Send>(items: impl Iterator<Item = T>, work: impl Fn(T) + Sync) {
    let items: Vec<Mutex<Option<T>>> = items.map(|i| Mutex::new(Some(i))).collect();
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().min(8));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item.lock().unwrap().take().unwrap());
                }
            });
        }
    });
}

/// From the demuxer of a clip to a muxer. A parser makes each form of a codec that a muxer may
/// want.
fn tracks(clip: &str) -> &'static str {
    match clip {
        "h264" => "d.video_0 ! queue ! h264parse ! mux. d.audio_0 ! queue ! aacparse ! mux.",
        "h264b" => "d.video_0 ! queue ! h264parse ! mux. d.audio_0 ! queue ! mpegaudioparse ! mux.",
        "theora" => "d.video_0 ! queue ! theoraparse ! mux. d.audio_0 ! queue ! vorbisparse ! mux.",
        _ => "d.video_0 ! queue ! mux.video_0 d.audio_0 ! queue ! mux.audio_0",
    }
}

/// Runs one line; what it printed is the error.
pub(crate) fn shell(dir: &Path, line: &str, clip: &str, out: &Path) -> Result<(), String> {
    let input = dir.join(format!("{clip}.mkv"));
    let line = line
        .replace(
            "ffmpeg ",
            "ffmpeg -v error -nostdin -y -threads 1 -fflags +bitexact ",
        )
        .replace(
            "$demux",
            "filesrc location=$clip ! matroskademux name=d $tracks",
        )
        .replace("$tracks", tracks(clip))
        .replace("$copy", "-map 0 -c copy -strict -2")
        .replace("$clip", &input.display().to_string())
        .replace("$in", &format!("-i {}", input.display()))
        .replace("$dir", &dir.display().to_string())
        .replace("$v", VIDEO)
        .replace(
            "$a",
            &AUDIO
                .replace('(', "\\(")
                .replace(')', "\\)")
                .replace('|', "\\|")
                .replace('*', "\\*"),
        )
        .replace("$out", &out.display().to_string());
    let output = Command::new("timeout")
        .args(["300", "sh", "-ec", &line])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let made = output.status.success() && out.metadata().is_ok_and(|m| m.len() > 0);
    if made {
        Ok(())
    } else {
        Err(format!(
            "{line}\n{}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}
