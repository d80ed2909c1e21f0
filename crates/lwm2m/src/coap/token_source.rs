//! Tokens that nobody off the path can guess (RFC 7252 §5.3.1), and the other random choices of a peer.

use super::message::Token;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Makes tokens from a seed: HMAC-SHA-256 of a counter, so a peer keeps 36 bytes and no generator.
pub(super) struct TokenSource {
    seed: [u8; 32],
    drawn: u32,
}

/// One draw.
pub(super) struct Draw {
    /// 8 bytes to tie a response to a request.
    pub(super) token: Token,
    /// 8 bytes to name a body by.
    pub(super) tag: Token,
    /// For a first message ID.
    pub(super) word: u16,
    /// Where the random factors of waits begin.
    pub(super) jitter: u8,
}

impl TokenSource {
    /// A source of whose draws nothing can be said without the seed.
    pub(super) const fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0 }
    }

    /// The next draw.
    pub(super) fn draw(&mut self) -> Draw {
        self.drawn = self.drawn.wrapping_add(1);
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.seed).expect("any length is a key");
        mac.update(&self.drawn.to_be_bytes());
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        Draw {
            token: Token::new(&digest[..8]).expect("8 bytes are a token"),
            tag: Token::new(&digest[8..16]).expect("8 bytes are a token"),
            word: u16::from_be_bytes([digest[16], digest[17]]),
            jitter: digest[18],
        }
    }
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Who knows the seed knows every token to come.
        f.debug_struct("TokenSource").field("drawn", &self.drawn).finish_non_exhaustive()
    }
}
