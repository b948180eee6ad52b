//! Corewire: a kernel-bypass, poll-mode TCP/IP engine over AF_XDP.
