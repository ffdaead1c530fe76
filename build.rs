//! Generates the wire messages of `proto/` and their JSON form, without `protoc`.

use std::error::Error;
use std::fs;
use std::path::Path;

use protox::prost::Message;

const FILES: [&str; 5] = [
    "proto/murre/v1/request.proto",
    "proto/murre/v1/result.proto",
    "proto/feast/core/FeatureService.proto",
    "proto/feast/core/Registry.proto",
    "proto/feast/registry/RegistryServer.proto",
];

/// What clients send as JSON: a data source, in any release's form.
const FEAST_JSON: [&str; 2] = [".feast.core.DataSource", ".feast.core.FileFormat"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let encoded = descriptors.encode_to_vec();
    prost_build::Config::new()
        .compile_well_known_types()
        .extern_path(".google.protobuf", "::pbjson_types")
        .bytes([
            ".murre.v1.EntitySource.ipc",
            ".murre.v1.OnlineRequest.entity_ipc",
            ".feast",
        ])
        .btree_map([".murre", ".feast"])
        .compile_fds(descriptors)?;
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .btree_map([".murre"])
        .preserve_proto_field_names()
        .emit_fields()
        .build(&[".murre.v1"])?;
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .btree_map([".feast"])
        .ignore_unknown_fields()
        .ignore_unknown_enum_variants()
        .build(&FEAST_JSON)?;
    plain_integers(
        &Path::new(&std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?)
            .join("murre.v1.serde.rs"),
    )
}

/// Rewrites the generated serializers so that 64-bit integers are JSON numbers instead of proto3 JSON's strings,
/// which request.proto documents. Fails the build where a field has a form that is not rewritten.
fn plain_integers(file: &Path) -> Result<(), Box<dyn Error>> {
    let generated = fs::read_to_string(file)?;
    let mut rest = generated.as_str();
    let mut rewritten = String::with_capacity(rest.len());
    while let Some((before, after)) = rest.split_once("ToString::to_string(&") {
        let (value, tail) = after
            .split_once(").as_str()")
            .ok_or("a 64-bit field's serializer has a new form")?;
        rewritten.extend([before, "&", value]);
        rest = tail;
    }
    rewritten.push_str(rest);
    if rewritten.contains("to_string") {
        return Err("repeated 64-bit fields are serialized as strings; rewrite them too".into());
    }
    Ok(fs::write(file, rewritten)?)
}
