//! The calls of the API that the driver makes (Amazon EC2 API Reference, version 2016-11-15).

use driver::DriverError;
use jiff::Timestamp;
use model::DeployId;
use reqwest::{Method, Url};
use roxmltree::{Document, Node, ParsingOptions};
use thiserror::Error;
use tokio::time::Instant;

use super::codes::{Class, advice, class};
use super::instance::{Instance, items, text_at};
use super::parameters::{Account, Form};
use super::sign::Signer;
use crate::common::{definite, unknown};
use crate::http::{Answer, Effect, Failure, Http, Judgement, Request, excerpt};

/// Version of the API.
const VERSION: &str = "2016-11-15";
/// Most values of one filter.
const VALUES: usize = 200;
/// Most pages of one list.
const PAGES: usize = 200;
/// Most nodes of an answer.
const NODES: u32 = 2_000_000;

/// A call that failed.
#[derive(Clone, Debug, Error)]
pub(super) enum ApiError {
    /// The provider refused: nothing was done.
    #[error("{words}")]
    Refused { code: String, words: String },
    /// There is no such machine.
    #[error("{0}")]
    NotFound(String),
    /// The token of this order was used for another one.
    #[error("{0}")]
    UsedToken(String),
    /// There was no usable answer.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl ApiError {
    /// As a driver's error, of a call that makes nothing: `what` is what did not come about.
    pub(super) fn of_look(self, what: &str) -> DriverError {
        match self {
            Self::Refused { code, words } => {
                definite(format!("{what}: {words}\n{}", advice(&code, &words)))
            }
            Self::NotFound(words) => {
                DriverError::new(driver::FailureKind::NotFound, format!("{what}: {words}"))
            }
            Self::UsedToken(words) => definite(format!("{what}: {words}")),
            Self::Failed(Failure::NotSent(why)) => unknown(format!(
                "{what}: {why}\nCheck the network and the parameters region_name and ec2_endpoint."
            )),
            Self::Failed(why) => unknown(format!("{what}: {why}")),
        }
    }
}

fn unreadable(answer: &Answer) -> ApiError {
    Failure::Unknown(format!("the answer cannot be used: {}", answer.words())).into()
}

/// An account, and until when its answers are waited for.
pub(super) struct Api<'a> {
    pub http: &'a Http,
    pub account: &'a Account,
    pub until: Instant,
}

/// Parses an answer.
fn document(body: &str) -> Option<Document<'_>> {
    let options = ParsingOptions { nodes_limit: NODES, ..ParsingOptions::default() };
    Document::parse_with_options(body, options).ok()
}

/// Code and message of an answer that is an error.
fn error_of(answer: &Answer) -> Option<(String, String)> {
    let text = std::str::from_utf8(&answer.body).ok()?;
    let document = document(text)?;
    let error = document.descendants().find(|node| node.tag_name().name() == "Error")?;
    let message = text_at(error, "Message").unwrap_or_default();
    Some((text_at(error, "Code")?.to_owned(), excerpt(message.as_bytes())))
}

fn is_answer(answer: &Answer, action: &str) -> bool {
    let root = format!("{action}Response");
    std::str::from_utf8(&answer.body)
        .ok()
        .and_then(document)
        .is_some_and(|document| document.root_element().tag_name().name() == root)
}

impl Api<'_> {
    async fn call(&self, effect: Effect, action: &str, form: &Form) -> Result<Answer, ApiError> {
        let mut url: Url = self.account.endpoint.clone();
        if url.path().is_empty() {
            url.set_path("/");
        }
        let mut body = form_urlencode(&[("Action", action), ("Version", VERSION)]);
        for (name, value) in form {
            body.push('&');
            body += &form_urlencode(&[(name, value)]);
        }
        let signer = Signer {
            access: &self.account.access,
            secret: &self.account.secret,
            session: self.account.session.as_ref(),
            region: &self.account.region,
            service: "ec2",
        };
        let request = || {
            let headers = signer.post(&url, body.as_bytes(), Timestamp::now())?;
            let body = body.clone().into_bytes();
            Ok(Request { method: Method::POST, url: url.clone(), headers, body })
        };
        let judge = |answer: &Answer| {
            if answer.is_success() {
                // A page of a proxy is no answer of this provider.
                return match is_answer(answer, action) {
                    true => Judgement::Taken,
                    false => Judgement::Troubled,
                };
            }
            let code = error_of(answer).map(|(code, _)| code);
            match class(answer.status, code.as_deref()) {
                Class::Throttled => Judgement::Throttled(answer.retry_after()),
                Class::Troubled => Judgement::Troubled,
                Class::Refused | Class::NotFound | Class::UsedToken => Judgement::Taken,
            }
        };
        let answer = self.http.exchange(effect, self.until, request, judge).await?;
        if answer.is_success() {
            return Ok(answer);
        }
        let (code, words) = match error_of(&answer) {
            Some((code, message)) => (code.clone(), format!("{code}: {message}")),
            None => (String::new(), answer.words()),
        };
        Err(
            match class(
                answer.status,
                Some(&code).filter(|code| !code.is_empty()).map(|c| c.as_str()),
            ) {
                Class::NotFound => ApiError::NotFound(words),
                Class::UsedToken => ApiError::UsedToken(words),
                _ => ApiError::Refused { code, words },
            },
        )
    }

    /// Calls, and reads the answer's root element.
    async fn ask<T>(
        &self,
        effect: Effect,
        action: &str,
        form: &Form,
        read: impl FnOnce(Node<'_, '_>) -> Option<T>,
    ) -> Result<T, ApiError> {
        let answer = self.call(effect, action, form).await?;
        let text = std::str::from_utf8(&answer.body).ok();
        let document = text.and_then(document);
        let read = document.and_then(|document| read(document.root_element()));
        read.ok_or_else(|| unreadable(&answer))
    }

    /// Asks for an instance.
    pub(super) async fn run(&self, order: &Form) -> Result<DeployId, ApiError> {
        self.ask(Effect::Creates, "RunInstances", order, |root| {
            let instance = items(root, "instancesSet").find_map(Instance::read);
            instance.map(|instance| instance.id)
        })
        .await
    }

    /// The instances that fit one of the values of a filter; all that we marked if there is no value.
    pub(super) async fn instances(
        &self,
        filter: &str,
        values: &[String],
    ) -> Result<Vec<Instance>, ApiError> {
        let mut found = Vec::new();
        for chunk in values.chunks(VALUES) {
            let mut filters: Form = vec![("Filter.1.Name".to_owned(), filter.to_owned())];
            filters.extend(
                chunk
                    .iter()
                    .enumerate()
                    .map(|(n, v)| (format!("Filter.1.Value.{}", n + 1), v.clone())),
            );
            let mut next: Option<String> = None;
            let mut pages = 0;
            loop {
                let mut form = filters.clone();
                form.extend(next.take().map(|token| ("NextToken".to_owned(), token)));
                let (page, token) = self
                    .ask(Effect::Repeatable, "DescribeInstances", &form, |root| {
                        let page: Vec<Instance> = items(root, "reservationSet")
                            .flat_map(|reservation| items(reservation, "instancesSet"))
                            .filter_map(Instance::read)
                            .collect();
                        Some((page, text_at(root, "nextToken").map(str::to_owned)))
                    })
                    .await?;
                found.extend(page);
                pages += 1;
                match token {
                    None => break,
                    // To stop here would be to say that there are no more machines.
                    Some(_) if pages >= PAGES => {
                        let why = format!("the list of machines has more than {PAGES} pages");
                        return Err(Failure::Unknown(why).into());
                    }
                    token => next = token,
                }
            }
        }
        Ok(found)
    }

    /// `TerminateInstances`, `StopInstances`, `StartInstances` or `RebootInstances`.
    pub(super) async fn act(&self, action: &str, id: &DeployId) -> Result<(), ApiError> {
        let form = vec![("InstanceId.1".to_owned(), id.to_string())];
        self.call(Effect::Repeatable, action, &form).await.map(drop)
    }

    /// The elastic IPs that fit a filter.
    pub(super) async fn addresses(
        &self,
        filter: &str,
        value: &str,
    ) -> Result<Vec<Address>, ApiError> {
        let form = vec![
            ("Filter.1.Name".to_owned(), filter.to_owned()),
            ("Filter.1.Value.1".to_owned(), value.to_owned()),
        ];
        self.ask(Effect::Repeatable, "DescribeAddresses", &form, |root| {
            Some(items(root, "addressesSet").filter_map(Address::read).collect())
        })
        .await
    }

    /// Allocates an elastic IP with a tag.
    pub(super) async fn allocate(&self, tags: &[(&str, &str)]) -> Result<(), ApiError> {
        let mut form = vec![
            ("Domain".to_owned(), "vpc".to_owned()),
            ("TagSpecification.1.ResourceType".to_owned(), "elastic-ip".to_owned()),
        ];
        for (n, (key, value)) in tags.iter().enumerate() {
            form.push((format!("TagSpecification.1.Tag.{}.Key", n + 1), (*key).to_owned()));
            form.push((format!("TagSpecification.1.Tag.{}.Value", n + 1), (*value).to_owned()));
        }
        self.call(Effect::Creates, "AllocateAddress", &form).await.map(drop)
    }

    /// Gives an instance an elastic IP.
    pub(super) async fn associate(&self, id: &DeployId, address: &Address) -> Result<(), ApiError> {
        let form = vec![
            ("InstanceId".to_owned(), id.to_string()),
            ("AllocationId".to_owned(), address.allocation.clone()),
            ("AllowReassociation".to_owned(), "false".to_owned()),
        ];
        self.call(Effect::Repeatable, "AssociateAddress", &form).await.map(drop)
    }

    /// Gives an elastic IP back; one that is gone already is no failure.
    pub(super) async fn release(&self, address: &Address) -> Result<(), ApiError> {
        let form = vec![("AllocationId".to_owned(), address.allocation.clone())];
        match self.call(Effect::Repeatable, "ReleaseAddress", &form).await {
            Err(ApiError::Refused { code, .. }) if code == "InvalidAllocationID.NotFound" => Ok(()),
            done => done.map(drop),
        }
    }
}

/// An elastic IP.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// Its id (`eipalloc-…`).
    pub allocation: String,
    /// The instance that has it.
    pub instance: Option<String>,
}

impl Address {
    fn read(node: Node<'_, '_>) -> Option<Self> {
        Some(Self {
            allocation: text_at(node, "allocationId")?.to_owned(),
            instance: text_at(node, "instanceId").map(str::to_owned),
        })
    }
}

/// A form's pairs as its body.
fn form_urlencode(pairs: &[(&str, &str)]) -> String {
    // The encoder of addresses is the one of forms.
    let mut url = Url::parse("form:").ok();
    if let Some(url) = &mut url {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    url.and_then(|url| url.query().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_that_do_harm_are_refused() {
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbbbbbb\">]><a>&b;</a>";
        assert!(document(bomb).is_none());
        let wide = format!("<a>{}</a>", "<b/>".repeat(NODES as usize));
        assert!(document(&wide).is_none());
    }

    #[test]
    fn deep_documents_are_survived() {
        let deep = "<a>".repeat(100_000);
        let closed = format!("{deep}{}", "</a>".repeat(100_000));
        for text in [deep, closed] {
            let _ = document(&text).map(|document| document.descendants().count());
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_survived(
            status in 100..600_u16,
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("<item>".to_owned()), Just("</item>".to_owned()),
                    Just("<instancesSet>".to_owned()), Just("</instancesSet>".to_owned()),
                    Just("<instanceId>".to_owned()), Just("</instanceId>".to_owned()),
                    Just("<Error><Code>".to_owned()), Just("</Code></Error>".to_owned()),
                    ".{0,5}",
                ],
                0..20,
            ),
        ) {
            let body = parts.concat().into_bytes();
            let answer = Answer { status, headers: Default::default(), body };
            let _ = error_of(&answer);
            is_answer(&answer, "RunInstances");
            if let Some(document) = std::str::from_utf8(&answer.body).ok().and_then(document) {
                for node in document.descendants() {
                    let _ = Instance::read(node).map(|instance| instance.report().to_line());
                }
            }
        }
    }
}
