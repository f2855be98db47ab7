//! Archives as plain tar streams, whatever they are compressed with.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use anyhow::Result;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Decompresses what is compressed with gzip or zstd, and leaves the rest as it is. Its first bytes tell, since types of
/// layers do not always.
pub(super) fn uncompressed<'a>(mut archive: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let mut magic = Vec::new();
    archive.by_ref().take(4).read_to_end(&mut magic)?;
    let is_gzip = magic.starts_with(&[0x1f, 0x8b]);
    // A frame, or one to be skipped.
    let is_zstd =
        magic == [0x28, 0xb5, 0x2f, 0xfd] || matches!(magic[..], [0x50..=0x5f, 0x2a, 0x4d, 0x18]);
    let whole = Cursor::new(magic).chain(archive);
    Ok(match (is_gzip, is_zstd) {
        (true, _) => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        (_, true) => Box::new(Zstd {
            source: BufReader::new(whole),
            decoder: FrameDecoder::new(),
            is_within: false,
        }),
        _ => Box::new(whole),
    })
}

/// Frames of zstd, one after the other.
struct Zstd<R> {
    source: BufReader<R>,
    decoder: FrameDecoder,
    is_within: bool,
}

impl<R: Read> Zstd<R> {
    /// Goes to the next frame; `false`: there is none.
    fn next(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(&mut self.source.by_ref().take(length.into()), &mut io::sink())?;
                }
                Err(e) => return Err(io::Error::other(format!("zstd: {e}"))),
            }
        }
        Ok(false)
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_within && !self.next()? {
                return Ok(0);
            }
            self.is_within = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(|e| io::Error::other(format!("zstd: {e}")))?;
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            self.is_within = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "hello " and "world\n", a frame each with a frame to be skipped between, as the program `zstd` makes them.
    const FRAMES: [&[u8]; 3] = [
        &[0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x06, 0x31, 0x00, 0x00, b'h', b'e', b'l', b'l', b'o', b' '],
        &[0x50, 0x2a, 0x4d, 0x18, 0x02, 0x00, 0x00, 0x00, 0xff, 0xff],
        &[
            0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x06, 0x31, 0x00, 0x00, b'w', b'o', b'r', b'l', b'd',
            b'\n',
        ],
    ];

    #[test]
    fn all_frames_are_read() {
        let mut text = String::new();
        uncompressed(FRAMES.concat().as_slice()).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello world\n");
        let cut = &FRAMES[0][..12];
        assert!(uncompressed(cut).unwrap().read_to_string(&mut text).is_err());
    }

    #[test]
    fn what_is_not_compressed_stays_as_it_is() {
        for content in [&b"plain tar"[..], b"ab", b""] {
            let mut read = Vec::new();
            uncompressed(content).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, content);
        }
    }
}
