//! Users and groups.

use model::Attributes;

use super::xml::{Element, mask_passwords};
use super::{GroupId, Object, ObjectKind, UserId};

/// A user. The hash of the password, which answers hold, is not read.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Id; 0 is `oneadmin`.
    pub id: UserId,
    /// Name.
    pub name: String,
    /// Primary group.
    pub gid: GroupId,
    /// All groups.
    pub groups: Vec<GroupId>,
    /// Name of the authentication driver.
    pub auth_driver: String,
    /// May log in.
    pub enabled: bool,
    /// Everything else, passwords as secrets.
    pub template: Attributes,
}

impl User {
    /// Whether it may do everything: `oneadmin`, and the users of the group of that name
    /// (`AuthManager.cc`, `AuthRequest`; 7.4).
    pub fn is_admin(&self) -> bool {
        let is_oneadmin = |group: &GroupId| group.0 == 0;
        self.id.0 == 0 || is_oneadmin(&self.gid) || self.groups.iter().any(is_oneadmin)
    }
}

impl Object for User {
    const KIND: ObjectKind = ObjectKind::User;
    type Id = UserId;

    fn id(&self) -> UserId {
        self.id
    }

    fn read(xml: Element<'_, '_>) -> Result<Self, String> {
        Ok(Self {
            id: xml.id()?,
            name: xml.text("NAME"),
            gid: xml.number("GID").unwrap_or(-1).into(),
            groups: xml.ids("GROUPS"),
            auth_driver: xml.text("AUTH_DRIVER"),
            enabled: xml.count("ENABLED") != 0,
            template: mask_passwords(xml.attributes("TEMPLATE")),
        })
    }
}

/// A group of users.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Id; 0 is `oneadmin`, 1 `users`.
    pub id: GroupId,
    /// Name.
    pub name: String,
    /// Its users.
    pub users: Vec<UserId>,
    /// Those of them who administer it.
    pub admins: Vec<UserId>,
    /// Everything else.
    pub template: Attributes,
}

impl Object for Group {
    const KIND: ObjectKind = ObjectKind::Group;
    type Id = GroupId;

    fn id(&self) -> GroupId {
        self.id
    }

    fn read(xml: Element<'_, '_>) -> Result<Self, String> {
        Ok(Self {
            id: xml.id()?,
            name: xml.text("NAME"),
            users: xml.ids("USERS"),
            admins: xml.ids("ADMINS"),
            template: xml.attributes("TEMPLATE"),
        })
    }
}
