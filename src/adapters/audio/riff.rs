//! A WAV file: chunks up to the samples, then samples, counted, then perhaps other chunks.

use super::{WINDOW, lasting};
use crate::domain::{
    audio::{NotAudio, Walked, is_plausible},
    ports::AudioWalk,
};
use std::{io::Cursor, time::Duration};
use symphonia_core::{
    codecs::CodecParameters,
    formats::{FormatOptions, FormatReader, Track},
    io::{MediaSourceStream, MediaSourceStreamOptions, ReadBytes},
};
use symphonia_format_riff::WavReader;

/// Where the length of the whole stands, and where the first chunk begins.
const LENGTH_AT: std::ops::Range<usize> = 4..8;
/// A length that says nothing: who writes into a pipe does not know it (and writes this, zero, or nearly this).
const UNKNOWN: u32 = u32::MAX;
const NEARLY_UNKNOWN: u32 = 0x7FFF_0000;
/// So many bytes the reader is asked about, to learn how long one lasts: a multiple of every usual block.
const MEASURE: u32 = 1 << 30;

#[derive(Default)]
pub(super) struct RiffWalk {
    /// The beginning, until the samples begin in it.
    head: Vec<u8>,
    layout: Option<Layout>,
    total: u64,
}

#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Where the samples begin.
    data_at: u64,
    /// Their bytes, where the header says that.
    data: Option<u64>,
    rate: u32,
    /// In [`MEASURE`] bytes.
    samples: u64,
}

impl AudioWalk for RiffWalk {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), NotAudio> {
        self.total += bytes.len() as u64;
        if self.layout.is_none() {
            let room = WINDOW - self.head.len();
            self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if self.head.len() == WINDOW {
                self.begin()?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Walked, NotAudio> {
        let layout = match self.layout {
            Some(layout) => layout,
            None => self.begin()?,
        };
        let behind_header = self.total.saturating_sub(layout.data_at);
        let data = layout.data.unwrap_or(behind_header).min(behind_header);
        if data == 0 {
            return Err(NotAudio::Header("it has no samples"));
        }
        Ok(Walked {
            plays: layout.lasting(data),
            announced: layout.data.map(|data| layout.lasting(data)),
            total: self.total,
            other: behind_header - data,
        })
    }
}

impl RiffWalk {
    fn begin(&mut self) -> Result<Layout, NotAudio> {
        let layout = Layout::read(std::mem::take(&mut self.head))?;
        self.layout = Some(layout);
        Ok(layout)
    }
}

impl Layout {
    /// `head`: the beginning of a file, with the chunks before the samples in it.
    fn read(mut head: Vec<u8>) -> Result<Self, NotAudio> {
        // The length of the whole is no help: what follows the samples is looked at by nobody.
        set(&mut head, LENGTH_AT, UNKNOWN)?;
        let (_, data_at) = read(&head)?;
        let place = data_at.checked_sub(4).map(|from| from..data_at).ok_or(NotAudio::Header("it is too short"))?;
        let said = set(&mut head, place, MEASURE)?;
        let (track, _) = read(&head)?;
        let Some(CodecParameters::Audio(format)) = track.codec_params else {
            return Err(NotAudio::Header("it describes no audio"));
        };
        let rate = format.sample_rate.unwrap_or(0);
        if !is_plausible(rate, format.channels.map_or(0, |channels| channels.count())) {
            return Err(NotAudio::Header("no telephone and no studio has such a rate, or so many channels"));
        }
        let samples = track.num_frames.filter(|samples| *samples > 0);
        Ok(Self {
            data_at: data_at as u64,
            data: (said != 0 && said < NEARLY_UNKNOWN).then(|| said.into()),
            rate,
            samples: samples.ok_or(NotAudio::Header("its samples have no length"))?,
        })
    }

    fn lasting(self, bytes: u64) -> Duration {
        let samples = u128::from(bytes) * u128::from(self.samples) / u128::from(MEASURE);
        lasting(u64::try_from(samples).unwrap_or(u64::MAX), self.rate)
    }
}

/// Puts a length there, and returns what was there.
fn set(head: &mut [u8], place: std::ops::Range<usize>, length: u32) -> Result<u32, NotAudio> {
    let too_short = NotAudio::Header("it is too short");
    let there = head.get_mut(place).and_then(|place| <&mut [u8; 4]>::try_from(place).ok()).ok_or(too_short)?;
    Ok(u32::from_le_bytes(std::mem::replace(there, length.to_le_bytes())))
}

/// The track, and where its samples begin.
fn read(head: &[u8]) -> Result<(Track, usize), NotAudio> {
    let source = MediaSourceStream::new(Box::new(Cursor::new(head)), MediaSourceStreamOptions::default());
    // Its words are for players; ours say what to do about it.
    let reader = WavReader::try_new(source, FormatOptions::default())
        .map_err(|_| NotAudio::Header("no format and samples of a known kind in its first 64 KiB"))?;
    let track = reader.tracks().first().cloned().ok_or(NotAudio::Header("it describes no audio"))?;
    let data_at = usize::try_from(Box::new(reader).into_inner().pos()).unwrap_or(usize::MAX);
    Ok((track, data_at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        adapters::audio::AudioWalker,
        domain::{audio::AudioKind, ports::AudioProbe},
    };

    /// A format chunk, a data chunk that says its length so, and so many bytes of samples.
    fn wav(format: &[u8], said: u32, samples: usize) -> Vec<u8> {
        let length = u32::try_from(format.len()).unwrap();
        [
            b"RIFF\0\0\0\0WAVEfmt ".as_slice(),
            &length.to_le_bytes(),
            format,
            b"data",
            &said.to_le_bytes(),
            &vec![0x11; samples],
        ]
        .concat()
    }

    /// The format chunk: kind, channels, rate, bits of a sample.
    fn format(kind: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
        let block = channels.wrapping_mul(bits / 8);
        let mut format = [kind.to_le_bytes(), channels.to_le_bytes()].concat();
        format.extend(rate.to_le_bytes());
        format.extend((rate.wrapping_mul(block.into())).to_le_bytes());
        format.extend([block.to_le_bytes(), bits.to_le_bytes()].concat());
        if kind != 1 {
            format.extend([0, 0]);
        }
        format
    }

    fn walk(body: &[u8]) -> Result<Walked, NotAudio> {
        AudioWalker.walk(AudioKind::Wav, body)
    }

    #[test]
    fn samples_are_counted_in_every_format_that_telephones_speak() {
        for (kind, channels, bits) in
            [(1, 1, 16), (1, 2, 16), (1, 1, 8), (6, 1, 8), (7, 1, 8), (7, 2, 8), (3, 1, 32)]
        {
            let bytes = usize::from(channels * bits / 8) * 8_000 * 3;
            let body = wav(&format(kind, channels, 8_000, bits), u32::try_from(bytes).unwrap(), bytes);
            let walked = walk(&body).unwrap();
            assert_eq!((walked.plays.as_millis(), walked.other), (3_000, 0), "{kind} {channels} {bits}");
            assert_eq!(walked.announced, Some(walked.plays));
            for step in [1, 44, 1_000, 65_536] {
                let mut walk = AudioWalker.begin(AudioKind::Wav);
                body.chunks(step).for_each(|part| walk.feed(part).unwrap());
                assert_eq!(walk.finish(), Ok(walked), "{step}");
            }
        }
    }

    #[test]
    fn who_streams_does_not_know_the_length() {
        for said in [0, u32::MAX, u32::MAX - 36, 0x7FFF_F000] {
            let walked = walk(&wav(&format(1, 1, 8_000, 16), said, 32_000)).unwrap();
            assert_eq!((walked.plays.as_millis(), walked.announced, walked.other), (2_000, None, 0), "{said}");
        }
    }

    #[test]
    fn what_is_missing_is_told_and_what_follows_is_no_audio() {
        let cut = walk(&wav(&format(1, 1, 8_000, 16), 160_000, 32_000)).unwrap();
        assert_eq!((cut.plays.as_secs(), cut.announced), (2, Some(Duration::from_secs(10))));
        let longer = walk(&wav(&format(1, 1, 8_000, 16), 16_000, 116_000)).unwrap();
        assert_eq!((longer.plays.as_secs(), longer.other), (1, 100_000));
    }

    #[test]
    fn other_chunks_may_come_before_the_samples_as_long_as_these_begin_early() {
        let with = |length: usize| {
            let plain = wav(&format(1, 1, 8_000, 16), 16_000, 16_000);
            let chunk =
                [b"JUNK".as_slice(), &u32::try_from(length).unwrap().to_le_bytes(), &vec![0; length]].concat();
            [&plain[..12], &chunk, &plain[12..]].concat()
        };
        assert_eq!(walk(&with(20_000)).unwrap().plays, Duration::from_secs(1));
        assert!(matches!(walk(&with(70_000)), Err(NotAudio::Header(_))));
    }

    #[test]
    fn a_header_that_cannot_be_right_is_refused() {
        let right = wav(&format(1, 1, 8_000, 16), 16_000, 16_000);
        for wrong in [
            right[..11].to_vec(),
            right[..40].to_vec(),
            wav(&format(1, 0, 8_000, 16), 100, 100),
            wav(&format(1, 65_535, 8_000, 32), 100, 100),
            wav(&format(1, 1, 0, 16), 100, 100),
            wav(&format(1, 1, u32::MAX, 16), 100, 100),
            wav(&format(1, 1, 8_000, 0), 100, 100),
            wav(&format(0x55, 1, 8_000, 16), 100, 100),
            wav(&format(1, 1, 8_000, 16), 0, 0),
            wav(&format(1, 1, 8_000, 16), 16_000, 0),
        ] {
            assert!(matches!(walk(&wrong), Err(NotAudio::Header(_))), "{wrong:?}");
        }
    }
}
