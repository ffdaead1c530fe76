//! How the batches of one answer are encoded: compressed where the call's header asks for it.

use arrow_ipc::CompressionType;
use arrow_ipc::writer::IpcWriteOptions;
use tonic::metadata::MetadataMap;

use crate::error::{Error, Result};

/// The request header that asks for compressed bodies.
const HEADER: &str = "x-murre-compression";

/// The encoding of one answer; the default is uncompressed.
#[derive(Clone, Debug, Default)]
pub struct Encoding(Option<CompressionType>);

impl Encoding {
    /// What the headers of a call ask for.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for a codec that is not known here.
    pub fn asked_by(headers: &MetadataMap) -> Result<Self> {
        match headers.get(HEADER).map(|value| value.as_bytes()) {
            None => Ok(Self(None)),
            Some(b"lz4") => Ok(Self(Some(CompressionType::LZ4_FRAME))),
            Some(b"zstd") => Ok(Self(Some(CompressionType::ZSTD))),
            Some(other) => Err(unknown(other)),
        }
    }

    pub(super) fn options(&self) -> IpcWriteOptions {
        IpcWriteOptions::default()
            .try_with_compression(self.0)
            .expect("the default metadata version has compression")
    }
}

fn unknown(codec: &[u8]) -> Error {
    let found = String::from_utf8_lossy(codec);
    Error::invalid(
        format!("header {HEADER}"),
        format!("expected `lz4` or `zstd`, found `{found}`"),
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn asked(value: Option<&'static str>) -> Result<Option<CompressionType>> {
        let mut headers = MetadataMap::new();
        if let Some(value) = value {
            headers.insert(HEADER, value.parse().unwrap());
        }
        Encoding::asked_by(&headers).map(|encoding| encoding.0)
    }

    #[rstest]
    #[case(None, None)]
    #[case(Some("lz4"), Some(CompressionType::LZ4_FRAME))]
    #[case(Some("zstd"), Some(CompressionType::ZSTD))]
    fn a_codec_is_asked_for_by_name(
        #[case] value: Option<&'static str>,
        #[case] expected: Option<CompressionType>,
    ) {
        assert_eq!(asked(value).unwrap(), expected);
    }

    #[rstest]
    #[case("gzip")]
    #[case("LZ4")]
    #[case("")]
    fn an_unknown_codec_is_refused_by_the_headers_name(#[case] value: &'static str) {
        let error = asked(Some(value)).unwrap_err().to_string();
        let expected =
            format!("header x-murre-compression: expected `lz4` or `zstd`, found `{value}`");
        assert_eq!(error, expected);
    }
}
