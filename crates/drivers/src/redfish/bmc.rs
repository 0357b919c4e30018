//! One BMC: requests, logging in, tasks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use driver::DriverError;
use model::Secret;
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH, LOCATION, WWW_AUTHENTICATE,
};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use super::parameters::{Login, Site};
use crate::common::{definite, unknown};
use crate::http::{Answer, Effect, Failure, Http, Judgement, Request, excerpt, judge_json};

/// The service root (DSP0266, 6.2).
const ROOT: &str = "/redfish/v1/";
/// Most pages of a collection.
const PAGES: usize = 100;
/// Most redirections that are followed.
const REDIRECTS: usize = 3;
/// Between two looks at a task, unless the BMC says otherwise.
const TASK: Duration = Duration::from_secs(1);

/// A request that failed.
#[derive(Clone, Debug, Error)]
pub(super) enum ApiError {
    /// The BMC said no, in these words.
    #[error("{words}")]
    Refused { status: u16, words: String },
    /// The BMC sends to another address.
    #[error("it redirects to {0}")]
    Elsewhere(String),
    /// There was no usable answer.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl ApiError {
    /// Whether the BMC said no, and did not merely break.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { status: ..=499 | 501, .. } | Self::Elsewhere(_))
    }

    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404 | 410, .. })
    }

    /// As a driver's error; `what` is what did not come about.
    pub(super) fn of(self, what: &str, site: &Site) -> DriverError {
        let authority = &site.authority;
        let refusal = self.is_refusal();
        match self {
            Self::Refused { status, words } if refusal => {
                let advice = match status {
                    401 | 403 => {
                        "Check the parameters redfish_user and redfish_password, and the user's rights."
                    }
                    404 | 410 => {
                        "Check the parameters redfish_address and redfish_system: is it a BMC that speaks Redfish?"
                    }
                    _ => {
                        "The BMC does not do what was asked of it; its own manual and log say why."
                    }
                };
                definite(format!("{what}: BMC {authority}: {words}\n{advice}"))
            }
            Self::Elsewhere(target) => definite(format!(
                "{what}: BMC {authority}: it redirects to {target}\nCheck the parameter \
                 redfish_address: it must be the BMC itself."
            )),
            Self::Refused { words, .. } => unknown(format!("{what}: BMC {authority}: {words}")),
            Self::Failed(Failure::NotSent(why)) => {
                let advice = match why.contains("certificate") {
                    true => "Check the parameters redfish_ca, redfish_pin and redfish_verify.",
                    false => "Check the network and the parameter redfish_address.",
                };
                unknown(format!("{what}: BMC {authority}: {why}\n{advice}"))
            }
            Self::Failed(why) => unknown(format!("{what}: BMC {authority}: {why}")),
        }
    }
}

/// A resource as it was read.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    /// Its path, by its own word.
    pub path: String,
    pub json: Value,
    /// What a change of it must name (`If-Match`), if the BMC says it.
    pub etag: Option<String>,
}

/// A request.
struct Ask<'a> {
    method: Method,
    url: Url,
    body: Option<&'a Value>,
    etag: Option<&'a str>,
    effect: Effect,
}

/// A session with a BMC: what it is named by, and where it ends.
#[derive(Clone, Debug)]
struct Session {
    token: Secret,
    place: Option<Url>,
}

/// A BMC, for the time of one call.
pub(super) struct Bmc<'a> {
    pub http: &'a Http,
    pub site: &'a Site,
    /// The end of the call.
    pub until: Instant,
    /// How long one question is repeated.
    pub patience: Duration,
    session: Mutex<Option<Session>>,
}

impl<'a> Bmc<'a> {
    pub(super) fn new(http: &'a Http, site: &'a Site, until: Instant, patience: Duration) -> Self {
        Self { http, site, until, patience, session: Mutex::new(None) }
    }

    fn until(&self) -> Instant {
        self.until.min(Instant::now() + self.patience)
    }

    /// An address on this BMC. Credentials go nowhere else, whatever a link says.
    fn url(&self, path: &str) -> Result<Url, ApiError> {
        let url = self.site.base.join(path).ok();
        let url = url.filter(|url| url.origin() == self.site.base.origin());
        url.ok_or_else(|| Failure::NotSent("the BMC's link leads to another server".into()).into())
    }

    fn session(&self) -> Option<Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn send(&self, ask: &Ask<'_>, open: bool) -> Result<Answer, ApiError> {
        let session = self.session();
        let request = || {
            let mut headers = HeaderMap::new();
            let secret = |text: &str| {
                let mut value = HeaderValue::from_str(text)
                    .map_err(|_| "the BMC's token or ETag cannot be sent".to_owned())?;
                value.set_sensitive(true);
                Ok::<_, String>(value)
            };
            match &session {
                _ if open => {}
                Some(session) => {
                    headers.insert("x-auth-token", secret(session.token.expose())?);
                }
                None => {
                    let Site { user, password, .. } = self.site;
                    let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
                    headers.insert(AUTHORIZATION, secret(&format!("Basic {pair}"))?);
                }
            }
            headers.insert("accept", HeaderValue::from_static("application/json"));
            headers.insert("odata-version", HeaderValue::from_static("4.0"));
            if let Some(etag) = ask.etag {
                headers.insert(IF_MATCH, secret(etag)?);
            }
            if ask.body.is_some() {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            let body = ask.body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
            Ok(Request { method: ask.method.clone(), url: ask.url.clone(), headers, body })
        };
        let judge = |answer: &Answer| match judge_json(answer) {
            // What the BMC says in words of Redfish will be no other the next time.
            Judgement::Troubled
                if answer.status == 501 || (ask.body.is_some() && is_told(answer)) =>
            {
                Judgement::Taken
            }
            judgement => judgement,
        };
        Ok(self.http.exchange(ask.effect, self.until(), request, judge).await?)
    }

    /// Sends a request, logged in.
    async fn call(&self, ask: &Ask<'_>) -> Result<Answer, ApiError> {
        if self.site.login == Login::Session && self.session().is_none() {
            self.log_in().await?;
        }
        let had_session = self.session().is_some();
        let answer = self.send(ask, false).await?;
        let again = match (answer.status, self.site.login) {
            (401, Login::Session) => had_session,
            (401, Login::Auto) => had_session || !offers_basic(&answer),
            _ => false,
        };
        if !again {
            return taken(answer);
        }
        self.log_in().await?;
        taken(self.send(ask, false).await?)
    }

    /// Opens a session (DSP0266, 13.3.4).
    async fn log_in(&self) -> Result<(), ApiError> {
        let get = self.ask(Method::GET, ROOT)?;
        let root = taken(self.send(&get, true).await?)?;
        let root: Value = serde_json::from_slice(&root.body).unwrap_or_default();
        let place = root.pointer("/Links/Sessions/@odata.id").and_then(Value::as_str);
        let is_named = place.is_some();
        let place = place.unwrap_or("/redfish/v1/SessionService/Sessions");
        let Site { user, password, .. } = self.site;
        let body = json!({ "UserName": user, "Password": password.expose() });
        let post = Ask { body: Some(&body), ..self.ask(Method::POST, place)? };
        let answer = match taken(self.send(&post, true).await?) {
            // Who has none may ask for a password before saying so.
            Err(error) if error.is_not_found() || (!is_named && error.is_refusal()) => {
                let words = "it has no sessions; set redfish_auth to basic".to_owned();
                return Err(ApiError::Refused { status: 401, words });
            }
            answer => answer?,
        };
        let token = answer.headers.get("x-auth-token").and_then(|value| value.to_str().ok());
        let token = token.ok_or_else(|| {
            Failure::Unknown("the BMC opened a session and did not name its token".to_owned())
        })?;
        let place = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let place = place.and_then(|place| self.url(place).ok());
        let session = Session { token: Secret::new(token), place };
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
        Ok(())
    }

    /// Ends the session: BMCs have few. One that cannot be ended ends by itself.
    pub(super) async fn close(&self) {
        let Some(Session { place: Some(url), .. }) = self.session() else { return };
        let method = Method::DELETE;
        let ask = Ask { method, url, body: None, etag: None, effect: Effect::Creates };
        let ended = tokio::time::timeout(Duration::from_secs(5), self.send(&ask, false)).await;
        if !matches!(&ended, Ok(Ok(answer)) if answer.is_success()) {
            tracing::debug!(bmc = %self.site.authority, "the session could not be ended");
        }
    }

    fn ask(&self, method: Method, path: &str) -> Result<Ask<'static>, ApiError> {
        let url = self.url(path)?;
        Ok(Ask { method, url, body: None, etag: None, effect: Effect::Repeatable })
    }

    /// Reads a resource.
    pub(super) async fn get(&self, path: &str) -> Result<Resource, ApiError> {
        let mut ask = self.ask(Method::GET, path)?;
        for _ in 0..=REDIRECTS {
            let answer = match self.call(&ask).await {
                Ok(answer) => answer,
                Err(ApiError::Elsewhere(target)) => {
                    ask.url = self.url(&target).map_err(|_| ApiError::Elsewhere(target))?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            if !json.is_object() {
                let words = answer.words();
                return Err(Failure::Unknown(format!("that is no resource: {words}")).into());
            }
            let own = json.get("@odata.id").and_then(Value::as_str);
            let own = own.filter(|own| own.starts_with('/')).unwrap_or_else(|| ask.url.path());
            let header = answer.headers.get(ETAG).and_then(|value| value.to_str().ok());
            let etag = header.or_else(|| json.get("@odata.etag").and_then(Value::as_str));
            let (path, etag) = (own.trim_end_matches('/').to_owned(), etag.map(str::to_owned));
            return Ok(Resource { path, etag, json });
        }
        Err(Failure::Unknown("the BMC redirects for ever".to_owned()).into())
    }

    /// The paths of a collection's members.
    pub(super) async fn members(&self, path: &str) -> Result<Vec<String>, ApiError> {
        let mut found = Vec::new();
        let mut next = path.to_owned();
        for _ in 0..PAGES {
            let page = self.get(&next).await?.json;
            let Some(members) = page.get("Members").and_then(Value::as_array) else {
                return Err(Failure::Unknown("that is no collection".to_owned()).into());
            };
            found.extend(members.iter().filter_map(link));
            match page.get("Members@odata.nextLink").and_then(Value::as_str) {
                Some(link) => link.clone_into(&mut next),
                None => return Ok(found),
            }
        }
        Err(Failure::Unknown("the collection does not end".to_owned()).into())
    }

    /// Changes a resource, only if it still is as it was read (where the BMC knows ETags).
    pub(super) async fn patch(
        &self,
        path: &str,
        etag: Option<&str>,
        body: &Value,
    ) -> Result<(), ApiError> {
        // Without an ETag a second copy could undo what somebody did after the first.
        let effect = if etag.is_some() { Effect::Repeatable } else { Effect::Creates };
        let ask = Ask { body: Some(body), etag, effect, ..self.ask(Method::PATCH, path)? };
        let answer = self.call(&ask).await?;
        self.task(answer).await
    }

    /// An action, and the end of the task that it may be (DSP0266, 12.2).
    pub(super) async fn post(
        &self,
        path: &str,
        body: &Value,
        effect: Effect,
    ) -> Result<(), ApiError> {
        let ask = Ask { body: Some(body), effect, ..self.ask(Method::POST, path)? };
        let answer = self.call(&ask).await?;
        self.task(answer).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<(), ApiError> {
        let answer = self.call(&self.ask(Method::DELETE, path)?).await?;
        self.task(answer).await
    }

    async fn task(&self, mut answer: Answer) -> Result<(), ApiError> {
        let place = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let Some(place) = place.filter(|_| answer.status == 202).map(str::to_owned) else {
            return Ok(());
        };
        let ask = self.ask(Method::GET, &place)?;
        loop {
            let task: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let state = task.get("TaskState").and_then(Value::as_str).unwrap_or_default();
            match state {
                "Completed" => return Ok(()),
                "Exception" | "Killed" | "Cancelled" | "Interrupted" => {
                    let said = crate::http::words(
                        json!({ "error": task.get("Messages") }).to_string().as_bytes(),
                    );
                    let words = format!("the task ended as {state}: {said}");
                    return Err(ApiError::Refused { status: 500, words });
                }
                "" if answer.status != 202 => return Ok(()),
                _ => {}
            }
            let pause = answer.retry_after().unwrap_or(TASK).max(Duration::from_millis(100));
            if Instant::now() + pause >= self.until {
                return Err(Failure::Unknown("its task did not end in time".to_owned()).into());
            }
            sleep(pause).await;
            answer = match self.call(&ask).await {
                // A task that is over may be forgotten.
                Err(error) if error.is_not_found() => return Ok(()),
                answer => answer?,
            };
        }
    }
}

fn taken(answer: Answer) -> Result<Answer, ApiError> {
    if answer.is_success() {
        return Ok(answer);
    }
    let (status, words) = (answer.status, answer.words());
    let target = answer.headers.get(LOCATION).filter(|_| (300..400).contains(&status));
    Err(match target {
        Some(target) => ApiError::Elsewhere(excerpt(target.as_bytes())),
        None => ApiError::Refused { status, words },
    })
}

/// Whether the answer has an error in Redfish's form.
fn is_told(answer: &Answer) -> bool {
    serde_json::from_slice::<Value>(&answer.body).is_ok_and(|json| json.get("error").is_some())
}

fn offers_basic(answer: &Answer) -> bool {
    let offers = answer.headers.get_all(WWW_AUTHENTICATE).iter();
    offers
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("basic"))
}

/// The path in `{"@odata.id": "/…"}`.
pub(super) fn link(json: &Value) -> Option<String> {
    let path = json.get("@odata.id")?.as_str()?.trim_end_matches('/');
    let plain = path.chars().all(|c| c.is_ascii_graphic()) && path.len() <= 512;
    (plain && path.starts_with('/')).then(|| path.to_owned())
}
