//! What the messages mean.

use std::time::Duration;

use arrow::datatypes::{DataType, Field, TimeUnit};
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use rstest::rstest;

use super::{RELEASES, VIEWS, decoder, file_registry, view_names};
use crate::model::{
    FeatureService, FeatureView, LogDestination, ParquetLocation, SourceLocation, Ttl,
};
use crate::proto::feast::core;
use crate::registry::Registry;

fn decoded(bytes: Bytes) -> Registry {
    let message = core::Registry::decode(bytes).unwrap();
    decoder().registry(&message).unwrap()
}

fn each_release() -> impl Iterator<Item = Registry> {
    RELEASES
        .into_iter()
        .map(|release| decoded(file_registry(release)))
}

fn view<'a>(registry: &'a Registry, name: &str) -> &'a FeatureView {
    registry.feature_view(name).unwrap()
}

fn service<'a>(registry: &'a Registry, name: &str) -> &'a FeatureService {
    let mut services = registry.feature_services();
    services.find(|service| service.name == name).unwrap()
}

fn parquet(uri: &str) -> SourceLocation {
    SourceLocation::Parquet(ParquetLocation {
        uri: uri.to_owned(),
        s3_endpoint: None,
    })
}

#[test]
fn only_the_projects_own_objects_count() {
    for registry in each_release() {
        assert_eq!(registry.project(), "rides");
        assert_eq!(view_names(&registry), VIEWS);
        let entities: Vec<&str> = registry
            .entities()
            .map(|entity| entity.name.as_str())
            .collect();
        assert_eq!(entities, ["__dummy", "driver", "place"]);
        assert!(registry.data_source("strange_source").is_err());
    }
}

#[test]
fn a_view_has_its_keys_features_ttl_and_source() {
    for registry in each_release() {
        let stats = view(&registry, "driver_stats");
        assert_eq!(stats.join_keys, ["driver_id"]);
        let features = ["conv_rate", "acc_rate", "daily_trips"].map(str::to_owned);
        assert_eq!(stats.features.as_deref(), Some(features.as_slice()));
        assert_eq!(stats.ttl, Ttl::new(Duration::from_secs(7200)));
        let source = &stats.source;
        assert_eq!(source.location, parquet("/repo/data/stats.parquet"));
        assert_eq!(source.timestamp_field, "event_timestamp");
        assert_eq!(source.created_timestamp_column.as_deref(), Some("created"));
        assert_eq!(source.mapped_name("trips"), "daily_trips");
        assert_eq!(
            view(&registry, "both_keys").join_keys,
            ["driver_id", "place_code"]
        );
        assert_eq!(view(&registry, "both_keys").ttl.limit(), None);
    }
}

#[test]
fn a_view_without_entities_has_no_keys() {
    for registry in each_release() {
        assert!(view(&registry, "everywhere").join_keys.is_empty());
    }
}

#[test]
fn push_and_stream_views_read_the_batch_source_inside() {
    for registry in each_release() {
        let source = &view(&registry, "driver_stats").source;
        assert_eq!(&view(&registry, "pushed").source, source);
        assert_eq!(&view(&registry, "streamed").source, source);
        assert_eq!(view(&registry, "streamed").join_keys, ["driver_id"]);
        for name in ["stats_source", "push_source", "kafka_source"] {
            assert_eq!(*registry.data_source(name).unwrap(), *source, "{name}");
        }
    }
}

#[rstest]
#[case("in_bigquery", "BigQuerySource")]
#[case("in_delta", "FileSource in Delta format")]
fn a_source_of_another_kind_is_said_in_its_words(#[case] name: &str, #[case] words: &str) {
    for registry in each_release() {
        let expected = SourceLocation::Unsupported(words.to_owned());
        assert_eq!(view(&registry, name).source.location, expected);
    }
}

#[test]
fn an_iceberg_source_in_glue_is_a_table_of_the_catalog_it_describes() {
    for registry in each_release() {
        let location = &view(&registry, "in_glue").source.location;
        let SourceLocation::Iceberg(table) = location else {
            panic!("{location:?}");
        };
        assert_eq!(table.to_string(), "n.t");
    }
}

#[test]
fn an_iceberg_source_is_a_table_of_the_catalog_it_describes() {
    for registry in each_release() {
        let source = &view(&registry, "both_keys").source;
        let SourceLocation::Iceberg(table) = &source.location else {
            panic!("{source:?}");
        };
        assert!(table.catalog.starts_with("lake"), "{table:?}");
        assert_eq!(table.to_string(), "rides.daily.trips");
        assert_eq!(source.mapped_name("id"), "driver_id");
        assert_eq!(*registry.data_source("iceberg_sql").unwrap(), *source);
    }
}

#[test]
fn remote_files_keep_their_uri_and_endpoint() {
    for registry in each_release() {
        let expected = SourceLocation::Parquet(ParquetLocation {
            uri: "s3://bucket/plain.parquet".to_owned(),
            s3_endpoint: Some("http://minio:9000".to_owned()),
        });
        assert_eq!(view(&registry, "in_s3").source.location, expected);
        let unnamed = registry.data_source("s3://bucket/plain.parquet").unwrap();
        assert_eq!(unnamed.location, expected);
    }
}

#[test]
fn services_have_aliases_key_maps_and_chosen_features() {
    for registry in each_release() {
        let training = service(&registry, "training");
        let seen: Vec<_> = training
            .projections
            .iter()
            .map(|projection| {
                let key = projection.join_key_map.get("driver_id");
                let count = projection.features.as_ref().map_or(0, Vec::len);
                (
                    projection.view.as_str(),
                    projection.alias.as_deref(),
                    key.map(String::as_str),
                    count,
                )
            })
            .collect();
        let expected = [
            ("driver_stats", Some("origin"), Some("origin_id"), 1),
            (
                "driver_stats",
                Some("destination"),
                Some("destination_id"),
                3,
            ),
            ("computed", None, None, 1),
        ];
        assert_eq!(seen, expected);
        assert_eq!(service(&registry, "plain_service").logging, None);
    }
}

#[test]
fn logs_and_saved_datasets_are_data_sources_by_their_path() {
    for registry in each_release() {
        let logging = service(&registry, "training").logging.clone();
        let expected = LogDestination {
            location: parquet("/repo/data/logs"),
            partition_by: vec!["day".to_owned()],
        };
        assert_eq!(logging, Some(expected));
        for (name, uri) in [
            ("data/logs", "/repo/data/logs"),
            ("data/march.parquet", "/repo/data/march.parquet"),
            ("march", "/repo/data/march.parquet"),
        ] {
            assert_eq!(
                registry.data_source(name).unwrap().location,
                parquet(uri),
                "{name}"
            );
        }
    }
}

#[test]
fn an_on_demand_view_has_typed_features_inputs_and_its_bytes() {
    for release in RELEASES {
        let bytes = file_registry(release);
        let message = core::Registry::decode(bytes.clone()).unwrap();
        let registry = decoded(bytes);
        let view = registry.on_demand_views().next().unwrap();
        assert_eq!(view.name, "computed");
        let inputs: Vec<String> = view.inputs.iter().map(ToString::to_string).collect();
        assert_eq!(
            inputs,
            ["driver_stats:conv_rate", "driver_stats:daily_trips"]
        );
        assert_eq!(view.definition, message.on_demand_feature_views[0]);
        let list = |item| DataType::new_list(item, true);
        let spot = [
            ("lon", DataType::Float64),
            ("lat", DataType::Float64),
            ("a", list(DataType::Int64)),
        ];
        let spot = spot.map(|(name, data_type)| Field::new(name, data_type, true));
        let expected = [
            ("conv_plus_val", DataType::Float64),
            ("tags", list(DataType::Utf8)),
            (
                "seen",
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            ),
            ("spot", DataType::Struct(spot.to_vec().into())),
        ];
        let expected = expected.map(|(name, data_type)| Field::new(name, data_type, true));
        assert_eq!(view.features, expected);
    }
}

#[test]
fn unknown_fields_are_harmless() {
    let extra = [&[0xfa, 0x7d, 0x03][..], b"new"].concat();
    let bytes = file_registry("0.67");
    let mut message = core::Registry::decode(bytes.clone()).unwrap();
    let objects = message
        .feature_views
        .iter_mut()
        .chain(&mut message.feature_services);
    for object in objects
        .chain(&mut message.data_sources)
        .chain(&mut message.entities)
    {
        *object = [object, extra.as_slice()].concat().into();
    }
    let grown = [message.encode_to_vec(), extra].concat();
    assert!(grown.len() > message.encoded_len());
    assert_eq!(decoded(grown.into()), decoded(bytes));
}

#[test]
fn an_object_that_is_none_is_named() {
    let message = core::Registry {
        feature_views: vec![Bytes::from_static(&[0x0a, 0x05, 0x01])],
        ..core::Registry::default()
    };
    let fault = decoder().registry(&message).unwrap_err();
    assert!(fault.starts_with("feature view number 0: "), "{fault}");
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(at in 0usize..16_000, with in any::<[u8; 3]>(), cut in 0usize..16_000) {
        let mut bytes = file_registry("0.67").to_vec();
        bytes[at..at + 3].copy_from_slice(&with);
        bytes.truncate(bytes.len().max(cut + 1) - cut);
        if let Ok(message) = core::Registry::decode(Bytes::from(bytes)) {
            let _ = decoder().registry(&message);
        }
    }

    #[test]
    fn arbitrary_objects_never_panic(object in prop::collection::vec(any::<u8>(), 0..200)) {
        let object = vec![Bytes::from(object)];
        let message = core::Registry {
            entities: object.clone(),
            feature_views: object.clone(),
            stream_feature_views: object.clone(),
            on_demand_feature_views: object.clone(),
            feature_services: object.clone(),
            saved_datasets: object.clone(),
            data_sources: object,
            ..core::Registry::default()
        };
        let _ = decoder().registry(&message);
    }
}
