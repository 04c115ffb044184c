//! Which of several addresses is connected to: happy eyeballs (RFC 8305). A name with a dead first address, or with a
//! broken IPv6, costs a head start and not the whole connect timeout, as it would a browser.

use std::{future::poll_fn, io, net::SocketAddr, pin::Pin, task::Poll, time::Duration};

/// What an attempt has before the next one is started beside it, if there is time enough for all.
pub const HEAD_START: Duration = Duration::from_millis(250);

/// The addresses in the order in which they are tried: that of the system's resolver, the families taking turns.
pub fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let (mut ours, mut theirs): (Vec<_>, Vec<_>) =
        addresses.iter().copied().partition(|address| address.is_ipv4() == first.is_ipv4());
    ours.reverse();
    theirs.reverse();
    let mut order = Vec::with_capacity(addresses.len());
    while !ours.is_empty() || !theirs.is_empty() {
        order.extend(ours.pop());
        order.extend(theirs.pop());
    }
    order
}

/// The first of the attempts that connects; the others are dropped. The next address is tried when the one before it
/// has failed, or after `head_start`. If none connects: what became of each.
pub async fn race<T, F>(
    addresses: &[SocketAddr],
    head_start: Duration,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, Vec<(SocketAddr, io::Error)>>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = addresses.iter().copied();
    let mut running: Vec<(SocketAddr, Pin<Box<F>>)> = Vec::new();
    let mut failed = Vec::new();
    loop {
        let next = waiting.next();
        running.extend(next.map(|address| (address, Box::pin(connect(address)))));
        if running.is_empty() {
            return Err(failed);
        }
        // Without another address to try, the last ones are waited for as long as the caller likes.
        let mut patience = next.filter(|_| waiting.len() > 0).map(|_| Box::pin(tokio::time::sleep(head_start)));
        let ended = poll_fn(|cx| {
            for (index, (_, attempt)) in running.iter_mut().enumerate() {
                if let Poll::Ready(result) = attempt.as_mut().poll(cx) {
                    return Poll::Ready(Some((index, result)));
                }
            }
            match &mut patience {
                Some(patience) => patience.as_mut().poll(cx).map(|()| None),
                None => Poll::Pending,
            }
        })
        .await;
        match ended {
            Some((_, Ok(connected))) => return Ok(connected),
            Some((index, Err(error))) => failed.push((running.remove(index).0, error)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn families_take_turns() {
        let check = |given: &[&str], expected: &[&str]| {
            assert_eq!(interleave(&addresses(given)), addresses(expected), "{given:?}");
        };
        check(&[], &[]);
        check(&["1.1.1.1:1", "1.1.1.2:1"], &["1.1.1.1:1", "1.1.1.2:1"]);
        check(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"], &["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
        check(&["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"], &["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"]);
    }

    /// Races addresses `1.1.1.N`: what each does is how long it takes and whether it connects, or never (`None`).
    /// Which one won or which failed in what order, and after how many milliseconds.
    async fn raced(doings: &[Option<(u64, bool)>]) -> (Result<u8, Vec<u8>>, u128) {
        let list: Vec<SocketAddr> = (0..doings.len()).map(|n| SocketAddr::from(([1, 1, 1, n as u8], 1))).collect();
        let number = |address: SocketAddr| match address {
            SocketAddr::V4(address) => address.ip().octets()[3],
            SocketAddr::V6(_) => unreachable!("there is none"),
        };
        let start = Instant::now();
        let won = race(&list, HEAD_START, async |address| match doings[usize::from(number(address))] {
            Some((millis, connects)) => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                if connects { Ok(number(address)) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
            }
            None => std::future::pending().await,
        })
        .await;
        let won = won.map_err(|failed| failed.into_iter().map(|(address, _)| number(address)).collect());
        (won, start.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_to_connect_wins() {
        assert_eq!(raced(&[Some((10, true)), Some((0, true))]).await, (Ok(0), 10));
        assert_eq!(raced(&[None, Some((10, true))]).await, (Ok(1), 260), "a black hole costs a head start");
        assert_eq!(raced(&[None, None, Some((10, true))]).await, (Ok(2), 510));
        assert_eq!(raced(&[Some((300, true)), Some((100, true))]).await, (Ok(0), 300), "the first is not given up");
        assert_eq!(raced(&[Some((10, false)), Some((10, true))]).await, (Ok(1), 20), "a refusal is not waited out");
        assert_eq!(raced(&[None, Some((10, false)), Some((10, true))]).await, (Ok(2), 270));
        assert_eq!(raced(&[Some((400, false)), Some((10, false))]).await, (Err(vec![1, 0]), 400));
        assert_eq!(raced(&[]).await, (Err(vec![]), 0));
    }
}
