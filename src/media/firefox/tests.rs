//! Made-up videos, arranged as Firefox arranged real ones: a head, runs from key frames on, then
//! what is missing.

use proptest::prelude::*;

use super::{blocks::BLOCK, *};
use crate::container::ogg;

const SIZE: usize = BLOCK as usize;

/// Bytes that look like compressed ones, the same for the same seed (xorshift64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn up_to(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| (self.next() >> 32) as u8).collect()
    }
}

/// A video, and the blocks in which a seek can begin.
struct Video {
    bytes: Vec<u8>,
    keys: Vec<usize>,
}

fn mp4_box(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32 + 8).to_be_bytes()[..], kind, &body].concat()
}

fn table(entries: &[u32], width: usize) -> Vec<u8> {
    let count = (entries.len() / width) as u32;
    [0, count]
        .iter()
        .chain(entries)
        .flat_map(|n| n.to_be_bytes())
        .collect()
}

/// H.264 in MP4, a sample a chunk; a key frame is of several parts.
fn mp4(noise: &mut Noise, samples: usize, key: usize, faststart: bool) -> Video {
    let mut media = Vec::new();
    let (mut at, mut sizes, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..samples {
        at.push(media.len());
        let parts = if n % 30 == 0 {
            vec![2, 700, key + noise.up_to(key)]
        } else {
            vec![2000 + noise.up_to(6000)]
        };
        if n % 30 == 0 {
            keys.push(media.len());
        }
        for part in parts {
            media.extend((part as u32).to_be_bytes());
            let mut bytes = noise.bytes(part);
            bytes[0] = 0x65;
            media.extend(bytes);
        }
        sizes.push((media.len() - at[n]) as u32);
    }
    let ftyp = mp4_box(b"ftyp", &[b"isomiso2avc1mp41"]);
    let moov = |base: usize| {
        let avcc = mp4_box(b"avcC", &[&[1, 100, 0, 30, 0xff, 0xe0, 0]]);
        let stsd = mp4_box(
            b"stsd",
            &[
                &[0, 0, 0, 0, 0, 0, 0, 1],
                &mp4_box(b"avc1", &[&[0; 78], &avcc]),
            ],
        );
        let stsz: Vec<u32> = [0, 0, sizes.len() as u32]
            .iter()
            .chain(&sizes)
            .copied()
            .collect();
        let stsz: Vec<u8> = stsz.iter().flat_map(|n| n.to_be_bytes()).collect();
        let stco: Vec<u32> = at.iter().map(|at| (at + base) as u32).collect();
        let stbl = [
            stsd,
            mp4_box(b"stsc", &[&table(&[1, 1, 1], 3)]),
            mp4_box(b"stsz", &[&stsz]),
            mp4_box(b"stco", &[&table(&stco, 1)]),
        ];
        let minf = mp4_box(b"minf", &[&mp4_box(b"stbl", &[&stbl.concat()])]);
        let trak = mp4_box(b"trak", &[&mp4_box(b"mdia", &[&minf])]);
        mp4_box(b"moov", &[&mp4_box(b"mvhd", &[&[0; 100]]), &trak])
    };
    let base = ftyp.len() + 8 + if faststart { moov(0).len() } else { 0 };
    let mdat = mp4_box(b"mdat", &[&media]);
    let bytes = if faststart {
        [ftyp, moov(base), mdat].concat()
    } else {
        [ftyp, mdat, moov(base)].concat()
    };
    Video {
        bytes,
        keys: keys.iter().map(|at| (at + base) / SIZE).collect(),
    }
}

fn element(id: &[u8], body: &[u8]) -> Vec<u8> {
    [id, &(body.len() as u64 | 1 << 56).to_be_bytes(), body].concat()
}

/// VP8 in WebM, a cluster a key frame.
fn webm(noise: &mut Noise, blocks: usize, key: usize) -> Video {
    let tracks = element(
        &[0x16, 0x54, 0xae, 0x6b],
        &element(&[0xae], &element(&[0xd7], &[1])),
    );
    let (mut clusters, mut keys) = (Vec::new(), Vec::new());
    for cluster in 0..blocks / 30 {
        keys.push(clusters.len());
        let mut body = element(&[0xe7], &(cluster as u32 * 1000).to_be_bytes());
        for n in 0..30u16 {
            let size = if n == 0 {
                key + noise.up_to(key)
            } else {
                1000 + noise.up_to(5000)
            };
            let [high, low] = (n * 33).to_be_bytes();
            body.extend(element(
                &[0xa3],
                &[&[0x81, high, low, 0x80][..], &noise.bytes(size)].concat(),
            ));
        }
        clusters.extend(element(&[0x1f, 0x43, 0xb6, 0x75], &body));
    }
    let head = element(&[0x1a, 0x45, 0xdf, 0xa3], b"\x42\x82\x84webm");
    let base = head.len() + 12 + tracks.len();
    let bytes = [
        head,
        element(&[0x18, 0x53, 0x80, 0x67], &[tracks, clusters].concat()),
    ]
    .concat();
    Video {
        bytes,
        keys: keys.iter().map(|at| (at + base) / SIZE).collect(),
    }
}

fn ogg_video(noise: &mut Noise, pages: u32) -> Video {
    let (mut bytes, mut keys) = (Vec::new(), Vec::new());
    for n in 0..pages {
        keys.push(bytes.len() / SIZE);
        let lengths = noise.bytes(1 + noise.0 as usize % 255);
        let body = noise.bytes(lengths.iter().map(|len| usize::from(*len)).sum());
        let flags = if n == 0 { 2 } else { 0 };
        let mut page = [
            b"OggS\0",
            &[flags][..],
            &[0; 8],
            &[1, 0, 0, 0],
            &n.to_le_bytes(),
            &[0; 4],
        ]
        .concat();
        page.push(lengths.len() as u8);
        page.extend(lengths);
        page.extend(body);
        let sum = ogg::checksum(&mut page);
        page[22..26].copy_from_slice(&sum.to_le_bytes());
        bytes.extend(page);
    }
    Video { bytes, keys }
}

/// The order in which the blocks of a video arrive: from its beginning up to some block, perhaps
/// the index at the end, then from each block that is sought, each time up to some block or one
/// that is there; then all that is missing.
fn arrival(noise: &mut Noise, blocks: usize, index: Option<usize>, seeks: &[usize]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut run = |from: usize, most: usize| {
        let mut block = from;
        while block < blocks && block - from < most && !order.contains(&block) {
            order.push(block);
            block += 1;
        }
    };
    run(
        0,
        if index.is_some() {
            4
        } else {
            1 + noise.up_to(blocks / 2)
        },
    );
    run(index.unwrap_or(blocks), blocks);
    for &seek in seeks {
        run(seek, 1 + noise.up_to(blocks / 2));
    }
    let missing: Vec<_> = (0..blocks).filter(|block| !order.contains(block)).collect();
    order.extend(missing);
    order
}

/// Firefox's file: blocks in the order of their arrival, each filled up with zeros.
fn arranged<'a>(blocks: impl IntoIterator<Item = (&'a [u8], usize)>) -> Vec<u8> {
    let mut file = Vec::new();
    for (video, block) in blocks {
        let bytes = &video[block * SIZE..video.len().min((block + 1) * SIZE)];
        file.extend(bytes);
        file.resize(file.len().next_multiple_of(SIZE), 0);
    }
    file
}

fn made(plan: &RepairPlan, file: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1; plan.len as usize];
    assert_eq!(plan.view(file).read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

fn shuffled(video: &Video, order: &[usize]) -> Vec<u8> {
    arranged(order.iter().map(|block| (&video.bytes[..], *block)))
}

fn blocks(video: &Video) -> usize {
    video.bytes.len().div_ceil(SIZE)
}

fn sample(noise: &mut Noise, kind: usize, key: usize) -> (Video, Option<usize>) {
    match kind {
        0 => (mp4(noise, 400, key, true), None),
        1 => {
            let video = mp4(noise, 400, key, false);
            let index = video
                .bytes
                .windows(4)
                .rposition(|kind| kind == b"moov")
                .unwrap()
                / SIZE;
            (video, Some(index))
        }
        2 => (webm(noise, 400, key), None),
        _ => (ogg_video(noise, 60), None),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..Default::default() })]

    /// What is claimed is exact, whatever the order; and with frames of usual size nothing is left
    /// in doubt.
    #[test]
    fn one_video(seed in 1u64.., kind in 0usize..4, large in any::<bool>(), sought in 0usize..5) {
        let mut noise = Noise(seed);
        let (video, index) = sample(&mut noise, kind, if large { 150_000 } else { 15_000 });
        let seeks: Vec<_> = (0..sought).map(|_| video.keys[noise.up_to(video.keys.len())]).collect();
        let order = arrival(&mut noise, blocks(&video), index, &seeks);
        let file = shuffled(&video, &order);
        match unshuffle(&file[..]).unwrap() {
            Ok(plan) if plan.doubt().is_none() => prop_assert!(made(&plan, &file) == video.bytes, "{order:?}"),
            other => prop_assert!(large, "{other:?} for {order:?}"),
        }
    }

    /// Two videos whose blocks arrived in turns: what is claimed is exact.
    #[test]
    fn two_videos(seed in 1u64.., kinds in (0usize..3, 0usize..3), sought in 0usize..3) {
        exact_of_two(seed, kinds, sought);
    }

    /// Foreign bytes are no error and take no time to speak of.
    #[test]
    fn damage(seed in 1u64.., kind in 0usize..4, flips in proptest::collection::vec(any::<u32>(), 1..40)) {
        let mut noise = Noise(seed);
        let (mut video, index) = sample(&mut noise, kind, 15_000);
        for flip in flips {
            // Structure is mostly near the beginning.
            let at = flip as usize % if flip & 1 == 0 { 2000 } else { video.bytes.len() };
            video.bytes[at] ^= (flip >> 24) as u8;
        }
        let order = arrival(&mut noise, blocks(&video), index, &[]);
        repair(&shuffled(&video, &order)[..]).unwrap();
    }
}

/// Two videos whose blocks arrived in turns, taken apart: how many are claimed, after a look
/// whether they are exact.
fn exact_of_two(seed: u64, kinds: (usize, usize), sought: usize) -> usize {
    let mut noise = Noise(seed);
    let (one, index) = sample(&mut noise, kinds.0, 15_000);
    let (two, other_index) = sample(&mut noise, kinds.1, 15_000);
    let seeks: Vec<_> = (0..sought)
        .map(|_| one.keys[noise.up_to(one.keys.len())])
        .collect();
    let mut first = arrival(&mut noise, blocks(&one), index, &seeks)
        .into_iter()
        .peekable();
    let mut second = arrival(&mut noise, blocks(&two), other_index, &[])
        .into_iter()
        .peekable();
    let mut order = Vec::new();
    while first.peek().is_some() || second.peek().is_some() {
        order.extend(
            first
                .by_ref()
                .take(noise.up_to(5) + 1)
                .map(|block| (&one.bytes[..], block)),
        );
        order.extend(
            second
                .by_ref()
                .take(noise.up_to(5) + 1)
                .map(|block| (&two.bytes[..], block)),
        );
    }
    let file = arranged(order);
    let plans = repair(&file[..]).unwrap();
    let claimed: Vec<_> = plans
        .iter()
        .flatten()
        .filter(|plan| plan.doubt().is_none())
        .collect();
    for plan in &claimed {
        let made = made(plan, &file);
        assert!(
            made == one.bytes || made == two.bytes,
            "{seed} {kinds:?} {sought}"
        );
    }
    claimed.len()
}

#[test]
fn two_videos_are_mostly_taken_apart() {
    let claimed: usize = (1..=12)
        .map(|seed| exact_of_two(seed, (seed as usize % 3, seed as usize / 3 % 3), 1))
        .sum();
    println!("{claimed} of 24");
    assert!(claimed >= 20, "{claimed} of 24");
}

#[test]
fn a_plain_play_is_cut() {
    let video = mp4(&mut Noise(7), 200, 15_000, true);
    let file = shuffled(&video, &(0..blocks(&video)).collect::<Vec<_>>());
    let plan = unshuffle(&file[..]).unwrap().unwrap();
    assert!(plan.is_linear() && plan.is_whole() && plan.doubt().is_none());
    assert_eq!(
        plan.parts,
        [BlockRun {
            at: 0,
            from: 0,
            len: video.bytes.len() as u64
        }]
    );
}

#[test]
fn what_never_arrived_is_a_hole() {
    let video = mp4(&mut Noise(8), 400, 15_000, true);
    let far = video.keys[10];
    let order: Vec<_> = (0..5).chain(far..blocks(&video)).collect();
    let file = shuffled(&video, &order);
    let plan = unshuffle(&file[..]).unwrap().unwrap();
    assert!(!plan.is_whole());
    assert_eq!(plan.len, video.bytes.len() as u64);
    let view = plan.view(&file[..]);
    assert_eq!(view.next_hole(0).unwrap(), 5 * BLOCK);
    assert_eq!(view.next_data(5 * BLOCK).unwrap(), far as u64 * BLOCK);
    assert_eq!(view.next_hole(far as u64 * BLOCK).unwrap(), plan.len);
    assert_eq!(made(&plan, &file)[far * SIZE..], video.bytes[far * SIZE..]);
}

#[test]
fn a_part_from_the_beginning_ends_with_its_last_byte() {
    for kind in [0, 2, 3] {
        let (video, _) = sample(&mut Noise(9), kind, 15_000);
        let file = shuffled(&video, &[0, 1, 2, 3, 4, 5, 6, 7]);
        let plan = unshuffle(&file[..]).unwrap().unwrap();
        let made = made(&plan, &file);
        assert!(
            video.bytes.starts_with(&made) && made.len() > 6 * SIZE,
            "{kind}: {}",
            made.len()
        );
    }
}

#[test]
fn nothing_begins_in_it() {
    assert_eq!(
        unshuffle(&Noise(1).bytes(200_000)[..]).unwrap(),
        Err(NotProven::NoHead)
    );
    assert_eq!(unshuffle(&[][..]).unwrap(), Err(NotProven::NoHead));
    let video = mp4(&mut Noise(1), 100, 15_000, false);
    let file = shuffled(&video, &[0, 1, 2, 3]);
    assert_eq!(unshuffle(&file[..]).unwrap(), Err(NotProven::NoIndex));
}
