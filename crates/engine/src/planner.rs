//! The next step of a host: a pure function of its record.

use journal::{HostRecord, Machine, Power, PowerResult, Told};
use model::DeployId;

/// What is wanted of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A host that OpenNebula can use, or, unless it is to be enabled, one that has its name.
    Ready {
        /// Whether it is enabled at the end.
        enable: bool,
        /// Number of stages of its machine's configuration, before that.
        stages: u32,
    },
    /// A host object alone: no machine is asked for. One that is there is treated as for
    /// [`Goal::Ready`], without being enabled.
    Registered,
    /// Neither machine nor host object.
    Absent,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// An intent has no outcome: find out what became of it, before anything else.
    Resolve,
    /// Make the host object.
    Create,
    /// Ask the driver for a machine.
    Deploy,
    /// Write the deploy id into the host object.
    Announce(DeployId),
    /// Ask the driver for the machine's address, and again after a pause.
    Poll(DeployId),
    /// Write the template of the host object anew.
    Refresh,
    /// Give the host object its name, and enable it if wanted.
    Enlist(String),
    /// Wait until the machine lets us in over SSH.
    Reach,
    /// Run that stage of its configuration.
    Configure(u32),
    /// Write into the host object that its configuration failed.
    Tell,
    /// Ask the driver to destroy the machine, until it is gone.
    Cancel(DeployId),
    /// Put the host object offline, before its machine is powered off.
    TakeOffline,
    /// Put the host object online again: its machine was not powered off.
    PutOnline,
    /// Ask the driver for the power operation.
    Power(Power, DeployId),
    /// Delete the host object.
    Remove,
    /// The goal is reached.
    Nothing,
    /// It cannot go on by itself: a step failed, or it is not known what exists.
    Stuck,
}

/// The next step towards the goal.
///
/// A deploy id is written into OpenNebula even if the host failed otherwise, so that the machine is
/// found also when this journal is lost.
pub fn next(host: &HostRecord, goal: Goal) -> Next {
    if host.open.is_some() {
        return Next::Resolve;
    }
    match goal {
        Goal::Absent => next_removal(host),
        Goal::Ready { enable, stages } => next_ready(host, enable, stages),
        Goal::Registered => match next_ready(host, false, 0) {
            Next::Deploy => Next::Nothing,
            step => step,
        },
    }
}

fn next_ready(host: &HostRecord, enable: bool, stages: u32) -> Next {
    if let (Machine::Exists(id), Some(_), false) = (&host.machine, host.host_id, host.announced)
        && !host.announce_failed
    {
        return Next::Announce(id.clone());
    }
    let configuration = &host.configuration;
    let is_untold = configuration.failed && configuration.told != Some(Told::Error);
    if is_untold && !configuration.tell_failed && host.host_id.is_some() && !host.removing {
        return Next::Tell;
    }
    if host.failure.is_some() || host.removing || host.removed {
        return Next::Stuck;
    }
    let is_configured = configuration.done >= stages;
    let is_enabled = host.enlisted == Some(true)
        && (stages == 0 || configuration.told == Some(Told::Configured));
    match &host.machine {
        _ if host.host_id.is_none() => Next::Create,
        _ if host.outdated.is_some() => Next::Refresh,
        Machine::None => Next::Deploy,
        Machine::Maybe { .. } | Machine::Gone => Next::Stuck,
        // The operator powered it off, and not to have it used.
        Machine::Exists(_) if host.off => Next::Nothing,
        Machine::Exists(id) => match (&host.address, host.enlisted) {
            (None, _) => Next::Poll(id.clone()),
            (Some(address), None) => Next::Enlist(address.clone()),
            (Some(_), Some(_)) if !is_configured && !configuration.reached => Next::Reach,
            (Some(_), Some(_)) if !is_configured => Next::Configure(configuration.done),
            (Some(address), Some(_)) if enable && !is_enabled => Next::Enlist(address.clone()),
            (Some(_), Some(_)) => Next::Nothing,
        },
    }
}

/// The next step of the host's power operation. Nothing but this asks for one of its steps: a create or
/// a delete that is taken up again never repeats a reboot.
pub fn next_power(host: &HostRecord) -> Next {
    let Some(wanted) = &host.power else { return Next::Nothing };
    if host.open.is_some() {
        return Next::Resolve;
    }
    if host.removing || host.removed || host.failure.is_some() {
        return Next::Stuck;
    }
    let Some(id) = host.machine.id() else { return Next::Stuck };
    match (&wanted.result, wanted.power) {
        (PowerResult::Failed(_), Power::Off) if wanted.offline && wanted.enable => Next::PutOnline,
        (PowerResult::Failed(_) | PowerResult::Unknown(_), _) => Next::Stuck,
        (PowerResult::Begun, Power::Off) if !host.off => Next::TakeOffline,
        (PowerResult::Begun, power) => Next::Power(power, id.clone()),
        (PowerResult::Done, Power::Off | Power::Reboot) => Next::Nothing,
        (PowerResult::Done, Power::On | Power::Reset) => next_ready(host, wanted.enable, 0),
    }
}

fn next_removal(host: &HostRecord) -> Next {
    if host.failure.is_some() {
        return Next::Stuck;
    }
    match &host.machine {
        Machine::Exists(id) => Next::Cancel(id.clone()),
        // Also when a machine may be left: the host object is of no use any more, and the journal
        // keeps what is known of the machine.
        _ if host.host_id.is_some() => Next::Remove,
        Machine::Maybe { .. } => Next::Stuck,
        // Also without a host object: that nothing is left is written down.
        Machine::None | Machine::Gone if !host.removed => Next::Remove,
        Machine::None | Machine::Gone => Next::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use journal::{CreateBegun, CreateOptions, Event, Fact, IntentId, Outcome, ProvisionRecord};
    use journal::{PowerHost, Step, Subject};
    use model::HostKey;

    use super::*;

    const HOST: HostKey = HostKey(0);
    const READY: Goal = Goal::Ready { enable: true, stages: 0 };

    fn begun() -> ProvisionRecord {
        let mut record = ProvisionRecord::new(model::ProvisionId(uuid::Uuid::from_u128(7)));
        let begun = CreateBegun {
            name: "p".into(),
            endpoint: "sandbox".into(),
            template: "/t.yaml".into(),
            digest: String::new(),
            options: CreateOptions::default(),
            spec: journal::StoredSpec::default(),
            drivers: vec!["dummy".into()],
            datastores: 0,
            networks: 0,
            virtuals: std::collections::BTreeMap::new(),
        };
        record.apply(1, &Event::CreateBegun(Box::new(begun)));
        record
    }

    /// The record after steps with their outcomes; `None` leaves the intent open.
    fn after(steps: &[(Step, Option<Outcome>)]) -> HostRecord {
        let mut record = begun();
        for (step, outcome) in steps {
            let id = record.next_intent();
            let subject = Subject::Host(HOST);
            record.apply(1, &Event::Intent { id, subject, step: *step, key: None });
            if let Some(outcome) = outcome.clone() {
                record.apply(1, &Event::Outcome { id, outcome });
            }
        }
        record.hosts[&HOST].clone()
    }

    fn created() -> (Step, Option<Outcome>) {
        (Step::Create, Some(Outcome::Done(Fact::Object(3))))
    }

    fn machine() -> DeployId {
        DeployId::new("m-1").unwrap()
    }

    fn deployed() -> (Step, Option<Outcome>) {
        (Step::Deploy, Some(Outcome::Done(Fact::Machine(machine()))))
    }

    fn failed(step: Step) -> (Step, Option<Outcome>) {
        (step, Some(Outcome::Failed { message: "no".into() }))
    }

    fn unknown(step: Step) -> (Step, Option<Outcome>) {
        (step, Some(Outcome::Unknown { evidence: "time-out".into() }))
    }

    fn done(step: Step) -> (Step, Option<Outcome>) {
        (step, Some(Outcome::Done(Fact::Done)))
    }

    #[test]
    fn a_host_goes_from_nothing_to_enabled() {
        assert_eq!(next(&after(&[]), READY), Next::Create);
        assert_eq!(next(&after(&[created()]), READY), Next::Deploy);
        assert_eq!(next(&after(&[created(), deployed()]), READY), Next::Announce(machine()));
        let mut host = after(&[created(), deployed(), done(Step::Announce)]);
        assert_eq!(next(&host, READY), Next::Poll(machine()));
        host.address = Some("10.0.0.1".into());
        assert_eq!(next(&host, READY), Next::Enlist("10.0.0.1".into()));
        host.enlisted = Some(false);
        assert_eq!(next(&host, Goal::Ready { enable: false, stages: 0 }), Next::Nothing);
        assert_eq!(next(&host, READY), Next::Enlist("10.0.0.1".into()));
        host.enlisted = Some(true);
        assert_eq!(next(&host, READY), Next::Nothing);
    }

    #[test]
    fn a_machine_is_reached_and_configured_stage_by_stage_before_it_is_enabled() {
        const TWO: Goal = Goal::Ready { enable: true, stages: 2 };
        let stage = |done| {
            let name = "playbook default".to_owned();
            let fact = Fact::Stage { name, done, of: 2, changed: 1 };
            (Step::Configure, Some(Outcome::Done(fact)))
        };
        let enlisted = |enabled| {
            let fact = Fact::Enlisted { name: "10.0.0.1".into(), enabled };
            (Step::Enlist, Some(Outcome::Done(fact)))
        };
        let mut steps = vec![created(), deployed(), done(Step::Announce)];
        let host = |steps: &[_]| {
            let mut host = after(steps);
            host.address = Some("10.0.0.1".into());
            host
        };
        let enlist = Next::Enlist("10.0.0.1".into());
        assert_eq!(next(&host(&steps), TWO), enlist);
        steps.push(enlisted(false));
        assert_eq!(next(&host(&steps), TWO), Next::Reach);
        assert_eq!(host(&steps).state(), model::HostState::Addressed);
        steps.push(done(Step::Reach));
        assert_eq!(next(&host(&steps), TWO), Next::Configure(0));
        assert_eq!(host(&steps).state(), model::HostState::Reachable);
        steps.push(stage(1));
        assert_eq!(next(&host(&steps), TWO), Next::Configure(1));
        // What is not to be configured now is not waited for either.
        assert_eq!(next(&host(&steps), Goal::Ready { enable: false, stages: 0 }), Next::Nothing);

        let mut broken = steps.clone();
        broken.push(failed(Step::Configure));
        assert_eq!(next(&host(&broken), TWO), Next::Tell);
        for (told, after) in [(done(Step::Tell), "no"), (failed(Step::Tell), "no")] {
            let mut told_steps = broken.clone();
            told_steps.push(told);
            let host = host(&told_steps);
            assert_eq!(next(&host, TWO), Next::Stuck);
            assert_eq!(host.failure.as_deref(), Some(after), "why it failed is not lost");
            assert_eq!(next(&host, Goal::Absent), Next::Stuck);
        }
        broken.push((Step::Tell, None));
        assert_eq!(next(&host(&broken), TWO), Next::Resolve);

        steps.push(stage(2));
        assert_eq!(next(&host(&steps), TWO), enlist);
        assert_eq!(host(&steps).state(), model::HostState::Configured);
        steps.push(enlisted(true));
        assert_eq!(next(&host(&steps), TWO), Next::Nothing);
        assert_eq!(host(&steps).state(), model::HostState::Enabled);
    }

    #[test]
    fn a_host_that_is_only_to_be_registered_gets_no_machine() {
        assert_eq!(next(&after(&[]), Goal::Registered), Next::Create);
        assert_eq!(next(&after(&[created()]), Goal::Registered), Next::Nothing);
        // One that was bought nevertheless is not lost from sight.
        let bought = after(&[created(), deployed()]);
        assert_eq!(next(&bought, Goal::Registered), Next::Announce(machine()));
        assert_eq!(
            next(&after(&[created(), unknown(Step::Deploy)]), Goal::Registered),
            Next::Stuck
        );
    }

    fn powered(power: Power, steps: &[(Step, Option<Outcome>)]) -> HostRecord {
        let mut record = begun();
        let address = Event::Addressed { host: HOST, address: "10.0.0.1".into() };
        let named = Fact::Enlisted { name: "10.0.0.1".into(), enabled: true };
        let ready = [
            created(),
            deployed(),
            done(Step::Announce),
            (Step::Enlist, Some(Outcome::Done(named))),
        ];
        let mut apply = |step: Step, outcome: Option<Outcome>| {
            let id = record.next_intent();
            let subject = Subject::Host(HOST);
            record.apply(1, &Event::Intent { id, subject, step, key: None });
            if let Some(outcome) = outcome {
                record.apply(1, &Event::Outcome { id, outcome });
            }
            if step == Step::Announce {
                record.apply(1, &address);
            }
            if step == Step::Enlist {
                let hosts = vec![PowerHost { host: HOST, enable: true }];
                record.apply(1, &Event::PowerBegun { power, hosts });
            }
        };
        for (step, outcome) in ready.into_iter().chain(steps.iter().cloned()) {
            apply(step, outcome);
        }
        record.hosts[&HOST].clone()
    }

    #[test]
    fn a_machine_is_powered_off_only_when_its_host_is_out_of_use() {
        let off = |steps: &[_]| powered(Power::Off, steps);
        assert_eq!(next_power(&off(&[])), Next::TakeOffline);
        let offline = off(&[done(Step::TakeOffline)]);
        assert_eq!(next_power(&offline), Next::Power(Power::Off, machine()));
        assert_eq!(next_power(&off(&[failed(Step::TakeOffline)])), Next::Stuck);
        assert_eq!(next_power(&off(&[(Step::TakeOffline, None)])), Next::Resolve);
        // One that was not powered off for certain is used as before; of one that may have been, nobody knows.
        let mut steps = vec![done(Step::TakeOffline), failed(Step::Poweroff)];
        assert_eq!(next_power(&off(&steps)), Next::PutOnline);
        steps.push(done(Step::PutOnline));
        assert_eq!(next_power(&off(&steps)), Next::Stuck);
        assert_eq!(off(&steps).state(), model::HostState::Enabled);
        steps[2] = failed(Step::PutOnline);
        assert_eq!(next_power(&off(&steps)), Next::Stuck);
        let trouble = off(&steps).power_trouble().unwrap().text;
        assert_eq!(trouble, "poweroff failed: no; its host could not be put online again: no");
        let lost = off(&[done(Step::TakeOffline), unknown(Step::Poweroff)]);
        assert_eq!((next_power(&lost), lost.state()), (Next::Stuck, model::HostState::Off));
        let host = off(&[done(Step::TakeOffline), done(Step::Poweroff)]);
        assert_eq!(next_power(&host), Next::Nothing);
        assert_eq!(host.state(), model::HostState::Off);
        // A create that is taken up again leaves it off; a delete destroys it.
        assert_eq!(next(&host, READY), Next::Nothing);
        assert_eq!(next(&host, Goal::Absent), Next::Cancel(machine()));
    }

    #[test]
    fn a_machine_that_boots_is_polled_named_and_enabled() {
        for (power, step) in [(Power::On, Step::PowerOn), (Power::Reset, Step::Reset)] {
            assert_eq!(next_power(&powered(power, &[])), Next::Power(power, machine()));
            let mut host = powered(power, &[done(step)]);
            assert_eq!(next_power(&host), Next::Poll(machine()));
            host.address = Some("10.0.0.2".into());
            assert_eq!(next_power(&host), Next::Enlist("10.0.0.2".into()));
            host.enlisted = Some(true);
            assert_eq!(next_power(&host), Next::Nothing);
            for outcome in [failed(step), unknown(step)] {
                let host = powered(power, &[outcome]);
                assert_eq!(next_power(&host), Next::Stuck);
                assert!(host.failure.is_none(), "its other steps have not failed");
                assert_eq!(next(&host, READY), Next::Nothing);
            }
        }
        let rebooted = powered(Power::Reboot, &[done(Step::Reboot)]);
        assert_eq!(next_power(&rebooted), Next::Nothing);
        assert_eq!(rebooted.state(), model::HostState::Enabled);
    }

    #[test]
    fn an_open_intent_comes_before_everything() {
        for step in [Step::Create, Step::Deploy, Step::Announce, Step::Enlist, Step::Cancel] {
            for goal in [READY, Goal::Absent] {
                assert_eq!(next(&after(&[(step, None)]), goal), Next::Resolve, "{step:?}");
            }
        }
    }

    #[test]
    fn nothing_is_bought_twice_or_blindly() {
        // Definite: nothing was made; whether to ask again is the operator's.
        assert_eq!(next(&after(&[created(), failed(Step::Deploy)]), READY), Next::Stuck);
        let maybe = after(&[created(), unknown(Step::Deploy)]);
        assert!(maybe.machine.may_exist());
        assert_eq!(next(&maybe, READY), Next::Stuck);
        let bought = after(&[created(), deployed(), failed(Step::Announce)]);
        assert_eq!(next(&bought, READY), Next::Stuck);
    }

    #[test]
    fn a_named_machine_is_announced_even_if_its_deploy_failed() {
        let mut record = begun();
        let (subject, id) = (Subject::Host(HOST), IntentId(1));
        record.apply(1, &Event::Intent { id, subject, step: Step::Create, key: None });
        record.apply(1, &Event::Outcome { id, outcome: Outcome::Done(Fact::Object(3)) });
        let id = IntentId(2);
        record.apply(1, &Event::Intent { id, subject, step: Step::Deploy, key: None });
        record.apply(1, &Event::DeployIdSeen { id, host: HOST, deploy_id: machine() });
        let outcome = Outcome::Unknown { evidence: "exit 1".into() };
        record.apply(1, &Event::Outcome { id, outcome });
        assert_eq!(next(&record.hosts[&HOST], READY), Next::Announce(machine()));
        let id = IntentId(3);
        record.apply(1, &Event::Intent { id, subject, step: Step::Announce, key: None });
        record.apply(1, &Event::Outcome { id, outcome: Outcome::Done(Fact::Done) });
        assert_eq!(next(&record.hosts[&HOST], READY), Next::Stuck);
    }

    #[test]
    fn removal_cancels_first_and_keeps_what_is_unknown() {
        let host = after(&[created(), deployed()]);
        assert_eq!(next(&host, Goal::Absent), Next::Cancel(machine()));
        let host = after(&[created(), deployed(), done(Step::Cancel)]);
        assert_eq!(next(&host, Goal::Absent), Next::Remove);
        let host = after(&[created(), deployed(), done(Step::Cancel), done(Step::Remove)]);
        assert!(host.removed);
        assert_eq!(next(&host, Goal::Absent), Next::Nothing);
        // A cancel that was refused leaves the host object: it says where the machine is.
        let host = after(&[created(), deployed(), failed(Step::Cancel)]);
        assert_eq!(next(&host, Goal::Absent), Next::Stuck);
        let host = after(&[created(), unknown(Step::Deploy)]);
        assert_eq!(next(&host, Goal::Absent), Next::Remove);
        let host = after(&[created(), unknown(Step::Deploy), done(Step::Remove)]);
        assert!(!host.removed && host.machine.may_exist());
        assert_eq!(next(&host, Goal::Absent), Next::Stuck);
    }
}
