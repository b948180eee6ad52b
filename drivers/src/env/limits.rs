//! Every bound of the engine, in one place.
//!
//! Everything is bounded and allocated at start. Each constant says where it comes from and what
//! breaks on either side.

/// Packets in one burst. 64 packets of one cache line of headers each fill an eighth of a 32 KiB
/// L1; DPDK and VPP settled between 32 and 256. Smaller: the indirect call and the ring's cache
/// line are shared by fewer packets. Larger: the first packet's headers are cold when the last
/// layer comes to it.
pub const BURST: usize = 64;

/// Frames in one packet: MAX_SKB_FRAGS + 1, the most that AF_XDP copy mode takes in one packet
/// (net/xdp/xsk.c). More, and the kernel refuses the whole packet.
pub const MAX_PACKET_FRAMES: usize = 18;

/// What the kernel keeps free before every packet that it receives (XDP_PACKET_HEADROOM,
/// include/uapi/linux/bpf.h). The engine's own headers grow into it.
pub const HEADROOM: u16 = 256;

/// Linear header bytes: Ethernet with two tags, IPv6 with extension headers, TCP with options.
/// It must not exceed what a frame holds behind the headroom.
pub const MAX_HEADERS: usize = 256;

/// Frames of a region that serve only ACK, RST, ARP, ND and ICMP: when applications hold
/// everything, the stack still speaks. Smaller, and a burst of 64 answers finds no frame.
pub const RESERVE: usize = 64;

/// Frames of one socket that its application may hold unread. What is published can't be folded
/// or pruned any more, so more of it means less room under pressure; less, and the application
/// waits for a turn.
pub const PUBLISH_MAX: usize = 32;

/// Empty frames that a context holds to write into. Each is one that the fill ring can't use.
pub const TRANSMIT_CREDITS: usize = 64;

const _: () = assert!(HEADROOM as usize >= MAX_HEADERS, "headers grow into the headroom");
const _: () = assert!(RESERVE >= BURST, "a whole burst must be answerable from the reserve");
