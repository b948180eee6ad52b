//! IP: validation, routes, and what both versions share on the way in and out.

/// Which way a packet leaves.
pub mod route;
