//! A client on the kernel's UDP sockets: sends numbered datagrams, checks every answer.
//!
//! ```text
//! udp_client ADDRESS [COUNT [WINDOW [BYTES]]]        by default 10000 datagrams, 32, 64 bytes
//! ```
//!
//! Exit status 0 when each datagram was answered with its own bytes, exactly once. A datagram
//! that got no answer is sent again and counted: UDP may lose.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::process::ExitCode;
use std::time::Duration;

/// How long an answer may take before its datagram is sent again.
const PATIENCE: Duration = Duration::from_millis(200);
/// Silences in a row after which the server is given up.
const SILENCES: u32 = 50;

struct Client {
    socket: UdpSocket,
    bytes: usize,
    in_flight: BTreeSet<u64>,
    resent: u64,
}

impl Client {
    fn new(server: &str, bytes: usize) -> io::Result<Self> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, bytes: bytes.max(8), in_flight: BTreeSet::new(), resent: 0 })
    }

    /// What datagram `number` carries: the number, then bytes that depend on it and on where they
    /// stand, so that a shifted or mixed answer is not taken for a right one.
    fn payload(&self, number: u64) -> Vec<u8> {
        let mut payload = number.to_be_bytes().to_vec();
        payload.extend((8..self.bytes).map(|at| (number as usize * 31 + at) as u8));
        payload
    }

    fn send(&self, number: u64) -> io::Result<()> {
        match self.socket.send(&self.payload(number)) {
            // The server's port unreachable, reported late: it may just be starting.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            other => other.map(drop),
        }
    }

    /// Waits for one answer; `false` when there was none in time.
    fn receive(&mut self) -> io::Result<bool> {
        let mut answer = [0; 65536];
        let length = match self.socket.recv(&mut answer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(false),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let number =
            answer[..length].first_chunk().map_or(u64::MAX, |word| u64::from_be_bytes(*word));
        if answer[..length] != self.payload(number) {
            return Err(io::Error::other(format!("a wrong answer of {length} bytes")));
        }
        // An answer to both the first and the second try is two right answers.
        if !self.in_flight.remove(&number) && self.resent == 0 {
            return Err(io::Error::other(format!("datagram {number} was answered twice")));
        }
        Ok(true)
    }

    fn run(&mut self, count: u64, window: usize) -> io::Result<()> {
        let (mut next, mut silences) = (0, 0);
        while next < count || !self.in_flight.is_empty() {
            while next < count && self.in_flight.len() < window {
                self.send(next)?;
                self.in_flight.insert(next);
                next += 1;
            }
            if self.receive()? {
                silences = 0;
                continue;
            }
            silences += 1;
            if silences == SILENCES {
                let missing = self.in_flight.len();
                return Err(io::Error::other(format!("no answer any more, {missing} missing")));
            }
            self.resent += self.in_flight.len() as u64;
            self.in_flight.iter().try_for_each(|number| self.send(*number))?;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default| match arguments.get(at) {
        Some(word) => word.parse::<u64>().ok(),
        None => Some(default),
    };
    let (Some(server), Some(count), Some(window), Some(bytes)) =
        (arguments.first(), number(1, 10_000), number(2, 32), number(3, 64))
    else {
        eprintln!("usage: udp_client ADDRESS [COUNT [WINDOW [BYTES]]]");
        return ExitCode::from(2);
    };
    let outcome = Client::new(server, bytes as usize).and_then(|mut client| {
        client.run(count, window.max(1) as usize)?;
        Ok(client.resent)
    });
    match outcome {
        Ok(resent) => {
            println!("{count} datagrams answered by {server}, {resent} sent again");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("udp_client: {error}");
            ExitCode::FAILURE
        }
    }
}
