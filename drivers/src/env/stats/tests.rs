use super::*;

#[test]
fn counters_add_set_and_name_drops() {
    let counters = Counters::memfd(0).unwrap();
    counters.add(Counter::RxPackets, 64);
    counters.add(Counter::RxPackets, 1);
    counters.set(Counter::FramesFree, 9);
    counters.set(Counter::FramesFree, 7);
    counters.add_drop(DropReason::NoRoute);
    counters.add_drops(DropReason::Shutdown, 3);
    assert_eq!(counters.get(Counter::RxPackets), 65);
    assert_eq!(counters.get(Counter::FramesFree), 7);
    assert_eq!(counters.dropped(DropReason::NoRoute), 1);
    assert_eq!(counters.all_drops(), 4);
    assert_eq!(counters.path(), None);
}

#[test]
fn the_table_makes_names_that_prometheus_takes() {
    let mut names = std::collections::HashSet::new();
    for (place, counter) in Counter::ALL.iter().enumerate() {
        assert_eq!(*counter as usize, place);
        let name = counter.metric();
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        assert!(names.insert((name, counter.label())), "{name} twice");
        assert!(counter.help().ends_with('.') && !counter.help().starts_with(' '), "{name}");
        let same = |other: &&Counter| other.metric() == name;
        for other in Counter::ALL.iter().filter(same) {
            assert_eq!(other.kind(), counter.kind(), "{name} is one kind");
            assert_eq!(other.help(), counter.help(), "{name} has one help");
        }
    }
}

#[cfg(not(miri))]
mod with_files {
    use super::*;
    use std::fs;

    /// A directory of this test alone, removed at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("corewire-stats-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn others_read_the_file_while_it_is_written() {
        let scratch = Scratch::new("read");
        let directory = Directory::at(&scratch.0).unwrap();
        let counters = directory.counters(2).unwrap();
        let path = counters.path().unwrap().to_owned();
        assert_eq!(directory.files().unwrap(), [path.as_path()]);
        for _ in 0..2 {
            counters.add(Counter::Turns, 1);
            let statistics = read(&path).unwrap();
            assert_eq!(statistics.get(Counter::Turns), Some(counters.get(Counter::Turns)));
            assert!(statistics.alive && statistics.started > 0);
            assert_eq!((statistics.pid, statistics.worker), (std::process::id(), 2));
        }
        drop(counters);
        assert_eq!(directory.files().unwrap(), [] as [PathBuf; 0], "a clean end leaves nothing");
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0);
    }

    #[test]
    fn two_engines_of_one_process_do_not_share_a_file() {
        let scratch = Scratch::new("two");
        let directory = Directory::at(&scratch.0).unwrap();
        let (first, second) = (directory.counters(0).unwrap(), directory.counters(0).unwrap());
        assert_ne!(first.path(), second.path());
        first.add(Counter::Turns, 1);
        assert_eq!(second.get(Counter::Turns), 0);
    }

    #[test]
    fn an_unwinding_thread_leaves_its_file_to_be_read() {
        let scratch = Scratch::new("panic");
        let directory = Directory::at(&scratch.0).unwrap();
        let counters = directory.counters(0).unwrap();
        let path = counters.path().unwrap().to_owned();
        let worker = std::thread::spawn(move || {
            counters.add(Counter::Turns, 77);
            std::panic::resume_unwind(Box::new("the worker"));
        });
        assert!(worker.join().is_err());
        let statistics = read(&path).unwrap();
        assert_eq!((statistics.get(Counter::Turns), statistics.alive), (Some(77), false));
    }

    /// Stands for a process that was killed: its file, and nobody who holds the lock.
    fn leave_behind(directory: &Path, pid: u32, started: u64) -> PathBuf {
        let path = directory.join(format!("{pid}-0.stats"));
        let map = Mapping::memfd(c"dead", file::bytes(), Pages::Plain).unwrap();
        file::write_header(&map, 0, started);
        map.words64(16, 1)[0].store(pid.into(), Relaxed);
        let bytes: Vec<_> =
            map.bytes(0, file::bytes()).iter().map(|byte| byte.load(Relaxed)).collect();
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn the_dead_are_reaped_but_for_the_last() {
        let scratch = Scratch::new("reap");
        let directory = Directory::at(&scratch.0).unwrap();
        let living = directory.counters(0).unwrap();
        let strange = scratch.0.join("strange.stats");
        fs::write(&strange, "not ours").unwrap();
        leave_behind(&scratch.0, 1, 100);
        let last = leave_behind(&scratch.0, 2, 300);
        leave_behind(&scratch.0, 3, 200);
        assert_eq!(directory.reap().unwrap(), 2);
        let mut left = vec![living.path().unwrap().to_owned(), last, strange];
        left.sort();
        assert_eq!(directory.files().unwrap(), left);
        assert_eq!(directory.reap().unwrap(), 0);
    }

    #[test]
    fn the_note_says_where_and_how_to_mend_it() {
        let scratch = Scratch::new("note");
        let user = scratch.0.join("user");
        let system = Path::new("/proc/corewire");
        let found = Directory::choose(system, Some(&user));
        assert_eq!(found.path(), Some(user.join("corewire").as_path()));
        let expected = format!(
            "statistics in {}/corewire (/proc/corewire: No such file or directory (os error 2)); \
             to have them there, make that directory writable for this user",
            user.display()
        );
        assert_eq!(found.note(), Some(expected.as_str()));
        let none = Directory::choose(system, None);
        assert_eq!(
            none.note(),
            Some(
                "no statistics file (/proc/corewire: No such file or directory (os error 2)); \
                 to have one, make that directory writable for this user, or set XDG_RUNTIME_DIR"
            )
        );
        assert!(none.path().is_none());
        let good = Directory::choose(&scratch.0, None);
        assert_eq!((good.path(), good.note()), (Some(scratch.0.as_path()), None));
    }

    #[test]
    fn without_a_directory_counters_stay_in_memory() {
        assert!(Directory::none().counters(0).unwrap().path().is_none());
        assert!(Directory::none().files().unwrap().is_empty());
        let error = Directory::at("/proc/corewire").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
