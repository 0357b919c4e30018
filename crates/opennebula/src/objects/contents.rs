//! What is kept and run: images, templates, documents, apps, VMs.

use model::{Attributes, DatastoreId, DocumentId, HostId, ImageId, TemplateId, VntemplateId};

use super::xml::Element;
use super::{
    ImageState, MarketAppId, MarketAppState, MarketAppType, Object, ObjectKind, Owner, Permissions,
    VmId, VmState,
};

/// A disk image or file.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Id.
    pub id: ImageId,
    /// Name, unique among the images of its owner.
    pub name: String,
    /// Owner.
    pub owner: Owner,
    /// Who may do what.
    pub permissions: Permissions,
    /// State.
    pub state: ImageState,
    /// Size in MB.
    pub size_mb: i64,
    /// Whether what VMs write into it stays; then one VM at a time uses it.
    pub persistent: bool,
    /// Its datastore.
    pub datastore_id: DatastoreId,
    /// Name of its datastore.
    pub datastore_name: String,
    /// Number of VMs that run with it.
    pub running_vms: i64,
    /// VMs that use it.
    pub vms: Vec<VmId>,
    /// Everything else; `ERROR` has the reason of [`ImageState::Error`].
    pub template: Attributes,
}

impl Object for Image {
    const KIND: ObjectKind = ObjectKind::Image;
    type Id = ImageId;

    fn id(&self) -> ImageId {
        self.id
    }

    fn read(xml: Element<'_, '_>) -> Result<Self, String> {
        Ok(Self {
            id: xml.id()?,
            name: xml.text("NAME"),
            owner: xml.owner(),
            permissions: xml.permissions(),
            state: xml.number("STATE").unwrap_or(-1).into(),
            size_mb: xml.count("SIZE"),
            persistent: xml.count("PERSISTENT") != 0,
            datastore_id: xml.number("DATASTORE_ID").unwrap_or(-1).into(),
            datastore_name: xml.text("DATASTORE"),
            running_vms: xml.count("RUNNING_VMS"),
            vms: xml.ids("VMS"),
            template: xml.attributes("TEMPLATE"),
        })
    }
}

/// Declares an object that is little more than a template with an owner.
macro_rules! plain_objects {
    ($($(#[$doc:meta])* $name:ident, $id:ident, $kind:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            /// Id.
            pub id: $id,
            /// Name.
            pub name: String,
            /// Owner.
            pub owner: Owner,
            /// Who may do what.
            pub permissions: Permissions,
            /// What it holds.
            pub template: Attributes,
        }

        impl Object for $name {
            const KIND: ObjectKind = ObjectKind::$kind;
            type Id = $id;

            fn id(&self) -> $id {
                self.id
            }

            fn read(xml: Element<'_, '_>) -> Result<Self, String> {
                Ok(Self {
                    id: xml.id()?,
                    name: xml.text("NAME"),
                    owner: xml.owner(),
                    permissions: xml.permissions(),
                    template: xml.attributes("TEMPLATE"),
                })
            }
        }
    )*};
}

plain_objects! {
    /// A VM template.
    VmTemplate, TemplateId, VmTemplate;
    /// A virtual network template.
    VnTemplate, VntemplateId, VnTemplate;
}

/// A document: attributes that OpenNebula only stores. Types 100 to 104 are taken by its own tools.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Id.
    pub id: DocumentId,
    /// Name, unique among the documents of its type and owner.
    pub name: String,
    /// Owner.
    pub owner: Owner,
    /// Who may do what.
    pub permissions: Permissions,
    /// Type.
    pub document_type: i32,
    /// What it holds. `PROVISION_BODY` is cipher text unless read with
    /// [`super::Objects::info_decrypted`].
    pub template: Attributes,
}

impl Object for Document {
    const KIND: ObjectKind = ObjectKind::Document;
    type Id = DocumentId;

    fn id(&self) -> DocumentId {
        self.id
    }

    fn read(xml: Element<'_, '_>) -> Result<Self, String> {
        Ok(Self {
            id: xml.id()?,
            name: xml.text("NAME"),
            owner: xml.owner(),
            permissions: xml.permissions(),
            document_type: xml.number("TYPE").unwrap_or(-1),
            template: xml.attributes("TEMPLATE"),
        })
    }
}

/// An app of a marketplace.
#[derive(Clone, Debug, PartialEq)]
pub struct MarketApp {
    /// Id.
    pub id: MarketAppId,
    /// Name.
    pub name: String,
    /// Owner.
    pub owner: Owner,
    /// Who may do what.
    pub permissions: Permissions,
    /// State.
    pub state: MarketAppState,
    /// What is in it.
    pub app_type: MarketAppType,
    /// Name of its marketplace.
    pub marketplace: String,
    /// Size in MB.
    pub size_mb: i64,
    /// Template of the image in the text form, Base64 (`APPTEMPLATE64`).
    pub image_template: String,
    /// Everything else; `VMTEMPLATE64` is the template of a VM with the image, if there is one.
    pub template: Attributes,
}

impl Object for MarketApp {
    const KIND: ObjectKind = ObjectKind::MarketApp;
    type Id = MarketAppId;

    fn id(&self) -> MarketAppId {
        self.id
    }

    fn read(xml: Element<'_, '_>) -> Result<Self, String> {
        Ok(Self {
            id: xml.id()?,
            name: xml.text("NAME"),
            owner: xml.owner(),
            permissions: xml.permissions(),
            state: xml.number("STATE").unwrap_or(-1).into(),
            app_type: xml.number("TYPE").unwrap_or(-1).into(),
            marketplace: xml.text("MARKETPLACE"),
            size_mb: xml.count("SIZE"),
            image_template: xml.text("APPTEMPLATE64"),
            template: xml.attributes("TEMPLATE"),
        })
    }
}

/// A virtual machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Vm {
    /// Id.
    pub id: VmId,
    /// Name.
    pub name: String,
    /// Owner.
    pub owner: Owner,
    /// Who may do what.
    pub permissions: Permissions,
    /// State.
    pub state: VmState,
    /// What goes on while it is [`VmState::Active`]; 3 is running.
    pub lcm_state: i32,
    /// The host that it is or was last on.
    pub host: Option<HostId>,
    /// The system datastore that its disks are or were last in.
    pub datastore: Option<DatastoreId>,
    /// What it was made of.
    pub template: Attributes,
    /// What its user added.
    pub user_template: Attributes,
}

impl Object for Vm {
    const KIND: ObjectKind = ObjectKind::Vm;
    type Id = VmId;

    fn id(&self) -> VmId {
        self.id
    }

    fn read(xml: Element<'_, '_>) -> Result<Self, String> {
        let history = xml.child("HISTORY_RECORDS");
        let last = history.and_then(|list| {
            list.children("HISTORY").max_by_key(|record| record.number::<i64>("SEQ").unwrap_or(0))
        });
        Ok(Self {
            id: xml.id()?,
            name: xml.text("NAME"),
            owner: xml.owner(),
            permissions: xml.permissions(),
            state: xml.number("STATE").unwrap_or(-1).into(),
            lcm_state: xml.number("LCM_STATE").unwrap_or(-1),
            host: last.and_then(|record| record.number::<i32>("HID")).map(HostId),
            datastore: last.and_then(|record| record.number::<i32>("DS_ID")).map(DatastoreId),
            template: xml.attributes("TEMPLATE"),
            user_template: xml.attributes("USER_TEMPLATE"),
        })
    }
}
