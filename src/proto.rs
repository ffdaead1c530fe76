//! Generated wire messages, with their JSON form. The contract is in `proto/`.

/// Requests and results of Murre's own dialect, version 1.
pub mod v1 {
    #![allow(
        clippy::all,
        clippy::too_many_lines,
        clippy::allow_attributes_without_reason,
        unused_qualifications,
        reason = "generated code"
    )]
    #![allow(
        rustdoc::bare_urls,
        rustdoc::broken_intra_doc_links,
        reason = "comments of proto files"
    )]

    include!(concat!(env!("OUT_DIR"), "/murre.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/murre.v1.serde.rs"));
}
