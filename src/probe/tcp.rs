//! A TCP connection, and a text for a text.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{MAX_ANSWER, ProbeError, Reply, broken, failed};
use crate::{
    http::stream::Metered,
    model::{outcome::fail, scenario::TextMatch},
};

/// Sends `send` and reads until `expect` is found; without it nothing is read.
pub(super) async fn ask(mut stream: Metered, send: &[u8], expect: Option<&TextMatch>) -> Result<Reply, ProbeError> {
    if !send.is_empty() {
        stream.write_all(send).await.map_err(|error| broken(&error))?;
        stream.flush().await.map_err(|error| broken(&error))?;
    }
    let mut got = Vec::new();
    let Some(wanted) = expect else { return Ok(Reply::new(got)) };
    while !wanted.found(&got) {
        if got.len() >= MAX_ANSWER {
            return Err(failed(fail::EXPECT, format!("{} bytes came, and {wanted} was not among them", got.len())));
        }
        let room = MAX_ANSWER - got.len();
        let read = (&mut stream).take(room as u64).read_buf(&mut got).await.map_err(|error| broken(&error))?;
        if read == 0 {
            let start = String::from_utf8_lossy(&got[..got.len().min(100)]).into_owned();
            let detail = format!("the connection was closed before {wanted} came; what came is {start:?}");
            return Err(failed(fail::EXPECT, detail));
        }
    }
    Ok(Reply::new(got))
}
