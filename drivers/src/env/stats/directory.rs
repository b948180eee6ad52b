//! Where the statistics files are: made, listed, reaped.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::{Counters, Statistics, file, read};
use crate::mem::Mapping;

/// Where statistics files belong: memory that a reboot clears, and a name that everybody knows.
pub const SYSTEM_DIRECTORY: &str = "/run/corewire";

/// Names of one worker's file that are tried: as many engines as one process may have.
const MAX_ENGINES: u32 = 64;

/// A directory for statistics files, or the lack of one.
#[derive(Clone, Debug)]
pub struct Directory {
    path: Option<PathBuf>,
    note: Option<String>,
}

impl Directory {
    /// [`SYSTEM_DIRECTORY`], made if need be; where that can't be written, `corewire` under
    /// `runtime_directory` (the environment's `XDG_RUNTIME_DIR`); else none, and counters stay in
    /// memory. [`note`](Self::note) says so.
    #[must_use]
    pub fn open(runtime_directory: Option<&Path>) -> Self {
        Self::choose(Path::new(SYSTEM_DIRECTORY), runtime_directory)
    }

    pub(super) fn choose(system: &Path, runtime_directory: Option<&Path>) -> Self {
        let Err(error) = writable(system) else {
            return Self { path: Some(system.into()), note: None };
        };
        let system = system.display();
        let user = runtime_directory.map(|directory| directory.join("corewire"));
        let user = user.filter(|user| writable(user).is_ok());
        let note = match &user {
            Some(user) => format!(
                "statistics in {} ({system}: {error}); to have them there, make that directory \
                 writable for this user",
                user.display()
            ),
            None => format!(
                "no statistics file ({system}: {error}); to have one, make that directory \
                 writable for this user, or set XDG_RUNTIME_DIR"
            ),
        };
        Self { path: user, note: Some(note) }
    }

    /// This directory, made if need be.
    ///
    /// # Errors
    /// When it can't be made or written.
    pub fn at(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        writable(&path)?;
        Ok(Self { path: Some(path), note: None })
    }

    /// No directory: counters stay in memory.
    #[must_use]
    pub const fn none() -> Self {
        Self { path: None, note: None }
    }

    /// Where the files are.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Why they are not where they belong, and how to mend it; to be said once.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The counters of a worker, in a file that others can read if there is a directory.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn counters(&self, worker: u32) -> io::Result<Counters> {
        let Some(directory) = &self.path else { return Counters::memfd(worker) };
        let pid = std::process::id();
        for engine in 0..MAX_ENGINES {
            // Made under another name and linked when it is locked and whole: whoever finds a
            // statistics file finds a good one, and a name that is taken stays so.
            let (made, name) = if engine == 0 {
                (format!(".{pid}-{worker}.new"), format!("{pid}-{worker}.stats"))
            } else {
                (format!(".{pid}-{worker}-{engine}.new"), format!("{pid}-{worker}-{engine}.stats"))
            };
            let (made, path) = (directory.join(made), directory.join(name));
            match make(&made, &path, worker) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made,
            }
        }
        let message = format!(
            "{}: {MAX_ENGINES} files of worker {worker} and process {pid} already: \
             number the workers of one process differently",
            directory.display()
        );
        Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
    }

    /// The statistics files, of living and dead processes, in the order of their names.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        let Some(directory) = &self.path else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "stats") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// Removes the files of processes that are gone, but for those of the one that started last:
    /// the last crash can be read until the next. Returns how many it removed. Called at start.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn reap(&self) -> io::Result<usize> {
        let whole = |path: PathBuf| read(&path).ok().map(|statistics| (path, statistics));
        let dead: Vec<(PathBuf, Statistics)> =
            self.files()?.into_iter().filter_map(whole).filter(|(_, s)| !s.alive).collect();
        let last = dead.iter().max_by_key(|(_, s)| s.started).map(|(_, s)| s.pid);
        let old = dead.iter().filter(|(_, s)| Some(s.pid) != last);
        Ok(old.filter(|(path, _)| fs::remove_file(path).is_ok()).count())
    }
}

/// Makes the directory if it is not there, and tries whether files can be made in it.
fn writable(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let probe = directory.join(format!(".{}.probe", std::process::id()));
    File::create(&probe)?;
    fs::remove_file(&probe)
}

fn make(made: &Path, path: &Path, worker: u32) -> io::Result<Counters> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(made)?;
    let counters = fill(file, path, worker).and_then(|counters| {
        fs::hard_link(made, path)?;
        Ok(counters)
    });
    let removed = fs::remove_file(made);
    let mut counters = counters?;
    counters.path = Some(path.into());
    removed.map(|()| counters)
}

fn fill(file: File, path: &Path, worker: u32) -> io::Result<Counters> {
    // Held until the last descriptor is gone, so until the process is: who can take it knows that
    // the writer is dead, whatever name space its pid is of.
    file.try_lock().map_err(|error| {
        io::Error::other(format!("{}: can't be locked: {error}", path.display()))
    })?;
    let started = file.metadata()?.modified()?.duration_since(UNIX_EPOCH);
    let started = started.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0));
    let map = Mapping::file(file, file::bytes())?;
    file::write_header(&map, worker, started);
    Ok(Counters { map, path: None, owner: std::process::id() })
}
