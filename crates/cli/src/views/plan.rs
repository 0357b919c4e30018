//! A plan, for people and for programs.

use std::fmt::Write as _;

use engine::plan::{Action, Change, Difference, Kind, Plan};

use super::{json, yaml};
use crate::error::CliError;

/// The plan in the format that was asked for.
pub fn render(plan: &Plan, as_json: bool, as_yaml: bool) -> Result<String, CliError> {
    let value = || {
        serde_json::to_value(plan)
            .map_err(|e| CliError::caused("the plan cannot be written as JSON", e))
    };
    match (as_json, as_yaml) {
        (true, _) => Ok(json(&value()?)),
        (_, true) => yaml(&value()?),
        _ => Ok(text(plan)),
    }
}

/// The plan for people.
pub fn text(plan: &Plan) -> String {
    let mut out = match plan.provision {
        Some(id) => format!("Plan for provision {} ({id})\n", plan.name),
        None => format!("Plan for a new provision {}\n", plan.name),
    };
    for refused in &plan.refused {
        let _ = write!(out, "\n  !   {refused}");
    }
    for change in &plan.changes {
        let _ = write!(out, "\n  {}", line(change));
    }
    if !plan.changes.is_empty() || !plan.refused.is_empty() {
        out.push('\n');
    }
    let _ = writeln!(out, "\n{}", summary(plan));
    if plan.count(Action::Replace) > 0 {
        out.push_str("Hosts are replaced only by `update --replace`.\n");
    }
    let goes = |change: &&Change| change.in_use > 0 && change.kind == Kind::Host;
    if plan.changes.iter().any(|change| goes(&change)) {
        out.push_str(
            "Hosts that run VMs go only with `update --cleanup`, which terminates the VMs.\n",
        );
    }
    out
}

fn line(change: &Change) -> String {
    let sign = match change.action {
        Action::Create => "+  ",
        Action::Finish => ">  ",
        Action::Change => "~  ",
        Action::Replace => "-/+",
        Action::Destroy => "-  ",
    };
    let mut line = format!("{sign} {:<10} {}", change.kind.as_str(), change.name);
    if let Some(id) = change.id {
        let _ = write!(line, " ({id})");
    }
    if let Some(driver) = &change.driver {
        let _ = write!(line, ", driver {driver}");
    }
    if let Some(machine) = &change.machine {
        let _ = write!(line, ", machine {machine}");
    }
    let what = match (change.destroys, change.buys) {
        (true, true) => ": the machine is DESTROYED and another one BOUGHT",
        (true, false) => ": the machine is DESTROYED",
        (false, true) => ": a machine is BOUGHT",
        (false, false) => "",
    };
    line.push_str(what);
    if change.in_use > 0 {
        let _ = match change.kind {
            Kind::Datastore => write!(line, "; {} images are stored in it", change.in_use),
            _ => write!(line, "; {} VMs run on it", change.in_use),
        };
    }
    if let Some(note) = &change.note {
        let _ = write!(line, "\n      {note}");
    }
    match change.action {
        Action::Create if change.kind == Kind::Host => {
            let shown = change.differences.iter().filter_map(|difference| {
                let name = difference.path.strip_prefix("PROVISION/")?;
                let value = difference.after.as_deref()?;
                (name != "HOSTNAME").then(|| format!("{}={value}", name.to_ascii_lowercase()))
            });
            let shown: Vec<String> = shown.collect();
            if !shown.is_empty() {
                let _ = write!(line, "\n      {}", shown.join(", "));
            }
        }
        Action::Create | Action::Destroy => {}
        Action::Finish | Action::Change | Action::Replace => {
            for difference in &change.differences {
                let _ = write!(line, "\n      {}", change_of(difference));
            }
        }
    }
    line
}

fn change_of(difference: &Difference) -> String {
    let path = &difference.path;
    match (&difference.before, &difference.after) {
        (Some(before), Some(after)) if before == after => format!("{path}: another value"),
        (Some(before), Some(after)) => format!("{path}: {before:?} -> {after:?}"),
        (None, Some(after)) => format!("{path}: {after:?} is new"),
        (Some(before), None) => format!("{path}: {before:?} goes"),
        (None, None) => path.clone(),
    }
}

fn summary(plan: &Plan) -> String {
    if plan.is_empty() {
        return "Nothing to do: the provision is what the template says.".to_owned();
    }
    if plan.changes.is_empty() && plan.refused.is_empty() {
        return "Nothing differs, but the last operation did not come to a good end: that is made up \
                for."
            .to_owned();
    }
    let counts = [
        (Action::Create, "to create"),
        (Action::Finish, "to finish"),
        (Action::Change, "to change"),
        (Action::Replace, "to replace"),
        (Action::Destroy, "to destroy"),
    ];
    let counts = counts.iter().map(|(action, text)| (plan.count(*action), text));
    let mut counts: Vec<String> =
        counts.filter(|(n, _)| *n > 0).map(|(n, text)| format!("{n} {text}")).collect();
    if counts.is_empty() {
        counts.push("Nothing else to do".to_owned());
    }
    let (bought, destroyed) = (plan.bought(), plan.destroyed());
    let after = (plan.machines + bought).saturating_sub(destroyed);
    format!(
        "{}. Machines: {} now, {bought} bought, {destroyed} destroyed, {after} afterwards.",
        counts.join(", "),
        plan.machines
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_only_refuses_ends_with_a_whole_sentence() {
        let mut plan = Plan::default();
        plan.refused = vec!["no".into()];
        plan.machines = 2;
        let last =
            "\n\nNothing else to do. Machines: 2 now, 0 bought, 0 destroyed, 2 afterwards.\n";
        assert!(text(&plan).ends_with(last), "{}", text(&plan));
    }
}
