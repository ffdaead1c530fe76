//! DoGet: a ticket's rows.

use arrow_flight::{FlightData, Ticket};
use futures::stream::BoxStream;

use super::{Services, encode, historical};
use crate::error::Result;
use crate::model::Principal;

/// Plans the ticket's request and streams its rows.
pub(crate) async fn run(
    services: &Services,
    principal: &Principal,
    ticket: Ticket,
) -> Result<BoxStream<'static, Result<FlightData>>> {
    let request = historical::decode(&ticket.ticket)?;
    let plan = historical::plan(services, principal, &request).await?;
    Ok(encode::flight_data(plan.schema(), plan.execute()?))
}
