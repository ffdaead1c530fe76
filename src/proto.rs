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

/// What is read of Feast's registry; the package names are Feast's.
pub mod feast {
    /// Definitions.
    pub mod core {
        #![allow(
            clippy::all,
            clippy::allow_attributes_without_reason,
            clippy::too_many_lines,
            unused_qualifications,
            reason = "generated code"
        )]
        #![allow(missing_docs, reason = "the meaning is Feast's")]

        include!(concat!(env!("OUT_DIR"), "/feast.core.rs"));
        include!(concat!(env!("OUT_DIR"), "/feast.core.serde.rs"));
    }

    /// Calls of a registry server.
    pub mod registry {
        #![allow(clippy::all, unused_qualifications, reason = "generated code")]
        #![allow(missing_docs, reason = "the meaning is Feast's")]

        include!(concat!(env!("OUT_DIR"), "/feast.registry.rs"));
    }

    /// Types of values.
    pub mod types {
        #![allow(clippy::all, unused_qualifications, reason = "generated code")]
        #![allow(missing_docs, reason = "the meaning is Feast's")]

        include!(concat!(env!("OUT_DIR"), "/feast.types.rs"));
    }
}
