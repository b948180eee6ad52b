use super::*;
use crate::ring::memory::Words;

fn entry(number: u32) -> Entry {
    Entry { frame: number, offset: 1, length: 2, socket: !number, tag: number.rotate_left(7) }
}

/// A ring whose indices are about to wrap.
fn wrapping(capacity: u32) -> (Producer, Consumer) {
    let words = Words::new(capacity).expect("a small ring");
    let start = u32::MAX - 2;
    words.producer().index.store(start, Relaxed);
    words.consumer().index.store(start, Relaxed);
    (Producer::new(words.clone()), Consumer::new(words))
}

#[test]
fn entries_come_out_in_order_and_over_the_wrap() {
    let (mut producer, mut consumer) = wrapping(4);
    for number in 0..40 {
        assert_eq!(consumer.pop(), None);
        producer.push(entry(number)).expect("room");
        assert_eq!(consumer.pop(), None, "not published yet");
        assert!(producer.publish());
        assert!(!producer.publish(), "nothing new");
        assert_eq!(consumer.pop(), Some(entry(number)));
    }
    assert!(!producer.misbehaved() && !consumer.misbehaved());
}

#[test]
fn a_full_ring_takes_nothing_and_loses_nothing() {
    for capacity in [1, 2, 8, 64] {
        let (mut producer, mut consumer) = wrapping(capacity);
        for lap in 0..4 {
            let entries: Vec<_> = (0..=capacity).map(|i| entry(lap * 1000 + i)).collect();
            assert_eq!(producer.push_burst(&entries), capacity as usize);
            assert_eq!(producer.push(entry(9)), Err(Full));
            let mut taken = vec![Entry::default(); capacity as usize + 1];
            assert_eq!(consumer.pop_burst(&mut taken), capacity as usize);
            assert_eq!(taken[..capacity as usize], entries[..capacity as usize]);
        }
    }
}

#[test]
fn places_are_released_in_time_for_the_promised_items() {
    // As many items in all as capacity_for() was asked for; the consumer never calls release().
    for items in [1, 31, 32, 33, 100] {
        let (mut producer, mut consumer) = pair(capacity_for(items)).expect("a small ring");
        let mut free = items;
        for number in 0..if cfg!(miri) { 30 } else { 1000 } {
            while free > 0 {
                producer.push(entry(number)).expect("a place for every item");
                free -= 1;
            }
            producer.publish();
            for _ in 0..=number % items {
                consumer.pop().expect("an item");
                free += 1;
            }
        }
    }
}

#[test]
fn an_index_that_can_not_be_moves_nothing() {
    let (mut producer, mut consumer) = wrapping(8);
    producer.push_burst(&[entry(0), entry(1)]);
    let honest = producer.words.producer().index.load(Relaxed);
    for wrong in [honest.wrapping_add(7), honest.wrapping_sub(3), honest ^ 0x8000_0000] {
        producer.words.producer().index.store(wrong, Relaxed);
        assert_eq!(consumer.pop(), None);
        assert!(std::mem::take(&mut consumer.misbehaved), "{wrong}");
    }
    producer.words.producer().index.store(honest, Relaxed);
    assert_eq!(consumer.pop(), Some(entry(0)));

    let (mut producer, consumer) = wrapping(2);
    producer.push_burst(&[entry(0), entry(1)]);
    for wrong in [1, u32::MAX / 2, u32::MAX] {
        let index = producer.next.wrapping_add(wrong).wrapping_sub(if wrong > 2 { 3 } else { 0 });
        consumer.words.consumer().index.store(index, Relaxed);
        assert_eq!(producer.push(entry(2)), Err(Full));
        assert!(std::mem::take(&mut producer.misbehaved), "{wrong}");
    }
}

#[test]
fn a_consumer_that_goes_back_gets_no_more_than_the_ring() {
    let (mut producer, mut consumer) = wrapping(4);
    producer.push_burst(&[entry(0), entry(1), entry(2), entry(3)]);
    assert_eq!(consumer.pop(), Some(entry(0)));
    consumer.release();
    producer.push(entry(4)).expect("a place");
    // Back to where it was: all places count as taken, and that is all that happens.
    let index = consumer.words.consumer().index.load(Relaxed).wrapping_sub(1);
    consumer.words.consumer().index.store(index, Relaxed);
    assert_eq!(producer.push(entry(5)), Err(Full));
    assert!(producer.misbehaved(), "five entries cannot be in a ring of four");
}

#[test]
fn scribbled_entries_are_numbers() {
    let (mut producer, mut consumer) = wrapping(2);
    producer.push(entry(0)).expect("room");
    let scribble = [u64::MAX, 0x0123_4567_89ab_cdef];
    producer.words.slot(u32::MAX - 2).put(scribble);
    producer.publish();
    assert_eq!(consumer.pop(), Some(Entry::from_words(scribble)));
}

#[test]
fn an_end_that_goes_is_seen_after_its_last_entry() {
    let (mut producer, mut consumer) = wrapping(4);
    producer.push(entry(0)).expect("room");
    assert!(!consumer.is_closed());
    drop(producer);
    assert!(consumer.is_closed());
    assert_eq!(consumer.pop(), Some(entry(0)), "what was pushed is published");
    assert!(consumer.is_empty());
}

#[test]
fn what_a_dead_consumer_did_not_take_comes_back_once() {
    let (mut producer, mut consumer) = wrapping(8);
    producer.push_burst(&[entry(0), entry(1), entry(2), entry(3)]);
    consumer.pop();
    assert_eq!(producer.recall(), None, "it lives");
    drop(consumer);
    producer.push(entry(4)).expect("room");
    let recalled: Vec<_> = std::iter::from_fn(|| producer.recall()).collect();
    assert_eq!(recalled, [entry(4), entry(3), entry(2), entry(1)]);
}

#[test]
fn impossible_capacities_are_refused() {
    for capacity in [0, 3, 1 << 23] {
        let error = pair(capacity).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{capacity}");
    }
}

#[test]
fn a_mapping_that_is_no_ring_is_refused() {
    use crate::mem::Pages;
    let map = || Mapping::memfd(c"test", 4096, Pages::Plain).expect("a page");
    assert!(Consumer::open(map()).is_err(), "no magic");
    for (word, value) in [(0, 1), (1, 2), (2, 3), (2, 1 << 20), (3, 8)] {
        let map = map();
        let good = [u32::from_le_bytes(*b"CWRG"), 1, 64, 16];
        for (place, good) in map.words32(0, 4).iter().zip(good) {
            place.store(good, Relaxed);
        }
        map.words32(0, 4)[word].store(value, Relaxed);
        let error = Producer::open(map).expect_err("refused");
        assert!(!error.to_string().is_empty(), "{word} = {value}");
    }
}

#[test]
#[cfg(not(miri))]
fn the_other_end_may_be_another_mapping() {
    let (mut producer, consumer) = pair(64).expect("a small ring");
    let fd = consumer.mapping().fd().expect("a memfd").try_clone_to_owned().expect("a copy");
    drop(consumer);
    let mut other = Consumer::open(Mapping::open(fd).expect("mapped")).expect("a ring");
    assert_ne!(other.mapping().as_ptr(), producer.mapping().as_ptr());
    producer.push_burst(&[entry(7), entry(8)]);
    assert_eq!((other.pop(), other.pop(), other.pop()), (Some(entry(7)), Some(entry(8)), None));
}

#[test]
fn two_threads_lose_nothing() {
    let count = if cfg!(miri) { 300 } else { 100_000 };
    let (mut producer, mut consumer) = pair(16).expect("a small ring");
    let taker = std::thread::spawn(move || {
        let (mut expected, mut burst) = (0, [Entry::default(); 7]);
        while expected < count {
            let taken = consumer.pop_burst(&mut burst);
            for got in &burst[..taken] {
                assert_eq!(*got, entry(expected));
                expected += 1;
            }
            if taken == 0 {
                std::thread::yield_now();
            }
        }
        consumer.pop()
    });
    for number in 0..count {
        while producer.push(entry(number)).is_err() {
            producer.publish();
            std::thread::yield_now();
        }
        if number % 5 == 0 {
            producer.publish();
        }
    }
    producer.publish();
    assert_eq!(taker.join().expect("no panic"), None);
}
