//! Who asks, before a route is reached: known, and with the route's scope. Whoever asks for
//! a change and is refused it, by the guard or by the route, is in the audit log.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use http::header;

use super::body;
use crate::access::{Client, Peer, Scope};
use crate::error::{HttpError, Told};
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

/// Whether a browser says that a page of another site has it send this. Without
/// authentication, the address is all that such a page would need.
fn is_of_another_site(request: &Request) -> bool {
    let site = request.headers().get("sec-fetch-site").map(|value| value.as_bytes());
    matches!(site, Some(b"cross-site" | b"same-site"))
}

async fn guard(
    State((host, scope)): State<(Arc<Host>, Scope)>,
    mut request: Request,
    next: Next,
) -> Response {
    if is_of_another_site(&request) {
        let refusal = HttpError::bad_request("this request was sent by a page of another site");
        return body::drain(request.body_mut(), refusal).await.into_response();
    }
    match admit(&host, scope, &request) {
        Ok(client) => {
            let is_change = scope.is_to_change() && !request.method().is_safe();
            let object = is_change.then(|| object(&request));
            request.extensions_mut().insert(Arc::clone(&client));
            let response = next.run(request).await;
            if let (Some(object), Some(Told(why))) = (object, response.extensions().get()) {
                host.audit.refused(&client.name, scope.name(), &object, why);
            }
            response
        }
        Err(refusal) => body::drain(request.body_mut(), refusal).await.into_response(),
    }
}

/// What a request is for, in the audit log.
fn object(request: &Request) -> String {
    format!("{} {}", request.method(), request.uri().path())
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
        Some(client) if client.may(scope) => {
            let agent = request.headers().get(header::USER_AGENT);
            let agent = agent.and_then(|value| value.to_str().ok());
            host.seen.asks(&client.name, peer.address.ip(), agent);
            return Ok(client);
        }
        Some(client) => {
            host.observations.refused(Refused::Forbidden);
            (client.name.to_string(), HttpError::forbidden(&client.name, scope))
        }
        None => {
            host.observations.refused(Refused::Unknown);
            (peer.address.ip().to_string(), HttpError::unauthenticated())
        }
    };
    host.audit.refused(&name, scope.name(), &object(request), refusal.message());
    Err(refusal)
}
