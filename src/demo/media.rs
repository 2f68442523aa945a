//! MP3 made from a number: valid frames of silence, so any player takes them, and no two recordings have the same bytes.

use bytes::{BufMut, Bytes, BytesMut};
use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};

/// MPEG-1 layer III, 32 kbit/s, 44.1 kHz, one channel (the standard 11172-3, section 2.4.1.3).
const HEADER: [u8; 4] = [0xFF, 0xFB, 0x10, 0xC4];
/// 144 × 32,000 / 44,100, rounded down.
const FRAME: usize = 104;
/// Of a frame with one channel. All zero: both granules have no main data, which decodes to silence.
const SIDE_INFO: usize = 17;
/// Milliseconds of one frame, times 1,000: 1,152 samples at 44.1 kHz.
const FRAME_MICROS: u64 = 26_122;

/// Between 5 and 60 seconds of silence: about 20 to 240 kB.
pub(super) fn mp3(seed: u64) -> Bytes {
    let mut random = SmallRng::seed_from_u64(seed);
    let seconds = random.random_range(5..60_u64);
    let frames = usize::try_from(seconds * 1_000_000 / FRAME_MICROS).unwrap_or(0);
    let mut bytes = BytesMut::with_capacity(frames * FRAME);
    for _ in 0..frames {
        bytes.put_slice(&HEADER);
        bytes.put_bytes(0, SIDE_INFO);
        // Where the main data would be: bytes that nobody decodes, and that never look like a header.
        let mut rest = [0; FRAME - HEADER.len() - SIDE_INFO];
        random.fill_bytes(&mut rest);
        bytes.extend(rest.map(|byte| byte & 0x7F));
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audio::{AudioKind, SNIFF_LEN};

    #[test]
    fn every_recording_is_mp3_and_its_own() {
        let (one, same, other) = (mp3(1), mp3(1), mp3(2));
        assert_eq!(one, same);
        assert_ne!(one, other);
        for media in [&one, &other] {
            assert_eq!(AudioKind::sniff(&media[..SNIFF_LEN]), Some(AudioKind::Mp3));
            assert!(media.chunks(FRAME).all(|frame| frame.len() == FRAME && frame.starts_with(&HEADER)));
        }
    }
}
