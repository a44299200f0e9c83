//! What every request passes, one policy per file. [`around`] is the one place that says in which order.

mod body_limit;
mod captive;
mod compress;
mod cors;
mod csrf;
mod deadline;
mod host;
mod identify;
mod observe;
mod panic;
mod rate_limit;
mod security_headers;
mod shed;
mod source;
mod write_through;

use axum::{Router, middleware::from_fn_with_state};
use tower::ServiceBuilder;

pub(crate) use body_limit::{MAX_BODY, announced_length};
/// Put into a response's extensions: its body must not be compressed.
pub(crate) use cairn_record_api::files::NeverCompress;

use crate::{hub::Hub, pages};

/// Puts every policy around the routes, outermost first.
pub(crate) fn around(routes: Router, hub: &Hub) -> Router {
    let with = hub.clone();
    routes.layer(
        ServiceBuilder::new()
            // What every answer carries, refusals too.
            .layer(axum::middleware::from_fn(security_headers::add))
            .layer(compress::layer())
            .layer(from_fn_with_state(with.clone(), pages::problems_as_html))
            .layer(from_fn_with_state(with.clone(), observe::observe))
            .layer(from_fn_with_state(with.clone(), panic::catch))
            .layer(from_fn_with_state(with.clone(), shed::shed))
            // Whether it asks for the internet, whether it is for us, and where it was sent from.
            .layer(from_fn_with_state(with.clone(), captive::answer))
            .layer(from_fn_with_state(with.clone(), host::check))
            .layer(from_fn_with_state(with.clone(), source::find))
            .layer(axum::middleware::from_fn(cors::answer))
            .layer(from_fn_with_state(with.clone(), rate_limit::by_address))
            .layer(axum::middleware::from_fn(body_limit::announced))
            .layer(axum::middleware::from_fn(deadline::keep))
            // Who sends it, and whether that person meant to.
            .layer(from_fn_with_state(with.clone(), identify::identify))
            .layer(axum::middleware::from_fn(csrf::check))
            .layer(from_fn_with_state(with.clone(), rate_limit::by_account))
            .layer(from_fn_with_state(with, write_through::wait))
            .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY)),
    )
}
