//! A bad network between one device and a server: a delay each way, and datagrams lost each way.

use crate::Outcome;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UdpSocket;

/// Half of a round trip.
pub(crate) const ONE_WAY: Duration = Duration::from_millis(25);

/// Where a proxy listens. It works for as long as the local task set that it was made in.
pub(crate) async fn between(server: SocketAddr, loss_percent: u64, seed: u64) -> Outcome<SocketAddr> {
    let near = Rc::new(UdpSocket::bind(("127.0.0.1", 0)).await?);
    let far = Rc::new(UdpSocket::bind(("127.0.0.1", 0)).await?);
    far.connect(server).await?;
    let address = near.local_addr()?;
    tokio::task::spawn_local(carry(near, far, loss_percent, seed));
    Ok(address)
}

async fn carry(near: Rc<UdpSocket>, far: Rc<UdpSocket>, loss_percent: u64, seed: u64) {
    let mut lots = Lots(seed | 1);
    let mut device = None;
    let (mut there, mut back) = ([0; 2_048], [0; 2_048]);
    loop {
        // An error is of an earlier datagram, that met a closed port.
        tokio::select! {
            Ok((length, from)) = near.recv_from(&mut there) => {
                device = Some(from);
                if !lots.is_lost(loss_percent) {
                    later(far.clone(), there[..length].to_vec(), None);
                }
            }
            Ok(length) = far.recv(&mut back) => {
                if !lots.is_lost(loss_percent) {
                    later(near.clone(), back[..length].to_vec(), device);
                }
            }
            else => {}
        }
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
