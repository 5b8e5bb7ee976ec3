//! The page at `/`, which draws `/v1/overview`, and the login before it where
//! clients must be known.
//!
//! The login is a cookie with the client's own token, so that every host behind a
//! balancer knows it and a token that is taken away is gone at once. Scripts cannot
//! read it, other sites' requests do not carry it (`SameSite=Strict`), and it lets
//! nobody do more than look: only what is in this file hears of it. The page has no
//! script, style or text that another site gives (Content Security Policy), and its
//! script sets text as text.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use super::body::{self, BodyLimits};
use super::params::Params;
use crate::access::{Client, Peer, Scope};
use crate::error::HttpError;
use crate::host::Host;
use crate::observe::Refused;
use crate::overview::Overview;

const PAGE: &str = include_str!("../../page/index.html");
const LOGIN: &str = include_str!("../../page/login.html");
/// Where the login's page has what went wrong.
const LOGIN_MESSAGE: &str = "<!-- message -->";

/// The page's other files, by their paths below `/page`.
const FILES: [(&str, &str, &str); 5] = [
    ("style.css", "text/css; charset=utf-8", include_str!("../../page/style.css")),
    ("app.js", "text/javascript; charset=utf-8", include_str!("../../page/app.js")),
    ("dom.js", "text/javascript; charset=utf-8", include_str!("../../page/dom.js")),
    ("charts.js", "text/javascript; charset=utf-8", include_str!("../../page/charts.js")),
    ("icon.svg", "image/svg+xml", include_str!("../../page/icon.svg")),
];

const SECURITY: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Half a day.
const LOGIN_SECONDS: u32 = 12 * 60 * 60;
const LOGIN_LIMITS: BodyLimits =
    BodyLimits { bytes: 4 << 10, time: std::time::Duration::from_secs(10) };

/// Who looks: whoever may by the request itself, or by the login.
fn viewer(host: &Host, peer: &Peer, headers: &HeaderMap) -> Result<Arc<Client>, HttpError> {
    let access = host.access();
    let by_login = || access.by_token(login(headers)?);
    let client = access.client(peer, headers).or_else(by_login);
    let client = client.ok_or_else(HttpError::unauthenticated)?;
    match client.may(Scope::View) {
        true => Ok(client),
        false => Err(HttpError::forbidden(&client.name, Scope::View)),
    }
}

/// The token of the login's cookie. Over TLS it has a name that only this host can
/// set.
fn login(headers: &HeaderMap) -> Option<&[u8]> {
    let cookies = headers.get_all(header::COOKIE).into_iter();
    let mut pairs = cookies.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let pair = pair.trim_ascii();
        pair.strip_prefix(b"__Host-leeway=").or_else(|| pair.strip_prefix(b"leeway="))
    })
}

fn cookie(host: &Host, token: &str, seconds: u32) -> String {
    let (name, secure) = match host.config.tls {
        Some(_) => ("__Host-leeway", "; Secure"),
        None => ("leeway", ""),
    };
    format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

fn html(status: StatusCode, text: impl Into<Body>) -> Response {
    let content_type = (header::CONTENT_TYPE, "text/html; charset=utf-8");
    (status, [content_type], SECURITY, text.into()).into_response()
}

fn see_other(path: &'static str, cookie: Option<String>) -> Response {
    let mut response =
        (StatusCode::SEE_OTHER, SECURITY, [(header::LOCATION, path)]).into_response();
    if let Some(Ok(cookie)) = cookie.map(HeaderValue::try_from) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// The page, or the way to the login.
pub(super) async fn page(
    State(host): State<Arc<Host>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    match viewer(&host, &peer, &headers) {
        Ok(_) => html(StatusCode::OK, PAGE),
        Err(_) => see_other("/login", None),
    }
}

/// A file of the page's. There is nothing secret in them.
pub(super) async fn file(Params(path): Params<String>) -> Response {
    match FILES.iter().find(|(name, _, _)| *name == path) {
        Some((_, kind, text)) => (SECURITY, [(header::CONTENT_TYPE, *kind)], *text).into_response(),
        None => HttpError::not_found("there is nothing under this path").into_response(),
    }
}

/// Where a token is entered.
pub(super) async fn login_page() -> Response {
    html(StatusCode::OK, LOGIN.replace(LOGIN_MESSAGE, ""))
}

/// Takes a token for the cookie.
pub(super) async fn enter(
    State(host): State<Arc<Host>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, HttpError> {
    from_here(&headers)?;
    let body = body::read(&headers, body, LOGIN_LIMITS).await?;
    let token = token(&body);
    let client = token.as_ref().and_then(|token| host.access().by_token(token.as_bytes()));
    let why = match (client, token) {
        (Some(client), Some(token)) if client.may(Scope::View) => {
            host.audit.did(&client, "login", "page");
            return Ok(see_other("/", Some(cookie(&host, &token, LOGIN_SECONDS))));
        }
        (Some(_), _) => "This token may not see the page: it needs the scope “view”.",
        (None, _) => "No client has this token.",
    };
    host.observations.refused(Refused::Unknown);
    host.audit.refused(&peer.address.ip().to_string(), "login", "page", why);
    let message = format!("<p class=\"wrong\" role=\"alert\">{why}</p>");
    Ok(html(StatusCode::UNAUTHORIZED, LOGIN.replace(LOGIN_MESSAGE, &message)))
}

/// Ends the login.
pub(super) async fn leave(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    from_here(&headers)?;
    Ok(see_other("/login", Some(cookie(&host, "", 0))))
}

/// Refuses a form that another site has sent.
fn from_here(headers: &HeaderMap) -> Result<(), HttpError> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let origin = text(header::ORIGIN).map(|origin| {
        let host = origin.split_once("://").map(|(_, host)| host);
        host.is_some() && host == text(header::HOST)
    });
    if site.is_some_and(|site| site != "same-origin") || origin == Some(false) {
        return Err(HttpError::bad_request("this form was sent by another site"));
    }
    Ok(())
}

/// The token of a form, `token=…`: letters and digits and what else needs no escape.
fn token(form: &[u8]) -> Option<String> {
    let form = std::str::from_utf8(form).ok()?;
    let value = form.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    // A copied token often has a space or the end of a line with it.
    let value = value.trim_matches('+').replace("%0D", "").replace("%0A", "");
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    (!value.is_empty() && value.chars().all(plain)).then_some(value)
}

/// Whose flow of decisions is wanted: of one device, or of all.
#[derive(Deserialize)]
pub(super) struct Chosen {
    client: Option<String>,
    device: Option<String>,
}

/// What is to be seen, as JSON.
pub(super) async fn overview(
    State(host): State<Arc<Host>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    chosen: Result<Query<Chosen>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, HttpError> {
    let client = viewer(&host, &peer, &headers)?;
    let Query(chosen) = chosen.map_err(|error| HttpError::bad_request(error.body_text()))?;
    let of = chosen.client.zip(chosen.device);
    let by_login = login(&headers).is_some_and(|token| {
        host.access().by_token(token).is_some_and(|known| known.name == client.name)
    });
    let overview = Overview::of(&host, &client.name, by_login, of.as_ref());
    Ok((SECURITY, Json(overview)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_one_of_the_cookies() {
        let mut headers = HeaderMap::new();
        assert_eq!(login(&headers), None);
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; xleeway=1"));
        assert_eq!(login(&headers), None);
        headers.append(header::COOKIE, HeaderValue::from_static("c=d; leeway=00ff"));
        assert_eq!(login(&headers), Some(&b"00ff"[..]));
    }

    #[test]
    fn only_what_can_be_in_a_cookie_is_a_token() {
        assert_eq!(token(b"token=00ff"), Some("00ff".into()));
        assert_eq!(token(b"a=b&token=+00ff%0D%0A"), Some("00ff".into()));
        for form in [&b""[..], b"token=", b"token=a%3Bb", b"token=a;b", b"token=\xff", b"x=y"] {
            assert_eq!(token(form), None, "{form:?}");
        }
    }

    #[test]
    fn forms_of_other_sites_are_refused() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            headers
        };
        for good in [
            &[][..],
            &[("sec-fetch-site", "same-origin")],
            &[("origin", "http://a:1"), ("host", "a:1")],
        ] {
            assert!(from_here(&headers(good)).is_ok(), "{good:?}");
        }
        for bad in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("origin", "http://a:2"), ("host", "a:1")],
            &[("origin", "null"), ("host", "a:1")],
            &[("origin", "http://a:1")],
        ] {
            assert!(from_here(&headers(bad)).is_err(), "{bad:?}");
        }
    }
}
