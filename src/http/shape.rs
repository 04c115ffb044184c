//! A slow line: a byte stream that carries no more than so many bytes per second in each direction.
//!
//! What it slows down is ours: we read late, and so the kernel's window closes and the target has to wait, as it has to
//! for any slow reader. Of a connection with TLS, what it carries is counted, and not what TLS makes of it.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use super::stream::Transport;
use crate::model::{clock, scenario::NetworkSpec};

/// Carried at once at most, as a length of time: how evenly the bytes pass.
const EVENNESS: Duration = Duration::from_millis(20);

/// Made up for where we are woken late, as a length of time.
const LATE: Duration = Duration::from_millis(100);

/// A slower line still carries this much at once, bytes.
const LEAST: f64 = 64.0;

/// Read at once at most, on the stack.
const READ: usize = 8 * 1024;

/// How much may pass (pure).
#[derive(Debug)]
struct Bucket {
    /// Bytes per second.
    rate: f64,
    /// It holds no more than this.
    room: f64,
    held: f64,
    since: Instant,
    /// Somebody was told to wait: that we are woken late is no pause of theirs.
    waited: bool,
}

impl Bucket {
    fn new(rate: f64, now: Instant) -> Self {
        let room = (rate * EVENNESS.as_secs_f64()).max(LEAST);
        Self { rate, room, held: room, since: now, waited: false }
    }

    /// Bytes that may pass now, at least 1; or how long to wait until the bucket is full again.
    fn allowance(&mut self, now: Instant) -> Result<usize, Duration> {
        let grown = now.saturating_duration_since(self.since).as_secs_f64() * self.rate;
        let late = if std::mem::take(&mut self.waited) { LATE.as_secs_f64() * self.rate } else { 0.0 };
        let most = (self.room + late).max(self.held);
        self.held = (self.held + grown).min(most);
        self.since = now;
        if self.held >= 1.0 {
            return Ok(self.held as usize);
        }
        self.waited = true;
        Err(Duration::from_secs_f64((self.room - self.held) / self.rate))
    }

    fn take(&mut self, bytes: usize) {
        self.held -= bytes as f64;
    }
}

/// One direction of the line.
#[derive(Debug)]
struct Way {
    bucket: Bucket,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Way {
    fn new(rate: f64) -> Self {
        Self { bucket: Bucket::new(rate, clock::mono()), wait: None }
    }

    fn poll_allowance(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            match self.bucket.allowance(clock::mono()) {
                Ok(bytes) => return Poll::Ready(bytes),
                Err(wait) => self.wait = Some(Box::pin(tokio::time::sleep(wait))),
            }
        }
    }
}

/// A transport over a slow line.
#[derive(Debug)]
pub struct Slow {
    pub(super) inner: Transport,
    down: Option<Way>,
    up: Option<Way>,
}

impl Slow {
    /// `inner` with no more than the bytes per second of `spec`; its delay and its impatient clients are not of the line.
    pub fn new(inner: Transport, spec: &NetworkSpec) -> Self {
        Self { inner, down: spec.down.map(Way::new), up: spec.up.map(Way::new) }
    }
}

impl AsyncRead for Slow {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(way) = &mut this.down else { return Pin::new(&mut this.inner).poll_read(cx, buf) };
        let allowed = ready!(way.poll_allowance(cx)).min(buf.remaining()).min(READ);
        let mut space = [0; READ];
        let mut part = ReadBuf::new(&mut space[..allowed]);
        ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
        way.bucket.take(part.filled().len());
        buf.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Slow {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(way) = &mut this.up else { return Pin::new(&mut this.inner).poll_write(cx, buf) };
        let allowed = ready!(way.poll_allowance(cx)).min(buf.len());
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, &buf[..allowed]))?;
        way.bucket.take(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    use super::*;

    /// Bytes that pass within `seconds` where somebody who is woken late asks for `at_once` whenever they may pass.
    fn passed(rate: f64, at_once: usize, late: Duration, seconds: f64) -> f64 {
        let begun = clock::mono();
        let (mut bucket, mut now, mut sum) = (Bucket::new(rate, begun), begun, 0);
        while (now - begun).as_secs_f64() < seconds {
            match bucket.allowance(now) {
                Ok(allowed) => {
                    let taken = allowed.min(at_once);
                    assert!(taken > 0);
                    bucket.take(taken);
                    sum += taken;
                }
                Err(wait) => now += wait.max(Duration::from_nanos(1)) + late,
            }
        }
        sum as f64
    }

    #[test]
    fn a_line_carries_its_rate_however_much_is_asked_for_at_once() {
        let check = |rate: f64, at_once, late| {
            let sum = passed(rate, at_once, Duration::from_millis(late), 10.0);
            let most = rate * 10.0 + 2.0 * (rate * EVENNESS.as_secs_f64()).max(LEAST);
            assert!(sum >= rate * 9.9 && sum <= most, "{rate} B/s, {at_once} at once, {late} ms late: {sum}");
        };
        for rate in [10.0, 1000.0, 250_000.0, 1e9] {
            for late in [0, 1, 3, 20] {
                check(rate, usize::MAX, late);
                check(rate, 1500, late);
            }
        }
        check(1000.0, 1, 0);
    }

    #[test]
    fn what_nobody_used_is_not_saved_up() {
        let begun = clock::mono();
        let mut bucket = Bucket::new(10_000.0, begun);
        assert_eq!(bucket.allowance(begun + Duration::from_mins(1)), Ok(200));
        bucket.take(200);
        assert!(bucket.allowance(begun + Duration::from_mins(1)).is_err());
        let most = Ok(200 + 1000);
        assert_eq!(
            bucket.allowance(begun + Duration::from_mins(2)),
            most,
            "but for what our own lateness may have cost"
        );
        bucket.take(1100);
        assert_eq!(bucket.allowance(begun + Duration::from_mins(3)), Ok(200));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_lost_on_a_slow_line() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let sent: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let expected = sent.clone();
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("it came");
            tokio::io::AsyncWriteExt::write_all(&mut stream, &sent).await.expect("it is read");
            let mut back = Vec::new();
            stream.read_to_end(&mut back).await.expect("it ends");
            back
        });
        let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let spec = NetworkSpec { down: Some(50_000.0), up: Some(20_000.0), ..NetworkSpec::default() };
        let mut slow = Slow::new(Transport::Plain(stream), &spec);
        let begun = clock::mono();
        let mut got = vec![0; expected.len()];
        slow.read_exact(&mut got).await.expect("all of it");
        assert!(got == expected, "every byte in its place");
        assert!((1.9..3.0).contains(&(clock::mono() - begun).as_secs_f64()), "100 kB at 50 kB/s take 2 s");
        let begun = clock::mono();
        tokio::io::AsyncWriteExt::write_all(&mut slow, &expected[..40_000]).await.expect("it is read");
        tokio::io::AsyncWriteExt::shutdown(&mut slow).await.expect("it is open");
        assert!((1.9..3.0).contains(&(clock::mono() - begun).as_secs_f64()), "40 kB at 20 kB/s take 2 s");
        assert!(peer.await.expect("no panic") == expected[..40_000], "every byte in its place");
    }
}
