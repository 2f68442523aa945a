//! What kind of audio a file is, by its content. A name or a content type may say anything (incident 19).

/// Bytes of the beginning that [`AudioKind::sniff`] wants to see; fewer are fine when the file is shorter.
pub const SNIFF_LEN: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudioKind {
    Mp3,
    Wav,
}

impl AudioKind {
    /// `None`: neither an MPEG audio frame, nor an `ID3v2` tag, nor a WAV header begins here.
    pub fn sniff(head: &[u8]) -> Option<Self> {
        match head {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Self::Wav),
            [b'I', b'D', b'3', major, ..] if *major <= 4 => Some(Self::Mp3),
            [0xFF, second, third, ..] if is_mpeg_layer3(*second, *third) => Some(Self::Mp3),
            _ => None,
        }
    }

    pub fn extension(self) -> &'static str {
        match self {
            Self::Mp3 => "mp3",
            Self::Wav => "wav",
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Mp3 => "audio/mpeg",
            Self::Wav => "audio/wav",
        }
    }
}

/// The second and third byte of an MPEG audio frame header (the standard 11172-3, section 2.4.2.3): eleven sync bits, a
/// version that is not reserved, layer III, a bit rate and a sampling rate that exist.
fn is_mpeg_layer3(second: u8, third: u8) -> bool {
    let sync = second & 0xE0 == 0xE0;
    let version = (second >> 3) & 0b11;
    let layer = (second >> 1) & 0b11;
    let bit_rate = third >> 4;
    let sampling_rate = (third >> 2) & 0b11;
    sync && version != 0b01 && layer == 0b01 && bit_rate != 0 && bit_rate != 0b1111 && sampling_rate != 0b11
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides() {
        assert_eq!(AudioKind::sniff(&[0xFF, 0xFB, 0x90, 0x00]), Some(AudioKind::Mp3));
        assert_eq!(AudioKind::sniff(b"ID3\x04\x00\x00\x00\x00\x00\x00"), Some(AudioKind::Mp3));
        assert_eq!(AudioKind::sniff(b"RIFF\x24\x00\x00\x00WAVEfmt "), Some(AudioKind::Wav));
    }

    #[test]
    fn pages_json_and_noise_are_not_audio() {
        for other in [&b"<!DOCTYPE html>"[..], b"{\"code\":20404}", b"", b"\xFF\xFF\xFF\xFF", b"RIFF\0\0\0\0AVI "] {
            assert_eq!(AudioKind::sniff(other), None, "{other:?}");
        }
    }
}
