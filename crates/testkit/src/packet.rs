//! A cloud that speaks Packet's API, with a bill and with faults on demand.
//!
//! It serves HTTP on the loopback from a thread of its own. Its answers are checked against the public
//! description of the API by `prism proxy` (`crates/drivers/tests/packet.rs`). Time is counted in looks:
//! a device goes on to its next state when it was looked at often enough, so that no test waits for a
//! clock.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{http, lock};

/// The token that is let in.
pub const TOKEN: &str = "fake-token-8f2a";
/// The project that there is.
pub const PROJECT: &str = "cafebabe-0000-4000-8000-000000000001";
/// The plans that there are; of the last one there is none left.
const PLANS: [&str; 3] = ["c3.small.x86", "c3.large.x86", "sold.out.x86"];

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// The order of a device.
    Create,
    /// The list of a project's devices.
    List,
    /// One device.
    Look,
    /// Power.
    Act,
    /// Giving back.
    Delete,
    /// Traffic.
    Traffic,
    /// Anything else.
    Other,
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is turned away with 429 and `Retry-After` in seconds.
    Throttle(u64),
    /// It is answered with that status and body, without effect.
    Answer(u16, &'static str),
    /// The connection is closed before any effect.
    LoseRequest,
    /// The connection is closed after the effect.
    LoseAnswer,
    /// After the effect, the answer is half of its JSON.
    HalfAnswer,
    /// After the effect, the answer is 500 and a page of HTML.
    TroubledAfter,
    /// No answer ever, after the effect.
    Hang,
}

#[derive(Debug)]
struct Device {
    id: String,
    order: Value,
    state: &'static str,
    /// The state to come, and after how many looks.
    next: Option<(&'static str, u32)>,
    number: u8,
}

#[derive(Debug, Default)]
struct World {
    devices: Vec<Device>,
    ever: usize,
    faults: Vec<(On, Fault, u32)>,
    calls: Vec<On>,
    looks: u32,
    quota: Option<usize>,
}

/// The cloud; its server lives as long as the process.
#[derive(Clone)]
pub struct FakePacket {
    world: Arc<Mutex<World>>,
    address: SocketAddr,
}

impl FakePacket {
    /// A cloud whose devices reach their next state after that many looks.
    pub fn start(looks: u32) -> Self {
        let world = Arc::new(Mutex::new(World { looks, ..World::default() }));
        let served = Arc::clone(&world);
        let address = http::serve(move |request| serve(Arc::clone(&served), request));
        Self { world, address }
    }

    /// Its address, for `PACKET_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has the next requests of a kind go wrong.
    pub fn fault(&self, on: On, fault: Fault, times: u32) {
        lock(&self.world).faults.push((on, fault, times));
    }

    /// Ends all that goes wrong.
    pub fn clear_faults(&self) {
        lock(&self.world).faults.clear();
    }

    /// Allows so many devices and no more.
    pub fn quota(&self, devices: usize) {
        lock(&self.world).quota = Some(devices);
    }

    /// The devices that are paid for, by id.
    pub fn billed(&self) -> Vec<String> {
        lock(&self.world).devices.iter().map(|device| device.id.clone()).collect()
    }

    /// How many devices run, or are about to.
    pub fn running(&self) -> usize {
        let world = lock(&self.world);
        let coming = |device: &&Device| device.next.is_some_and(|(state, _)| state == "active");
        world.devices.iter().filter(|d| d.state == "active" || coming(d)).count()
    }

    /// How many devices were ever made.
    pub fn ever(&self) -> usize {
        lock(&self.world).ever
    }

    /// How many requests of a kind there were.
    pub fn calls(&self, on: On) -> usize {
        lock(&self.world).calls.iter().filter(|call| **call == on).count()
    }

    /// The order of the device that was made last and is still there.
    pub fn last_order(&self) -> Option<Value> {
        lock(&self.world).devices.last().map(|device| device.order.clone())
    }
}

type Reply = (u16, Option<Value>);

fn refuse(status: u16, why: &str) -> Reply {
    match status {
        422 => (status, Some(json!({ "errors": [why] }))),
        _ => (status, Some(json!({ "error": why }))),
    }
}

async fn serve(
    world: Arc<Mutex<World>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let path = head.uri.path().to_owned();
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let on = match (&head.method, segments.as_slice()) {
        (&Method::POST, ["projects", _, "devices"]) => On::Create,
        (&Method::GET, ["projects", _, "devices"]) => On::List,
        (&Method::GET, ["devices", _]) => On::Look,
        (&Method::POST, ["devices", _, "actions"]) => On::Act,
        (&Method::DELETE, ["devices", _]) => On::Delete,
        (&Method::GET, ["devices", _, "bandwidth"]) => On::Traffic,
        _ => On::Other,
    };
    let fault = {
        let mut world = lock(&world);
        world.calls.push(on);
        let found = world.faults.iter_mut().find(|(of, _, left)| *of == on && *left > 0);
        found.map(|(_, fault, left)| {
            *left -= 1;
            *fault
        })
    };
    let lost = || Err(std::io::Error::other("the connection is lost, as asked"));
    match fault {
        Some(Fault::LoseRequest) => return lost(),
        Some(Fault::Throttle(seconds)) => {
            let response = Response::builder().status(429).header("retry-after", seconds);
            return Ok(response.body(Full::from("slow down")).unwrap());
        }
        Some(Fault::Answer(status, body)) => {
            return Ok(Response::builder().status(status).body(Full::from(body)).unwrap());
        }
        _ => {}
    }
    let token = head.headers.get("x-auth-token").and_then(|value| value.to_str().ok());
    let (status, answer) = if token == Some(TOKEN) {
        let query = head.uri.query().unwrap_or_default();
        lock(&world).answer(on, &segments, query, &body)
    } else {
        refuse(401, &format!("Invalid authentication token {}", token.unwrap_or("(none)")))
    };
    let text = answer.map(|json| json.to_string()).unwrap_or_default();
    let (status, text) = match fault {
        Some(Fault::LoseAnswer) => return lost(),
        Some(Fault::Hang) => return std::future::pending().await,
        Some(Fault::HalfAnswer) => (status, text[..text.len() / 2].to_owned()),
        Some(Fault::TroubledAfter) => {
            (500, "<html><title>Oops</title><h1>We are sorry</h1></html>".to_owned())
        }
        _ => (status, text),
    };
    let mut response = Response::builder().status(status);
    if !text.is_empty() {
        response = response.header("content-type", "application/json");
    }
    Ok(response.body(Full::from(text)).unwrap())
}

impl Device {
    /// It was looked at: time has passed.
    fn look(&mut self) {
        if let Some((state, left)) = self.next.take() {
            match left {
                0 => self.state = state,
                _ => self.next = Some((state, left - 1)),
            }
        }
    }
}

impl World {
    fn answer(&mut self, on: On, path: &[&str], query: &str, body: &[u8]) -> Reply {
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let id = path.get(1).copied().unwrap_or_default();
        if matches!(on, On::Create | On::List) && id != PROJECT {
            return refuse(404, "Not found");
        }
        match on {
            On::Create => return self.create(body),
            On::List => {
                let number = |name: &str| {
                    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                    pairs.filter(|(key, _)| *key == name).find_map(|(_, v)| v.parse::<usize>().ok())
                };
                let (page, size) = (number("page").unwrap_or(1), number("per_page").unwrap_or(10));
                if page == 1 {
                    self.devices.iter_mut().for_each(Device::look);
                    self.devices.retain(|device| device.state != "deleted");
                }
                let pages = self.devices.len().div_ceil(size).max(1);
                let shown = self.devices.iter().skip((page - 1) * size).take(size);
                let devices: Vec<Value> = shown.map(Device::json).collect();
                let total = self.devices.len();
                let meta = json!({ "current_page": page, "last_page": pages, "total": total });
                return (200, Some(json!({ "devices": devices, "meta": meta })));
            }
            On::Other => return refuse(404, "Not found"),
            _ => {}
        }
        let Some(index) = self.devices.iter().position(|device| device.id == id) else {
            return refuse(404, "Not found");
        };
        let looks = self.looks;
        let device = &mut self.devices[index];
        match on {
            On::Look => {
                device.look();
                if device.state == "deleted" {
                    self.devices.remove(index);
                    return refuse(404, "Not found");
                }
                (200, Some(device.json()))
            }
            On::Traffic => {
                let series = |target: &str, points: Value| json!({ "target": target, "datapoints": points, "tags": { "aggregatedBy": "sum" } });
                let inbound = series("inbound", json!([[1000.5, 1], [null, 2], [500.0, 3]]));
                let outbound = series("outbound", json!([[70.0, 1]]));
                (200, Some(json!({ "bandwidth": [inbound, outbound] })))
            }
            On::Delete if device.state == "deprovisioning" => {
                refuse(422, "Cannot delete a device that is deprovisioning")
            }
            On::Delete => {
                (device.state, device.next) = ("deprovisioning", Some(("deleted", looks)));
                (204, None)
            }
            _ => {
                let (from, via, to) = match body["type"].as_str() {
                    Some("power_on") => ("inactive", "powering_on", "active"),
                    Some("power_off") => ("active", "powering_off", "inactive"),
                    Some("reboot") => ("active", "powering_on", "active"),
                    _ => return refuse(422, "type is not included in the list"),
                };
                if device.state != from {
                    return refuse(422, &format!("The device must be {from}"));
                }
                (device.state, device.next) = (via, Some((to, looks)));
                (202, None)
            }
        }
    }

    fn create(&mut self, order: Value) -> Reply {
        let text = |key: &str| order[key].as_str().unwrap_or_default();
        if !PLANS.contains(&text("plan")) {
            return refuse(422, &format!("{} is not a valid plan", text("plan")));
        }
        if text("plan") == PLANS[2] {
            return refuse(422, "The facility has no provisionable sold.out.x86 servers");
        }
        if !text("operating_system").starts_with("ubuntu_") {
            return refuse(422, "Operating system is not valid");
        }
        if text("metro") == "nowhere" {
            return refuse(422, "nowhere is not a valid metro");
        }
        if self.quota.is_some_and(|quota| self.devices.len() >= quota) {
            return refuse(422, "You have reached the maximum number of devices: project limit");
        }
        self.ever += 1;
        let device = Device {
            id: Uuid::new_v4().to_string(),
            order,
            state: "queued",
            next: Some(("active", self.looks)),
            number: u8::try_from(self.ever).unwrap_or(255),
        };
        let answer = device.json();
        self.devices.push(device);
        (201, Some(answer))
    }
}

impl Device {
    fn json(&self) -> Value {
        let Self { id, order, state, number, .. } = self;
        let up = !matches!(*state, "queued" | "provisioning");
        let address = |text: String, family: u8, public: bool| {
            json!({ "id": Uuid::new_v4(), "address": text, "address_family": family, "public": public,
                    "enabled": true, "cidr": 31, "management": true, "manageable": true })
        };
        let addresses = match up {
            false => vec![],
            true => vec![
                address(format!("10.80.0.{number}"), 4, false),
                address(format!("2604:1380::{number:x}"), 6, true),
                address(format!("198.51.100.{number}"), 4, true),
            ],
        };
        json!({
            "id": id,
            "short_id": &id[..8],
            "href": format!("/metal/v1/devices/{id}"),
            "hostname": order["hostname"],
            "state": state,
            "tags": order["tags"],
            "billing_cycle": order["billing_cycle"],
            "created_at": "2026-01-02T03:04:05Z",
            "ip_addresses": addresses,
            "root_password": "r00t-secret",
            "operating_system": { "slug": order["operating_system"], "name": "Ubuntu" },
            "plan": {
                "slug": order["plan"], "name": order["plan"],
                "specs": { "cpus": [{ "count": 2, "type": "x" }], "memory": { "total": "32GB" } }
            },
            "facility": { "code": order["facility"][0].as_str().unwrap_or("sv15") },
            "metro": { "code": order["metro"].as_str().unwrap_or("sv") },
        })
    }
}
