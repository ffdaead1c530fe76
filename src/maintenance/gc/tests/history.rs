//! Any history of a table: after a removal of orphans exactly that is left which a slow look through its metadata finds.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Append,
    /// Replaces all rows.
    Replace,
    /// Forgets all snapshots but the current one.
    Expire,
    /// Writes data files that are never committed.
    Abandon,
    Litter,
    Gc,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Append),
        2 => Just(Step::Replace),
        2 => Just(Step::Expire),
        1 => Just(Step::Abandon),
        1 => Just(Step::Litter),
        1 => Just(Step::Gc),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn exactly_what_is_referred_to_stays(
        steps in prop::collection::vec(step(), 1..12),
        in_bucket in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let store = if in_bucket { Store::Bucket } else { Store::Disk };
        runtime.unwrap().block_on(live(store, &steps));
    }
}

async fn live(store: Store, steps: &[Step]) {
    let lab = Lab::new(store).await;
    let mut rows = BTreeSet::new();
    for (id, step) in (0..).zip(steps) {
        match step {
            Step::Append => {
                lab.append(id).await;
                rows.insert(id);
            }
            Step::Replace => {
                lab.replace(id).await;
                rows = BTreeSet::from([id]);
            }
            Step::Expire => lab.expire().await,
            Step::Abandon => drop(lab.files(id).await),
            Step::Litter => drop(lab.put(&format!("metadata/{id}-m0.avro")).await),
            Step::Gc => lab.check_gc().await,
        }
    }
    lab.check_gc().await;
    assert_eq!(lab.rows(None).await, rows);
}

impl Lab {
    async fn expire(&self) {
        let table = self.table().await;
        let current = table.metadata().current_snapshot_id();
        let ids = table.metadata().snapshots().map(|it| it.snapshot_id());
        let snapshot_ids: Vec<i64> = ids.filter(|id| Some(*id) != current).collect();
        if !snapshot_ids.is_empty() {
            self.update(vec![TableUpdate::RemoveSnapshots { snapshot_ids }])
                .await;
        }
    }

    async fn check_gc(&self) {
        let before = self.below().await;
        let referred = self.referred().await;
        let report = self.gc().await;
        let left = before.intersection(&referred).cloned().collect();
        assert_eq!(self.below().await, left);
        assert_eq!(report.deleted, (before.len() - left.len()) as u64);
        assert_eq!((report.failed, report.ambiguous), (0, 0));
    }

    /// What the metadata refers to, below the table's location.
    async fn referred(&self) -> BTreeSet<String> {
        let table = self.table().await;
        let metadata = table.metadata();
        let log = metadata.metadata_log().iter();
        let mut found: Vec<String> = log.map(|entry| entry.metadata_file.clone()).collect();
        found.extend(table.metadata_location().map(str::to_owned));
        for snapshot in metadata.snapshots() {
            found.push(snapshot.manifest_list().to_owned());
            let list = table.manifest_list_reader(snapshot).load().await.unwrap();
            for manifest in list.entries() {
                found.push(manifest.manifest_path.clone());
                let manifest = manifest.load_manifest(table.file_io()).await.unwrap();
                found.extend(
                    manifest
                        .entries()
                        .iter()
                        .map(|it| it.file_path().to_owned()),
                );
            }
        }
        let location = format!("{}/", metadata.location());
        let below = found.iter().filter_map(|path| path.strip_prefix(&location));
        below.map(str::to_owned).collect()
    }
}
