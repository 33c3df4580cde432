//! Hash slots, as in Redis Cluster: CRC16 of the key, or of its hash tag, modulo 16384.

use crate::PartitionId;

/// Number of hash slots.
pub const SLOTS: u32 = 16_384;

/// The slot of `key`. Where the key holds `{tag}` with a non-empty tag, the first such tag alone
/// is hashed, so that a user can put keys together.
pub fn slot(key: &[u8]) -> u32 {
    let hashed = match key.iter().position(|&b| b == b'{') {
        Some(open) => match key[open + 1..].iter().position(|&b| b == b'}') {
            Some(len) if len > 0 => &key[open + 1..open + 1 + len],
            Some(_) | None => key,
        },
        None => key,
    };
    u32::from(crc16(hashed)) % SLOTS
}

/// The partition that holds `slot` when `partitions` share the slots as contiguous, near-equal
/// ranges.
pub fn partition(slot: u32, partitions: u32) -> PartitionId {
    assert!(slot < SLOTS && partitions > 0);
    PartitionId(slot * partitions / SLOTS)
}

/// CRC-16/XMODEM: polynomial 0x1021, no reflection, initial value 0.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &b| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ b)])
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc16_has_the_published_check_value() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
    }

    #[test]
    fn hash_tags_put_keys_together() {
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{}{bar}"), u32::from(crc16(b"foo{}{bar}")) % SLOTS);
        assert_eq!(slot(b"foo{{bar}}zap"), u32::from(crc16(b"{bar")) % SLOTS);
    }

    #[test]
    fn partitions_are_contiguous_and_near_equal() {
        for n in [1, 2, 3, 7, 1024] {
            let mut sizes = alloc::vec![0u32; n as usize];
            let mut last = 0;
            for s in 0..SLOTS {
                let p = partition(s, n).0;
                assert!(p == last || p == last + 1);
                last = p;
                sizes[p as usize] += 1;
            }
            let (min, max) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(max - min <= 1, "{n}: {min}..{max}");
        }
    }
}
