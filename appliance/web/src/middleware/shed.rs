//! Past a number of requests in work, new ones are told at once to come back, instead of everyone waiting longer
//! and longer. The health check is always answered: the supervisor must not restart a hub that is only busy.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    hub::{Hub, MAX_IN_FLIGHT},
    problem::{Problem, ProblemKind},
};

struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) async fn shed(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let in_flight = Arc::clone(&hub.shared.in_flight);
    let before = in_flight.fetch_add(1, Ordering::Relaxed);
    let _held = InFlight(in_flight);
    if before >= MAX_IN_FLIGHT && request.uri().path() != crate::api::HEALTH_PATH {
        hub.shared.metrics.shed();
        return Problem::new(ProblemKind::Busy, "more people use the hub at this moment than it can serve")
            .into_response();
    }
    next.run(request).await
}
