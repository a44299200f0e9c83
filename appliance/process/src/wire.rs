//! The bytes of a channel, without I/O: a preamble once in each direction, then frames.
//!
//! Preamble: `cairn` and three bytes of version, most significant first. Frame: `u32` little endian whose low 31
//! bits are the payload's length and whose highest bit says that a descriptor came along, then the payload.

use crate::channel::ChannelError;

/// Largest payload of one frame, in bytes.
pub const MAX_FRAME: usize = 1024 * 1024;

/// First bytes in each direction. Both ends are the same binary (`/proc/self/exe`), so one number is enough:
/// it only catches a descriptor that is not one of our channels.
const PREAMBLE: [u8; 8] = *b"cairn\x00\x00\x01";
const HEADER: usize = 4;
const DESCRIPTOR_BIT: u32 = 1 << 31;

/// Appends the preamble to `out`.
pub(crate) fn greet(out: &mut Vec<u8>) {
    out.extend_from_slice(&PREAMBLE);
}

/// Appends one frame to `out`.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    payload: &[u8],
    carries_descriptor: bool,
) -> Result<(), ChannelError> {
    let length = u32::try_from(payload.len())
        .ok()
        .filter(|_| payload.len() <= MAX_FRAME)
        .ok_or(ChannelError::TooLarge { bytes: payload.len() })?;
    let header = if carries_descriptor { length | DESCRIPTOR_BIT } else { length };
    out.extend_from_slice(&header.to_le_bytes());
    out.extend_from_slice(payload);
    Ok(())
}

/// One frame as it was received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) payload: Vec<u8>,
    pub(crate) carries_descriptor: bool,
}

/// Cuts received bytes into frames. Holds at most one frame and what was read with it.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffer: Vec<u8>,
    greeted: bool,
}

impl Decoder {
    /// Takes in bytes as they come.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether the stream may end here: not in the middle of a frame.
    pub(crate) fn at_boundary(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next whole frame, or `None` when more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, ChannelError> {
        if !self.greeted {
            let Some((preamble, _)) = self.buffer.split_at_checked(PREAMBLE.len()) else {
                return if PREAMBLE.starts_with(&self.buffer) {
                    Ok(None)
                } else {
                    Err(ChannelError::NotOurs)
                };
            };
            if preamble != PREAMBLE {
                return Err(ChannelError::NotOurs);
            }
            self.buffer.drain(..PREAMBLE.len());
            self.greeted = true;
        }
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let header = u32::from_le_bytes(*header);
        let length = (header & !DESCRIPTOR_BIT) as usize;
        if length > MAX_FRAME {
            return Err(ChannelError::TooLarge { bytes: length });
        }
        let Some(payload) = self.buffer.get(HEADER..HEADER + length) else { return Ok(None) };
        let frame = Frame { payload: payload.to_vec(), carries_descriptor: header & DESCRIPTOR_BIT != 0 };
        self.buffer.drain(..HEADER + length);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(frames: &[(&[u8], bool)]) -> Vec<u8> {
        let mut out = Vec::new();
        greet(&mut out);
        for (payload, descriptor) in frames {
            encode(&mut out, payload, *descriptor).unwrap();
        }
        out
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive() {
        let bytes = stream(&[(b"one", false), (b"", true), (&[7; 3000], false)]);
        for step in [1, 2, 3, 5, 64, bytes.len()] {
            let mut decoder = Decoder::default();
            let mut frames = Vec::new();
            for chunk in bytes.chunks(step) {
                decoder.feed(chunk);
                while let Some(frame) = decoder.next().unwrap() {
                    frames.push((frame.payload.len(), frame.carries_descriptor));
                }
            }
            assert_eq!(frames, [(3, false), (0, true), (3000, false)], "in steps of {step}");
            assert!(decoder.at_boundary());
        }
    }

    #[test]
    fn an_announced_length_above_the_limit_is_refused_before_it_is_read() {
        let mut decoder = Decoder::default();
        decoder.feed(&PREAMBLE);
        decoder.feed(&(MAX_FRAME as u32 + 1).to_le_bytes());
        assert!(matches!(decoder.next(), Err(ChannelError::TooLarge { .. })));
        assert!(matches!(
            encode(&mut Vec::new(), &vec![0; MAX_FRAME + 1], false),
            Err(ChannelError::TooLarge { .. })
        ));
    }

    #[test]
    fn a_stranger_is_noticed_at_its_first_byte() {
        let mut decoder = Decoder::default();
        decoder.feed(b"G");
        assert!(matches!(decoder.next(), Err(ChannelError::NotOurs)));
        let mut other_version = Decoder::default();
        other_version.feed(b"cairn\x00\x00\x02");
        assert!(matches!(other_version.next(), Err(ChannelError::NotOurs)));
    }

    #[test]
    fn an_end_inside_a_frame_is_not_a_boundary() {
        let bytes = stream(&[(b"payload", false)]);
        let mut decoder = Decoder::default();
        decoder.feed(bytes.split_last().unwrap().1);
        assert!(decoder.next().unwrap().is_none());
        assert!(!decoder.at_boundary());
    }
}
