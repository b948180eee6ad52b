//! Answers UDP datagrams in the frames in which they came: no copy, no lock.
//!
//! ```text
//! zero_copy_echo INTERFACE [ADDRESS/PREFIX]      by default the kernel's addresses, port 7
//! ```

use corewire::Engine;

#[path = "common/arguments.rs"]
mod arguments;

fn main() {
    if let Err(error) = run() {
        eprintln!("zero_copy_echo: {error}");
        std::process::exit(1);
    }
}

fn run() -> std::io::Result<()> {
    let engine = Engine::from_config(arguments::config("zero_copy_echo")?)?;
    engine.notes().iter().for_each(|note| println!("{note}"));

    let context = engine.context()?;
    let socket = context.udp_bind(([0, 0, 0, 0], 7).into())?;
    loop {
        while let Some(datagram) = socket.recv()? {
            socket.answer(datagram)?;
        }
        context.wait(None)?;
    }
}
