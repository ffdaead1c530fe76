use std::sync::Arc;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, Empty, FlightDescriptor, Ticket};
use bytesize::ByteSize;
use futures::TryStreamExt;
use rstest::rstest;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::*;

fn config(listen: &str) -> ServerConfig {
    ServerConfig { listen: listen.parse().unwrap(), max_message_size: ByteSize::mib(64), ..ServerConfig::default() }
}

#[rstest]
#[case("127.0.0.1:0", true)]
#[case("[::1]:0", true)]
#[case("[::ffff:127.0.0.1]:0", true)]
#[case("0.0.0.0:0", false)]
#[case("[::]:0", false)]
#[case("192.168.1.4:8815", false)]
fn only_loopback_is_listened_on_unless_the_operator_insists(#[case] address: &str, #[case] allowed: bool) {
    let mut config = config(address);
    assert_eq!(check_reach(&config, config.listen).is_ok(), allowed);
    config.insecure_allow_remote = true;
    assert!(check_reach(&config, config.listen).is_ok());
}
