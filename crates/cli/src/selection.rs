//! Which objects a command is about, as people name them.
//!
//! | an argument | names |
//! | --- | --- |
//! | `3` | the object with that id in OpenNebula |
//! | `3..7` | all ids from 3 to 7 (5.12) |
//! | `3,5,9` | several, each in any of these forms (5.12) |
//! | `web-images`, `10.0.0.1` | the object of that name |
//! | `PROVISION:2` | number 2 of a provision, which is given by its id or its name |
//!
//! Nothing is done if one of them names nothing: a slip of the finger is found before it costs
//! anything. What is named twice is taken once.

use std::ops::RangeInclusive;

use model::ProvisionId;

use crate::error::{CliError, Code};

mod hosts;

pub use hosts::{HostChoice, hosts, recorded_hosts};

/// Ids of a range; more is a slip of the finger.
const MOST: i64 = 100_000;

/// Names in a message; the others are counted.
const SHOWN: usize = 5;

/// The objects that can be named, and what they are called.
pub struct Selection<'a, T> {
    /// One of them, for messages: `host`.
    pub kind: &'a str,
    /// All of them.
    pub candidates: Vec<Candidate<T>>,
}

/// The ids that the arguments name among `there`, the ids and names of what there is; `one` is what
/// one of them is called, such as `host`. For objects that have no place in their provision.
///
/// # Errors
/// As for [`Selection::select`].
pub fn select(
    arguments: &[String],
    there: &[(i32, &str)],
    one: &str,
) -> Result<Vec<i32>, CliError> {
    let candidates = there.iter().map(|(id, name)| Candidate {
        what: *id,
        id: Some(*id),
        names: vec![(*name).to_owned()],
        place: None,
    });
    Selection { kind: one, candidates: candidates.collect() }.select(arguments)
}

/// An object that can be named.
#[derive(Clone, Debug)]
pub struct Candidate<T> {
    /// What the command gets of it.
    pub what: T,
    /// Its id in OpenNebula, if it has an object there.
    pub id: Option<i32>,
    /// Its names; one of them is enough.
    pub names: Vec<String>,
    /// Its provision and its number there.
    pub place: Option<Place>,
}

/// A place in a provision.
#[derive(Clone, Debug)]
pub struct Place {
    /// The provision.
    pub provision: ProvisionId,
    /// Name of the provision.
    pub name: String,
    /// Number of the object among those of its kind.
    pub number: u32,
}

impl<T: Clone + PartialEq> Selection<'_, T> {
    /// All that the arguments name, in their order and each once.
    ///
    /// # Errors
    /// With all arguments that name nothing, or more than one object.
    pub fn select(&self, arguments: &[String]) -> Result<Vec<T>, CliError> {
        let mut selected: Vec<T> = Vec::new();
        let mut unknown: Vec<String> = Vec::new();
        for part in arguments.iter().flat_map(|argument| self.parts(argument)) {
            for found in self.find(part, &mut unknown)? {
                if !selected.contains(&found) {
                    selected.push(found);
                }
            }
        }
        match unknown.as_slice() {
            [] => Ok(selected),
            [one] => Err(CliError::new(format!(
                "there is no {} {one} that belongs to a provision",
                self.kind
            ))
            .code(Code::NotFound)
            .hint(self.hint(one))),
            [first, ..] => {
                let mut names = unknown.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
                if let more @ 1.. = unknown.len().saturating_sub(SHOWN) {
                    names += &format!(" and {more} more");
                }
                Err(CliError::new(format!(
                    "there are no {}s {names} that belong to a provision",
                    self.kind
                ))
                .code(Code::NotFound)
                .hint(self.hint(first)))
            }
        }
    }

    /// The one object that an argument names.
    ///
    /// # Errors
    /// As for [`Selection::select`], and if it names several.
    pub fn select_one(&self, argument: &str) -> Result<T, CliError> {
        match self.select(&[argument.to_owned()])?.as_slice() {
            [one] => Ok(one.clone()),
            _ => Err(CliError::new(format!("{argument:?} names more than one {}", self.kind))
                .hint(format!("this command takes one {}", self.kind))),
        }
    }

    /// A list, unless all of it is a name.
    fn parts<'a>(&self, argument: &'a str) -> Vec<&'a str> {
        let whole = argument.trim();
        if self.named(whole).next().is_some() {
            return vec![whole];
        }
        whole.split(',').map(str::trim).collect()
    }

    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Candidate<T>> {
        self.candidates.iter().filter(move |candidate| candidate.names.iter().any(|n| n == name))
    }

    /// What a part names. What is well formed and not there goes to `unknown`.
    fn find(&self, part: &str, unknown: &mut Vec<String>) -> Result<Vec<T>, CliError> {
        if let Some(ids) = self.ids(part)? {
            let mut found = Vec::new();
            for id in ids {
                match self.candidates.iter().find(|candidate| candidate.id == Some(id)) {
                    Some(candidate) => found.push(candidate.what.clone()),
                    None => unknown.push(id.to_string()),
                }
            }
            return Ok(found);
        }
        let named: Vec<&Candidate<T>> = match self.named(part).collect::<Vec<_>>() {
            none if none.is_empty() => self.placed(part),
            named => named,
        };
        match named.as_slice() {
            [] => unknown.push(format!("{part:?}")),
            [one] => return Ok(vec![one.what.clone()]),
            several => {
                let ids: Vec<String> = several.iter().map(|c| c.describe()).collect();
                return Err(CliError::new(format!(
                    "several {}s are named {part:?}: {}",
                    self.kind,
                    ids.join(", ")
                ))
                .hint("name it by its id"));
            }
        }
        Ok(Vec::new())
    }

    /// Those at `PROVISION:NUMBER`.
    fn placed(&self, part: &str) -> Vec<&Candidate<T>> {
        let Some((provision, number)) = part.rsplit_once(':') else { return Vec::new() };
        let Ok(number) = number.trim().parse::<u32>() else { return Vec::new() };
        let id: Option<ProvisionId> = provision.trim().parse().ok();
        let here = |candidate: &&Candidate<T>| {
            candidate.place.as_ref().is_some_and(|place| {
                let same = id.map_or(place.name == provision, |id| place.provision == id);
                same && place.number == number
            })
        };
        self.candidates.iter().filter(here).collect()
    }

    /// `3` or `3..7`; `None` for what is a name.
    fn ids(&self, part: &str) -> Result<Option<RangeInclusive<i32>>, CliError> {
        let bad = || {
            CliError::new(format!("{part:?} is no {}", self.kind)).hint(
                "ids are given as 3, as a range 3..7, or as a list 3,5,9; a name or \
                 PROVISION:NUMBER will do too",
            )
        };
        if part.is_empty() {
            return Err(bad());
        }
        let number = |text: &str| text.trim().parse::<i32>().ok();
        let looks_numeric = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b' '))
        };
        let (first, last) = match part.split_once("..") {
            Some((first, last)) if looks_numeric(part) => (number(first), number(last)),
            None if number(part).is_some() => (number(part), number(part)),
            _ => return Ok(None),
        };
        let (first, last) = first.zip(last).ok_or_else(bad)?;
        let sensible = first >= 0 && last >= first && i64::from(last) - i64::from(first) < MOST;
        if sensible { Ok(Some(first..=last)) } else { Err(bad()) }
    }

    /// The nearest name, if one is near; else where all of them are shown.
    fn hint(&self, unknown: &str) -> String {
        let wanted = unknown.trim_matches('"');
        let names = self.candidates.iter().flat_map(|candidate| &candidate.names);
        let near = names
            .map(|name| (strsim::jaro_winkler(name, wanted), name))
            .filter(|(likeness, _)| *likeness > 0.85 && wanted.parse::<i32>().is_err())
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let shown = format!("`oneprovision {} list` shows them", self.kind.replace(' ', ""));
        match near {
            Some((_, name)) => format!("did you mean {name:?}? {shown}"),
            None => shown,
        }
    }
}

impl<T> Candidate<T> {
    fn describe(&self) -> String {
        match (self.id, &self.place) {
            (Some(id), _) => id.to_string(),
            (None, Some(place)) => format!("{}:{}", place.provision, place.number),
            (None, None) => self.names.join(" "),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROVISION: &str = "11111111-2222-4333-8444-555555555555";

    fn selection() -> Selection<'static, u32> {
        let candidate = |n: u32, id: Option<i32>, name: &str| Candidate {
            what: n,
            id,
            names: vec![name.to_owned()],
            place: Some(Place {
                provision: PROVISION.parse().unwrap(),
                name: "web".into(),
                number: n,
            }),
        };
        Selection {
            kind: "host",
            candidates: vec![
                candidate(0, Some(3), "10.0.0.1"),
                candidate(1, Some(4), "2001:db8::4"),
                candidate(2, Some(5), "odd, name"),
                candidate(3, Some(7), "twin"),
                candidate(4, Some(8), "twin"),
                candidate(5, None, "lost"),
            ],
        }
    }

    fn select(arguments: &[&str]) -> Result<Vec<u32>, String> {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        selection().select(&arguments).map_err(|error| error.render())
    }

    #[test]
    fn ids_ranges_lists_names_and_places() {
        assert_eq!(select(&["3"]), Ok(vec![0]));
        assert_eq!(select(&["3..5"]), Ok(vec![0, 1, 2]));
        assert_eq!(select(&["5,3", " 4 , 3..4"]), Ok(vec![2, 0, 1]));
        assert_eq!(select(&["10.0.0.1", "2001:db8::4"]), Ok(vec![0, 1]));
        assert_eq!(select(&["odd, name"]), Ok(vec![2]));
        assert_eq!(select(&[&format!("{PROVISION}:5"), "web:1,lost"]), Ok(vec![5, 1]));
    }

    #[test]
    fn what_names_nothing_is_told_at_once_and_nothing_is_selected() {
        let error = select(&["3..9", "nobody"]).unwrap_err();
        assert_eq!(
            error,
            "ERROR: there are no hosts 6, 9, \"nobody\" that belong to a provision\n  \
             hint: `oneprovision host list` shows them\n  more: oneprovision explain OP-NOT-FOUND\n"
        );
        let error = select(&["10.0.0.11"]).unwrap_err();
        assert!(error.contains("did you mean \"10.0.0.1\"?"), "{error}");
        let error = select(&["9..5000"]).unwrap_err();
        assert!(error.contains("9, 10, 11, 12, 13 and 4987 more"), "{error}");
        let error = select(&["twin"]).unwrap_err();
        assert!(error.contains("several hosts are named \"twin\": 7, 8"), "{error}");
        for bad in ["", "-1", "7..5", "1..", "..3", "3,,4", "0..2000000000", "99999999999..3"] {
            assert!(select(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_is_one() {
        assert_eq!(selection().select_one("web:2").ok(), Some(2));
        let error = selection().select_one("3..4").unwrap_err().render();
        assert!(error.contains("more than one host"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer_or_an_error(text in ".{0,40}", numbers in "[0-9.,:-]{0,20}") {
            let _ = select(&[&text]);
            if let Ok(found) = select(&[&numbers]) {
                prop_assert!(found.len() <= 6);
            }
        }
    }
}
