//! A string that masks itself.

use std::fmt;

use zeroize::Zeroizing;

/// What is printed in place of a secret; the same mark as in OpenNebula's own manuals.
pub const MASK: &str = "*****";

/// A credential: token, password, private key.
///
/// `Debug` and `Display` print [`MASK`]. The memory is wiped when the value is dropped. There is no
/// serde implementation: a secret that is to be stored or sent is named at that place by
/// [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a value so that it can no longer be printed by accident.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// The value itself. Every call of this is a place to review.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::new(value)
    }
}

/// Words in an attribute's name that make its value a secret.
const WORDS: [&str; 6] = ["token", "secret", "passw", "access", "private_key", "credential"];

/// Names that hold such a word and are no secret: `CEPH_SECRET` is the UUID under which libvirt keeps
/// one (OpenNebula, Ceph datastore).
const HARMLESS: [&str; 1] = ["ceph_secret"];

/// Whether an attribute of that name, in any case, holds a secret if its value is one.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word)) && !HARMLESS.contains(&name.as_str())
}

/// Whether this value of an attribute of this name is a secret.
///
/// No switch is one (`opennebula_ssh_deploy_private_key: true`), and neither is the path of a key, nor
/// the word `agent` in its place.
pub fn is_secret(name: &str, text: &str) -> bool {
    let switch = ["", "true", "false", "yes", "no", "on", "off"];
    let is_switch = switch.iter().any(|word| text.trim().eq_ignore_ascii_case(word));
    let is_key = name.to_ascii_lowercase().contains("private_key");
    let is_no_key = is_path(text) || text.trim() == "agent";
    is_secret_name(name) && !is_switch && !(is_key && is_no_key)
}

/// Whether a text is the path of a file and not the content of one.
pub fn is_path(text: &str) -> bool {
    let text = text.trim();
    ["/", "~/", "./", "../"].iter().any(|start| text.starts_with(start)) && !text.contains('\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_tell_secrets() {
        for name in ["PACKET_TOKEN", "ec2_secret", "EC2_ACCESS", "bmc_password", "private_key"] {
            assert!(is_secret(name, "x1y2"), "{name}");
            assert!(!is_secret(name, "yes"), "{name}");
        }
        assert!(!is_secret("PRIVATE_KEY", "/var/lib/one/.ssh/id_rsa"));
        assert!(!is_secret("PRIVATE_KEY", "agent") && is_secret("token", "agent"));
        assert!(is_secret("PRIVATE_KEY", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blb"));
        for name in ["plan", "CEPH_SECRET", "hostname", "PUBLIC_KEY"] {
            assert!(!is_secret(name, "x1y2"), "{name}");
        }
    }

    #[test]
    fn prints_nothing_of_the_value() {
        let secret = Secret::new("tok-123");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "***** ***** Some(*****)");
        assert_eq!(secret.expose(), "tok-123");
    }
}
