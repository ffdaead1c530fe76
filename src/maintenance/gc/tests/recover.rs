//! Attempts at commits whose end nobody knows.

use super::*;
use crate::maintenance::RecoverReport;

impl Lab {
    fn journal(&self) -> Arc<Journal> {
        let clock = Arc::<ManualClock>::clone(&self.clock);
        let journal = Journal::with_clock(&self.folder.path().join("intents"), clock);
        Arc::new(journal.unwrap())
    }

    /// Files of an attempt that is still going on.
    async fn attempt(&self, journal: &Arc<Journal>, id: i64) -> (Attempt, Vec<DataFile>) {
        let table = self.table().await;
        let attempt = Attempt::begin(Some(journal), &self.name, &table);
        let spec = table.metadata().default_partition_spec();
        let files = write_for(&attempt, &table, spec, FileStyle::Scanned, vec![batch(id)]).await;
        (attempt, files.unwrap().keep())
    }

    /// What a process that died left of an attempt.
    async fn died(&self, id: i64) -> Vec<DataFile> {
        self.attempt(&self.journal(), id).await.1
    }

    async fn recover(&self, journal: &Arc<Journal>) -> Vec<RecoverReport> {
        let maintenance = self.maintenance.clone().with_journal(Arc::clone(journal));
        maintenance.recover().await.unwrap()
    }

    async fn has(&self, file: &DataFile) -> bool {
        let io = self.table().await.file_io().clone();
        io.exists(file.file_path()).await.unwrap()
    }
}

#[tokio::test]
async fn a_dead_attempts_files_go_after_an_hour() {
    let lab = Lab::new(Store::Bucket).await;
    lab.append(0).await;
    let files = lab.died(1).await;
    let journal = lab.journal();
    assert_eq!(lab.recover(&journal).await, []);
    assert!(lab.has(&files[0]).await);
    lab.clock.advance(HOUR);
    let reports = lab.recover(&journal).await;
    assert_eq!((reports[0].attempts, reports[0].deleted), (1, 1));
    assert!(!lab.has(&files[0]).await);
    assert_eq!(lab.recover(&journal).await, []);
    assert_eq!(lab.rows(None).await, BTreeSet::from([0]));
}

#[tokio::test]
async fn a_committed_attempts_files_stay() {
    let lab = Lab::new(Store::Disk).await;
    let files = lab.died(1).await;
    append(lab.tables.catalogs(), &lab.name, files)
        .await
        .unwrap();
    let journal = lab.journal();
    assert_eq!(lab.recover(&journal).await, []);
    lab.clock.advance(HOUR);
    let reports = lab.recover(&journal).await;
    assert_eq!((reports[0].attempts, reports[0].deleted), (1, 0));
    assert!(journal.unsettled().unwrap().is_empty());
    assert_eq!(lab.rows(None).await, BTreeSet::from([1]));
}

#[tokio::test]
async fn what_cannot_be_told_stays() {
    let lab = Lab::new(Store::Disk).await;
    lab.append(0).await;
    let files = lab.died(1).await;
    let (table, journal) = (lab.table().await, lab.journal());
    lab.recover(&journal).await;
    lab.clock.advance(HOUR);

    let snapshot = table.metadata().current_snapshot().unwrap();
    for path in [table.metadata_location().unwrap(), snapshot.manifest_list()] {
        let io = table.file_io();
        let bytes = io.new_input(path).unwrap().read().await.unwrap();
        io.delete(path).await.unwrap();
        assert_eq!(lab.recover(&journal).await, []);
        assert!(io.exists(files[0].file_path()).await.unwrap());
        io.new_output(path).unwrap().write(bytes).await.unwrap();
    }
    assert_eq!(lab.recover(&journal).await[0].deleted, 1);
}

#[tokio::test]
async fn another_table_of_the_name_is_not_asked() {
    let lab = Lab::new(Store::Disk).await;
    let files = lab.died(1).await;
    let catalog = lab.tables.catalogs().get("default").await.unwrap();
    catalog
        .drop_table(lab.table().await.identifier())
        .await
        .unwrap();
    lab.create(&lab.name).await;
    let journal = lab.journal();
    lab.recover(&journal).await;
    lab.clock.advance(HOUR);
    assert_eq!(lab.recover(&journal).await, []);
    let with_journal = lab.maintenance.clone().with_journal(Arc::clone(&journal));
    let progress = ProgressBar::hidden();
    let options = GcOptions::default();
    let removed = with_journal.gc(&lab.name, options, false, &progress).await;
    removed.unwrap();
    assert!(lab.has(&files[0]).await);
    assert_eq!(journal.unsettled().unwrap().len(), 1);
    lab.clock.advance(8 * DAY);
    assert_eq!(lab.recover(&journal).await, []);
    assert!(journal.unsettled().unwrap().is_empty());
}

#[tokio::test]
async fn a_living_attempt_is_left_alone() {
    let mut lab = Lab::new(Store::Disk).await;
    let other = lab.journal();
    let (attempt, files) = lab.attempt(&other, 1).await;
    let journal = lab.journal();
    lab.recover(&journal).await;
    lab.clock.advance(2 * HOUR);
    assert_eq!(lab.recover(&journal).await, []);

    lab.maintenance = lab.maintenance.with_journal(journal);
    let now = GcOptions {
        older_than: Duration::ZERO,
        force_younger: true,
    };
    lab.put("data/a").await;
    assert_eq!(lab.try_gc(now, false).await.unwrap().deleted, 1);
    assert!(lab.has(&files[0]).await);
    let table = lab.table().await;
    attempt.discard(&table, &files).await;
    drop(attempt);
    assert!(!lab.has(&files[0]).await && other.unsettled().unwrap().is_empty());
}

#[tokio::test]
async fn removing_orphans_cleans_up_after_dead_attempts() {
    let mut lab = Lab::new(Store::Disk).await;
    let files = lab.died(1).await;
    let journal = lab.journal();
    journal.adopt().unwrap();
    lab.clock.advance(HOUR);
    // The file itself is as young as can be.
    lab.maintenance = lab.maintenance.with_clock(Arc::new(SystemClock));
    lab.maintenance = lab.maintenance.with_journal(Arc::clone(&journal));
    assert_eq!(lab.gc().await.orphans, 0);
    assert!(!lab.has(&files[0]).await);
    assert!(journal.unsettled().unwrap().is_empty());
}

#[tokio::test]
async fn what_ends_in_order_leaves_nothing() {
    let lab = Lab::new(Store::Disk).await;
    let (journal, table) = (lab.journal(), lab.table().await);
    let spec = table.metadata().default_partition_spec();
    let begin = || Attempt::begin(Some(&journal), &lab.name, &table);

    let cancelled = begin();
    let rows = vec![batch(1)];
    let files = write_for(&cancelled, &table, spec, FileStyle::Scanned, rows).await;
    drop(cancelled);
    assert_eq!(journal.unsettled().unwrap().len(), 1);
    files.unwrap().discard().await;

    let (committed, files) = lab.attempt(&journal, 2).await;
    let appended = append(lab.tables.catalogs(), &lab.name, files.clone()).await;
    committed.settle(&table, &files, appended).await.unwrap();
    drop(committed);

    let (conflict, files) = lab.attempt(&journal, 3).await;
    let failed: Result<()> = Err(Error::CommitConflict {
        table: "t".to_owned(),
    });
    assert!(conflict.settle(&table, &files, failed).await.is_err());
    drop(conflict);
    assert!(!lab.has(&files[0]).await);

    drop(begin());
    assert!(journal.unsettled().unwrap().is_empty());

    let (unknown, files) = lab.attempt(&journal, 4).await;
    let lost: Result<()> = Err(Error::CatalogUnavailable {
        catalog: "default".to_owned(),
        message: "the answer was lost".to_owned(),
    });
    assert!(unknown.settle(&table, &files, lost).await.is_err());
    drop(unknown);
    assert_eq!(journal.doubted(Duration::ZERO).len(), 1);
    assert!(lab.has(&files[0]).await);
}

#[tokio::test]
async fn names_of_files_begin_with_their_attempt() {
    let lab = Lab::new(Store::Disk).await;
    let journal = lab.journal();
    let (_attempt, files) = lab.attempt(&journal, 1).await;
    let id = *journal.unsettled().unwrap().first().unwrap();
    assert_eq!(super::super::attempt_of(files[0].file_path()), Some(id));
    assert_eq!(
        super::super::attempt_of("s3://b/t/data/part-0.parquet"),
        None
    );
}
