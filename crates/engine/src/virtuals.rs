//! Virtual objects: images, marketplace apps, templates of machines, networks and services. Made
//! after the hosts, in this order; one that fails undoes nothing and holds back only what refers to it.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use journal::{
    CreateOptions, Fact, Layout, ObjectRecord, Outcome, ProvisionRecord, Step, Subject,
    VirtualKind as Kind,
};
use model::{Attributes, ImageId, Value};
use opennebula::objects::{
    ImageState, Lingering as _, MarketApp, MarketAppId, MarketAppState, MarketAppType, Update,
};
use opennebula::text;
use template::reference::ObjectKind;
use template::spec::{Spec, VirtualKind, VirtualSpec};
use tokio::time::{Instant, sleep};

use crate::again::repeat;
use crate::error::describe;
use crate::objects::{Made, Wanted, kind_word};
use crate::observe::{Note, Phase};
use crate::ownership::changes;
use crate::session::Session;
use crate::values::Known;
use crate::{Decision, EngineError, flow};

/// How long an image is waited for if the template says that it is, and not how long (5.12).
const DEFAULT_WAIT: u32 = 60;
/// First and longest pause between two looks at an image.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// The network interface of a network, which may be known only when the hosts are there.
const PHYDEV: &str = "PHYDEV";

/// What says of an image where it comes from: it counts once, when the image is made.
pub(crate) const OF_THE_FILE: [&str; 8] =
    ["DS_ID", "FORMAT", "FS", "PATH", "SIZE", "SOURCE", "TYPE", "DRIVER"];

/// What says of a marketplace app which one it is, and where to and as what it is exported.
pub(crate) const OF_THE_APP: [&str; 4] = ["APPID", "APPNAME", "DSID", "VMNAME"];

/// One object in OpenNebula, and the entry of the template that it comes of.
#[derive(Clone, Copy)]
struct Item<'s> {
    subject: Subject,
    spec: &'s VirtualSpec,
    /// What references call it.
    kind: ObjectKind,
    index: usize,
    /// The image that the template of a marketplace app is for.
    image: Option<usize>,
}

/// What is to be sent for an item.
struct Draft {
    name: String,
    template: Attributes,
    /// The datastore of an image.
    datastore: i32,
}

/// The objects of a template in the order of their making. Images of marketplace apps are counted
/// behind the images, their templates before the templates.
fn items<'s>(spec: &'s Spec, layout: &Layout) -> Vec<Item<'s>> {
    let of = |kind| spec.virtual_objects.iter().filter(move |object| object.kind == kind);
    let images = of(VirtualKind::Image).count();
    let apps = of(VirtualKind::MarketplaceApp).count();
    let item = |kind, object_kind, index: usize, spec| Item {
        subject: layout.virtual_object(kind, index),
        spec,
        kind: object_kind,
        index,
        image: None,
    };
    let mut all = Vec::new();
    for (n, spec) in of(VirtualKind::Image).enumerate() {
        all.push(item(Kind::Image, ObjectKind::Image, n, spec));
    }
    for (n, spec) in of(VirtualKind::MarketplaceApp).enumerate() {
        all.push(item(Kind::Image, ObjectKind::Image, images + n, spec));
        let template = item(Kind::Template, ObjectKind::Template, n, spec);
        all.push(Item { image: Some(images + n), ..template });
    }
    for (n, spec) in of(VirtualKind::Template).enumerate() {
        all.push(item(Kind::Template, ObjectKind::Template, apps + n, spec));
    }
    for (n, spec) in of(VirtualKind::Vntemplate).enumerate() {
        all.push(item(Kind::Vntemplate, ObjectKind::Vntemplate, n, spec));
    }
    for (n, spec) in of(VirtualKind::Flowtemplate).enumerate() {
        all.push(item(Kind::Flowtemplate, ObjectKind::Flowtemplate, n, spec));
    }
    all
}

/// An object that a template makes, for a plan.
pub(crate) struct Entry<'s> {
    pub kind: Kind,
    /// Its name as the template has it.
    pub name: &'s str,
    pub spec: &'s VirtualSpec,
    /// The object that the entry stands for.
    pub subject: Subject,
}

/// The objects of a template in the order of their numbers.
pub(crate) fn entries<'s>(spec: &'s Spec, layout: &Layout) -> Vec<Entry<'s>> {
    let entry = |item: Item<'s>| {
        let kind = subject_kind(item.subject)?;
        let own = item.spec.attributes.text("VMNAME").filter(|_| item.image.is_some());
        let name = own.unwrap_or(&item.spec.name);
        Some(Entry { kind, name, spec: item.spec, subject: item.subject })
    };
    items(spec, layout).into_iter().filter_map(entry).collect()
}

/// Makes those known that are there.
pub(crate) fn tell_virtuals(
    spec: &Spec,
    record: &ProvisionRecord,
    layout: &Layout,
    known: &mut Known,
) {
    for item in items(spec, layout) {
        let made = known.virtual_object(item.spec);
        if let (Some(id), Ok((name, made, _))) = (record.id_of(item.subject), made) {
            known.add(item.kind, item.index, id, &name, made);
        }
    }
}

/// How many objects of each kind a template makes.
pub(crate) fn counts(spec: &Spec) -> BTreeMap<Kind, u32> {
    let mut counts = BTreeMap::new();
    for item in items(spec, &Layout::default()) {
        if let Subject::Virtual(kind, _) = item.subject {
            *counts.entry(kind).or_default() += 1;
        }
    }
    counts
}

/// How an item ended.
enum Ended {
    Made(i32),
    /// There is nothing to be made, or it stays failed.
    Without,
    Stopped,
    Cleanup,
}

impl Session {
    /// Makes what is not there yet. One that fails for good stays so, and the others go on.
    pub(crate) async fn make_virtuals(
        &self,
        spec: &Spec,
        options: &CreateOptions,
        known: &mut Known,
    ) -> Result<Made, EngineError> {
        let items = items(spec, &self.record().layout);
        if !items.is_empty() {
            self.note(Note::Phase(Phase::CreatingVirtual));
        }
        for item in items {
            match self.make_virtual(item, options, known).await? {
                Ended::Made(id) => {
                    // What refers to more of it than its id has what was sent.
                    let draft = self.draft(item, known).await;
                    let (name, template) = match draft {
                        Ok(Some(draft)) => (draft.name, draft.template),
                        _ => (item.spec.name.clone(), Attributes::new()),
                    };
                    known.add(item.kind, item.index, id, &name, template);
                }
                Ended::Without => {}
                Ended::Stopped => return Ok(Made::Stopped),
                Ended::Cleanup => return Ok(Made::Cleanup),
            }
        }
        Ok(Made::All)
    }

    /// One item, step by step, until all of it is done or it is given up.
    async fn make_virtual(
        &self,
        item: Item<'_>,
        options: &CreateOptions,
        known: &Known,
    ) -> Result<Ended, EngineError> {
        let subject = item.subject;
        loop {
            if self.engine().stop.requested() {
                return Ok(Ended::Stopped);
            }
            let record = self.record().object(subject).cloned().unwrap_or_default();
            if record.is_needless() {
                return Ok(Ended::Without);
            }
            if record.open.as_ref().is_some_and(|open| open.step == Step::Remove) {
                // An image that failed was being replaced.
                self.remove_object(subject, self.engine().settings.patience).await?;
                continue;
            }
            let meta = item.spec.meta.clone().unwrap_or_default();
            let wait = wait_of(item, options);
            let name = &item.spec.name;
            let done = match (record.made(), wait) {
                (None, _) => self.make_item(item, &record, known).await?,
                (Some(id), _) if record.outdated.is_some() => {
                    self.refresh_item(item, &record, id, known).await?
                }
                (Some(id), _) if changes(&meta) && !record.owned => {
                    self.own_object(subject, &record, id, name, &meta).await?
                }
                (Some(id), Some(wait)) if !record.ready => {
                    self.await_image(subject, &record, id, name, wait).await?
                }
                (Some(id), _) => return Ok(Ended::Made(id)),
            };
            if done {
                continue;
            }
            let now = self.record().object(subject).cloned().unwrap_or_default();
            let failure = now.failure.clone().unwrap_or_default();
            match self.decide(subject, &failure).await {
                Decision::Retry => self.clear_failed_image(subject, now.made()).await?,
                Decision::Cleanup => return Ok(Ended::Cleanup),
                Decision::Quit => return Ok(Ended::Stopped),
                // What is there, though not as it should be, can be referred to.
                Decision::Leave | Decision::Skip => {
                    return Ok(now.made().map_or(Ended::Without, Ended::Made));
                }
            }
        }
    }

    /// Makes one item; what cannot be sent at all is a failure too. True if it is there, or need not
    /// be.
    async fn make_item(
        &self,
        item: Item<'_>,
        record: &ObjectRecord,
        known: &Known,
    ) -> Result<bool, EngineError> {
        let subject = item.subject;
        let (outcome, record) = match self.draft(item, known).await {
            Ok(Some(draft)) => {
                let Draft { name, template, datastore } = &draft;
                let made = self
                    .make_object(subject, record, Wanted::new(name, template), *datastore)
                    .await?;
                if let Some(id) = made
                    && item.spec.kind == VirtualKind::MarketplaceApp
                    && subject_kind(subject) == Some(Kind::Image)
                {
                    self.forget_format(ImageId(id)).await;
                }
                return Ok(made.is_some());
            }
            Ok(None) => (Outcome::Done(Fact::Done), record),
            Err(why) => {
                let word = kind_word(subject);
                let message = format!("{word} {:?}: {why}", item.spec.name);
                let outcome = match record.open {
                    // Whether the attempt that was not answered made it is as unknown as before.
                    Some(_) => Outcome::Unknown { evidence: message },
                    None => Outcome::Failed { message },
                };
                (outcome, record)
            }
        };
        let intent = match &record.open {
            Some(open) => open.id,
            None => self.intend(subject, Step::Create, None).await?,
        };
        let done = matches!(outcome, Outcome::Done(_));
        self.outcome(intent, outcome).await?;
        Ok(done)
    }

    /// Writes one item anew, as an update wants it. Where its file comes from stays as it was.
    async fn refresh_item(
        &self,
        item: Item<'_>,
        record: &ObjectRecord,
        id: i32,
        known: &Known,
    ) -> Result<bool, EngineError> {
        let subject = item.subject;
        let draft = match self.draft(item, known).await {
            Ok(Some(draft)) => draft,
            Ok(None) => return Ok(true),
            Err(why) => {
                let intent = match &record.open {
                    Some(open) => open.id,
                    None => self.intend(subject, Step::Refresh, None).await?,
                };
                let message = format!("{} {:?}: {why}", kind_word(subject), item.spec.name);
                self.outcome(intent, Outcome::Failed { message }).await?;
                return Ok(false);
            }
        };
        let mut template = draft.template;
        for key in OF_THE_FILE {
            template.remove(key);
        }
        self.refresh_object(subject, id, Wanted::new(&draft.name, &template)).await
    }

    /// What is to be sent, `None` if there is nothing to be made.
    async fn draft(&self, item: Item<'_>, known: &Known) -> Result<Option<Draft>, String> {
        let spec = item.spec;
        let (name, mut template, body) = known.virtual_object(spec).map_err(|e| describe(&e))?;
        if template.has_withheld() || body == Some(Value::Withheld) {
            return Err(format!(
                "{}: it needs a secret of the template, which has changed or is gone",
                spec.origin
            ));
        }
        let mut datastore = -1;
        match (spec.kind, item.kind) {
            (VirtualKind::Image, _) => datastore = taken_id(&mut template, "DS_ID", spec)?,
            (VirtualKind::MarketplaceApp, kind) => {
                return self.draft_of_app(item, &name, template, kind, known).await;
            }
            (VirtualKind::Flowtemplate, _) => {
                let engine = self.engine();
                let new = self.is_new_front_end().await?;
                let given = body.as_ref().and_then(Value::expose).unwrap_or("{}");
                let made = flow::body(given, self.id, known.provision(), new, engine.clock.now())?;
                template = Attributes::new();
                template.push(
                    "BODY",
                    match &body {
                        Some(Value::Secret(_)) => Value::Secret(model::Secret::new(made)),
                        _ => Value::Text(made),
                    },
                );
            }
            (VirtualKind::Vntemplate, _) => {
                // 6.x takes none without it for a driver with VLANs (`VNTemplate::insert` asks
                // `VirtualNetwork::parse_phydev_vlans`).
                if let (Some(text), None) = (spec.attributes.text(PHYDEV), template.get(PHYDEV))
                    && !self.is_new_front_end().await?
                {
                    template.push(PHYDEV, text);
                }
            }
            (VirtualKind::Template, _) => {}
        }
        Ok(Some(Draft { name, template, datastore }))
    }

    /// Whether it is of release 7.
    async fn is_new_front_end(&self) -> Result<bool, String> {
        let version = self.engine().opennebula.system().version().await;
        version.map(|version| flow::has_new_attributes(&version)).map_err(|e| describe(&e))
    }

    /// What OpenNebula's own tools make of an app (`marketplaceapp_ext.rb`): an image with the
    /// template that comes with it, and a template of a machine with that image as a disk.
    async fn draft_of_app(
        &self,
        item: Item<'_>,
        name: &str,
        given: Attributes,
        kind: ObjectKind,
        known: &Known,
    ) -> Result<Option<Draft>, String> {
        let app = self.find_app(&given).await?;
        let mark = given.get("PROVISION").cloned().unwrap_or(Value::Vector(Attributes::new()));
        if kind == ObjectKind::Image {
            let mut given = given;
            let datastore = taken_id(&mut given, "DSID", item.spec)?;
            let mut template = decoded(&app.image_template, "image")?;
            template.set("FROM_APP", app.id.to_string());
            if let Some(tag) = given.text("TAG") {
                template.set("URL_ARGS", format!("tag={tag}"));
            }
            template.set("PROVISION", mark);
            return Ok(Some(Draft { name: name.to_owned(), template, datastore }));
        }
        let Some(encoded) = app.template.text("VMTEMPLATE64").filter(|text| !text.is_empty())
        else {
            return Ok(None);
        };
        let image = item_image(item, known).ok_or("its image was not made")?;
        let mut template = decoded(encoded, "machine")?;
        let mut disk = Attributes::new();
        disk.push("IMAGE_ID", image.to_string());
        template.push("DISK", disk);
        template.set("PROVISION", mark);
        let name = given.text("VMNAME").unwrap_or(name).to_owned();
        Ok(Some(Draft { name, template, datastore: -1 }))
    }

    /// The app of an entry, by id or name, if it can be exported.
    async fn find_app(&self, given: &Attributes) -> Result<MarketApp, String> {
        let apps = self.engine().opennebula.marketapps();
        let failed = |error: opennebula::Error| describe(&error);
        let id = match (given.text("APPID"), given.text("APPNAME")) {
            (Some(id), _) => {
                let id = id.trim().parse().map_err(|_| format!("{id:?} is no id of an app"))?;
                MarketAppId(id)
            }
            (None, Some(name)) => {
                let mut pool = apps.pool().await.map_err(failed)?;
                pool.retain(|app| app.name == name);
                // The same app of two markets is the same; one that is ready is of more use.
                pool.sort_by_key(|app| (app.state != MarketAppState::Ready, app.id));
                let app = pool.first().ok_or_else(|| format!("there is no app {name:?}"))?;
                app.id
            }
            (None, None) => return Err("neither appid nor appname is given".to_owned()),
        };
        let app = apps.info(id).await.map_err(failed)?;
        if app.state != MarketAppState::Ready {
            return Err(format!("app {id} ({}) is not ready but {}", app.name, app.state));
        }
        match app.app_type {
            MarketAppType::Image => Ok(app),
            other => Err(format!(
                "app {id} ({}) is of type {other}; only images can be exported to a provision",
                app.name
            )),
        }
    }

    /// Removes what describes the app's file and not the image that was made of it. It does no harm if
    /// it stays, so that a failure is only told.
    async fn forget_format(&self, id: ImageId) {
        let images = self.engine().opennebula.images();
        let patience = self.engine().settings.patience;
        let forgotten = async {
            let mut template = images.info(id).await?.template;
            if template.remove("FORMAT") | template.remove("DRIVER") {
                repeat(patience, || images.update(id, &template, Update::Replace)).await?;
            }
            Ok::<(), opennebula::Error>(())
        };
        if let Err(error) = forgotten.await {
            let text = format!("image {id} keeps the format of its app: {}", describe(&error));
            self.note(Note::Warning(text));
        }
    }

    /// Waits until an image is ready, or until the operation is stopped: then the intent stays open.
    /// False if it will not be ready; then the record says why.
    async fn await_image(
        &self,
        subject: Subject,
        record: &ObjectRecord,
        id: i32,
        name: &str,
        wait: Duration,
    ) -> Result<bool, EngineError> {
        let intent = match &record.open {
            Some(open) if open.step == Step::AwaitReady => open.id,
            _ => self.intend(subject, Step::AwaitReady, None).await?,
        };
        self.note(Note::Debug(format!("Waiting for OpenNebula image {id} to be ready")));
        let images = self.engine().opennebula.images();
        let begun = Instant::now();
        let (mut pause, longest) = PAUSES;
        let outcome = loop {
            if self.engine().stop.requested() {
                return Ok(true);
            }
            let failed = |why: String| Outcome::Failed {
                message: format!("image {name:?} ({id}) is not ready: {why}"),
            };
            match images.look(ImageId(id)).await {
                Ok(None) => break failed("it was deleted".to_owned()),
                Ok(Some(image)) => match image.state {
                    ImageState::Error => {
                        break failed(image.failure().unwrap_or_default().to_owned());
                    }
                    ImageState::Init | ImageState::Locked => {}
                    ImageState::Delete => break failed("it is being deleted".to_owned()),
                    _ => break Outcome::Done(Fact::Done),
                },
                // A front-end that is away for a moment is waited for as the image is.
                Err(error) if begun.elapsed() + pause >= wait => break failed(describe(&error)),
                Err(_) => {}
            }
            if begun.elapsed() + pause > wait {
                let seconds = wait.as_secs();
                break failed(format!("it is still being copied after {seconds} s"));
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.engine().stop.wait() => {}
            }
            pause = (pause * 2).min(longest);
        };
        let done = matches!(outcome, Outcome::Done(_));
        self.outcome(intent, outcome).await?;
        Ok(done)
    }

    /// Before an image is tried again: one that is in ERROR stays so, and another one is made.
    async fn clear_failed_image(
        &self,
        subject: Subject,
        id: Option<i32>,
    ) -> Result<(), EngineError> {
        let (Some(Kind::Image), Some(id)) = (subject_kind(subject), id) else { return Ok(()) };
        let look = self.engine().opennebula.images().look(ImageId(id)).await;
        let gone = match look {
            Ok(Some(image)) => image.state == ImageState::Error,
            Ok(None) => true,
            Err(_) => false,
        };
        if gone {
            self.remove_object(subject, self.engine().settings.patience).await?;
        }
        Ok(())
    }
}

fn subject_kind(subject: Subject) -> Option<Kind> {
    match subject {
        Subject::Virtual(kind, _) => Some(kind),
        _ => None,
    }
}

/// The image of an app's template: it was made just before.
fn item_image(item: Item<'_>, known: &Known) -> Option<i32> {
    known.id_of(ObjectKind::Image, item.image?)
}

/// How long an image is waited for: what the template says, else what the command says.
fn wait_of(item: Item<'_>, options: &CreateOptions) -> Option<Duration> {
    if item.kind != ObjectKind::Image {
        return None;
    }
    let meta = item.spec.meta.as_ref();
    let seconds = match meta.and_then(|meta| meta.wait) {
        Some(false) => None,
        Some(true) => {
            let given = meta.and_then(|meta| meta.wait_timeout);
            given.or(options.wait_ready).or(Some(DEFAULT_WAIT))
        }
        None => options.wait_ready,
    };
    seconds.map(|seconds| Duration::from_secs(seconds.into()))
}

/// Takes the id of another object out of a template.
fn taken_id(template: &mut Attributes, key: &str, spec: &VirtualSpec) -> Result<i32, String> {
    let text = template.text(key).unwrap_or_default().trim().to_owned();
    template.remove(key);
    text.parse().ok().filter(|id: &i32| *id >= 0).ok_or_else(|| {
        let key = key.to_lowercase();
        format!("{}: '{key}' is {text:?}, which is no id of a datastore", spec.origin)
    })
}

/// A template of an app, Base64 of the text form.
fn decoded(encoded: &str, what: &str) -> Result<Attributes, String> {
    let unusable = |why: String| format!("the app's template of the {what} cannot be read: {why}");
    let compact: String = encoded.split_whitespace().collect();
    let bytes = STANDARD.decode(compact).map_err(|error| unusable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| unusable(error.to_string()))?;
    text::parse(&text).map_err(|error| unusable(error.to_string()))
}
