//! A compressed multibit trie: 64 children a node, told apart by two bit vectors.
//!
//! After Asai and Ohara, "Poptrie: A Compressed Trie with Population Count for Fast and Scalable
//! Software IP Routing Table Lookup" (SIGCOMM 2015). A node of 24 bytes says for each of 64 values
//! of the next six bits whether a child node or a leaf is behind it; children, and leaves, stand
//! in a row, so that a population count is the way to the right one. Neighbouring leaves that say
//! the same are one. Large tables begin with a direct index over the first 16 bits, which takes
//! the place of three nodes.

use core::ops::BitAnd;

/// The leaf that says "no way".
pub(super) const NONE: u32 = 0;

/// An address as a number; the first bit on the wire is the highest.
pub(super) trait Key: Copy + Ord + BitAnd<Output = Self> {
    /// A number whose first `len` bits are set.
    fn mask(len: u8) -> Self;
    /// The first `count` bits (1 to 16) of what is left behind `depth` (less than
    /// the bits of an address); zeros follow the last.
    fn chunk(self, depth: u32, count: u32) -> usize;
}

macro_rules! key {
    ($($number:ty),+) => {$(
        impl Key for $number {
            #[inline]
            fn mask(len: u8) -> Self {
                Self::MAX.checked_shl(Self::BITS.saturating_sub(u32::from(len))).unwrap_or(0)
            }

            #[inline]
            fn chunk(self, depth: u32, count: u32) -> usize {
                ((self << depth) >> (Self::BITS - count)) as usize
            }
        }
    )+};
}

key!(u32, u128);

/// The trie over one IP version's routes.
#[derive(Clone)]
pub(super) struct Poptrie<K> {
    /// By the first [`DIRECT_BITS`]: a leaf with [`LEAF`], or a node. Empty in small tables, which
    /// begin at node 0.
    direct: Vec<u32>,
    nodes: Vec<Node>,
    leaves: Vec<u32>,
    key: core::marker::PhantomData<K>,
}

#[derive(Copy, Clone, Default)]
struct Node {
    /// The values behind which there is a child.
    children: u64,
    /// The values at which a row of equal leaves begins.
    leaves: u64,
    first_child: u32,
    first_leaf: u32,
}

/// A route: first address, prefix length, leaf.
type Entry<K> = (K, u8, u32);

impl<K: Key> Poptrie<K> {
    /// The trie over `routes`, which are sorted by first address and length, without repetition.
    pub(super) fn new(routes: &[Entry<K>]) -> Self {
        let (nodes, leaves) = (Vec::new(), Vec::new());
        let mut trie = Self { direct: Vec::new(), nodes, leaves, key: core::marker::PhantomData };
        if routes.len() < DIRECT_ROUTES {
            trie.nodes.push(Node::default());
            trie.fill(0, 0, routes, NONE);
        } else {
            let slots = Slots::new(routes, 0, DIRECT_BITS, NONE);
            trie.direct = slots.leaves.iter().map(|leaf| leaf | LEAF).collect();
            for (slot, longer) in slots.longer {
                let node = trie.nodes.len();
                trie.nodes.push(Node::default());
                trie.direct[slot] = node as u32;
                trie.fill(node, DIRECT_BITS, longer, slots.leaves[slot]);
            }
        }
        trie.nodes.shrink_to_fit();
        trie.leaves.shrink_to_fit();
        trie
    }

    /// The leaf of the longest prefix that holds `key`.
    #[inline]
    pub(super) fn lookup(&self, key: K) -> u32 {
        let (mut at, mut depth) = (0, 0);
        if !self.direct.is_empty() {
            let entry = self.direct[key.chunk(0, DIRECT_BITS)];
            if entry & LEAF != 0 {
                return entry & !LEAF;
            }
            (at, depth) = (entry, DIRECT_BITS);
        }
        loop {
            let node = &self.nodes[at as usize];
            let bit = 1u64 << key.chunk(depth, STRIDE);
            // The bits up to and including this one.
            let up_to = bit | (bit - 1);
            if node.children & bit == 0 {
                let place = node.first_leaf + (node.leaves & up_to).count_ones() - 1;
                return self.leaves[place as usize];
            }
            at = node.first_child + (node.children & up_to).count_ones() - 1;
            depth += STRIDE;
        }
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        (self.direct.capacity() + self.leaves.capacity()) * 4
            + self.nodes.capacity() * size_of::<Node>()
    }

    /// Makes node `at`, which tells `routes` apart from bit `depth` on; where none of them
    /// matches, `above` does. Calls itself once a level, at most 22 deep.
    fn fill(&mut self, at: usize, depth: u32, routes: &[Entry<K>], above: u32) {
        let slots = Slots::new(routes, depth, STRIDE, above);
        let children = slots.longer.iter().fold(0u64, |bits, (slot, _)| bits | 1 << slot);
        let mut node = Node {
            children,
            leaves: 0,
            first_child: self.nodes.len() as u32,
            first_leaf: self.leaves.len() as u32,
        };
        let mut last = None;
        for (slot, &leaf) in slots.leaves.iter().enumerate() {
            // A child's leaf is its own affair, so it may belong to any row.
            if children & 1 << slot == 0 && last != Some(leaf) {
                node.leaves |= 1 << slot;
                self.leaves.push(leaf);
                last = Some(leaf);
            }
        }
        self.nodes[at] = node;
        self.nodes.resize(self.nodes.len() + slots.longer.len(), Node::default());
        for (child, (slot, longer)) in slots.longer.into_iter().enumerate() {
            let child = node.first_child as usize + child;
            self.fill(child, depth + STRIDE, longer, slots.leaves[slot]);
        }
    }
}

/// One level of routes, by the value of the next few bits.
struct Slots<'a, K> {
    /// The leaf of the longest prefix that ends on this level or before it.
    leaves: Vec<u32>,
    /// The routes that go on behind this level, and where; no entry is empty.
    longer: Vec<(usize, &'a [Entry<K>])>,
}

impl<'a, K: Key> Slots<'a, K> {
    fn new(mut routes: &'a [Entry<K>], depth: u32, count: u32, above: u32) -> Self {
        let mut leaves = vec![above; 1 << count];
        let mut longer = Vec::new();
        // Sorted: of the routes in one slot those come first that end here, shorter before
        // longer, and all that cover a slot come before those that begin inside of it.
        while let Some((&(key, len, leaf), rest)) = routes.split_first() {
            let slot = key.chunk(depth, count);
            let end = depth + count;
            if u32::from(len) <= end {
                leaves[slot..slot + (1 << (end - u32::from(len)))].fill(leaf);
                routes = rest;
            } else {
                let same = routes.partition_point(|(key, ..)| key.chunk(depth, count) == slot);
                longer.push((slot, &routes[..same]));
                routes = &routes[same..];
            }
        }
        Self { leaves, longer }
    }
}

/// Bits that a node tells apart: 64 values fill one machine word, so one population count finds
/// the child. Fewer means more levels, more means several words.
const STRIDE: u32 = 6;

/// Bits of the direct index: 256 KiB, which stay in the second-level cache. 18 would save a level
/// for few prefixes more, and cost 1 MiB.
const DIRECT_BITS: u32 = 16;

/// Routes from which the direct index pays for its 256 KiB.
const DIRECT_ROUTES: usize = 4096;

/// Marks a direct entry as leaf.
const LEAF: u32 = 1 << 31;
