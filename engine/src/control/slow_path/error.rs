//! Why the world can't be read.

use std::fmt;
use std::io;
use std::net::IpAddr;

use crate::control::snapshot::SnapshotError;

/// Why the world can't be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum SlowPathError {
    /// No interface of that name in this network namespace.
    NoSuchInterface {
        /// The name.
        name: String,
        /// Those that are there.
        there: Vec<String>,
    },
    /// An address that is to be the engine's own is the kernel's too: both would answer.
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// Where the engine has it.
        interface: String,
        /// Where the kernel has it.
        kernels: String,
    },
    /// What is configured does not fit together.
    Snapshot(SnapshotError),
    /// Netlink failed.
    Netlink(io::Error),
}

impl fmt::Display for SlowPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchInterface { name, there } => {
                write!(f, "no interface {name} in this network namespace: ")?;
                match there.as_slice() {
                    [] => write!(f, "there is none that carries frames"),
                    there => write!(f, "there are {}", there.join(", ")),
                }
            }
            Self::AddressTaken { address, interface, kernels } => write!(
                f,
                "{address} for {interface} is the kernel's on {kernels} too: \
                 `ip address del {address} dev {kernels}`, or steering mode `ports`"
            ),
            Self::Snapshot(error) => error.fmt(f),
            Self::Netlink(error) => write!(f, "rtnetlink: {error}"),
        }
    }
}

impl std::error::Error for SlowPathError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Snapshot(error) => Some(error),
            Self::Netlink(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for SlowPathError {
    fn from(error: io::Error) -> Self {
        Self::Netlink(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_fix() {
        let address = IpAddr::from([10, 0, 0, 5]);
        let (name, there) = ("eth7".to_owned(), vec!["eth0".to_owned(), "eth1".to_owned()]);
        let cases = [
            (
                SlowPathError::NoSuchInterface { name: name.clone(), there },
                "no interface eth7 in this network namespace: there are eth0, eth1",
            ),
            (
                SlowPathError::NoSuchInterface { name, there: Vec::new() },
                "no interface eth7 in this network namespace: there is none that carries frames",
            ),
            (
                SlowPathError::AddressTaken {
                    address,
                    interface: "eth0".into(),
                    kernels: "br0".into(),
                },
                "10.0.0.5 for eth0 is the kernel's on br0 too: \
                 `ip address del 10.0.0.5 dev br0`, or steering mode `ports`",
            ),
            (
                io::Error::from_raw_os_error(libc::EPERM).into(),
                "rtnetlink: Operation not permitted (os error 1)",
            ),
        ];
        for (error, message) in cases {
            assert_eq!(error.to_string(), message);
        }
    }
}
