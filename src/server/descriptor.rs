//! Flight descriptors: a command is a request, a path names a feature view.

use arrow_flight::FlightDescriptor;
use arrow_flight::flight_descriptor::DescriptorType;
use bytes::Bytes;

use crate::error::{Error, Result};

/// What a descriptor points at.
#[derive(Debug, PartialEq)]
pub(super) enum Target<'a> {
    /// An encoded request.
    Command(&'a Bytes),
    /// A feature view's name.
    View(&'a str),
}

/// Reads a descriptor.
pub(super) fn target(descriptor: &FlightDescriptor) -> Result<Target<'_>> {
    match (descriptor.r#type(), descriptor.path.as_slice()) {
        (DescriptorType::Cmd, _) => Ok(Target::Command(&descriptor.cmd)),
        (DescriptorType::Path, [view]) => Ok(Target::View(view)),
        (DescriptorType::Path, path) => {
            let message = format!(
                "expected one element, a feature view's name, found {}",
                path.len()
            );
            Err(Error::invalid("descriptor.path", message))
        }
        (DescriptorType::Unknown, _) => Err(Error::invalid(
            "descriptor.type",
            "expected a command or a path",
        )),
    }
}

/// The command of a call that carries data.
pub(super) fn command(descriptor: Option<&FlightDescriptor>) -> Result<&Bytes> {
    match descriptor.map(target).transpose()? {
        Some(Target::Command(bytes)) => Ok(bytes),
        Some(Target::View(_)) => Err(Error::invalid(
            "descriptor",
            "expected a command, found a path",
        )),
        None => Err(Error::invalid(
            "descriptor",
            "expected a command with the first message",
        )),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn commands_and_single_paths_are_targets() {
        let command = FlightDescriptor::new_cmd("{}");
        assert_eq!(
            target(&command).unwrap(),
            Target::Command(&Bytes::from_static(b"{}"))
        );
        let path = FlightDescriptor::new_path(vec!["view".to_owned()]);
        assert_eq!(target(&path).unwrap(), Target::View("view"));
    }

    #[rstest]
    #[case(
        Some(FlightDescriptor::default()),
        "descriptor.type: expected a command or a path"
    )]
    #[case(Some(FlightDescriptor::new_path(vec![])), "descriptor.path: expected one element, a feature view's name, found 0")]
    #[case(Some(FlightDescriptor::new_path(vec!["v".to_owned()])), "descriptor: expected a command, found a path")]
    #[case(None, "descriptor: expected a command with the first message")]
    fn data_needs_a_command(#[case] descriptor: Option<FlightDescriptor>, #[case] message: &str) {
        assert_eq!(
            command(descriptor.as_ref()).unwrap_err().to_string(),
            message
        );
    }
}
