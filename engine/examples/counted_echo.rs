//! Answers a number of UDP datagrams, stops the engine and says whether every frame came home.
//!
//! ```text
//! COUNT=100000 counted_echo INTERFACE [ADDRESS/PREFIX]    by default the kernel's, port 7
//! ```
//!
//! It stops after COUNT datagrams and two seconds of silence.

use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::time::Duration;

use corewire::Engine;
use corewire::net::UdpSocket;

#[path = "common/arguments.rs"]
mod arguments;

/// A client that misses an answer asks again within this.
const SILENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("counted_echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<bool> {
    let usage = || io::Error::new(ErrorKind::InvalidInput, "set COUNT to a number");
    let count = std::env::var("COUNT").ok().and_then(|word| word.parse().ok()).ok_or_else(usage)?;
    let engine = Engine::from_config(arguments::config("counted_echo")?)?;
    engine.notes().iter().for_each(|note| println!("{note}"));
    engine.install();

    let socket = UdpSocket::bind("0.0.0.0:7")?;
    socket.set_read_timeout(Some(SILENCE))?;
    println!("counted_echo: ready");
    let answered = answer(&socket, count)?;
    drop(socket);
    drop(Engine::uninstall());
    let report = engine.shut_down();
    let home = if report.is_conserved() { "every frame came home" } else { "frames are missing" };
    println!("{answered} answered, {home}");
    Ok(report.is_conserved() && answered >= count)
}

fn answer(socket: &UdpSocket, count: u64) -> io::Result<u64> {
    let mut bytes = [0; 2048];
    let mut answered = 0;
    loop {
        match socket.recv_from(&mut bytes) {
            Ok((len, peer)) => {
                socket.send_to(&bytes[..len], peer)?;
                answered += 1;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && answered < count => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(answered),
            Err(error) => return Err(error),
        }
    }
}
