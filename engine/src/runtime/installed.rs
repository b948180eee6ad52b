//! The engine that std's kind of sockets use.

use std::io;

use arc_swap::ArcSwapOption;

use super::Engine;

static INSTALLED: ArcSwapOption<Engine> = ArcSwapOption::const_empty();

impl Engine {
    /// Lets sockets of [`net`](crate::net) that name no engine use this one, in the whole
    /// process. Replaces the one before, whose sockets go on.
    pub fn install(&self) {
        INSTALLED.store(Some(std::sync::Arc::new(self.clone())));
    }

    /// No engine for sockets that name none. Returns the one that there was.
    pub fn uninstall() -> Option<Self> {
        INSTALLED.swap(None).map(|engine| Self::clone(&engine))
    }

    /// The engine for sockets that name none.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotConnected`], when there is none; the message names the two ways to
    /// mend it.
    pub fn installed() -> io::Result<Self> {
        INSTALLED.load().as_ref().map(|engine| Self::clone(engine)).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotConnected,
                "no engine is installed: start one with Engine::from_config(…) and call \
                 install() on it before the first socket, or make the socket from an engine of \
                 yours: engine.udp(address)",
            )
        })
    }
}
