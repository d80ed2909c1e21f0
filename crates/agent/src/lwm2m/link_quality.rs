//! Object 4's values on Linux: what the kernel says of the radio, and the address in use.

use std::net::UdpSocket;
use updraft_lwm2m::client::connectivity::Connectivity;

/// What the kernel says of radios: a line for each, after two of headings (proc(5)).
const WIRELESS_PATH: &str = "/proc/net/wireless";
/// Bearers as the object numbers them.
const ETHERNET: u8 = 41;
const WLAN: u8 = 21;

/// The link as it is now.
pub(super) fn read(socket: Option<&UdpSocket>) -> Connectivity {
    let table = std::fs::read_to_string(WIRELESS_PATH).unwrap_or_default();
    let mut connectivity = match radio(&table) {
        Some((quality, level)) => {
            let mut connectivity = Connectivity::new(WLAN, level);
            connectivity.link_quality = Some(quality);
            connectivity
        }
        None => Connectivity::new(ETHERNET, 0),
    };
    let address = socket.and_then(|socket| socket.local_addr().ok());
    connectivity.addresses.extend(address.map(|address| address.ip().to_string()));
    connectivity
}

/// Quality, and level in dBm, of the first radio.
fn radio(table: &str) -> Option<(i32, i32)> {
    let line = table.lines().nth(2)?;
    let mut fields = line.split_once(':')?.1.split_whitespace().skip(1);
    let mut number = || fields.next()?.trim_end_matches('.').parse().ok();
    Some((number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_radios_quality_and_level_are_read_from_the_kernels_table() {
        let table = "Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n \
                     face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22\n \
                     wlan0: 0000   54.  -56.  -256        0      0      0      0      0        0\n";
        assert_eq!(radio(table), Some((54, -56)));
        assert_eq!(radio(""), None);
        assert_eq!(radio("a\nb\nwlan0: 0000 x"), None);
    }
}
