//! The resolved template of a provision, as the journal keeps it.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A resolved template with its secrets masked, as the text of a JSON object. Cheap to clone.
///
/// A tree of values would take several times the room, and an operation keeps it as long as it lasts.
#[derive(Clone, Debug, Default)]
pub struct StoredSpec {
    text: Arc<str>,
    /// What hosts are called in it: asked for with every line of progress.
    hostnames: Arc<[Option<Box<str>>]>,
}

/// The part of a template that this room looks into.
#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    hosts: Vec<Name>,
}

#[derive(Deserialize)]
struct Name {
    #[serde(default)]
    hostname: Option<Box<str>>,
}

impl StoredSpec {
    /// What is to be kept of a template.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn of(spec: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self::from_text(serde_json::to_string(spec)?))
    }

    fn from_text(text: String) -> Self {
        // Whatever it looks like inside, what was kept of a template is given back.
        let names: Names =
            serde_json::from_str(&text).unwrap_or_else(|_| Names { hosts: Vec::new() });
        let hostnames = names.hosts.into_iter().map(|host| host.hostname).collect();
        Self { text: text.into(), hostnames }
    }

    /// The template.
    ///
    /// # Errors
    /// If it was written by a version that knew other templates.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.text)
    }

    /// The name of the host of that entry, if it has one.
    pub fn hostname(&self, index: usize) -> Option<&str> {
        self.hostnames.get(index)?.as_deref()
    }
}

/// Whether both are the same template: the order of keys, which is another one after it was read
/// from the journal, does not count.
impl PartialEq for StoredSpec {
    fn eq(&self, other: &Self) -> bool {
        let value = |spec: &Self| spec.read::<serde_json::Value>();
        self.text == other.text
            || matches!((value(self), value(other)), (Ok(one), Ok(two)) if one == two)
    }
}

impl Eq for StoredSpec {}

impl Serialize for StoredSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = if self.text.is_empty() { "null" } else { &self.text };
        let raw: &RawValue = serde_json::from_str(text).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StoredSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not a `RawValue`: what is inside a tagged event has no text any more.
        let value = serde_json::Value::deserialize(deserializer)?;
        Ok(Self::from_text(value.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_kept_as_it_is_and_knows_the_names_of_hosts() {
        let spec = json!({"hosts": [{"hostname": "a", "x": [1.5, null]}, {}], "name": "é\n\"<"});
        let kept = StoredSpec::of(&spec).unwrap();
        assert_eq!(kept.read::<serde_json::Value>().unwrap(), spec);
        assert_eq!((kept.hostname(0), kept.hostname(1), kept.hostname(2)), (Some("a"), None, None));
        let stored = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&stored).unwrap(), spec);
        assert_eq!(serde_json::from_str::<StoredSpec>(&stored).unwrap().hostname(0), Some("a"));
        assert_eq!(serde_json::to_value(&kept).unwrap(), spec);
    }

    #[test]
    fn what_was_read_again_is_the_same() {
        #[derive(serde::Serialize)]
        struct Spec {
            name: u8,
            hosts: Vec<u8>,
        }
        let kept = StoredSpec::of(&Spec { name: 1, hosts: vec![2] }).unwrap();
        let read: StoredSpec =
            serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap();
        assert_eq!(read, kept);
        assert_ne!(read, StoredSpec::of(&Spec { name: 1, hosts: vec![3] }).unwrap());
        assert_ne!(read, StoredSpec::default());
    }

    #[test]
    fn nothing_and_what_is_no_template_are_kept_too() {
        assert_eq!(serde_json::to_string(&StoredSpec::default()).unwrap(), "null");
        for other in [json!(null), json!([1]), json!({"hosts": 7})] {
            let kept = StoredSpec::of(&other).unwrap();
            assert_eq!(kept.read::<serde_json::Value>().unwrap(), other);
            assert_eq!(kept.hostname(0), None);
        }
    }
}
