//! Slots with generations.

use super::SocketId;

/// Values in slots, each named by slot and generation, so that an old name finds nothing.
#[derive(Debug)]
pub struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    capacity: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u16,
    value: Option<T>,
}

impl<T> Table<T> {
    /// An empty table for up to `capacity` values.
    #[must_use]
    pub const fn new(capacity: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), capacity }
    }

    /// Adds a value; `None` when the table is full.
    pub fn insert(&mut self, value: T) -> Option<SocketId> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < self.capacity => {
                self.slots.push(Slot { generation: 0, value: None });
                (self.slots.len() - 1) as u32
            }
            None => return None,
        };
        let place = &mut self.slots[slot as usize];
        place.value = Some(value);
        Some(SocketId { slot, generation: place.generation })
    }

    /// Removes a value.
    pub fn remove(&mut self, id: SocketId) -> Option<T> {
        let place = self.slots.get_mut(id.slot as usize)?;
        if place.generation != id.generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.slot);
        Some(value)
    }

    /// The value of that name.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, id: SocketId) -> Option<&mut T> {
        let place = self.slots.get_mut(id.slot as usize)?;
        if place.generation == id.generation { place.value.as_mut() } else { None }
    }

    /// The value in that slot.
    #[inline]
    #[must_use]
    pub fn slot(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)?.value.as_ref()
    }

    /// The value in that slot.
    #[inline]
    #[must_use]
    pub fn slot_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slots.get_mut(slot as usize)?.value.as_mut()
    }

    /// The whole name of the value in that slot.
    #[inline]
    #[must_use]
    pub fn id(&self, slot: u32) -> Option<SocketId> {
        let place = self.slots.get(slot as usize)?;
        place.value.as_ref().map(|_| SocketId { slot, generation: place.generation })
    }

    /// All values with their names.
    pub fn iter(&self) -> impl Iterator<Item = (SocketId, &T)> + '_ {
        (0..).zip(&self.slots).filter_map(|(slot, place)| {
            let id = SocketId { slot, generation: place.generation };
            place.value.as_ref().map(|value| (id, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_name_finds_nothing() {
        let mut table = Table::new(1);
        let old = table.insert('a').expect("room");
        assert_eq!(table.insert('b'), None);
        assert_eq!(table.remove(old), Some('a'));
        assert_eq!(table.remove(old), None);
        let new = table.insert('c').expect("room again");
        assert_eq!(new.slot, old.slot);
        assert_eq!((table.get_mut(old).copied(), table.get_mut(new).copied()), (None, Some('c')));
        assert_eq!(table.id(0), Some(new));
    }
}
