//! Feast's remote offline store protocol: the only module that speaks Feast's wire.
