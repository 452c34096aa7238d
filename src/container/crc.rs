//! The checksum of transport stream tables and of Ogg pages.

/// CRC-32 with the polynomial 0x04c11db7, not reflected. Tables start from all ones (ISO/IEC
/// 13818-1, annex A), Ogg pages from 0 (RFC 3533, 6).
pub(crate) fn crc32(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |crc, byte| {
        crc << 8 ^ TABLE[(crc >> 24 ^ u32::from(*byte)) as usize]
    })
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = (n as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc >> 31 == 1 {
                crc << 1 ^ 0x04c1_1db7
            } else {
                crc << 1
            };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn known_sums() {
        // CRC-32/MPEG-2 and CRC-32 with a start of 0, of the usual test string.
        assert_eq!(crc32(!0, b"123456789"), 0x0376_e6e7);
        assert_eq!(crc32(0, b"123456789"), 0x89a1_897f);
    }
}
