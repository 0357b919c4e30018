//! The keys that mean something in a template: one table, from which the checks take what is known
//! and the JSON Schema is made.

/// What stands behind a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// A single value, or nothing.
    Single,
    /// A single value with something in it.
    Text,
    /// One of these texts.
    Word(&'static [&'static str]),
    /// A whole number between these, or a text that becomes one.
    Number(u64, u64),
    /// One single value, or a list of them.
    Texts,
    /// A group of these keys, and others.
    Group(&'static [Key]),
    /// A group of any keys with single values.
    Parameters(&'static [Key]),
    /// A list of groups of these keys, and others.
    List(&'static [Key]),
    /// A group of keys, or a list of them.
    Groups,
    /// A text, or where a secret is.
    Content,
    /// A list of files, each a group of these keys.
    Files(&'static [Key]),
    /// A list of commands, each a line or a list of words.
    Commands,
    /// Anything.
    Any,
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// Whether there is nothing right without it.
    pub(crate) required: bool,
    /// What it means.
    pub(crate) about: &'static str,
}

const fn key(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, shape, required: false, about }
}

const fn needed(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, shape, required: true, about }
}

/// The names of keys.
pub(crate) fn names(keys: &'static [Key]) -> impl Iterator<Item = &'static str> + Clone {
    keys.iter().map(|key| key.name)
}

/// The names of the keys that must be there.
pub(crate) fn required(keys: &'static [Key]) -> impl Iterator<Item = &'static str> + Clone {
    keys.iter().filter(|key| key.required).map(|key| key.name)
}

/// The top level.
pub(crate) const TOP: &[Key] = &[
    key("version", Shape::Word(&["1"]), "Version of the template language; 1 is the only one"),
    key("name", Shape::Text, "Name of the provision, and of its cluster if that has none"),
    key("description", Shape::Single, "A text for people"),
    key("extends", Shape::Texts, "Base templates; a relative name counts from this file"),
    key("playbook", Shape::Texts, "Ansible playbooks in their order; an empty list means none"),
    key("ansible", Shape::Group(ANSIBLE), "Ansible playbooks as 6.6 and later have them"),
    key("configure", Shape::Group(CONFIGURE), "What is done on every host, before its own"),
    key("files", Shape::Files(FILE), "Short form of configure.files"),
    key("defaults", Shape::Group(DEFAULTS), "Values of all objects that have none of their own"),
    key("cluster", Shape::Group(CLUSTER), "The one cluster"),
    key("hosts", Shape::List(HOST), "Hosts"),
    key("datastores", Shape::List(DATASTORE), "Datastores"),
    key("networks", Shape::List(NETWORK), "Virtual networks"),
    key("images", Shape::List(IMAGE), "Images"),
    key("marketplaceapps", Shape::List(APP), "Apps of a marketplace that are exported"),
    key("templates", Shape::List(TEMPLATE), "Templates of virtual machines"),
    key("vntemplates", Shape::List(VNTEMPLATE), "Templates of virtual networks"),
    key("flowtemplates", Shape::List(FLOWTEMPLATE), "Templates of services"),
    key("inputs", Shape::List(INPUT), "What is asked for; ${input.NAME} stands for its value"),
    key("provider", Shape::Single, "Named provider of all hosts that name none of their own"),
];

/// `ansible`
pub(crate) const ANSIBLE: &[Key] = &[
    key("playbook", Shape::Texts, "Ansible playbooks in their order"),
    key("ver_min", Shape::Single, "Least version of Ansible for them"),
    key("ver_max", Shape::Single, "First version of Ansible that is too new for them"),
];

/// `configure`
pub(crate) const CONFIGURE: &[Key] = &[
    key("files", Shape::Files(FILE), "Files that are copied to the machine"),
    key("commands", Shape::Commands, "Commands that are run on the machine, after that"),
];

/// `files`
pub(crate) const FILE: &[Key] = &[
    needed("path", Shape::Text, "Absolute path on the machine"),
    key("content", Shape::Content, "What is in it, or where a secret is"),
    key("source", Shape::Single, "Path of a file here; a relative one counts from this template"),
    key("mode", Shape::Single, "Permissions in octal, such as 0644"),
    key("owner", Shape::Single, "USER or USER:GROUP"),
];

/// `defaults`
pub(crate) const DEFAULTS: &[Key] = &[
    key("provision", Shape::Parameters(PROVISION), "Driver and its parameters"),
    key("connection", Shape::Parameters(CONNECTION), "How machines are reached over SSH"),
    key("configuration", Shape::Group(&[]), "Ansible variables"),
];

/// `provision`
const PROVISION: &[Key] = &[
    key("driver", Shape::Text, "Provision driver: its folder in remotes/pm, or builtin:NAME"),
    key("provider", Shape::Single, "Named provider: the account of the driver"),
    key("count", Shape::Number(0, 10_000), "How many there are of it; ${index} is the number"),
];

/// `provision` of a host
const HOST_PROVISION: &[Key] = &[
    key("driver", Shape::Text, "Provision driver: its folder in remotes/pm, or builtin:NAME"),
    key("provider", Shape::Single, "Named provider: the account of the driver"),
    key("hostname", Shape::Texts, "Name of the machine; a list makes one host for each name"),
    key("count", Shape::Number(0, 10_000), "How many such hosts there are; ${index} is the number"),
];

/// `connection`
pub(crate) const CONNECTION: &[Key] = &[
    key("remote_user", Shape::Any, "User to log in as"),
    key("remote_port", Shape::Number(1, 65_535), "Port of SSH"),
    key("public_key", Shape::Any, "Public key, or the path of its file"),
    key(
        "private_key",
        Shape::Single,
        "The private key: path of its file, the key itself, or agent for those of an agent",
    ),
    key("jump_hosts", Shape::Any, "Hosts in between: [USER@]HOST[:PORT], separated by commas"),
];

/// `cluster`
const CLUSTER: &[Key] = &[
    key("name", Shape::Single, "Name of the cluster"),
    key(
        "datastores",
        Shape::Texts,
        "Ids of datastores that are there already and that it has as well",
    ),
    key("provision", Shape::Parameters(PROVISION), "Driver and its parameters"),
];

/// `hosts`
const HOST: &[Key] = &[
    needed("im_mad", Shape::Text, "Information driver, such as kvm"),
    needed("vm_mad", Shape::Text, "Virtualization driver, such as kvm"),
    key("provision", Shape::Parameters(HOST_PROVISION), "Driver and its parameters"),
    key("connection", Shape::Parameters(CONNECTION), "How the machine is reached over SSH"),
    key("configuration", Shape::Group(&[]), "Ansible variables"),
    key("configure", Shape::Group(CONFIGURE), "What is done on the machine without Ansible"),
    key("count", Shape::Number(0, 10_000), "How many such hosts there are; ${index} is the number"),
];

/// `datastores`
const DATASTORE: &[Key] = &[
    needed("name", Shape::Text, "Name of the datastore"),
    needed("tm_mad", Shape::Text, "Transfer driver"),
    key("ds_mad", Shape::Single, "Datastore driver; only a system datastore has none"),
    key("type", Shape::Single, "image_ds, system_ds or file_ds"),
    key("provision", Shape::Parameters(PROVISION), "Driver and its parameters"),
    key("meta", Shape::Group(META), "Owner and permissions"),
];

/// `networks`
const NETWORK: &[Key] = &[
    needed("name", Shape::Text, "Name of the network"),
    needed("vn_mad", Shape::Text, "Network driver"),
    key("ar", Shape::Groups, "Address ranges"),
    key("provision", Shape::Parameters(PROVISION), "Driver and its parameters"),
    key("count", Shape::Number(0, 10_000), "How often the first address range is there"),
    key("meta", Shape::Group(META), "Owner and permissions"),
];

/// `images`
pub(crate) const IMAGE: &[Key] = &[
    needed("name", Shape::Text, "Name of the image"),
    needed("ds_id", Shape::Number(0, ANY_ID), "Id of its datastore"),
    key("meta", Shape::Group(META), "Owner, permissions, waiting"),
];

/// `marketplaceapps`
pub(crate) const APP: &[Key] = &[
    needed("name", Shape::Text, "Name of the image"),
    needed("dsid", Shape::Number(0, ANY_ID), "Id of the datastore of its image"),
    key("appid", Shape::Number(0, ANY_ID), "Id of the app, or its name in appname"),
    key("appname", Shape::Single, "Name of the app"),
    key("vmname", Shape::Single, "Name of the template of a machine"),
    key("meta", Shape::Group(META), "Owner, permissions, waiting"),
];

/// `templates`
pub(crate) const TEMPLATE: &[Key] = &[
    needed("name", Shape::Text, "Name of the template"),
    key("meta", Shape::Group(META), "Owner and permissions"),
];

/// `vntemplates`
pub(crate) const VNTEMPLATE: &[Key] = &[
    needed("name", Shape::Text, "Name of the template"),
    needed("vn_mad", Shape::Text, "Network driver"),
    key("meta", Shape::Group(META), "Owner and permissions"),
];

/// `flowtemplates`
pub(crate) const FLOWTEMPLATE: &[Key] = &[
    needed("name", Shape::Text, "Name of the service"),
    key("meta", Shape::Group(META), "Owner and permissions"),
];

/// `meta`
pub(crate) const META: &[Key] = &[
    key("uid", Shape::Number(0, ANY_ID), "Owner by id"),
    key("gid", Shape::Number(0, ANY_ID), "Group by id"),
    key("uname", Shape::Single, "Owner by name"),
    key("gname", Shape::Single, "Group by name"),
    key("mode", Shape::Single, "Permissions as three octal digits, such as 640"),
    key("wait", Shape::Single, "Whether an image is waited for"),
    key("wait_timeout", Shape::Single, "How long, in seconds"),
];

/// `inputs`
pub(crate) const INPUT: &[Key] = &[
    needed("name", Shape::Text, "Its name: ${input.NAME}"),
    key("type", Shape::Word(INPUT_TYPES), "What kind of answer it takes"),
    key("description", Shape::Single, "What it is for"),
    key("default", Shape::Texts, "What counts if nothing is given"),
    key("options", Shape::Texts, "What a list can be"),
    key("min_value", Shape::Single, "Least number"),
    key("max_value", Shape::Single, "Greatest number"),
    key("mandatory", Shape::Word(&["true", "false", "yes", "no"]), "Whether it needs a value"),
    key("value", Shape::Texts, "Its value, if none is given"),
];

const INPUT_TYPES: &[&str] = &[
    "array",
    "boolean",
    "fixed",
    "number",
    "number-float",
    "range",
    "range-float",
    "list",
    "password",
    "text",
    "text64",
    "float",
];

/// Ids are 32 bits and not negative.
const ANY_ID: u64 = i32::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::InputType;

    #[test]
    fn the_types_of_inputs_are_those_that_are_read() {
        let (words, others) = INPUT_TYPES.split_at(InputType::ALL.len());
        assert_eq!(InputType::ALL.map(InputType::as_str), words);
        assert!(others.iter().all(|word| InputType::from_word(word).is_some()));
    }
}
