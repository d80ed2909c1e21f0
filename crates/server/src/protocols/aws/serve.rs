//! The routes.

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post, put};

use super::door::Doors;
use super::failure::{Exception, Failure};
use super::{control, data, jobs, role};

/// All paths of this contract. What of them a listener serves, its [`Doors`] say.
pub fn router(doors: Arc<Doors>) -> Router {
    Router::new()
        .route("/things/{thing}/jobs", get(jobs::list))
        .route("/things/{thing}/jobs/{job}", get(jobs::describe).put(jobs::start_next).post(jobs::update))
        .route("/things/{thing}/shadow", get(data::shadow).post(data::shadow).delete(data::shadow))
        .route("/api/things/shadow/ListNamedShadowsForThing/{thing}", get(data::named_shadows))
        .route("/topics/{*topic}", post(data::publish))
        .route("/role-aliases/{alias}/credentials", get(role::credentials))
        .route("/jobs", get(control::list))
        .route(
            "/jobs/{job}",
            put(control::create).get(control::describe).patch(control::update).delete(control::delete),
        )
        .route("/jobs/{job}/cancel", put(control::cancel))
        .route("/jobs/{job}/targets", post(control::associate))
        .route("/jobs/{job}/job-document", get(control::document))
        .route("/jobs/{job}/things", get(control::of_job))
        .route("/things/{thing}/jobs/{job}/cancel", put(control::cancel_execution))
        .route("/things/{thing}/jobs/{job}/executionNumber/{number}", delete(control::delete_execution))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(doors)
}

async fn method_not_allowed() -> Failure {
    Failure::new(Exception::MethodNotAllowed, "this path exists and does not take this method")
}
