//! DoGet: a ticket's rows.

use arrow_flight::{FlightData, Ticket};
use futures::stream::BoxStream;

use super::{Services, encode, feast, historical, ticket};
use crate::error::Result;
use crate::model::Principal;

/// Plans the ticket's request and streams its rows.
pub(crate) async fn run(
    services: &Services,
    principal: &Principal,
    Ticket { ticket }: Ticket,
) -> Result<BoxStream<'static, Result<FlightData>>> {
    if ticket::is_feast(&ticket) {
        return feast::get(services, principal, &ticket).await;
    }
    let request = historical::decode(&ticket)?;
    let plan = historical::plan(services, principal, &request).await?;
    Ok(encode::flight_data(plan.schema(), plan.execute()?))
}
