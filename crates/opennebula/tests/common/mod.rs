//! Transports for tests: answers by script, requests kept.
#![allow(dead_code)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use model::Secret;
use opennebula::xmlrpc::{MethodCall, MethodResponse, Param, parse_call, write_response};
use opennebula::{Client, ClientSettings, Credentials, Transport, TransportError};

pub const SESSION: &str = "oneadmin:s3cret-pass";

pub type Answer = Result<Vec<u8>, TransportError>;

/// Answers each call with the next answer of the script, or by a function.
pub struct Script {
    answer: Box<dyn Fn(&MethodCall) -> Answer + Send + Sync>,
    pub calls: Mutex<Vec<MethodCall>>,
    pub in_flight: Mutex<(usize, usize)>,
    pub delay: Duration,
}

impl Script {
    pub fn by(answer: impl Fn(&MethodCall) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Self::slow(Duration::ZERO, answer)
    }

    pub fn slow(
        delay: Duration,
        answer: impl Fn(&MethodCall) -> Answer + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            answer: Box::new(answer),
            calls: Mutex::default(),
            in_flight: Mutex::default(),
            delay,
        })
    }

    /// The answers one after the other; a call too many fails the test.
    pub fn of(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        let answers: Mutex<VecDeque<Answer>> = Mutex::new(answers.into_iter().collect());
        Self::by(move |call| {
            answers.lock().unwrap().pop_front().unwrap_or_else(|| panic!("no answer for {call:?}"))
        })
    }

    pub fn client(self: &Arc<Self>) -> Client {
        self.client_with(ClientSettings::default())
    }

    pub fn client_with(self: &Arc<Self>, settings: ClientSettings) -> Client {
        Client::new(self.clone(), credentials(), settings)
    }

    pub fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    pub fn methods(&self) -> Vec<String> {
        self.calls.lock().unwrap().iter().map(|call| call.method.clone()).collect()
    }

    /// Parameters of a call without the session string, which must be right.
    pub fn params(&self, index: usize) -> Vec<Param> {
        let calls = self.calls.lock().unwrap();
        let (session, params) = calls[index].params.split_first().unwrap();
        assert_eq!(session.as_str(), Some(SESSION));
        params.to_vec()
    }

    pub fn most_in_flight(&self) -> usize {
        self.in_flight.lock().unwrap().1
    }
}

#[async_trait]
impl Transport for Script {
    fn endpoint(&self) -> &str {
        "http://script.test/RPC2"
    }

    async fn exchange(&self, request: &[u8], _: Duration) -> Answer {
        let call = parse_call(request).expect("a request of ours is readable");
        {
            let mut in_flight = self.in_flight.lock().unwrap();
            in_flight.0 += 1;
            in_flight.1 = in_flight.1.max(in_flight.0);
        }
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        self.in_flight.lock().unwrap().0 -= 1;
        let answer = (self.answer)(&call);
        self.calls.lock().unwrap().push(call);
        answer
    }
}

pub fn credentials() -> Credentials {
    Credentials::parse(&Secret::new(SESSION)).unwrap()
}

pub fn ok(value: impl Into<Param>) -> Answer {
    let fields = vec![Param::Bool(true), value.into(), Param::Int(0)];
    Ok(write_response(&MethodResponse::Success(Param::Array(fields))))
}

pub fn refuse(code: i32, id: i32, text: &str) -> Answer {
    let fields =
        vec![Param::Bool(false), text.into(), Param::Int(code), Param::Int(id), Param::Long(-1)];
    Ok(write_response(&MethodResponse::Success(Param::Array(fields))))
}

pub fn fault(code: i32) -> Answer {
    Ok(write_response(&MethodResponse::Fault { code, text: "a fault".to_owned() }))
}

pub fn bad_login() -> Answer {
    refuse(256, -1, "[one.x] User couldn't be authenticated, aborting call.")
}

pub fn gone(id: i32) -> Answer {
    refuse(1024, id, &format!("[one.vn.info] Error getting virtual network [{id}]."))
}

pub fn not_sent() -> Answer {
    Err(TransportError::not_sent("connection refused"))
}

pub fn maybe_sent() -> Answer {
    Err(TransportError::maybe_sent("connection reset"))
}
