//! A client that reads and throws away, one thread per connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::{FILE_BYTES, Outcome};

/// Read buffer of the client, in bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// Where to fetch what.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// Fetches the file `each` times over each of `connections` kept-alive connections; says how long it took.
pub(crate) fn fetch(target: &Target, connections: usize, each: usize) -> Outcome<Duration> {
    let begun = Instant::now();
    let threads: Vec<_> = (0..connections)
        .map(|_| {
            let target = target.clone();
            thread::spawn(move || fetch_over_one(&target, each))
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| "a client thread panicked")??;
    }
    Ok(begun.elapsed())
}

fn fetch_over_one(target: &Target, each: usize) -> io::Result<()> {
    let tcp = TcpStream::connect(target.address)?;
    match &target.tls {
        None => fetch_all(tcp, target, each),
        Some(config) => {
            let name = "localhost".try_into().map_err(io::Error::other)?;
            let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
            fetch_all(StreamOwned::new(session, tcp), target, each)
        }
    }
}

fn fetch_all(stream: impl Read + Write, target: &Target, each: usize) -> io::Result<()> {
    let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", target.path);
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, stream);
    let mut buffer = vec![0; BUFFER_BYTES];
    for _ in 0..each {
        reader.get_mut().write_all(request.as_bytes())?;
        read_head(&mut reader)?;
        let mut left = FILE_BYTES;
        while left > 0 {
            let wanted = left.min(BUFFER_BYTES);
            let taken = reader.read(&mut buffer[..wanted])?;
            if taken == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= taken;
        }
    }
    Ok(())
}

fn read_head(reader: &mut impl BufRead) -> io::Result<()> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other(format!("the server answered {line:?}")));
    }
    while line.trim_end() != "" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    Ok(())
}
