//! Transport stream packets (ISO/IEC 13818-1) written: the tables that announce a program, and
//! packets with their time stamps moved.

use crate::container::{
    crc::crc32,
    ts::{NULL_PID, PACKET, Packet, Program, Stream, WRAP, stamp_at, stamps},
};

/// The PID of the mixed program's map.
const TABLE_PID: u16 = 0x1000;

/// The PAT and PMT packets that announce a program; `None` if the map doesn't fit one packet.
pub(crate) fn tables(program: &Program, counter: u8) -> Option<[Packet; 2]> {
    let mut pat = vec![0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1];
    pat.extend_from_slice(&(0xe000 | TABLE_PID).to_be_bytes());
    let mut pmt = vec![2, 0, 0, 0, 1, 0xc1, 0, 0];
    pmt.extend_from_slice(&(0xe000 | program.pcr).to_be_bytes());
    pmt.extend_from_slice(&(0xf000 | program.info.len() as u16).to_be_bytes());
    pmt.extend_from_slice(&program.info);
    for stream in &program.streams {
        pmt.push(stream.kind);
        pmt.extend_from_slice(&(0xe000 | stream.pid).to_be_bytes());
        pmt.extend_from_slice(&(0xf000 | stream.descriptors.len() as u16).to_be_bytes());
        pmt.extend_from_slice(&stream.descriptors);
    }
    let len = (pmt.len() + 4 - 3) as u16;
    pmt[1..3].copy_from_slice(&(0xb000 | len).to_be_bytes());
    Some([
        section_packet(0, pat, counter)?,
        section_packet(TABLE_PID, pmt, counter)?,
    ])
}

fn section_packet(pid: u16, mut section: Vec<u8>, counter: u8) -> Option<Packet> {
    section.extend_from_slice(&crc32(!0, &section).to_be_bytes());
    let mut packet = [0xff; PACKET];
    packet[0] = 0x47;
    packet[1..3].copy_from_slice(&(0x4000 | pid).to_be_bytes());
    packet[3] = 0x10 | (counter & 15);
    packet[4] = 0;
    packet
        .get_mut(5..5 + section.len())?
        .copy_from_slice(&section);
    Some(packet)
}

pub(crate) fn write_stamp(b: &mut [u8], prefix: u8, time: u64) {
    b[0] = prefix << 4 | ((time >> 30 & 7) << 1) as u8 | 1;
    b[1] = (time >> 22) as u8;
    b[2] = ((time >> 15) << 1) as u8 | 1;
    b[3] = (time >> 7) as u8;
    b[4] = (time << 1) as u8 | 1;
}

fn shifted(time: u64, shift: i64) -> u64 {
    (time as i64).wrapping_add(shift).rem_euclid(WRAP) as u64
}

/// Adds `shift` to PTS, DTS and PCR.
pub(crate) fn shift_packet(packet: &mut Packet, shift: i64) {
    if let Some((pts, dts)) = stamps(packet) {
        for at in [Some(pts), dts].into_iter().flatten() {
            let time = shifted(stamp_at(packet, at), shift);
            let prefix = packet[at] >> 4;
            write_stamp(&mut packet[at..at + 5], prefix, time);
        }
    }
    let has_pcr = packet[3] & 0x20 > 0 && packet[4] >= 7 && packet[5] & 0x10 > 0;
    if has_pcr {
        let b = &mut packet[6..11];
        let base = [b[0], b[1], b[2], b[3]]
            .iter()
            .fold(0, |n, &x| n << 8 | u64::from(x))
            << 1
            | u64::from(b[4] >> 7);
        let base = shifted(base, shift);
        b[..4].copy_from_slice(&((base >> 1) as u32).to_be_bytes());
        b[4] = b[4] & 0x7f | ((base & 1) as u8) << 7;
    }
}

/// A program of one stream.
pub(crate) fn single(pid: u16, kind: u8) -> Program {
    Program {
        pcr: NULL_PID,
        info: Vec::new(),
        streams: vec![Stream {
            pid,
            kind,
            descriptors: Vec::new(),
        }],
    }
}
