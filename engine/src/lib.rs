//! Corewire: a kernel-bypass, poll-mode TCP/IP engine over AF_XDP.

/// Bytes ↔ meaning: every format that the engine reads or writes.
pub mod packet;

/// IP: validation, routes.
pub mod ip;

/// What changes rarely, swapped whole between bursts.
pub mod control;
