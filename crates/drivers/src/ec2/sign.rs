//! Signature Version 4 (AWS, *Signature Version 4 signing process*) for requests with a form as body.
//!
//! One HMAC chain, with ring's HMAC: the crate of AWS for it brings forty others.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::Secret;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use ring::{digest, hmac};

/// Content type of a form.
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// Who signs, for where.
pub(super) struct Signer<'a> {
    pub access: &'a str,
    pub secret: &'a Secret,
    pub session: Option<&'a Secret>,
    pub region: &'a str,
    pub service: &'a str,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn hash(text: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, text).as_ref())
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

impl Signer<'_> {
    /// The headers of a POST of `body` to `url` at that time, or why there are none.
    pub(super) fn post(&self, url: &Url, body: &[u8], now: Timestamp) -> Result<HeaderMap, String> {
        self.sign("POST", url, "", body, now)
    }

    fn sign(
        &self,
        method: &str,
        url: &Url,
        query: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<HeaderMap, String> {
        let now = now.to_zoned(TimeZone::UTC);
        let (time, date) = (now.strftime("%Y%m%dT%H%M%SZ").to_string(), now.strftime("%Y%m%d"));
        let host = match (url.host_str().unwrap_or_default(), url.port()) {
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        };
        // In the order of their names, as the signature wants them.
        let mut signed = vec![("content-type", FORM), ("host", &host), ("x-amz-date", &time)];
        if let Some(session) = self.session {
            signed.push(("x-amz-security-token", session.expose()));
        }
        let mut canonical = format!("{method}\n{}\n{query}\n", url.path());
        for (name, value) in &signed {
            canonical += &format!("{name}:{}\n", value.trim());
        }
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        canonical += &format!("\n{names}\n{}", hash(body));
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(canonical.as_bytes()));
        let mut key = mac(format!("AWS4{}", self.secret.expose()).as_bytes(), &date.to_string());
        for part in [self.region, self.service, "aws4_request"] {
            key = mac(key.as_ref(), part);
        }
        let signature = hex(mac(key.as_ref(), &text).as_ref());
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access
        );
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            let value = HeaderValue::from_str(value);
            let mut value = value.map_err(
                |_| "ec2_access, ec2_session_token or region_name has a character that none has",
            )?;
            value.set_sensitive(!matches!(name, "x-amz-date"));
            headers.insert(HeaderName::from_static(name), value);
            Ok::<_, String>(())
        };
        put("x-amz-date", &time)?;
        put("authorization", &authorization)?;
        if let Some(session) = self.session {
            put("x-amz-security-token", session.expose())?;
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of AWS's manual (*Create a signed AWS API request*).
    #[test]
    fn the_signature_is_that_of_the_manual() {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let signer = Signer {
            access: "AKIDEXAMPLE",
            secret: &secret,
            session: None,
            region: "us-east-1",
            service: "iam",
        };
        let url = "https://iam.amazonaws.com/".parse().unwrap();
        let query = "Action=ListUsers&Version=2010-05-08";
        let now = "2015-08-30T12:36:00Z".parse().unwrap();
        let headers = signer.sign("GET", &url, query, b"", now).unwrap();
        assert_eq!(
            headers["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
        assert!(headers["authorization"].is_sensitive());
    }

    /// As botocore 1.43 signs it.
    #[test]
    fn a_form_with_temporary_credentials_is_signed_as_botocore_does() {
        let (secret, session) = (Secret::new("sekrit/5f1c9d"), Secret::new("session+token=="));
        let signer = Signer {
            access: "AKIATEST",
            secret: &secret,
            session: Some(&session),
            region: "eu-central-1",
            service: "ec2",
        };
        let url = "http://127.0.0.1:5005/".parse().unwrap();
        let body = b"Action=DescribeInstances&Version=2016-11-15";
        let headers = signer.post(&url, body, "2026-01-02T03:04:05Z".parse().unwrap()).unwrap();
        let authorization = headers["authorization"].to_str().unwrap();
        let signature = "818036fd6b4d6baa08daf4a95cbd5ad5abbb89e5b99b9685993a6e6a1ef9d8f2";
        assert!(authorization.ends_with(signature), "{authorization}");
        assert_eq!(headers["x-amz-security-token"], "session+token==");
    }
}
