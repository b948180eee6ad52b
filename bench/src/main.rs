//! packet-rate: the packet-rate benchmark.

fn main() {}
