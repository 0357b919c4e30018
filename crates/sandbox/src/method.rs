//! Names of methods, and what each needs.

use crate::kind::Kind;

/// A method that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Version,
    Config,
    Pool(Kind),
    MarketPool,
    MarketAppPool,
    MarketAppInfo,
    ZonePool,
    Object(Kind, Verb),
}

/// What is done with one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Allocate,
    Info,
    Update,
    Rename,
    Delete,
    Chown,
    Chmod,
    Lock,
    Unlock,
    /// Hosts: enable, disable, offline.
    Status,
    /// Clusters: put an object of a kind in.
    Add(Kind),
    /// Clusters: take an object of a kind out.
    Remove(Kind),
    /// Networks: address ranges.
    AddRange,
    RemoveRange,
    Recover,
    /// Images.
    Persistent,
    /// VMs.
    Deploy,
    Action,
    /// Users.
    Passwd,
}

impl Method {
    /// The method of a name such as `one.host.info`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (noun, verb) = name.strip_prefix("one.")?.split_once('.')?;
        if let Some(kind) = Kind::from_method(noun) {
            return Verb::parse(kind, verb).map(|verb| Self::Object(kind, verb));
        }
        match (noun, verb) {
            ("system", "version") => Some(Self::Version),
            ("system", "config") => Some(Self::Config),
            ("marketpool", "info") => Some(Self::MarketPool),
            ("marketapppool", "info") => Some(Self::MarketAppPool),
            ("marketapp", "info") => Some(Self::MarketAppInfo),
            ("zonepool", "info") => Some(Self::ZonePool),
            (noun, "info") => Kind::from_method(noun.strip_suffix("pool")?).map(Self::Pool),
            _ => None,
        }
    }

    /// Whether it changes something.
    pub(crate) fn is_write(self) -> bool {
        matches!(self, Self::Object(_, verb) if verb != Verb::Info)
    }
}

impl Verb {
    fn parse(kind: Kind, name: &str) -> Option<Self> {
        use Kind::{Cluster, Datastore, Group, Host, Image, User, Vm, Vnet};
        let verb = match name {
            "allocate" => Self::Allocate,
            "info" => Self::Info,
            "update" => Self::Update,
            "rename" => Self::Rename,
            "delete" => Self::Delete,
            "chown" => Self::Chown,
            "chmod" => Self::Chmod,
            "lock" => Self::Lock,
            "unlock" => Self::Unlock,
            "status" => Self::Status,
            "addhost" => Self::Add(Host),
            "delhost" => Self::Remove(Host),
            "adddatastore" => Self::Add(Datastore),
            "deldatastore" => Self::Remove(Datastore),
            "addvnet" => Self::Add(Vnet),
            "delvnet" => Self::Remove(Vnet),
            "add_ar" => Self::AddRange,
            "rm_ar" => Self::RemoveRange,
            "recover" => Self::Recover,
            "persistent" => Self::Persistent,
            "deploy" => Self::Deploy,
            "action" => Self::Action,
            "passwd" => Self::Passwd,
            _ => return None,
        };
        let known = match verb {
            Self::Allocate | Self::Info | Self::Update => true,
            Self::Rename => !matches!(kind, User | Group),
            Self::Delete => kind != Vm,
            Self::Chown | Self::Chmod => kind.is_owned(),
            Self::Lock | Self::Unlock => kind.is_owned() && kind != Datastore,
            Self::Status => kind == Host,
            Self::Add(_) | Self::Remove(_) => kind == Cluster,
            Self::AddRange | Self::RemoveRange | Self::Recover => kind == Vnet,
            Self::Persistent => kind == Image,
            Self::Deploy | Self::Action => kind == Vm,
            Self::Passwd => kind == User,
        };
        known.then_some(verb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_methods() {
        let parse = Method::parse;
        assert_eq!(parse("one.host.info"), Some(Method::Object(Kind::Host, Verb::Info)));
        assert_eq!(parse("one.vnpool.info"), Some(Method::Pool(Kind::Vnet)));
        assert_eq!(parse("one.system.version"), Some(Method::Version));
        for unknown in [
            "",
            "one",
            "one.",
            "one.host",
            "host.info",
            "one.nosuch.info",
            "one.host.chmod",
            "one.pool.info",
            "one.host.info.x",
            "one.hostpool.update",
            "one.user.rename",
        ] {
            assert_eq!(parse(unknown), None, "{unknown}");
        }
        assert!(parse("one.host.update").is_some_and(Method::is_write));
        assert!(!parse("one.hostpool.info").is_some_and(Method::is_write));
    }
}
