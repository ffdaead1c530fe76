//! Catalogs that definitions bring: shared while they are the same, gone with their last handle.

use super::*;

fn none() -> Catalogs {
    Catalogs::connect(&BTreeMap::new()).unwrap()
}

#[test]
fn the_name_is_the_same_on_every_replica() {
    let mut config = config("sqlite:////lake/catalog.db", Some("s3://lake"));
    config
        .properties
        .insert("s3.secret-access-key".to_owned(), "hunter2".to_owned());
    let handle = none().define("feast_iceberg", config).unwrap();
    assert_eq!(handle.name, "feast_iceberg-65694c4ad7ce17bd");
    assert!(!format!("{handle:?}").contains("hunter2"));
}

#[test]
fn every_setting_makes_another_catalog() {
    let catalogs = none();
    let define = |name: &str, uri: &str, warehouse: Option<&str>, token: &str| {
        let mut config = config(uri, warehouse);
        config
            .properties
            .insert("token".to_owned(), token.to_owned());
        catalogs.define(name, config).unwrap().name
    };
    let uri = "sqlite:///a.db";
    let first = define("a", uri, None, "t");
    assert_eq!(define("a", uri, None, "t"), first);
    let others = [
        define("b", uri, None, "t"),
        define("a", "sqlite:///b.db", None, "t"),
        define("a", uri, Some("w"), "t"),
        define("a", uri, None, "u"),
    ];
    assert!(!others.contains(&first), "{others:?}");
}

#[test]
fn faulty_settings_are_refused() {
    let error = none().define("a", config("mysql://h", None)).unwrap_err();
    assert!(matches!(error, Error::InvalidRequest { .. }), "{error}");
    assert!(error.to_string().contains("mysql"), "{error}");
}

#[tokio::test]
async fn a_catalog_lives_as_long_as_its_handles() {
    let folder = TempDir::new().unwrap();
    let catalogs = none();
    let define = || catalogs.define("own", in_folder(folder.path())).unwrap();
    let (first, second) = (define(), define());
    assert_eq!(first, second);

    let opened = catalogs.get_or_create(&first.name).await.unwrap();
    let again = catalogs.get(&second.name).await.unwrap();
    assert!(Arc::ptr_eq(&opened, &again));

    drop(first);
    assert!(catalogs.get(&second.name).await.is_ok());
    let name = second.name.clone();
    drop(second);
    let error = catalogs.get(&name).await.unwrap_err();
    assert!(error.to_string().contains("is not configured"), "{error}");
}

#[tokio::test]
async fn rows_carry_the_name_that_the_definition_gives() {
    use sqlx::{Connection, Row};
    let folder = TempDir::new().unwrap();
    let catalogs = none();
    let handle = catalogs
        .define("feast_iceberg", in_folder(folder.path()))
        .unwrap();
    let catalog = catalogs.get_or_create(&handle.name).await.unwrap();
    let namespace = NamespaceIdent::new("demo".to_owned());
    catalog
        .create_namespace(&namespace, Default::default())
        .await
        .unwrap();
    let file = folder.path().join("new/catalog.db");
    let mut database = sqlx::SqliteConnection::connect(&format!("sqlite://{}", file.display()))
        .await
        .unwrap();
    let row = sqlx::query("SELECT catalog_name FROM iceberg_namespace_properties")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(row.get::<String, _>(0), "feast_iceberg");
}

#[test]
fn the_number_of_catalogs_is_bounded() {
    let catalogs = none();
    let define = |index: usize| {
        let uri = format!("sqlite:///{index}.db");
        catalogs.define("a", config(&uri, None))
    };
    let held: Vec<CatalogHandle> = (0..256).map(|index| define(index).unwrap()).collect();
    let error = define(256).unwrap_err();
    assert!(matches!(error, Error::CatalogUnavailable { .. }), "{error}");
    define(0).unwrap();
    drop(held);
    define(256).unwrap();
}
