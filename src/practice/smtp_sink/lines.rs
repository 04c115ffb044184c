//! Lines of SMTP on the wire, bounded.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::TcpStream;

/// Longest line, its CRLF included. RFC 5321 asks for 512 in commands and 1,000 in data; mail in the wild is longer.
const MAX_LINE: u64 = 8192;

/// A line without its CRLF; `None` when the client is gone, sent an endless line or text that is not UTF-8. A line
/// that ends in a bare LF is given as `\n`, which is no command.
pub(super) async fn read(stream: &mut BufStream<TcpStream>) -> Option<String> {
    let line = raw(stream).await?;
    match line.strip_suffix(b"\r\n") {
        Some(line) => String::from_utf8(line.to_vec()).ok(),
        None => Some("\n".to_owned()),
    }
}

/// A mail's lines up to the dot, dots unstuffed; the inner error is the reply that refuses it. `None` when the client
/// is gone.
pub(super) async fn read_data(
    stream: &mut BufStream<TcpStream>,
    limit: usize,
) -> Option<Result<Vec<u8>, &'static str>> {
    let mut mail = Vec::new();
    let mut refusal = None;
    loop {
        let line = raw(stream).await?;
        if line == b".\r\n" {
            return Some(refusal.map_or(Ok(mail), Err));
        }
        let text = line.strip_prefix(b".").unwrap_or(&line);
        if !line.ends_with(b"\r\n") {
            refusal = Some("554 lines end in CRLF\r\n");
        } else if mail.len() + text.len() > limit {
            refusal = Some("552 the mail is too large\r\n");
        }
        if refusal.is_none() {
            mail.extend_from_slice(text);
        }
    }
}

pub(super) async fn write(stream: &mut BufStream<TcpStream>, text: &str) -> Option<()> {
    stream.write_all(text.as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

async fn raw(stream: &mut BufStream<TcpStream>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    stream.take(MAX_LINE).read_until(b'\n', &mut line).await.ok()?;
    line.ends_with(b"\n").then_some(line)
}
