//! Why a frame died.
//!
//! No frame that reached our ring dies unnamed: a [`DropReason`] is the error type of every
//! input function, and each reason is a counter of its own.

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $label:literal,)+) => {
        /// Why a frame died.
        #[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum DropReason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl DropReason {
            /// Every reason, in the order in which a packet can meet them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The reason's name in counters, captures and Prometheus: lower case with underscores.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// What the reason means, in a sentence.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ }
            }
        }
    };
}

drop_reasons! {
    /// The driver's ring named a frame that it did not own, or bytes outside of it.
    BadDescriptor = "bad_descriptor",
    /// The device's receive ring was full when the packet came.
    RxRingFull = "rx_ring_full",
    /// The packet had more frames than the engine takes.
    TooManyFrames = "too_many_frames",
    /// No free frame was left to hold the packet.
    NoFrame = "no_frame",
    /// Shorter than an Ethernet header.
    EthernetTruncated = "ethernet_truncated",
    /// For another station's MAC address.
    NotOurMac = "not_our_mac",
    /// The source MAC address is a group address, which IEEE 802.3 forbids.
    EthernetBadSource = "ethernet_bad_source",
    /// A VLAN tag that this interface does not carry.
    VlanUnknown = "vlan_unknown",
    /// An Ethernet type that the engine does not speak.
    EtherTypeUnknown = "ether_type_unknown",
    /// ARP: truncated, or not IPv4 over Ethernet.
    ArpMalformed = "arp_malformed",
    /// ARP: nothing here for us to learn or to answer.
    ArpNotForUs = "arp_not_for_us",
    /// An IP header that is truncated, has a wrong version or a length that the frame can't hold.
    IpMalformed = "ip_malformed",
    /// A wrong IPv4 header checksum.
    IpChecksum = "ip_checksum",
    /// A source address that no sender may have: multicast, broadcast, loopback or our own.
    IpBadSource = "ip_bad_source",
    /// A destination that is not ours.
    IpNotForUs = "ip_not_for_us",
    /// Source routes and other IP options that the engine does not follow.
    IpOptions = "ip_options",
    /// A fragment, where the engine does not reassemble.
    IpFragment = "ip_fragment",
    /// IPv6, where the engine has no IPv6 address.
    Ipv6Disabled = "ipv6_disabled",
    /// A transport protocol that the engine does not speak.
    ProtocolUnknown = "protocol_unknown",
    /// ICMP: truncated.
    IcmpMalformed = "icmp_malformed",
    /// ICMP: wrong checksum.
    IcmpChecksum = "icmp_checksum",
    /// ICMP: a type that the engine does not act on.
    IcmpIgnored = "icmp_ignored",
    /// UDP: truncated, or a length that the datagram can't hold.
    UdpMalformed = "udp_malformed",
    /// UDP: wrong checksum.
    UdpChecksum = "udp_checksum",
    /// UDP: no socket has this port.
    UdpNoSocket = "udp_no_socket",
    /// UDP: the socket holds as much unread data as it may.
    UdpSocketFull = "udp_socket_full",
    /// TCP: truncated, or options that overrun the header.
    TcpMalformed = "tcp_malformed",
    /// TCP: wrong checksum.
    TcpChecksum = "tcp_checksum",
    /// The application holds as many frames as its context may.
    ContextFull = "context_full",
    /// The application's context is closed or was cut off.
    ContextClosed = "context_closed",
    /// An application's buffer named a frame, a socket or bytes that are not its own.
    HostileEntry = "hostile_entry",
    /// The socket was closed while the packet was on its way.
    SocketClosed = "socket_closed",
    /// To a broadcast address, from a socket that has not asked for that (SO_BROADCAST).
    BroadcastNotAllowed = "broadcast_not_allowed",
    /// No route leads to the destination.
    NoRoute = "no_route",
    /// The neighbour did not answer.
    NeighborUnreachable = "neighbor_unreachable",
    /// Too many packets wait for this neighbour's address.
    NeighborQueueFull = "neighbor_queue_full",
    /// Larger than the interface's MTU, and not to be fragmented.
    TooBig = "too_big",
    /// The reply would exceed the rate limit for its kind.
    RateLimited = "rate_limited",
    /// The transmit queue is full.
    TxQueueFull = "tx_queue_full",
    /// The interface is down or gone.
    DeviceDown = "device_down",
    /// An application took the frame and let it go: not a fault.
    Shutdown = "shutdown",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_fit_prometheus() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert!(
            names.iter().all(|n| n
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()))
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
    }

    #[test]
    fn a_reason_is_its_place_in_the_table() {
        for (place, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place);
        }
    }
}
