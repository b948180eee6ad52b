//! Answers UDP datagrams, on sockets with std's signatures.
//!
//! ```text
//! udp_echo INTERFACE [ADDRESS/PREFIX]      by default the kernel's addresses, port 7
//!
//! scripts/testbed up
//! cargo build --release --example udp_echo --example udp_client
//! scripts/testbed exec server target/release/examples/udp_echo cw0 &
//! scripts/testbed exec client target/release/examples/udp_client 10.77.0.1:7
//! ```

use corewire::Engine;
use corewire::net::UdpSocket;

#[path = "common/arguments.rs"]
mod arguments;

fn main() {
    if let Err(error) = run() {
        eprintln!("udp_echo: {error}");
        std::process::exit(1);
    }
}

fn run() -> std::io::Result<()> {
    let engine = Engine::from_config(arguments::config("udp_echo")?)?;
    engine.notes().iter().for_each(|note| println!("{note}"));
    engine.install();

    let socket = UdpSocket::bind("0.0.0.0:7")?;
    let mut bytes = [0; 2048];
    loop {
        let (len, peer) = socket.recv_from(&mut bytes)?;
        socket.send_to(&bytes[..len], peer)?;
    }
}
