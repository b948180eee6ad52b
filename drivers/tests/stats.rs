//! A statistics file is read while its process lives, and after `kill -9`.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use corewire_drivers::env::stats::{Directory, read, render};
use corewire_drivers::env::{Counter, DropReason};

const CHILD: &str = "COREWIRE_TEST_STATS_IN";

#[test]
fn the_last_words_of_a_killed_process_can_be_read() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return count_until_killed(directory.into());
    }
    let scratch = std::env::temp_dir().join(format!("corewire-killed-{}", std::process::id()));
    let mut child = Command::new(std::env::current_exe().expect("the path of this test"))
        .args(["the_last_words_of_a_killed_process_can_be_read", "--exact", "--nocapture"])
        .env(CHILD, &scratch)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test again");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let path = lines.map_while(Result::ok).find(|line| line.ends_with(".stats"));
    let path = PathBuf::from(path.expect("the child says where it counts"));

    let living = read(&path).expect("readable while it lives");
    assert!(living.alive);
    assert_eq!((living.pid, living.worker), (child.id(), 5));
    child.kill().expect("SIGKILL");
    child.wait().expect("it was ours");
    let dead = read(&path).expect("readable after its death");
    assert!(!dead.alive);
    assert_eq!(dead.get(Counter::RxPackets), Some(42));
    assert_eq!(dead.drops(DropReason::NoRoute), Some(7));
    let text = render(&[dead]);
    let sample = format!("corewire_rx_packets_total{{pid=\"{}\",worker=\"5\"}} 42\n", child.id());
    assert!(text.contains(&sample), "{text}");
    let drops = format!("{{pid=\"{}\",worker=\"5\",reason=\"no_route\"}} 7\n", child.id());
    assert!(text.contains(&drops), "{text}");
    std::fs::remove_dir_all(scratch).expect("it was made here");
}

fn count_until_killed(directory: PathBuf) {
    let directory = Directory::at(directory).expect("a directory for the test");
    let counters = directory.counters(5).expect("a file");
    counters.add(Counter::RxPackets, 42);
    counters.add_drops(DropReason::NoRoute, 7);
    // On a line of its own: the test harness has begun one.
    println!("\n{}", counters.path().expect("a file").display());
    std::thread::park();
}
