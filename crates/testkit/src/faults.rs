//! The kinds of faults, when they strike, and how often they did.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::dice::Dice;
use crate::lock;

/// Declares the kinds with the words that the table prints.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $words:literal,)*) => {
        /// Something that goes wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// All kinds, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What the table calls it.
            pub fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)*
                }
            }
        }
    };
}

kinds! {
    /// The provider refuses a machine.
    DeployRefused = "deploy refused",
    /// The request for a machine is lost, and so there is no answer.
    DeployRequestLost = "deploy: request lost",
    /// A machine is made and the answer is lost.
    DeployAnswerLost = "deploy: answer lost",
    /// A machine is made and never answered for, up to the deadline of the call.
    DeployHangs = "deploy: hangs to its deadline, machine made",
    /// Nothing is made and nothing is answered, up to the deadline of the call.
    DeployHangsEmpty = "deploy: hangs to its deadline, none made",
    /// The answer comes after many minutes.
    DeployLate = "deploy: late answer",
    /// The machine is named, and then the driver fails.
    DeployNamedThenFailed = "deploy: named, then failed",
    /// The machine is named while the driver runs, and the rest of the answer is lost.
    DeployNamedThenLost = "deploy: named, rest of the answer lost",
    /// The machine is named several times.
    DeployNamedTwice = "deploy: named twice",
    /// The answer names a machine that another host has.
    DeployForeignId = "deploy: id of another host's machine",
    /// A poll gets no answer.
    PollLost = "poll: no answer",
    /// A poll fails and says so.
    PollRefused = "poll: refused",
    /// A machine that is there is said not to be.
    PollNotFound = "poll: not found though it is there",
    /// A machine that is there is said to be off.
    PollOff = "poll: says off",
    /// A machine is said to be in error, for a while.
    PollError = "poll: says error",
    /// The state is not told, nor the address.
    PollSilent = "poll: tells nothing",
    /// The address is another one than before.
    PollOtherAddress = "poll: address changed",
    /// A machine takes many minutes to boot.
    SlowBoot = "slow boot",
    /// A cancel is refused and does nothing.
    CancelRefused = "cancel refused",
    /// A cancel is lost on its way.
    CancelRequestLost = "cancel: request lost",
    /// A cancel is carried out and its answer is lost.
    CancelAnswerLost = "cancel: answer lost",
    /// A cancel is answered with success and does nothing.
    CancelNoEffect = "cancel: without effect",
    /// A cancel is answered with success and takes minutes.
    CancelSlow = "cancel: takes effect late",
    /// A cancel hangs up to the deadline of the call and does nothing.
    CancelHangs = "cancel: hangs to its deadline",
    /// A machine never lets anybody in over SSH.
    ReachFailed = "ssh: never lets us in",
    /// A machine lets us in only after many minutes.
    ReachSlow = "ssh: late",
    /// A stage of a machine's configuration fails.
    StageFailed = "configuration: a stage fails",
    /// A stage of a machine's configuration takes long.
    StageSlow = "configuration: a stage takes long",
    /// The list gets no answer.
    ListLost = "list: no answer",
    /// A new machine is not in the list for a while.
    ListLags = "list: new machine not yet in it",
    /// A call to the front-end does not leave.
    FrontEndUnreachable = "front-end: not reached",
    /// A call is lost on its way, which cannot be told from an answer that was.
    FrontEndRequestLost = "front-end: request lost",
    /// A call is executed and the connection breaks.
    FrontEndAnswerLost = "front-end: answer lost",
    /// A call is executed and answered after the deadline.
    FrontEndAnswerLate = "front-end: answer after the deadline",
    /// A call is answered late, within its deadline.
    FrontEndSlow = "front-end: slow",
    /// The database is busy (`database is locked`).
    FrontEndBusy = "front-end: database is locked",
    /// The database is busy, and that looks like a wrong password (code 256).
    FrontEndStranger = "front-end: 256 though the password is right",
    /// A proxy answers 503 in its place.
    FrontEndProxy = "front-end: 503 of a proxy",
    /// The call is executed and the answer is cut off.
    FrontEndGarbled = "front-end: answer cut off",
    /// The front-end is away for seconds to half an hour.
    FrontEndDown = "front-end: down for a while",
    /// The disk of the journal is full for a while.
    DiskFull = "journal: disk full",
    /// The clock jumps.
    ClockStep = "clock set back or forth",
    /// The tool is killed.
    Killed = "killed",
    /// The power is cut: killed while a write of the journal is under way.
    PowerCut = "killed within a write of the journal",
    /// The operator asks to stop.
    Stopped = "stopped by the operator",
    /// Somebody else tries to work on the same provision at the same time.
    Rival = "second coordinator",
}

/// Decides when faults strike.
#[derive(Debug)]
pub struct Faults {
    dice: Dice,
    /// Per mille of the occasions of each kind; a kind that is missing never strikes.
    rates: BTreeMap<Fault, u32>,
    armed: AtomicBool,
    counts: Mutex<BTreeMap<Fault, u64>>,
}

impl Faults {
    /// Faults of a seed. Each seed has kinds of its own, some often and some not at all: that all
    /// kinds are equally rare would hide what only comes of many faults of one kind.
    pub fn of_seed(seed: u64) -> Self {
        let dice = Dice::new(seed, 1);
        // A tenth of all seeds has no fault but kills, stops and rivals.
        let quiet = dice.chance(100);
        let mut rates = BTreeMap::new();
        for fault in Fault::ALL.iter().copied() {
            let rate = dice.pick(&[0, 0, 0, 20, 60, 150, 400]);
            // What makes all calls fail for long must be rare, or nothing else happens.
            let rate = match fault {
                Fault::FrontEndDown | Fault::DiskFull => rate / 40,
                Fault::ClockStep => rate / 10,
                // Is seen only if somebody looks in that time.
                Fault::ListLags => rate * 2,
                _ if fault.words().starts_with("front-end") => rate / 8,
                _ => rate,
            };
            if rate > 0 && !quiet {
                rates.insert(fault, rate);
            }
        }
        Self { dice, rates, armed: AtomicBool::new(true), counts: Mutex::default() }
    }

    /// Whether this fault strikes now. Counted if it does.
    pub fn strike(&self, fault: Fault) -> bool {
        let Some(rate) = self.rates.get(&fault) else { return false };
        let strikes = self.armed.load(Ordering::Relaxed) && self.dice.chance(*rate);
        if strikes {
            self.count(fault);
        }
        strikes
    }

    /// The first of these that strikes. They are asked in a random order, so that the first of the
    /// list is not favoured.
    pub fn first(&self, faults: &[Fault]) -> Option<Fault> {
        if faults.is_empty() || !self.armed.load(Ordering::Relaxed) {
            return None;
        }
        let begin = self.dice.index(faults.len());
        let turned = faults.iter().cycle().skip(begin).take(faults.len()).copied();
        turned.into_iter().find(|fault| self.strike(*fault))
    }

    /// Counts a fault that was decided elsewhere.
    pub fn count(&self, fault: Fault) {
        *lock(&self.counts).entry(fault).or_default() += 1;
    }

    /// From here on nothing strikes any more.
    pub fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }

    /// Whether faults may strike.
    pub fn are_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }

    /// A time for a fault that lasts.
    pub fn time(&self, low: Duration, high: Duration) -> Duration {
        self.dice.time(low, high)
    }

    /// How often each kind struck.
    pub fn counts(&self) -> BTreeMap<Fault, u64> {
        lock(&self.counts).clone()
    }
}
