//! The marks by which everything of ours is found again.
//!
//! They are computed from the provision's id alone, never drawn anew: after a crash the same names
//! are looked for, and nothing that somebody else made can carry them.

use model::{HostKey, ProvisionId};

/// What every host name begins with until the machine's address is known (also in 5.8 to 5.12).
const PREFIX: &str = "provision-";

/// Name of a host object before its machine has an address.
pub fn host_name(provision: ProvisionId, key: HostKey) -> String {
    provision.host_name(key)
}

/// The host key in a name made by [`host_name`] for this provision.
pub fn host_key(provision: ProvisionId, name: &str) -> Option<HostKey> {
    let digits = name.strip_prefix(PREFIX)?.strip_prefix(&provision.0.simple().to_string())?;
    let full = digits.len() == 16;
    full.then(|| u32::from_str_radix(digits, 16).ok().map(HostKey)).flatten()
}

/// The provision in a name made by [`host_name`]. A host of the old tool has random digits there:
/// they are told apart by the version and variant bits of a random UUID and the leading zeros of
/// the key, which random digits have about once in 10^10.
pub fn provision_of_host(name: &str) -> Option<ProvisionId> {
    let digits = name.strip_prefix(PREFIX)?;
    let (id, key) = digits.split_at_checked(32)?;
    let ours = key.len() == 16 && key.starts_with("00000000");
    let id = uuid::Uuid::try_parse(id).ok().filter(|id| id.get_version_num() == 4);
    id.filter(|_| ours).map(ProvisionId)
}

/// Name of the cluster until it carries our mark. `one.cluster.allocate` takes nothing but a name,
/// so a cluster whose allocate was never answered can only be told from somebody else's by a name
/// that nobody else would give.
pub fn cluster_name(provision: ProvisionId) -> String {
    format!("{PREFIX}{provision}")
}

/// Name of the document that holds a provision's credentials.
pub fn document_name(provision: ProvisionId) -> String {
    format!("{PREFIX}{provision}")
}

/// Idempotency key of a deploy: at most 64 ASCII characters (the limit of EC2's `ClientToken`).
pub fn deploy_key(provision: ProvisionId, host: HostKey, attempt: u32) -> String {
    format!("{provision}-{host}-{attempt}")
}

/// What all [`deploy_key`]s of a host begin with.
pub(crate) fn deploy_keys(provision: ProvisionId, host: HostKey) -> String {
    format!("{provision}-{host}-")
}

/// Key of a power operation, by the number of its intent.
pub fn power_key(provision: ProvisionId, host: HostKey, intent: u64) -> String {
    format!("{provision}-{host}-p{intent}")
}

/// Whether a key was made by [`power_key`].
pub fn is_power_key(key: &str) -> bool {
    provision_of_key(key).is_some()
        && key.rsplit('-').next().is_some_and(|end| end.starts_with('p'))
}

/// The provision in a key made by [`deploy_key`] or [`power_key`].
pub fn provision_of_key(key: &str) -> Option<ProvisionId> {
    key.get(..36)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_host_and_nothing_else_does() {
        let id: ProvisionId = "11111111-2222-3333-4444-555555555555".parse().unwrap();
        let other: ProvisionId = "21111111-2222-3333-4444-555555555555".parse().unwrap();
        let name = host_name(id, HostKey(258));
        assert_eq!(name, "provision-111111112222333344445555555555550000000000000102");
        assert_eq!(host_key(id, &name), Some(HostKey(258)));
        assert_eq!(host_key(other, &name), None);
        assert_eq!(host_key(id, &name[..40]), None);
        assert_eq!(host_key(id, "10.0.0.1"), None);
    }

    #[test]
    fn a_deploy_key_fits_into_a_client_token() {
        let id = ProvisionId(uuid::Uuid::max());
        let key = deploy_key(id, HostKey(u32::MAX), u32::MAX);
        assert!(key.len() <= 64);
        assert_eq!(provision_of_key(&key), Some(id));
        assert!(!is_power_key(&key));
        let key = power_key(id, HostKey(u32::MAX), 1 << 48);
        assert!(key.len() <= 64 && is_power_key(&key), "{key}");
        assert_eq!(provision_of_key(&key), Some(id));
        assert_eq!(provision_of_key("list"), None);
    }
}
