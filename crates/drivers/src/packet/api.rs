//! The calls of the API that the driver makes.

use std::time::Duration;

use driver::DriverError;
use model::DeployId;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::Instant;

use super::device::{Device, traffic_of};
use super::parameters::{Account, is_id};
use crate::common::{definite, unknown};
use crate::http::{Answer, Effect, Failure, Http, Request, judge_json};

/// Devices on one page of a list; the API allows 1000.
const PAGE: usize = 250;
/// Most pages that are read.
const PAGES: usize = 400;

/// A call that failed.
#[derive(Clone, Debug, Error)]
pub(super) enum ApiError {
    /// The provider refused: nothing was done.
    #[error("{words}")]
    Refused { status: u16, words: String },
    /// There was no usable answer.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl ApiError {
    /// As a driver's error, of a call that makes nothing: `what` is what did not come about.
    pub(super) fn of_look(self, what: &str) -> DriverError {
        match self {
            Self::Refused { status, words } => {
                definite(format!("{what}: {words}\n{}", advice(status, &words)))
            }
            Self::Failed(Failure::NotSent(why)) => unknown(format!(
                "{what}: {why}\nCheck the network and the parameter packet_endpoint."
            )),
            Self::Failed(why) => unknown(format!("{what}: {why}")),
        }
    }
}

/// What to do about a refusal: which parameter it is about.
pub(super) fn advice(status: u16, words: &str) -> String {
    let lower = words.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let parameter = match status {
        401 | 403 => {
            "packet_token (and whether it may use the project in packet_project)".to_owned()
        }
        404 => "packet_project and packet_endpoint".to_owned(),
        _ => {
            let about: Vec<&str> = [
                ("plan", &["plan"][..]),
                ("os", &["operating_system", "operating system"]),
                ("facility", &["facility", "facilities"]),
                ("metro", &["metro"]),
                ("hostname", &["hostname"]),
                ("billing_cycle", &["billing"]),
                ("hardware_reservation", &["reservation"]),
                ("userdata", &["userdata"]),
                ("tags", &["tag"]),
                ("packet_project", &["quota", "limit", "project"]),
            ]
            .into_iter()
            .filter(|(_, words)| has(words))
            .map(|(name, _)| name)
            .collect();
            match about.is_empty() {
                true => "plan, os, facility or metro".to_owned(),
                false => about.join(", "),
            }
        }
    };
    format!("Nothing was done. Check the parameter {parameter}.")
}

/// An account, and until when its answers are waited for.
pub(super) struct Api<'a> {
    pub http: &'a Http,
    pub account: &'a Account,
    pub until: Instant,
}

impl Api<'_> {
    fn url(&self, path: &[&str], query: &[(&str, String)]) -> Result<Url, String> {
        let mut url = self.account.endpoint.clone();
        url.path_segments_mut()
            .map_err(|()| "packet_endpoint is no address of a server".to_owned())?
            .pop_if_empty()
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&Value>,
        effect: Effect,
    ) -> Result<Answer, ApiError> {
        let request = || {
            let mut headers = HeaderMap::new();
            let mut token = HeaderValue::from_str(self.account.token.expose())
                .map_err(|_| "parameter packet_token has a character that no token has")?;
            token.set_sensitive(true);
            headers.insert("x-auth-token", token);
            headers.insert("accept", HeaderValue::from_static("application/json"));
            if body.is_some() {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
            Ok(Request { method: method.clone(), url: self.url(path, query)?, headers, body })
        };
        let answer = self.http.exchange(effect, self.until, request, judge_json).await?;
        if answer.is_success() {
            return Ok(answer);
        }
        Err(ApiError::Refused { status: answer.status, words: answer.words() })
    }

    async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value, ApiError> {
        let answer = self.call(Method::GET, path, query, None, Effect::Repeatable).await?;
        serde_json::from_slice(&answer.body)
            .map_err(|_| Failure::Unknown("the provider's answer is empty".to_owned()).into())
    }

    /// Asks for a device.
    pub(super) async fn create(&self, order: &Value) -> Result<Device, ApiError> {
        let path = ["projects", &self.account.project, "devices"];
        let answer = self.call(Method::POST, &path, &[], Some(order), Effect::Creates).await?;
        let device = serde_json::from_slice(&answer.body).ok().and_then(Device::new);
        device.ok_or_else(|| {
            let words = answer.words();
            Failure::Unknown(format!("the answer to the order names no device: {words}")).into()
        })
    }

    /// All devices of the project.
    pub(super) async fn devices(&self) -> Result<Vec<Device>, ApiError> {
        let path = ["projects", &self.account.project, "devices"];
        let mut all: Vec<Device> = Vec::new();
        for page in 1..=PAGES {
            let query = [("page", page.to_string()), ("per_page", PAGE.to_string())];
            let answer = self.get(&path, &query).await?;
            let Some(Value::Array(devices)) = answer.get("devices") else {
                // To take it for an empty list would be to say that there is no machine.
                return Err(Failure::Unknown("the answer holds no list of devices".into()).into());
            };
            let count = devices.len();
            all.extend(devices.iter().cloned().filter_map(Device::new));
            let last = answer.pointer("/meta/last_page").and_then(Value::as_u64);
            let more = match last {
                Some(last) => (page as u64) < last,
                None => count >= PAGE,
            };
            if !more || count == 0 {
                return Ok(all);
            }
        }
        Err(Failure::Unknown(format!("the project has more than {} devices", PAGE * PAGES)).into())
    }

    /// A device; `None` if there is no such one, and not merely none that this token may see.
    pub(super) async fn device(&self, id: &DeployId) -> Result<Option<Device>, ApiError> {
        if !is_id(id.as_str()) {
            return Ok(None);
        }
        let refusal = match self.get(&["devices", id.as_str()], &[]).await {
            Ok(json) => {
                let device = Device::new(json).filter(|device| &device.id == id);
                return device.map(Some).ok_or_else(|| {
                    Failure::Unknown("the answer holds another thing than the device".into()).into()
                });
            }
            Err(error @ ApiError::Refused { status: 404, .. }) => error,
            Err(error) => return Err(error),
        };
        // So answers a wrong project, a wrong endpoint and a page in between, too. Who can list the
        // project would see it there.
        match self.devices().await {
            Ok(all) => Ok(all.into_iter().find(|device| &device.id == id)),
            Err(_) => Err(refusal),
        }
    }

    /// `power_on`, `power_off` or `reboot`.
    pub(super) async fn act(&self, id: &DeployId, action: &str) -> Result<(), ApiError> {
        let body = json!({ "type": action });
        // A reboot that comes twice is a second reboot: not what was asked for, but no harm.
        let path = ["devices", id.as_str(), "actions"];
        self.call(Method::POST, &path, &[], Some(&body), Effect::Repeatable).await.map(drop)
    }

    /// Gives a device back.
    pub(super) async fn delete(&self, id: &DeployId) -> Result<(), ApiError> {
        let path = ["devices", id.as_str()];
        let answer = self.call(Method::DELETE, &path, &[], None, Effect::Repeatable).await;
        match answer {
            // Whether it is gone is looked for afterwards.
            Err(ApiError::Refused { status: 404, .. }) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Bytes received and sent since a time; `None` if that cannot be had quickly.
    pub(super) async fn traffic(&self, device: &Device) -> Option<(u64, u64)> {
        let from = device.created()?;
        let now = jiff::Timestamp::now().as_second();
        let query = [("from", from.to_string()), ("until", now.to_string())];
        let until = self.until.min(Instant::now() + Duration::from_secs(5));
        let path = ["devices", device.id.as_str(), "bandwidth"];
        let quick = Api { until, ..*self };
        traffic_of(&quick.get(&path, &query).await.ok()?)
    }
}
