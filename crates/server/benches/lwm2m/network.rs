//! A bad network between one device and a server: a delay each way, and datagrams lost each way.

use crate::Outcome;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use updraft_lwm2m::coap::Message;
use updraft_lwm2m::coap::option::number;

/// Half of a round trip.
pub(crate) const ONE_WAY: Duration = Duration::from_millis(25);

/// How far a transfer is that goes through a proxy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached {
    /// Blocks that have come through, from the first.
    pub(crate) blocks: u32,
    /// When the last of them did.
    pub(crate) at: Instant,
}

/// A proxy. It works for as long as the local task set that it was made in.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    reached: Rc<Cell<Reached>>,
}

impl Proxy {
    /// A proxy before a server.
    pub(crate) async fn before(server: SocketAddr, loss_percent: u64, seed: u64) -> Outcome<Self> {
        let near = Rc::new(UdpSocket::bind(("127.0.0.1", 0)).await?);
        let far = Rc::new(UdpSocket::bind(("127.0.0.1", 0)).await?);
        far.connect(server).await?;
        let address = near.local_addr()?;
        let reached = Rc::new(Cell::new(Reached { blocks: 0, at: Instant::now() }));
        tokio::task::spawn_local(carry(near, far, Lots(seed | 1), loss_percent, reached.clone()));
        Ok(Self { address, reached })
    }

    /// How far the transfer is.
    pub(crate) fn reached(&self) -> Reached {
        self.reached.get()
    }
}

async fn carry(
    near: Rc<UdpSocket>,
    far: Rc<UdpSocket>,
    mut lots: Lots,
    loss_percent: u64,
    reached: Rc<Cell<Reached>>,
) {
    let mut device = None;
    let (mut there, mut back) = ([0; 2_048], [0; 2_048]);
    loop {
        // An error is of an earlier datagram, that met a closed port.
        let (datagram, to) = tokio::select! {
            Ok((length, from)) = near.recv_from(&mut there) => {
                device = Some(from);
                (&there[..length], None)
            }
            Ok(length) = far.recv(&mut back) => (&back[..length], device),
            else => continue,
        };
        if !lots.is_lost(loss_percent) {
            note(datagram, &reached);
            later(if to.is_some() { near.clone() } else { far.clone() }, datagram.to_vec(), to);
        }
    }
}

/// Notes the block that a datagram brings, if it is further than those before.
fn note(datagram: &[u8], reached: &Cell<Reached>) {
    let Ok(message) = Message::parse(datagram) else { return };
    let block = [number::BLOCK1, number::BLOCK2].into_iter().find_map(|option| message.options.uint(option));
    // RFC 7959 §2.2: the number is above four bits of other things.
    let blocks = block.map_or(0, |value| (value >> 4) + 1);
    if blocks > reached.get().blocks && !message.payload.is_empty() {
        reached.set(Reached { blocks, at: Instant::now() });
    }
}

fn later(socket: Rc<UdpSocket>, datagram: Vec<u8>, to: Option<SocketAddr>) {
    tokio::task::spawn_local(async move {
        tokio::time::sleep(ONE_WAY).await;
        // What cannot be sent is lost.
        let _ = match to {
            Some(to) => socket.send_to(&datagram, to).await,
            None => socket.send(&datagram).await,
        };
    });
}

/// Lots that fall alike with the same seed (xorshift64*).
struct Lots(u64);

impl Lots {
    fn is_lost(&mut self, percent: u64) -> bool {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % 100 < percent
    }
}
