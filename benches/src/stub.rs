//! A front-end that costs next to nothing: it keeps what it is told in memory, and checks nothing.
//!
//! For measuring the engine alone. It answers clusters and hosts; all other pools are empty.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use model::Attributes;
use opennebula::xmlrpc::{MethodResponse, Param, parse_call, write_response};
use opennebula::{Transport, TransportError};
use serde::{Deserialize, Serialize};

use crate::failure::Result;

/// A host or a cluster.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Object {
    name: String,
    cluster: i32,
    state: i32,
    /// `<TEMPLATE>…</TEMPLATE>`, or empty.
    template: String,
}

#[derive(Default)]
struct State {
    next: i32,
    clusters: BTreeMap<i32, Object>,
    hosts: BTreeMap<i32, Object>,
}

type Answer = std::result::Result<Param, String>;

/// The front-end.
#[derive(Default)]
pub struct Stub(Mutex<State>);

impl Stub {
    /// Looks at all objects: their kind, their id and what there is of them.
    ///
    /// # Errors
    /// The first that `look` has.
    pub fn each(&self, mut look: impl FnMut(&str, i32, &Object) -> Result<()>) -> Result<()> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, objects) in [("cluster", &state.clusters), ("host", &state.hosts)] {
            for (id, object) in objects {
                look(kind, *id, object)?;
            }
        }
        Ok(())
    }

    /// Takes an object over from another front-end.
    pub fn take(&self, kind: &str, id: i32, object: Object) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.next = state.next.max(id + 1);
        state.of(kind).insert(id, object);
    }

    fn answer(&self, request: &[u8]) -> Answer {
        let call = parse_call(request).map_err(|error| error.to_string())?;
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parts = call.method.split('.').skip(1);
        let (kind, verb) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let params = call.params.get(1..).unwrap_or_default();
        match (kind, verb) {
            ("system", "version") => Ok("7.4.0".into()),
            (pool, "info") if pool.ends_with("pool") => {
                Ok(Param::Str(state.pool(pool.trim_end_matches("pool"))))
            }
            ("host" | "cluster", _) => state.object(kind, verb, params),
            _ => Err(format!("the stub does not know {}", call.method)),
        }
    }
}

impl State {
    fn pool(&self, kind: &str) -> String {
        let root = match kind {
            "host" => "HOST",
            "cluster" => "CLUSTER",
            "vn" => "VNET",
            "template" => "VMTEMPLATE",
            other => &other.to_ascii_uppercase(),
        };
        let mut text = format!("<{root}_POOL>");
        let objects = match kind {
            "host" => &self.hosts,
            "cluster" => &self.clusters,
            _ => &BTreeMap::new(),
        };
        for (id, object) in objects {
            self.write(root, *id, object, &mut text);
        }
        let _ = write!(text, "</{root}_POOL>");
        text
    }

    fn write(&self, root: &str, id: i32, object: &Object, text: &mut String) {
        let Object { name, cluster, state, template } = object;
        let _ = write!(
            text,
            "<{root}><ID>{id}</ID><NAME>{name}</NAME><STATE>{state}</STATE><IM_MAD>kvm</IM_MAD>\
             <VM_MAD>kvm</VM_MAD><CLUSTER_ID>{cluster}</CLUSTER_ID><CLUSTER>c</CLUSTER>\
             <HOST_SHARE><RUNNING_VMS>0</RUNNING_VMS></HOST_SHARE><VMS></VMS>"
        );
        text.push_str(if template.is_empty() { "<TEMPLATE/>" } else { template });
        let _ = write!(text, "</{root}>");
    }

    fn object(&mut self, kind: &str, verb: &str, params: &[Param]) -> Answer {
        let text = |n: usize| params.get(n).and_then(Param::as_str).unwrap_or_default().to_owned();
        let number = |n: usize| params.get(n).and_then(Param::as_i32).unwrap_or(-1);
        if verb == "allocate" {
            let id = self.next;
            self.next += 1;
            let cluster = params.last().and_then(Param::as_i32).unwrap_or(-1);
            let made = Object { name: text(0), cluster, ..Object::default() };
            self.of(kind).insert(id, made);
            return Ok(id.into());
        }
        let id = number(0);
        if verb == "info" {
            let (root, objects) = match kind {
                "host" => ("HOST", &self.hosts),
                _ => ("CLUSTER", &self.clusters),
            };
            let object = objects.get(&id).ok_or("no such object")?;
            let mut text = String::new();
            self.write(root, id, object, &mut text);
            return Ok(text.into());
        }
        let objects = self.of(kind);
        let object = objects.get_mut(&id).ok_or("no such object")?;
        match verb {
            // Offline, else monitored.
            "status" => object.state = if number(1) == 2 { 8 } else { 2 },
            "rename" => object.name = text(1),
            "update" if number(2) == 0 || object.template.is_empty() => object.template = text(1),
            "update" => object.template = merged(&object.template, &text(1))?,
            "delete" => drop(objects.remove(&id)),
            other => return Err(format!("the stub does not know {kind}.{other}")),
        }
        Ok(id.into())
    }

    fn of(&mut self, kind: &str) -> &mut BTreeMap<i32, Object> {
        match kind {
            "host" => &mut self.hosts,
            _ => &mut self.clusters,
        }
    }
}

fn merged(old: &str, new: &str) -> std::result::Result<String, String> {
    let read = |text: &str| {
        let document = roxmltree::Document::parse(text).map_err(|error| error.to_string())?;
        Ok::<_, String>(Attributes::from_xml(document.root_element()))
    };
    let mut all = read(old)?;
    for (key, value) in read(new)?.iter() {
        all.set(key, value.clone());
    }
    all.to_xml("TEMPLATE").map_err(|error| error.to_string())
}

#[async_trait]
impl Transport for Stub {
    fn endpoint(&self) -> &str {
        "stub"
    }

    async fn exchange(
        &self,
        request: &[u8],
        _: Duration,
    ) -> std::result::Result<Vec<u8>, TransportError> {
        let fields = match self.answer(request) {
            Ok(value) => vec![true.into(), value, 0.into()],
            Err(text) => vec![false.into(), text.into(), 1024.into(), (-1).into()],
        };
        Ok(write_response(&MethodResponse::Success(Param::Array(fields))))
    }
}
