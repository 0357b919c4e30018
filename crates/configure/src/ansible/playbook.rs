//! Names of playbooks: ours, and others by path.

use std::path::{Path, PathBuf};

use model::gone_playbook;

use super::bundle;

/// Other names of ours, as templates have them.
const ALIASES: [(&str, &str); 1] = [("default_lxd", "default_lxc")];

/// A playbook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Playbook {
    /// One of ours: its name.
    Ours(&'static str),
    /// The absolute path of another.
    Theirs(PathBuf),
}

impl Playbook {
    /// Finds what is meant by a name or a path. Whether a file is there is not looked at.
    pub fn find(text: &str) -> Result<Self, String> {
        let ours: Vec<_> = bundle::playbooks().collect();
        Self::find_among(text, &ours)
    }

    fn find_among(text: &str, ours: &[&'static str]) -> Result<Self, String> {
        let is_file = [".yml", ".yaml"].iter().any(|ending| text.ends_with(ending));
        if Path::new(text).is_absolute() {
            return Ok(Self::Theirs(text.into()));
        }
        if let Some(why) = gone_playbook(text) {
            return Err(format!("playbook {text} is not there: {why}"));
        }
        if text.contains('/') || is_file {
            return Err(format!("a playbook's file is named by its absolute path, not {text:?}"));
        }
        let name = ALIASES.iter().find(|(alias, _)| *alias == text).map_or(text, |(_, name)| name);
        if let Some(found) = ours.iter().find(|our| **our == name) {
            return Ok(Self::Ours(found));
        }
        let near = ours
            .iter()
            .map(|our| (strsim::damerau_levenshtein(our, text), our))
            .filter(|(distance, our)| *distance <= our.len() / 3)
            .min();
        Err(match near {
            Some((_, near)) => format!("there is no playbook {text}; did you mean {near}?"),
            None => format!(
                "there is no playbook {text}: ours are {}; another is named by the absolute path of \
                 its file",
                ours.join(", ")
            ),
        })
    }

    /// Its name in file names: letters, digits and the like.
    pub fn stem(&self) -> String {
        let stem = match self {
            Self::Ours(name) => (*name).into(),
            Self::Theirs(path) => path.file_stem().unwrap_or_default().to_string_lossy(),
        };
        let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        stem.chars().take(100).map(plain).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths() {
        let ours = ["default", "default_lxc", "static_vxlan"];
        let find = |text| Playbook::find_among(text, &ours);
        assert_eq!(find("default"), Ok(Playbook::Ours("default")));
        assert_eq!(find("default_lxd"), Ok(Playbook::Ours("default_lxc")));
        assert_eq!(find("/a/b.yml"), Ok(Playbook::Theirs("/a/b.yml".into())));
        for (text, part) in [
            ("defualt", "did you mean default?"),
            ("static-vxlan", "did you mean static_vxlan?"),
            ("site", "ours are default, default_lxc, static_vxlan; another"),
            ("site.yml", "absolute path"),
            ("a/site", "absolute path"),
            ("default_firecracker", "take default (KVM)"),
            ("aws", "one of OpenNebula 6.x; take default (KVM)"),
            ("ceph_hci/site", "playbook ceph_hci/site is not there: it made Ceph clusters"),
            ("", "there is no playbook"),
        ] {
            let error = find(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(Playbook::Theirs("/x/my site.yml".into()).stem(), "my_site");
    }
}
