//! Folders that are not a table's own.

use iceberg::{NamespaceIdent, TableCreation};
use rstest::rstest;

use super::*;

async fn create_at(lab: &Lab, name: &str, location: String, properties: &[(&str, String)]) {
    let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
    let schema = Schema::builder().with_fields([id.into()]).build();
    let properties = properties
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()));
    let creation = TableCreation::builder()
        .name(name.to_owned())
        .location(location)
        .schema(schema.unwrap())
        .properties(properties)
        .build();
    let catalog = lab.tables.catalogs().get("default").await.unwrap();
    let namespace = NamespaceIdent::new("demo".to_owned());
    catalog.create_table(&namespace, creation).await.unwrap();
}

async fn is_refused(lab: &Lab) -> bool {
    lab.put("data/a").await;
    match lab.try_gc(GcOptions::default(), false).await {
        Ok(_) => false,
        Err(Error::NotAllowed { what, .. }) => {
            assert!(what.contains("`demo.stats`"), "{what}");
            assert!(lab.below().await.contains("data/a"));
            true
        }
        Err(other) => panic!("{other}"),
    }
}

#[rstest]
#[case("/inner", true)]
#[case("/", true)]
#[case("", true)]
#[case("2", false)]
#[tokio::test]
async fn a_shared_location_is_refused(#[case] suffix: &str, #[case] refused: bool) {
    let lab = Lab::new(Store::Disk).await;
    let location = lab.location().await;
    create_at(&lab, "other", format!("{location}{suffix}"), &[]).await;
    assert_eq!(is_refused(&lab).await, refused);
}

#[tokio::test]
async fn a_location_within_another_tables_is_refused() {
    let lab = Lab::new(Store::Disk).await;
    let location = lab.location().await;
    let parent = location.rsplit_once('/').unwrap().0.to_owned();
    create_at(&lab, "parent", parent.replacen("file://", "", 1), &[]).await;
    assert!(is_refused(&lab).await);
}

#[tokio::test]
async fn other_data_in_the_folder_is_refused() {
    let lab = Lab::new(Store::Disk).await;
    let location = lab.location().await;
    let data = format!("{location}/of-others");
    create_at(
        &lab,
        "other",
        format!("{location}-other"),
        &[("write.data.path", data)],
    )
    .await;
    assert!(is_refused(&lab).await);
}

#[tokio::test]
async fn namespaces_below_a_table_of_the_same_name_are_found() {
    let lab = Lab::new(Store::Disk).await;
    let below = TableName::parse("default", "demo.stats.inner").unwrap();
    let location = lab.create(&below).await.metadata().location().to_owned();
    let inside = location.starts_with(&format!("{}/", lab.location().await));
    assert_eq!(is_refused(&lab).await, inside);
}

#[tokio::test]
async fn a_neighbour_that_cannot_be_read_is_no_reason_to_delete() {
    let lab = Lab::new(Store::Disk).await;
    let other = TableName::parse("default", "demo.other").unwrap();
    let table = lab.create(&other).await;
    let metadata = table.metadata_location().unwrap();
    table.file_io().delete(metadata).await.unwrap();
    lab.put("data/a").await;
    let refused = lab.try_gc(GcOptions::default(), false).await.unwrap_err();
    assert!(refused.to_string().contains("`demo.other`"), "{refused}");
    assert!(lab.below().await.contains("data/a"));
}
