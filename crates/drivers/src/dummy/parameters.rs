//! The parameters of the dummy driver, all in `TEMPLATE/PROVISION`, in upper or lower case.
//! [`described`] lists them; `oneprovision driver show dummy` prints the list.
//!
//! Times have a unit: `ms`, `s`, `m` or `h`. `first` means the first deploy for a host. The same seed, host
//! and number of calls give the same behaviour.

use std::time::Duration;

use driver::{Action, DeploymentFile};
use model::parameter::boolean;
use model::{Parameter, ParameterType, Value};
use thiserror::Error;

/// The parameters, for people and for checks before anything is asked for.
pub(super) fn described() -> Vec<Parameter> {
    let of_deploy = |name, text| Parameter::new(name, text).allowed(["yes", "no", "first"]);
    vec![
        Parameter::new("ip", "Address to report; else the machine has one of its own"),
        Parameter::new("hostname", "Name of the machine, in the ledger and in `list`"),
        Parameter::new("dummy_seed", "Seed of every chance below")
            .kind(ParameterType::Integer)
            .default_value("0"),
        Parameter::new(
            "dummy_latency",
            "How long every action takes, half before its effect and half after it: 50ms",
        ),
        Parameter::new("dummy_jitter", "How much longer or shorter than that, at most: 20ms"),
        Parameter::new(
            "dummy_fail",
            "Chance with which an action fails, without effect: deploy:0.3,poll:1",
        )
        .kind(ParameterType::List),
        Parameter::new(
            "dummy_fail_on",
            "The nth call of an action for this host fails, without effect: deploy:1,poll:3",
        )
        .kind(ParameterType::List),
        Parameter::new(
            "dummy_hang",
            "Actions that never end, before or after their effect: deploy,cancel:after",
        )
        .kind(ParameterType::List),
        Parameter::new(
            "dummy_die",
            "Actions that die by a signal (built in: with an unknown outcome): deploy:after",
        )
        .kind(ParameterType::List),
        of_deploy("dummy_lose_answer", "Deploy makes a machine and fails without telling its id"),
        of_deploy("dummy_id_then_fail", "Deploy tells the id and fails then"),
        of_deploy("dummy_two_ids", "Deploy tells a second id, of a machine that does not exist"),
        Parameter::new(
            "dummy_boot",
            "How long after deploy, power-on or reboot a machine is active: 30s",
        ),
        Parameter::new(
            "dummy_address_change",
            "From this poll on, counted from 1, a machine has another address",
        )
        .kind(ParameterType::Integer),
        Parameter::new("dummy_quota", "Most machines that the ledger may hold at once")
            .kind(ParameterType::Integer),
        Parameter::new(
            "dummy_not_found",
            "Cancel finds the machine gone: it goes, and the answer is \"not found\"",
        )
        .kind(ParameterType::Boolean),
    ]
}

/// The names, for an error.
fn names() -> String {
    let names: Vec<_> = described().iter().map(|p| p.name.to_ascii_lowercase()).collect();
    names.join(", ")
}

/// Longest time that a parameter may ask for.
const MAX_TIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where in an action something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Nothing was done yet.
    Before,
    /// The effect is there, the answer is not.
    After,
}

/// When a misbehaviour of deploy happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Often {
    #[default]
    Never,
    First,
    Always,
}

impl Often {
    pub(super) fn applies(self, nth: u64) -> bool {
        match self {
            Self::Never => false,
            Self::First => nth == 1,
            Self::Always => true,
        }
    }
}

/// The parameters, read and checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parameters {
    pub ip: Option<String>,
    pub hostname: Option<String>,
    pub seed: u64,
    pub latency: Duration,
    pub jitter: Duration,
    pub fail: Vec<(Action, f64)>,
    pub fail_on: Vec<(Action, u64)>,
    pub hang: Vec<(Action, Moment)>,
    pub die: Vec<(Action, Moment)>,
    pub lose_answer: Often,
    pub id_then_fail: Often,
    pub two_ids: Often,
    pub boot: Duration,
    pub address_change: Option<u64>,
    pub quota: Option<u64>,
    pub not_found: bool,
}

/// A parameter that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum ParameterError {
    #[error("the dummy driver has no parameter {name:?}; it has {}", names())]
    Unknown { name: String },
    #[error("parameter {name}: {value:?} is no {wanted}")]
    Value { name: String, value: String, wanted: &'static str },
}

impl Parameters {
    /// Reads the parameters of a host. Those of other drivers, and our tool's own marks, are let be.
    pub(super) fn of(host: &DeploymentFile) -> Result<Self, ParameterError> {
        let pairs = host.template.all("PROVISION").filter_map(|value| match value {
            Value::Vector(inner) => Some(inner.iter()),
            _ => None,
        });
        let pairs = pairs.flatten().filter_map(|(key, value)| Some((key, value.expose()?)));
        Self::read(pairs)
    }

    /// The same from pairs.
    pub(super) fn read<'a>(
        pairs: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ParameterError> {
        let mut all = Self::default();
        for (key, value) in pairs {
            let name = key.to_ascii_lowercase();
            let value = value.trim();
            if !value.is_empty() || name.starts_with("dummy_") {
                all.set(&name, value)?;
            }
        }
        Ok(all)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), ParameterError> {
        let wrong = |wanted| ParameterError::Value {
            name: name.to_owned(),
            value: value.chars().take(100).collect(),
            wanted,
        };
        let time = || time(value).ok_or_else(|| wrong("time like 50ms, 1.5s, 2m or 1h"));
        let number = || value.parse().map_err(|_| wrong("whole number"));
        let count = || {
            let count = value.parse().ok().filter(|count| *count > 0);
            count.ok_or_else(|| wrong("whole number above 0")).map(Some)
        };
        match name {
            "ip" if is_address(value) => self.ip = Some(value.to_owned()),
            "ip" => return Err(wrong("address or host name")),
            "hostname" => self.hostname = Some(value.to_owned()),
            "dummy_seed" => self.seed = number()?,
            "dummy_latency" => self.latency = time()?,
            "dummy_jitter" => self.jitter = time()?,
            "dummy_boot" => self.boot = time()?,
            "dummy_fail" => {
                let wanted = "list like deploy:0.3,poll:1 (action and chance from 0 to 1)";
                self.fail = list(value, |action, chance| {
                    let chance: f64 = chance?.parse().ok()?;
                    (0.0..=1.0).contains(&chance).then_some((action, chance))
                })
                .ok_or_else(|| wrong(wanted))?;
            }
            "dummy_fail_on" => {
                let wanted = "list like deploy:1,poll:3 (action and number of its call)";
                self.fail_on = list(value, |action, nth| {
                    Some((action, nth?.parse().ok().filter(|nth| *nth > 0)?))
                })
                .ok_or_else(|| wrong(wanted))?;
            }
            "dummy_hang" | "dummy_die" => {
                let wanted = "list of actions, each with :before or :after if wanted";
                let moments = list(value, |action, moment| match moment {
                    None | Some("before") => Some((action, Moment::Before)),
                    Some("after") => Some((action, Moment::After)),
                    Some(_) => None,
                })
                .ok_or_else(|| wrong(wanted))?;
                match name {
                    "dummy_hang" => self.hang = moments,
                    _ => self.die = moments,
                }
            }
            "dummy_lose_answer" | "dummy_id_then_fail" | "dummy_two_ids" => {
                let often = match value.to_ascii_lowercase().as_str() {
                    "first" => Often::First,
                    text => match boolean(text) {
                        Some(true) => Often::Always,
                        Some(false) => Often::Never,
                        None => return Err(wrong("yes, no or first")),
                    },
                };
                match name {
                    "dummy_lose_answer" => self.lose_answer = often,
                    "dummy_id_then_fail" => self.id_then_fail = often,
                    _ => self.two_ids = often,
                }
            }
            "dummy_not_found" => {
                let value = value.to_ascii_lowercase();
                self.not_found = boolean(&value).ok_or_else(|| wrong("yes or no"))?;
            }
            "dummy_address_change" => self.address_change = count()?,
            "dummy_quota" => self.quota = Some(number()?),
            name if name.starts_with("dummy_") => {
                let name = name.chars().take(100).collect();
                return Err(ParameterError::Unknown { name });
            }
            _ => {}
        }
        Ok(())
    }
}

/// A comma-separated list of `ACTION` or `ACTION:WHAT`.
fn list<T>(text: &str, read: impl Fn(Action, Option<&str>) -> Option<T>) -> Option<Vec<T>> {
    text.split(',')
        .map(|item| {
            let (action, what) = match item.split_once(':') {
                Some((action, what)) => (action, Some(what.trim())),
                None => (item, None),
            };
            read(Action::from_name(action.trim())?, what)
        })
        .collect()
}

fn time(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = (text.get(..unit)?.trim(), text.get(unit..)?);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    // `parse` would take "inf" and "-1".
    if number.is_empty() || !number.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let time = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
    (time <= MAX_TIME).then_some(time)
}

fn is_address(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == ':')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Parameters, String> {
        Parameters::read(pairs.iter().copied()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_parameter_is_read() {
        let all = read(&[
            ("IP", "192.0.2.7"),
            ("HOSTNAME", "n1"),
            ("PROVISION_ID", "x"),
            ("dummy_seed", "7"),
            ("DUMMY_LATENCY", "50ms"),
            ("DUMMY_JITTER", "1.5s"),
            ("DUMMY_FAIL", "deploy:0.3, poll:1"),
            ("DUMMY_FAIL_ON", "deploy:2,deploy:4"),
            ("DUMMY_HANG", "cancel,reset:after"),
            ("DUMMY_DIE", "list:before"),
            ("DUMMY_LOSE_ANSWER", "first"),
            ("DUMMY_ID_THEN_FAIL", "YES"),
            ("DUMMY_TWO_IDS", "no"),
            ("DUMMY_BOOT", "2m"),
            ("DUMMY_ADDRESS_CHANGE", "3"),
            ("DUMMY_QUOTA", "0"),
            ("DUMMY_NOT_FOUND", "true"),
        ])
        .unwrap();
        assert_eq!(
            all,
            Parameters {
                ip: Some("192.0.2.7".into()),
                hostname: Some("n1".into()),
                seed: 7,
                latency: Duration::from_millis(50),
                jitter: Duration::from_millis(1500),
                fail: vec![(Action::Deploy, 0.3), (Action::Poll, 1.0)],
                fail_on: vec![(Action::Deploy, 2), (Action::Deploy, 4)],
                hang: vec![(Action::Cancel, Moment::Before), (Action::Reset, Moment::After)],
                die: vec![(Action::List, Moment::Before)],
                lose_answer: Often::First,
                id_then_fail: Often::Always,
                two_ids: Often::Never,
                boot: Duration::from_secs(120),
                address_change: Some(3),
                quota: Some(0),
                not_found: true,
            }
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        let error = read(&[("DUMMY_LATENCI", "1s")]).unwrap_err();
        assert!(error.contains("\"dummy_latenci\"") && error.contains("dummy_latency"), "{error}");
        for (name, value) in [
            ("IP", "1.2.3.4; reboot"),
            ("DUMMY_SEED", "x"),
            ("DUMMY_LATENCY", "50"),
            ("DUMMY_LATENCY", "-1s"),
            ("DUMMY_LATENCY", "infs"),
            ("DUMMY_LATENCY", "1e9h"),
            ("DUMMY_LATENCY", ""),
            ("DUMMY_BOOT", "999999h"),
            ("DUMMY_FAIL", "deploy"),
            ("DUMMY_FAIL", "deploy:1.1"),
            ("DUMMY_FAIL", "destroy:1"),
            ("DUMMY_FAIL_ON", "deploy:0"),
            ("DUMMY_HANG", "deploy:later"),
            ("DUMMY_HANG", ""),
            ("DUMMY_TWO_IDS", "maybe"),
            ("DUMMY_ADDRESS_CHANGE", "0"),
            ("DUMMY_QUOTA", "-1"),
            ("DUMMY_NOT_FOUND", "first"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            let expected = format!("parameter {}: {value:?} is no ", name.to_lowercase());
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_value_is_survived(name in 0..described().len(), value in ".{0,30}") {
            let described = described();
            let parameter = &described[name];
            let read = Parameters::read([(parameter.name.as_str(), value.as_str())].into_iter());
            // What is read is what the description allows, but for words in other letters.
            let word = value.trim().to_ascii_lowercase();
            let switch = parameter.allowed.iter().any(|allowed| allowed == "first")
                && model::parameter::boolean(&word).is_some();
            prop_assert!(read.is_err() || switch || parameter.check(&word).is_ok());
        }
    }
}
