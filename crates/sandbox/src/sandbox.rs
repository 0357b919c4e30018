//! The front-end itself: bytes of a request to bytes of an answer.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use model::Secret;
use opennebula::xmlrpc::{self, MethodCall, MethodResponse, Param, ParseError};
use rusqlite::{Connection, TransactionBehavior};

use crate::calls::Value;
use crate::crypt::{Cipher, password_hash, same};
use crate::ctx::{Caller, Ctx, ONEADMIN_GROUP};
use crate::db::{self, Db};
use crate::error::SandboxError;
use crate::failure::{Answer, Failure};
use crate::method::Method;
use crate::object::Detail;
use crate::params::Params;
use crate::settings::{SandboxSettings, unix_ms};
use crate::store::Store;
use crate::{advance, calls, pool, system};

/// An OpenNebula front-end in this process. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    /// One connection: SQLite lets one write at a time anyway, and reads are short.
    db: Mutex<Db>,
    settings: SandboxSettings,
    name: String,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Opens the front-end whose state is in a file; file and folder are made, private, if they do
    /// not exist. Several processes may have the same file open.
    ///
    /// Blocks for as long as the disk does, and while another process makes the same file.
    ///
    /// # Errors
    /// See [`SandboxError`].
    pub fn open(path: &Path, settings: SandboxSettings) -> Result<Self, SandboxError> {
        let db = db::open(path, &settings)?;
        Ok(Self::of(db, settings, format!("sandbox:{}", path.display())))
    }

    /// A front-end whose state ends with the last clone of it.
    ///
    /// # Errors
    /// No memory, or no random bytes for its password.
    pub fn in_memory(settings: SandboxSettings) -> Result<Self, SandboxError> {
        let db = db::open_in_memory(&settings)?;
        Ok(Self::of(db, settings, "sandbox:memory".to_owned()))
    }

    fn of(db: Db, settings: SandboxSettings, name: String) -> Self {
        Self(Arc::new(Inner { db: Mutex::new(db), settings, name }))
    }

    /// The administrator's session string, `oneadmin:<password>`. It is made with the file and
    /// changes with `one.user.passwd`.
    pub fn session(&self) -> Secret {
        let mut db = self.0.db.lock().unwrap_or_else(PoisonError::into_inner);
        // Another process may have changed it; if it cannot be read now, what was read last is the
        // best there is.
        if let Ok(session) = db::read_session(&db.connection)
            && let Some(session) = session
        {
            db.session = session;
        }
        db.session.clone()
    }

    /// What this front-end is called in messages, such as `sandbox:/home/me/sandbox.db`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Answers one XML-RPC request. Whatever the bytes are, there is an answer to them.
    ///
    /// Blocks: a write returns when it is stored as [`crate::Synchronous`] says.
    pub fn handle(&self, body: &[u8]) -> Vec<u8> {
        let response = match xmlrpc::parse_call(body) {
            Ok(call) => match call.params.iter().find_map(beyond_the_plane) {
                Some(text) => MethodResponse::Fault { code: -503, text },
                None => self.answer(&call),
            },
            Err(error) => MethodResponse::Fault { code: -503, text: not_a_call(&error, body) },
        };
        xmlrpc::write_response(&response)
    }

    fn answer(&self, call: &MethodCall) -> MethodResponse {
        match self.execute(call) {
            Ok(value) => {
                tracing::debug!(method = call.method, "answered");
                let value = match value {
                    Value::Id(id) => Param::Int(id),
                    Value::Text(text) => Param::Str(text),
                };
                MethodResponse::Success(Param::Array(vec![true.into(), value, 0.into()]))
            }
            Err(failure) => {
                if let Failure::Database(error) = &failure {
                    tracing::error!(method = call.method, %error, "database");
                }
                match failure.answer(&call.method) {
                    Answer::Fault { code, text } => MethodResponse::Fault { code, text },
                    Answer::Error { code, text, id } => {
                        tracing::debug!(method = call.method, code, text, "refused");
                        MethodResponse::Success(Param::Array(vec![
                            false.into(),
                            text.into(),
                            code.into(),
                            id.into(),
                            Param::Long(-1),
                        ]))
                    }
                }
            }
        }
    }

    fn execute(&self, call: &MethodCall) -> Result<Value, Failure> {
        let Some(method) = Method::parse(&call.method) else {
            let text = format!("Method '{}' not defined", call.method);
            return Err(Failure::Fault { code: -506, text });
        };
        let settings = &self.0.settings;
        let params = Params::new(&call.params);
        let session = params.session(settings.version)?;
        // A panic elsewhere left a transaction that was rolled back, not a broken connection.
        let mut db = self.0.db.lock().unwrap_or_else(PoisonError::into_inner);
        let Db { connection, cipher, .. } = &mut *db;
        let now = unix_ms(settings.clock.now());
        if Store(connection).is_due(now)? {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let caller = Caller { uid: 0, gid: ONEADMIN_GROUP };
            advance::run(&Ctx::new(&transaction, settings, cipher, now, caller))?;
            transaction.commit()?;
        }
        let behavior = match method.is_write() {
            true => TransactionBehavior::Immediate,
            false => TransactionBehavior::Deferred,
        };
        let transaction = connection.transaction_with_behavior(behavior)?;
        let value = run(&transaction, settings, cipher, now, session, method, &params)?;
        transaction.commit()?;
        Ok(value)
    }
}

fn run(
    connection: &Connection,
    settings: &SandboxSettings,
    cipher: &Cipher,
    now: i64,
    session: &str,
    method: Method,
    params: &Params<'_>,
) -> Result<Value, Failure> {
    let caller = authenticate(Store(connection), session)?;
    let ctx = Ctx::new(connection, settings, cipher, now, caller);
    match method {
        Method::Object(kind, verb) => calls::run(&ctx, kind, verb, params),
        Method::Pool(kind) => pool::run(&ctx, kind, params),
        other => system::run(&ctx, other, params),
    }
}

/// The user of a session `name:password`. Only the driver `core` is known.
fn authenticate(store: Store<'_>, session: &str) -> Result<Caller, Failure> {
    let (name, given) = session.split_once(':').ok_or(Failure::Authentication)?;
    let user = store.user(name)?.ok_or(Failure::Authentication)?;
    match &user.detail {
        Detail::User { password, auth_driver }
            if auth_driver == "core" && same(password, &password_hash(given)) =>
        {
            Ok(Caller { uid: user.id, gid: user.gid })
        }
        _ => Err(Failure::Authentication),
    }
}

/// The words of xmlrpc-c for a text with a character that does not fit into two bytes of UTF-16.
fn beyond_the_plane(param: &Param) -> Option<String> {
    match param {
        Param::Str(text) if text.chars().any(|c| c > '\u{ffff}') => Some(format!(
            "Call XML not a proper XML-RPC call.  {}-byte supposed UTF-8 string is not valid \
             UTF-8.  UTF-8 string contains a character not in the Basic Multilingual Plane (first \
             byte 0xfffffff0)",
            text.len()
        )),
        Param::Array(values) => values.iter().find_map(beyond_the_plane),
        _ => None,
    }
}

/// The words of xmlrpc-c for a body that is no call, as far as they were recorded.
fn not_a_call(error: &ParseError, body: &[u8]) -> String {
    const BEGIN: &str = "Call XML not a proper XML-RPC call.";
    match error {
        ParseError::Root { .. } => {
            let name = std::str::from_utf8(body)
                .ok()
                .and_then(|text| roxmltree::Document::parse(text).ok())
                .map(|doc| doc.root_element().tag_name().name().to_owned())
                .unwrap_or_default();
            format!(
                "{BEGIN}  XML-RPC call should be a <methodCall> element.  Instead, we have a \
                 <{name}> element."
            )
        }
        ParseError::Utf8 { .. } | ParseError::Xml { .. } | ParseError::Dtd => {
            format!("{BEGIN}  Call is not valid XML.  {error}")
        }
        other => format!("{BEGIN}  {other}"),
    }
}
