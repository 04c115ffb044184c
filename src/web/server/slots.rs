//! Who holds a connection, and who may have one more.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use tokio::task::Id;

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Slots {
    all: usize,
    per_peer: usize,
    for_loopback: usize,
    held: HashMap<Id, IpAddr>,
}

impl Slots {
    /// `all` connections, `per_peer` of them for one peer, and `for_loopback` of them for nobody but loopback.
    pub(super) fn new(all: usize, per_peer: usize, for_loopback: usize) -> Self {
        Self { all, per_peer, for_loopback, held: HashMap::new() }
    }

    /// Whether `peer` may have one more.
    pub(super) fn has_room(&self, peer: IpAddr) -> bool {
        has_room(self.held.values(), one_peer(peer), self.all, self.per_peer, self.for_loopback)
    }

    /// The connection of `task` is open.
    pub(super) fn take(&mut self, task: Id, peer: IpAddr) {
        self.held.insert(task, one_peer(peer));
    }

    /// The connection of `task` is closed.
    pub(super) fn free(&mut self, task: Id) {
        self.held.remove(&task);
    }
}

fn has_room<'a>(
    held: impl Iterator<Item = &'a IpAddr>,
    peer: IpAddr,
    all: usize,
    per_peer: usize,
    for_loopback: usize,
) -> bool {
    let (mut total, mut far, mut own) = (0, 0, 0);
    for holder in held {
        total += 1;
        far += usize::from(!holder.is_loopback());
        own += usize::from(*holder == peer);
    }
    total < all && own < per_peer && (peer.is_loopback() || far < all - for_loopback)
}

/// The address that stands for a peer: an IPv6 network of 64 bits is usually one machine's to choose addresses from.
fn one_peer(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_what_is_anothers() {
        // Of 8: 3 for one peer, 2 kept for loopback.
        let check = |held: &[&str], peer: &str, wanted| {
            let ip = |text: &str| one_peer(text.parse().expect("an address"));
            let held: Vec<_> = held.iter().map(|text| ip(text)).collect();
            assert_eq!(has_room(held.iter(), ip(peer), 8, 3, 2), wanted, "{peer} after {held:?}");
        };
        check(&[], "10.0.0.1", true);
        check(&["10.0.0.1", "10.0.0.1"], "10.0.0.1", true);
        check(&["10.0.0.1", "10.0.0.1", "10.0.0.1"], "10.0.0.1", false);
        check(&["10.0.0.1", "10.0.0.1", "10.0.0.1"], "10.0.0.2", true);
        check(&["10.0.0.1", "10.0.0.1", "10.0.0.1"], "::ffff:10.0.0.1", false);
        check(&["2001:db8::1", "2001:db8::2", "2001:db8::3:0:0:4"], "2001:db8::5", false);
        check(&["2001:db8::1", "2001:db8::2", "2001:db8::3:0:0:4"], "2001:db8:0:1::5", true);
        let far = ["10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.3", "10.0.0.3"];
        check(&far, "10.0.0.4", false);
        check(&far, "127.0.0.1", true);
        check(&far, "::1", true);
        check(&far, "::ffff:127.0.0.1", true);
        check(&["127.0.0.1", "127.0.0.1", "127.0.0.1"], "127.0.0.1", false);
        check(&["127.0.0.1", "127.0.0.1", "127.0.0.1"], "10.0.0.1", true);
        check(&[&far[..], &["127.0.0.1", "127.0.0.1"]].concat(), "127.0.0.1", false);
    }
}
