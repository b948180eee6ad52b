//! Answers UDP datagrams inside of the worker's turn: no hand-off at all.
//!
//! ```text
//! inline_echo INTERFACE [ADDRESS/PREFIX]      by default the kernel's addresses, port 7
//! ```

use corewire::Engine;
use corewire::inline::{Application, Datagram, SocketId, Turn};

#[path = "common/arguments.rs"]
mod arguments;

/// One of these runs in each worker's turn.
#[derive(Default)]
struct Echo {
    socket: Option<SocketId>,
}

impl Application for Echo {
    fn on_datagram(&mut self, turn: &mut Turn<'_>, datagram: Datagram<'_>) {
        // What can't be sent is counted.
        let _ = datagram.answer(turn);
    }

    fn on_turn(&mut self, turn: &mut Turn<'_>) {
        if self.socket.is_none() {
            match turn.udp_bind(([0, 0, 0, 0], 7).into()) {
                Ok((socket, _)) => self.socket = Some(socket),
                Err(error) => eprintln!("port 7: {error}"),
            }
        }
    }
}

fn main() {
    if let Err(error) = run() {
        eprintln!("inline_echo: {error}");
        std::process::exit(1);
    }
}

fn run() -> std::io::Result<()> {
    let config = arguments::config("inline_echo")?;
    let engine = Engine::from_config_inline(config, |_worker| Echo::default())?;
    engine.notes().iter().for_each(|note| println!("{note}"));
    loop {
        std::thread::park();
    }
}
