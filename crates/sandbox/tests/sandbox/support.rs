//! A front-end with a clock that stands still, and a small client for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opennebula::xmlrpc::{MethodCall, MethodResponse, Param, parse_response, write_call};
use sandbox::{Clock, Sandbox, SandboxSettings, Synchronous, Version};

/// Moves only when told to.
pub struct ManualClock(AtomicU64);

impl ManualClock {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Value(Param),
    Error { code: i32, text: String, id: i32 },
    Fault { code: i32, text: String },
}

impl Answer {
    pub fn of(body: &[u8]) -> Self {
        match parse_response(body).unwrap() {
            MethodResponse::Fault { code, text } => Self::Fault { code, text },
            MethodResponse::Success(Param::Array(values)) => match values.as_slice() {
                [Param::Bool(true), value, Param::Int(0)] => Self::Value(value.clone()),
                [
                    Param::Bool(false),
                    Param::Str(text),
                    Param::Int(code),
                    Param::Int(id),
                    Param::Long(-1),
                ] => Self::Error { code: *code, text: text.clone(), id: *id },
                other => panic!("no answer of OpenNebula: {other:?}"),
            },
            MethodResponse::Success(other) => panic!("no array: {other:?}"),
        }
    }

    #[track_caller]
    pub fn id(self) -> i32 {
        match self {
            Self::Value(Param::Int(id)) => id,
            other => panic!("no id: {other:?}"),
        }
    }

    #[track_caller]
    pub fn xml(self) -> String {
        match self {
            Self::Value(Param::Str(xml)) => {
                roxmltree::Document::parse(&xml).expect("well-formed XML");
                xml
            }
            other => panic!("no text: {other:?}"),
        }
    }

    #[track_caller]
    pub fn error(self) -> (i32, String) {
        match self {
            Self::Error { code, text, .. } => (code, text),
            other => panic!("no error: {other:?}"),
        }
    }
}

pub struct Front {
    pub sandbox: Sandbox,
    pub clock: Arc<ManualClock>,
    pub session: String,
}

pub const DELAY: Duration = Duration::from_millis(200);

pub fn settings(version: Version) -> (SandboxSettings, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock(AtomicU64::new(1_795_345_000_000)));
    let settings = SandboxSettings {
        version,
        synchronous: Synchronous::Off,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        async_delay: DELAY,
        ..SandboxSettings::default()
    };
    (settings, clock)
}

impl Front {
    pub fn new(version: Version) -> Self {
        let (settings, clock) = settings(version);
        Self::with(settings, clock)
    }

    pub fn with(settings: SandboxSettings, clock: Arc<ManualClock>) -> Self {
        let sandbox = Sandbox::in_memory(settings).unwrap();
        let session = sandbox.session().expose().to_owned();
        Self { sandbox, clock, session }
    }

    /// Both releases, for what is the same in them.
    pub fn both() -> [Self; 2] {
        [Self::new(Version::V6_10), Self::new(Version::V7_4)]
    }

    pub fn call(&self, method: &str, params: &[Param]) -> Answer {
        self.call_as(&self.session, method, params)
    }

    pub fn call_as(&self, session: &str, method: &str, params: &[Param]) -> Answer {
        call(&self.sandbox, session, method, params)
    }

    /// Lets everything that takes its time be done.
    pub fn wait(&self) {
        self.clock.advance(DELAY);
    }

    /// A user of group `users` and the session of it.
    pub fn user(&self, name: &str) -> (i32, String) {
        let params = [name.into(), "pw".into(), "core".into(), Param::Array(vec![])];
        (self.call("one.user.allocate", &params).id(), format!("{name}:pw"))
    }

    pub fn host(&self, name: &str, cluster: i32) -> i32 {
        let params = [name.into(), "kvm".into(), "kvm".into(), cluster.into()];
        self.call("one.host.allocate", &params).id()
    }

    pub fn cluster(&self, name: &str) -> i32 {
        self.call("one.cluster.allocate", &[name.into()]).id()
    }

    pub fn info(&self, kind: &str, id: i32) -> String {
        self.call(&format!("one.{kind}.info"), &[id.into()]).xml()
    }
}

pub fn call(sandbox: &Sandbox, session: &str, method: &str, params: &[Param]) -> Answer {
    let mut all = vec![Param::from(session)];
    all.extend_from_slice(params);
    let call = MethodCall { method: method.to_owned(), params: all };
    Answer::of(&sandbox.handle(&write_call(&call).unwrap()))
}

/// The text of the first element with that path below the root, such as `TEMPLATE/NOTE`.
pub fn text(xml: &str, path: &str) -> Option<String> {
    let doc = roxmltree::Document::parse(xml).unwrap();
    let mut node = doc.root_element();
    for step in path.split('/') {
        node = node.children().find(|n| n.has_tag_name(step))?;
    }
    Some(model::attributes::element_text(node))
}

/// The texts of all elements with that name.
pub fn all(xml: &str, tag: &str) -> Vec<String> {
    let doc = roxmltree::Document::parse(xml).unwrap();
    let found = doc.descendants().filter(|n| n.has_tag_name(tag));
    found.map(model::attributes::element_text).collect()
}

/// The ids that a list such as `HOSTS` holds.
pub fn ids(xml: &str, list: &str) -> Vec<String> {
    let doc = roxmltree::Document::parse(xml).unwrap();
    let list = doc.root_element().children().find(|n| n.has_tag_name(list)).unwrap();
    list.children().map(model::attributes::element_text).collect()
}
