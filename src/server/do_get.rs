//! DoGet: a ticket's rows.

use arrow_flight::{FlightData, Ticket};
use futures::stream::BoxStream;
use tonic::metadata::MetadataMap;

use super::{Services, encode, feast, historical, online, ticket};
use crate::error::Result;
use crate::model::{Principal, Request};

/// Plans the ticket's request and streams its rows.
pub(crate) async fn run(
    services: &Services,
    principal: &Principal,
    headers: &MetadataMap,
    Ticket { ticket }: Ticket,
) -> Result<BoxStream<'static, Result<FlightData>>> {
    let encoding = encode::Encoding::asked_by(headers)?;
    if ticket::is_feast(&ticket) {
        return feast::get(services, principal, &ticket, &encoding).await;
    }
    let request = match ticket::decode(&ticket)? {
        Request::Online(request) => return online::get(services, &request, &encoding).await,
        other => historical::with_entity(other)?,
    };
    let plan = historical::plan(services, principal, &request).await?;
    Ok(encode::flight_data(
        &encoding,
        plan.schema(),
        plan.execute()?,
    ))
}
