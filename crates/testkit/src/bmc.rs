//! A BMC that speaks Redfish, with the habits of many vendors and with faults on demand.
//!
//! Time is counted in looks: power changes when the system was looked at often enough. What the emulator of
//! sushy-tools ([`crate::sushy`]) does, it does; this one is for what that does not do: ETags, sessions,
//! tasks, AssetTags of several kinds, rivals, and answers that are none.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use serde_json::{Value, json};

use crate::packet::Fault;
use crate::{http, lock};

/// The user that is let in.
pub const USER: &str = "admin";
/// The user's password.
pub const PASSWORD: &str = "calvin-7c1";
const TOKEN: &str = "token-5d1f";

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Reading a system.
    Look,
    /// Writing an AssetTag.
    Tag,
    /// Writing the boot override.
    Boot,
    /// Power.
    Reset,
    /// Virtual media.
    Media,
    /// Anything else.
    Other,
}

/// How a BMC keeps AssetTags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tags {
    /// As the schema says.
    Kept,
    /// Only so many characters.
    Short(usize),
    /// The answer is 200, and nothing happens.
    Ignored,
    /// The answer is 400.
    Refused,
    /// There is no such property.
    Absent,
}

/// A vendor's habits.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// How many systems there are.
    pub systems: usize,
    /// How it keeps AssetTags.
    pub tags: Tags,
    /// Whether it has ETags, and insists on them.
    pub etags: bool,
    /// Whether it lets nobody in without a session.
    pub sessions: bool,
    /// Whether what takes time is a task (202).
    pub tasks: bool,
    /// After how many looks power has changed.
    pub looks: u32,
    /// The types of reset that it has; the first of them is in an ActionInfo if there is one only.
    pub resets: &'static [&'static str],
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            systems: 1,
            tags: Tags::Kept,
            etags: true,
            sessions: false,
            tasks: false,
            looks: 1,
            resets: &["On", "ForceOff", "GracefulShutdown", "GracefulRestart", "ForceRestart"],
        }
    }
}

#[derive(Debug)]
struct System {
    tag: Value,
    version: u32,
    power: &'static str,
    next: Option<(&'static str, u32)>,
    boot: (String, String),
    image: String,
}

#[derive(Debug)]
struct World {
    habits: Habits,
    systems: Vec<System>,
    faults: Vec<(On, Fault, u32)>,
    calls: Vec<String>,
    sessions: usize,
    task_looks: u32,
    rival: Option<String>,
    deaf: bool,
}

/// The BMC; its server lives as long as the process.
#[derive(Clone)]
pub struct FakeBmc {
    world: Arc<Mutex<World>>,
    address: SocketAddr,
}

impl FakeBmc {
    /// A BMC of these habits, its systems off.
    pub fn start(habits: Habits) -> Self {
        let system = |_| System {
            tag: Value::Null,
            version: 1,
            power: "Off",
            next: None,
            boot: ("Disabled".to_owned(), "None".to_owned()),
            image: String::new(),
        };
        let world = Arc::new(Mutex::new(World {
            habits,
            systems: (0..habits.systems).map(system).collect(),
            faults: Vec::new(),
            calls: Vec::new(),
            sessions: 0,
            task_looks: 0,
            rival: None,
            deaf: false,
        }));
        let served = Arc::clone(&world);
        let address = http::serve(move |request| serve(Arc::clone(&served), request));
        Self { world, address }
    }

    /// Its address, for `REDFISH_ADDRESS`.
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

    /// Somebody else writes this AssetTag at the moment of the next claim.
    pub fn rival(&self, tag: &str) {
        lock(&self.world).rival = Some(tag.to_owned());
    }

    /// Whether the operating system hears no orderly shutdown.
    pub fn deaf(&self, deaf: bool) {
        lock(&self.world).deaf = deaf;
    }

    /// Sets the AssetTag of a system.
    pub fn set_tag(&self, index: usize, tag: &str) {
        lock(&self.world).systems[index].tag = json!(tag);
    }

    /// Sets the power of a system.
    pub fn set_power(&self, index: usize, power: &'static str) {
        lock(&self.world).systems[index].power = power;
    }

    /// The AssetTags that are not empty.
    pub fn tags(&self) -> Vec<String> {
        let world = lock(&self.world);
        let tags = world.systems.iter().filter_map(|system| system.tag.as_str());
        tags.filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
    }

    /// How many systems are not at rest: on, with an image, or with another boot order.
    pub fn busy(&self) -> usize {
        let world = lock(&self.world);
        let rests = |system: &&System| {
            system.power == "Off"
                && system.next.is_none()
                && system.image.is_empty()
                && system.boot.0 == "Disabled"
        };
        world.systems.iter().filter(|system| !rests(system)).count()
    }

    /// The image in the drive of a system.
    pub fn image(&self, index: usize) -> String {
        lock(&self.world).systems[index].image.clone()
    }

    /// `BootSourceOverrideTarget` of a system.
    pub fn boot(&self, index: usize) -> String {
        lock(&self.world).systems[index].boot.1.clone()
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> usize {
        lock(&self.world).sessions
    }

    /// How often a type of reset was asked for.
    pub fn resets(&self, kind: &str) -> usize {
        lock(&self.world).calls.iter().filter(|call| *call == kind).count()
    }
}

/// Status, ETag, Location, body.
struct Reply(u16, Option<String>, Option<String>, Value);

fn refuse(status: u16, why: &str) -> Reply {
    let info = json!([{ "MessageId": "Base.1.0.GeneralError", "Message": why }]);
    let error = json!({ "code": "Base.1.0.GeneralError", "message": "See @Message.ExtendedInfo",
                        "@Message.ExtendedInfo": info });
    Reply(status, None, None, json!({ "error": error }))
}

fn tell(json: Value) -> Reply {
    Reply(200, None, None, json)
}

fn done() -> Reply {
    Reply(204, None, None, Value::Null)
}

async fn serve(
    world: Arc<Mutex<World>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = head.uri.path().trim_matches('/').to_owned();
    let path: Vec<&str> = path.split('/').skip(2).collect();
    let on = match (&head.method, path.as_slice()) {
        (&Method::GET, ["Systems", _]) => On::Look,
        (&Method::PATCH, _) if body.get("AssetTag").is_some() => On::Tag,
        (&Method::PATCH, _) => On::Boot,
        (&Method::POST, ["Systems", _, "Actions", _]) => On::Reset,
        (&Method::POST, [.., "VirtualMedia", _, "Actions", _]) => On::Media,
        _ => On::Other,
    };
    let fault = {
        let mut world = lock(&world);
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
            let response = Response::builder().status(503).header("retry-after", seconds);
            return Ok(response.body(Full::from("busy")).unwrap());
        }
        Some(Fault::Answer(status, body)) => {
            return Ok(Response::builder().status(status).body(Full::from(body)).unwrap());
        }
        _ => {}
    }
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let mut token = None;
    let Reply(status, etag, location, json) = {
        let mut world = lock(&world);
        let basic = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
        let has_session = header("x-auth-token") == Some(TOKEN) && world.sessions > 0;
        let is_in =
            has_session || (!world.habits.sessions && header("authorization") == Some(&*basic));
        match (&head.method, path.as_slice()) {
            (&Method::GET, [] | [""]) => tell(json!({
                "Systems": { "@odata.id": "/redfish/v1/Systems" },
                "Links": { "Sessions": { "@odata.id": "/redfish/v1/SessionService/Sessions" } },
            })),
            (&Method::POST, ["SessionService", "Sessions"]) => {
                if body["UserName"] == USER && body["Password"] == PASSWORD {
                    world.sessions += 1;
                    token = Some(TOKEN);
                    let place = "/redfish/v1/SessionService/Sessions/1".to_owned();
                    Reply(201, None, Some(place), json!({}))
                } else {
                    refuse(401, "The user name or password is wrong")
                }
            }
            _ if !is_in => refuse(401, "The credentials are missing or wrong"),
            (&Method::DELETE, ["SessionService", "Sessions", _]) => {
                world.sessions -= 1;
                done()
            }
            (method, path) => world.answer(method, path, &body, header("if-match")),
        }
    };
    let text = if json.is_null() { String::new() } else { json.to_string() };
    let (status, text) = match fault {
        Some(Fault::LoseAnswer) => return lost(),
        Some(Fault::Hang) => return std::future::pending().await,
        Some(Fault::HalfAnswer) => (status, text[..text.len() / 2].to_owned()),
        Some(Fault::TroubledAfter) => (500, "<html><h1>Internal error</h1></html>".to_owned()),
        _ => (status, text),
    };
    let mut response = Response::builder().status(status);
    for (name, value) in
        [("etag", etag.as_deref()), ("location", location.as_deref()), ("x-auth-token", token)]
    {
        if let Some(value) = value {
            response = response.header(name, value);
        }
    }
    Ok(response.body(Full::from(text)).unwrap())
}

impl World {
    fn answer(
        &mut self,
        method: &Method,
        path: &[&str],
        body: &Value,
        etag: Option<&str>,
    ) -> Reply {
        let habits = self.habits;
        let members = |paths: Vec<String>| {
            let members: Vec<Value> =
                paths.into_iter().map(|path| json!({ "@odata.id": path })).collect();
            tell(json!({ "Members@odata.count": members.len(), "Members": members }))
        };
        let index = |text: &str| text.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
        match (method, path) {
            (&Method::GET, ["Systems"]) => {
                return members(
                    (1..=habits.systems).map(|n| format!("/redfish/v1/Systems/{n}")).collect(),
                );
            }
            (&Method::GET, ["TaskService", "Monitors", _]) => {
                self.task_looks = self.task_looks.saturating_sub(1);
                return match self.task_looks {
                    0 => tell(json!({ "TaskState": "Completed" })),
                    _ => Reply(202, None, None, json!({ "TaskState": "Running" })),
                };
            }
            _ => {}
        }
        let Some(index) = path.get(1).and_then(|id| index(id)).filter(|n| *n < habits.systems)
        else {
            return refuse(404, "The resource does not exist");
        };
        let number = index + 1;
        let system = &mut self.systems[index];
        let here = format!("/redfish/v1/Systems/{number}");
        // The drive is the manager's, as with most vendors.
        let drive = format!("/redfish/v1/Managers/{number}/VirtualMedia/1");
        match (method, path) {
            (&Method::GET, ["Systems", _]) => {
                if let Some((power, left)) = system.next.take() {
                    match left {
                        0 => system.power = power,
                        _ => system.next = Some((power, left - 1)),
                    }
                }
                let etag = habits.etags.then(|| format!("W/\"{}\"", system.version));
                let mut json = system.json(&here, number);
                if habits.tags != Tags::Absent {
                    json["AssetTag"] = system.tag.clone();
                }
                let resets = habits.resets;
                let action = &mut json["Actions"]["#ComputerSystem.Reset"];
                match resets.len() {
                    1 => action["@Redfish.ActionInfo"] = json!(format!("{here}/ResetActionInfo")),
                    _ => action["ResetType@Redfish.AllowableValues"] = json!(resets),
                }
                Reply(200, etag, None, json)
            }
            (&Method::GET, ["Systems", _, "ResetActionInfo"]) => tell(json!({
                "Parameters": [{ "Name": "ResetType", "AllowableValues": habits.resets }]
            })),
            (&Method::GET, ["Systems", _, "EthernetInterfaces"]) => {
                members(vec![format!("{here}/EthernetInterfaces/1")])
            }
            (&Method::GET, ["Systems", _, "EthernetInterfaces", "1"]) => tell(json!({
                "IPv4Addresses": [{ "Address": "169.254.1.1" }, { "Address": format!("192.0.2.{number}") }],
                "IPv6Addresses": [{ "Address": "fe80::1" }, { "Address": format!("2001:db8::{number}") }],
            })),
            (&Method::GET, ["Managers", _]) => tell(json!({
                "VirtualMedia": { "@odata.id": format!("/redfish/v1/Managers/{number}/VirtualMedia") }
            })),
            (&Method::GET, ["Managers", _, "VirtualMedia"]) => members(vec![drive]),
            (&Method::GET, ["Managers", _, "VirtualMedia", "1"]) => tell(json!({
                "@odata.id": drive, "MediaTypes": ["CD", "DVD"], "Inserted": !system.image.is_empty(),
                "Image": system.image,
                "Actions": {
                    "#VirtualMedia.InsertMedia": { "target": format!("{drive}/Actions/VirtualMedia.InsertMedia") },
                    "#VirtualMedia.EjectMedia": { "target": format!("{drive}/Actions/VirtualMedia.EjectMedia") },
                },
            })),
            (&Method::POST, ["Managers", .., "VirtualMedia.InsertMedia"]) => {
                match body["Image"].as_str() {
                    Some(image) if !image.contains("missing") => {
                        system.image = image.to_owned();
                        done()
                    }
                    _ => refuse(500, "The image cannot be downloaded"),
                }
            }
            (&Method::POST, ["Managers", .., "VirtualMedia.EjectMedia"]) => {
                system.image.clear();
                done()
            }
            (&Method::PATCH, ["Systems", _]) => {
                if let (Some(tag), Some(rival)) = (body.get("AssetTag"), self.rival.take()) {
                    system.tag = json!(rival);
                    system.version += 1;
                    // Without an ETag the rival has the last word, too.
                    if !habits.etags && tag != "" {
                        return done();
                    }
                }
                let version = format!("W/\"{}\"", system.version);
                match etag {
                    None if habits.etags => return refuse(428, "If-Match is missing"),
                    Some(etag) if etag != version => return refuse(412, "The ETag does not match"),
                    _ => {}
                }
                if let Some(tag) = body["AssetTag"].as_str() {
                    match habits.tags {
                        Tags::Kept => system.tag = json!(tag),
                        Tags::Short(length) => {
                            system.tag = json!(tag.chars().take(length).collect::<String>())
                        }
                        Tags::Ignored => return tell(json!({ "@Message.ExtendedInfo": [] })),
                        Tags::Refused | Tags::Absent => {
                            return refuse(400, "AssetTag is read only");
                        }
                    }
                }
                let boot = |name: &str| body["Boot"][name].as_str().map(str::to_owned);
                if let Some(enabled) = boot("BootSourceOverrideEnabled") {
                    system.boot.0 = enabled;
                }
                if let Some(target) = boot("BootSourceOverrideTarget") {
                    system.boot.1 = target;
                }
                system.version += 1;
                done()
            }
            (&Method::POST, ["Systems", _, "Actions", "ComputerSystem.Reset"]) => {
                let kind = body["ResetType"].as_str().unwrap_or_default();
                self.calls.push(kind.to_owned());
                if !habits.resets.contains(&kind) {
                    return refuse(400, &format!("{kind} is not a type of reset"));
                }
                let (via, power) = match kind {
                    "On" if system.power == "On" => return refuse(409, "The system is on already"),
                    "ForceOff" if system.power == "Off" => return refuse(409, "It is off already"),
                    "GracefulShutdown" if self.deaf => return done(),
                    "GracefulShutdown" | "ForceOff" => ("PoweringOff", "Off"),
                    _ => ("PoweringOn", "On"),
                };
                system.power = via;
                system.next = Some((power, habits.looks));
                if !habits.tasks {
                    return done();
                }
                self.task_looks = 3;
                Reply(
                    202,
                    None,
                    Some("/redfish/v1/TaskService/Monitors/9".to_owned()),
                    json!({ "TaskState": "New" }),
                )
            }
            _ => refuse(404, "The resource does not exist"),
        }
    }
}

impl System {
    fn json(&self, here: &str, number: usize) -> Value {
        json!({
            "@odata.id": here,
            "Id": number.to_string(),
            "PowerState": self.power,
            "Manufacturer": "Ours", "Model": "Fake 1", "SerialNumber": format!("S{number}"),
            "Status": { "Health": "OK" },
            "ProcessorSummary": { "Count": 2 },
            "MemorySummary": { "TotalSystemMemoryGiB": 32 },
            "Boot": {
                "BootSourceOverrideEnabled": self.boot.0,
                "BootSourceOverrideTarget": self.boot.1,
                "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe", "Hdd", "Cd"],
            },
            "EthernetInterfaces": { "@odata.id": format!("{here}/EthernetInterfaces") },
            "Links": { "ManagedBy": [{ "@odata.id": format!("/redfish/v1/Managers/{number}") }] },
            "Actions": { "#ComputerSystem.Reset": { "target": format!("{here}/Actions/ComputerSystem.Reset") } },
        })
    }
}
