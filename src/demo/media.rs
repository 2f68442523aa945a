//! Recordings made from a number: valid MP3 frames of silence, or the faintest noise as WAV, so any player takes them, and
//! no two have the same bytes.

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

/// Samples a second of a telephone's WAV, each of two bytes.
const WAV_RATE: u32 = 8_000;
const WAV_HEADER: usize = 44;

/// How long the recording of this number plays: between 5 and 60 seconds.
pub(super) fn seconds(seed: u64) -> u32 {
    SmallRng::seed_from_u64(seed).random_range(5..60)
}

/// About 20 to 240 kB.
pub(super) fn mp3(seed: u64) -> Bytes {
    let mut random = SmallRng::seed_from_u64(seed.wrapping_add(1));
    let frames = usize::try_from(u64::from(seconds(seed)) * 1_000_000 / FRAME_MICROS).unwrap_or(0);
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

/// 80 to 960 kB for each channel: the caller's, and with two of them the callee's.
pub(super) fn wav(seed: u64, channels: u16) -> Bytes {
    let mut random = SmallRng::seed_from_u64(seed.wrapping_add(1));
    let block = channels * 2;
    let data = seconds(seed) * WAV_RATE * u32::from(block);
    let mut bytes = BytesMut::with_capacity(WAV_HEADER + data as usize);
    bytes.put_slice(b"RIFF");
    bytes.put_u32_le(data + 36);
    bytes.put_slice(b"WAVEfmt ");
    bytes.put_u32_le(16);
    // PCM.
    bytes.put_u16_le(1);
    bytes.put_u16_le(channels);
    bytes.put_u32_le(WAV_RATE);
    bytes.put_u32_le(WAV_RATE * u32::from(block));
    bytes.put_u16_le(block);
    bytes.put_u16_le(16);
    bytes.put_slice(b"data");
    bytes.put_u32_le(data);
    for _ in 0..data / 2 {
        bytes.put_i16_le(random.random_range(-2..=2));
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        adapters::audio::AudioWalker,
        domain::audio::{AudioKind, SNIFF_LEN},
    };

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

    #[test]
    fn every_recording_plays_as_long_as_the_provider_says() {
        for (kind, media) in [(AudioKind::Mp3, mp3(3)), (AudioKind::Wav, wav(3, 1)), (AudioKind::Wav, wav(3, 2))] {
            let walked = AudioWalker.walk(kind, &media).unwrap();
            let missing = u64::from(seconds(3)) * 1_000 - u64::try_from(walked.plays.as_millis()).unwrap();
            assert!(missing < 30 && walked.other == 0, "{walked:?}");
        }
    }
}
