//! What is found after a process died, and what is left alone.

use tempfile::TempDir;

use super::*;
use crate::clock::ManualClock;

const HOUR: Duration = Duration::from_secs(3600);

struct Lab {
    folder: TempDir,
    clock: Arc<ManualClock>,
}

impl Lab {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            clock: Arc::new(ManualClock::new(UNIX_EPOCH + 1000 * HOUR)),
        }
    }

    fn open(&self) -> Journal {
        let clock = Arc::<ManualClock>::clone(&self.clock);
        Journal::with_clock(self.folder.path(), clock).unwrap()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.extension().is_some_and(|it| it == "intents"))
            .collect()
    }
}

fn intent(id: u128) -> Intent {
    Intent {
        id: Uuid::from_u128(id),
        catalog: "default".to_owned(),
        namespace: vec!["a".to_owned(), "b".to_owned()],
        name: "t".to_owned(),
        table: Uuid::from_u128(1),
        folder: "s3://bucket/a/b/t/data".to_owned(),
        started_ms: 5,
        doubted_ms: None,
    }
}

fn ids(intents: &[Intent]) -> Vec<u128> {
    intents.iter().map(|it| it.id.as_u128()).collect()
}

/// As a killed process leaves it: the lock goes, the file stays.
fn kill(journal: Journal) {
    drop(journal);
}

#[test]
fn a_dead_process_is_found_and_its_hour_begins_then() {
    let lab = Lab::new();
    let first = lab.open();
    first.begin(intent(1));
    first.begin(intent(2));
    first.settled(Uuid::from_u128(1));
    kill(first);
    lab.clock.advance(5 * HOUR);

    let second = lab.open();
    assert_eq!(second.adopt().unwrap(), 1);
    assert!(second.doubted(HOUR).is_empty());
    assert_eq!(lab.segments().len(), 1);
    lab.clock.advance(HOUR);
    assert_eq!(ids(&second.doubted(HOUR)), [2]);
    assert_eq!(second.doubted(HOUR)[0].table_name(), intent(2).table_name());

    // The hour goes on where that process dies, too.
    kill(second);
    let third = lab.open();
    assert_eq!(third.adopt().unwrap(), 1);
    assert_eq!(ids(&third.doubted(HOUR)), [2]);
    third.settled(Uuid::from_u128(2));
    assert!(third.doubted(Duration::ZERO).is_empty());
    drop(third);
    assert!(lab.segments().is_empty());
}

#[test]
fn a_living_process_is_left_alone() {
    let lab = Lab::new();
    let living = lab.open();
    living.begin(intent(1));
    let other = lab.open();
    assert_eq!(other.adopt().unwrap(), 0);
    assert!(other.doubted(Duration::ZERO).is_empty());
    assert_eq!(
        other.unsettled().unwrap(),
        BTreeSet::from([Uuid::from_u128(1)])
    );
    living.settled(Uuid::from_u128(1));
    assert!(other.unsettled().unwrap().is_empty());
    assert_eq!(lab.segments().len(), 2);
}

#[test]
fn an_attempt_of_this_process_can_be_in_doubt() {
    let lab = Lab::new();
    let journal = lab.open();
    journal.begin(intent(1));
    assert!(journal.doubted(Duration::ZERO).is_empty());
    journal.doubt(Uuid::from_u128(1));
    journal.doubt(Uuid::from_u128(7));
    assert!(journal.doubted(HOUR).is_empty());
    lab.clock.advance(HOUR);
    assert_eq!(ids(&journal.doubted(HOUR)), [1]);
}

#[test]
fn a_torn_line_is_passed_over() {
    let lab = Lab::new();
    let first = lab.open();
    first.begin(intent(1));
    first.begin(intent(2));
    let path = lab.segments().remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 20);
    std::fs::write(&path, &bytes).unwrap();
    // What follows a torn line is read again.
    first.begin(intent(3));
    kill(first);
    let second = lab.open();
    assert_eq!(second.adopt().unwrap(), 2);
    assert_eq!(ids(&second.doubted(Duration::ZERO)), [1, 3]);
}

#[test]
fn a_segment_stays_small() {
    let lab = Lab::new();
    let journal = lab.open();
    journal.begin(intent(0));
    for id in 1..20_000 {
        journal.begin(intent(id));
        journal.settled(Uuid::from_u128(id));
    }
    let [segment] = &lab.segments()[..] else {
        panic!("one segment");
    };
    assert!(std::fs::metadata(segment).unwrap().len() < 2 * SEGMENT_BYTES);
    kill(journal);
    let next = lab.open();
    assert_eq!(next.adopt().unwrap(), 1);
    assert_eq!(ids(&next.doubted(Duration::ZERO)), [0]);
}
