//! The routes. The Open Inference Protocol's are under `/v2`, our own under
//! `/v1`. `openapi.json` describes them, and a test holds them together.

mod aliases;
mod body;
mod devices;
mod guard;
mod health;
mod infer;
mod keeping;
mod metadata;
mod modules;
mod observed;
mod page;
mod params;
mod parts;
mod probe;
mod repository;
mod signatures;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::{Method, Uri, header};

pub(crate) use guard::admit;

use crate::access::Scope;
use crate::error::HttpError;
use crate::host::Host;

/// The description of all routes, OpenAPI 3.1.
const OPENAPI: &str = include_str!("../../openapi.json");

/// One method of one path.
struct Route {
    path: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "a test compares it with the description"))]
    method: Method,
    /// What a client must be allowed; `None` where nobody is asked.
    scope: Option<Scope>,
    handler: MethodRouter<Arc<Host>>,
}

impl Route {
    fn new<H: Handler<T, Arc<Host>>, T: 'static>(
        scope: impl Into<Option<Scope>>,
        method: Method,
        path: impl Into<String>,
        handler: H,
    ) -> Self {
        let filter = MethodFilter::try_from(method.clone()).expect("a method that axum has");
        let (path, scope, handler) = (path.into(), scope.into(), on(filter, handler));
        Self { path, method, scope, handler }
    }
}

/// All routes of a host.
pub(crate) fn router(host: Arc<Host>) -> Router {
    let mut router = Router::new();
    for Route { path, scope, handler, .. } in routes() {
        let handler = match scope {
            Some(scope) => guard::guarded(&host, scope, handler),
            None => handler,
        };
        router = router.route(&path, handler);
    }
    router
        .fallback(nothing)
        .method_not_allowed_fallback(async || HttpError::method_not_allowed())
        .layer(middleware::from_fn(log))
        .with_state(host)
}

fn routes() -> Vec<Route> {
    use Scope::{Admin, Infer, Push};
    let (get, put, post, delete) = (Method::GET, Method::PUT, Method::POST, Method::DELETE);
    let mut routes = vec![
        Route::new(Push, get.clone(), "/v1/modules", modules::list),
        Route::new(Push, put.clone(), "/v1/modules/{digest}", modules::put),
        Route::new(Push, Method::HEAD, "/v1/modules/{digest}", modules::head),
        Route::new(Push, get.clone(), "/v1/modules/{digest}", modules::get),
        Route::new(Admin, delete.clone(), "/v1/modules/{digest}", modules::delete),
        Route::new(Push, put.clone(), "/v1/modules/{digest}/signature", signatures::put),
        Route::new(Push, get.clone(), "/v1/modules/{digest}/signature", signatures::get),
        Route::new(Push, get.clone(), "/v1/usage", keeping::usage),
        Route::new(Infer, get.clone(), "/v1/models", aliases::list),
        Route::new(Admin, post.clone(), "/v1/models/{name}/rollback", aliases::roll_back),
        Route::new(Admin, put, "/v1/models/{name}/versions/{version}", aliases::put),
        Route::new(Admin, delete, "/v1/models/{name}/versions/{version}", aliases::delete),
        Route::new(Infer, post.clone(), "/v1/echo", probe::echo),
        Route::new(Infer, post.clone(), "/v1/devices/{name}/report", devices::report),
        // These ask for the scope "view" themselves: a login has it too.
        Route::new(None, get.clone(), "/v1/overview", page::overview),
        Route::new(None, get.clone(), "/", page::page),
        Route::new(None, get.clone(), "/page/{file}", page::file),
        Route::new(None, get.clone(), "/login", page::login_page),
        Route::new(None, post.clone(), "/login", page::enter),
        Route::new(None, post.clone(), "/logout", page::leave),
        Route::new(Infer, get.clone(), "/v2", metadata::server),
        Route::new(None, get.clone(), "/v2/health/live", health::live),
        Route::new(None, get.clone(), "/v2/health/ready", health::ready),
        Route::new(Infer, get.clone(), "/v2/models/stats", observed::all),
        Route::new(Infer, post.clone(), "/v2/repository/index", repository::index),
        Route::new(Admin, post.clone(), "/v2/repository/models/{name}/load", repository::load),
        Route::new(Admin, post.clone(), "/v2/repository/models/{name}/unload", repository::unload),
        Route::new(Infer, get.clone(), "/metrics", observed::prometheus),
        Route::new(None, get.clone(), "/openapi.json", openapi),
    ];
    for path in ["/v2/models/{name}", "/v2/models/{name}/versions/{version}"] {
        let under = |name: &str| format!("{path}/{name}");
        routes.extend([
            Route::new(Infer, get.clone(), path, metadata::model),
            Route::new(Infer, get.clone(), under("ready"), health::model_ready),
            Route::new(Infer, get.clone(), under("config"), metadata::config),
            Route::new(Infer, get.clone(), under("stats"), observed::model),
            Route::new(Infer, post.clone(), under("infer"), infer::infer),
        ]);
    }
    routes
}

/// The extensions of the protocol that stock clients may ask for and that are not
/// here, by the beginning of their paths.
const NOT_HERE: [(&str, &str); 4] = [
    ("/v2/systemsharedmemory", "shared memory: send tensors with the request"),
    ("/v2/cudasharedmemory", "shared memory: send tensors with the request"),
    ("/v2/trace", "trace settings: traces are exported by OpenTelemetry"),
    ("/v2/logging", "log settings: they are the program's"),
];

async fn nothing(uri: Uri) -> HttpError {
    let path = uri.path();
    match NOT_HERE.iter().find(|(extension, _)| path.starts_with(extension)) {
        Some((_, what)) => HttpError::not_found(format!("this host has no {what}")),
        None => HttpError::not_found("there is nothing under this path"),
    }
}

async fn openapi() -> ([(header::HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

async fn log(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // W3C Trace Context: with it, this line can be joined to the client's.
    let trace = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    let trace = trace.map(str::to_owned).unwrap_or_default();
    let start = Instant::now();
    let response = next.run(request).await;
    let (status, time) = (response.status().as_u16(), start.elapsed());
    tracing::debug!(%method, path, status, ?time, trace, "request");
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// Method, path and scope of all that the description has.
    fn described() -> BTreeSet<(String, String, Option<String>)> {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        let mut described = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let scope = operation["x-scope"].as_str().map(str::to_owned);
                described.insert((method.to_uppercase(), path.clone(), scope));
            }
        }
        described
    }

    #[test]
    fn the_description_has_all_routes_and_their_scopes_and_no_others() {
        let key = |route: Route| {
            let scope = route.scope.map(|scope| scope.name().to_owned());
            (route.method.to_string(), route.path, scope)
        };
        let routes: BTreeSet<_> = routes().into_iter().map(key).collect();
        assert_eq!(routes, described());
    }

    #[test]
    fn every_part_that_the_description_refers_to_is_in_it() {
        fn references(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Object(object) => {
                    found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    object.values().for_each(|value| references(value, found));
                }
                Value::Array(array) => array.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
