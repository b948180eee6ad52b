//! The arguments of the examples: an interface, and an address if it is not the kernel's.

use std::io::{self, ErrorKind};
use std::net::IpAddr;

use corewire::runtime::config::{Config, Interface};

/// The configuration that the command line of `program` asks for: port 7 of the kernel's
/// addresses on an interface, or an address of the engine's own there.
///
/// # Errors
/// When the arguments are none that make one; the message is the usage.
pub(crate) fn config(program: &str) -> io::Result<Config> {
    let usage = || {
        let text = format!("usage: {program} INTERFACE [ADDRESS/PREFIX]");
        io::Error::new(ErrorKind::InvalidInput, text)
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let interface = match &arguments[..] {
        [name] => Interface::ports(name, [7]),
        [name, address] => {
            let (address, prefix) = address.split_once('/').ok_or_else(usage)?;
            let address: IpAddr = address.parse().map_err(|_| usage())?;
            Interface::address(name, address, prefix.parse().map_err(|_| usage())?)
        }
        _ => return Err(usage()),
    };
    Ok(Config::new().interface(interface))
}
