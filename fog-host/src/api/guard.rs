//! Who asks, before a route is reached: known, and with the route's scope.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;

use super::body;
use crate::access::{Client, Peer, Scope};
use crate::error::HttpError;
use crate::host::Host;
use crate::observe::Refused;

/// Routes that only clients with a scope reach.
pub(super) fn guarded(
    host: &Arc<Host>,
    scope: Scope,
    routes: MethodRouter<Arc<Host>>,
) -> MethodRouter<Arc<Host>> {
    routes.route_layer(middleware::from_fn_with_state((Arc::clone(host), scope), guard))
}

async fn guard(
    State((host, scope)): State<(Arc<Host>, Scope)>,
    mut request: Request,
    next: Next,
) -> Response {
    match admit(&host, scope, &request) {
        Ok(client) => {
            request.extensions_mut().insert(client);
            next.run(request).await
        }
        Err(refusal) => body::drain(request.body_mut(), refusal).await.into_response(),
    }
}

/// Who asks, if they may.
pub(crate) fn admit(
    host: &Host,
    scope: Scope,
    request: &Request,
) -> Result<Arc<Client>, HttpError> {
    let peer = request.extensions().get::<Peer>();
    let peer = peer.ok_or_else(|| HttpError::internal("a request without a peer"))?;
    let (name, refusal) = match host.access().client(peer, request.headers()) {
        Some(client) if client.may(scope) => return Ok(client),
        Some(client) => {
            host.observations.refused(Refused::Forbidden);
            (client.name.to_string(), HttpError::forbidden(&client.name, scope))
        }
        None => {
            host.observations.refused(Refused::Unknown);
            (peer.address.ip().to_string(), HttpError::unauthenticated())
        }
    };
    let object = format!("{} {}", request.method(), request.uri().path());
    host.audit.refused(&name, scope.name(), &object, refusal.message());
    Err(refusal)
}
