//! Who decides when a host fails, and who listens.

use std::sync::Arc;

use async_trait::async_trait;
use engine::{Decision, Failover, Failure, Note, Observer};
use journal::{Event, Outcome, ProvisionRecord, Step, Subject};

use crate::dice::Dice;
use crate::trace::Trace;

/// An operator, or a batch mode, that decides by chance; in the last phase everything is left.
pub(super) struct ByChance {
    pub dice: Arc<Dice>,
    pub trace: Arc<Trace>,
    pub calm: bool,
}

#[async_trait]
impl Failover for ByChance {
    async fn decide(&self, failure: &Failure<'_>) -> Decision {
        let Failure { subject, message: failure, attempt, .. } = *failure;
        use Decision::{Cleanup, Leave, Quit, Retry, Skip};
        let decision = match self.calm || attempt > 4 {
            true => Leave,
            false => self.dice.pick(&[Leave, Leave, Leave, Retry, Retry, Skip, Cleanup, Quit]),
        };
        self.trace.line(format_args!("{subject:?} failed ({failure}): {decision:?}"));
        decision
    }
}

/// Hears what a person would read, and looks for secrets in it.
pub(super) struct Listener {
    pub trace: Arc<Trace>,
    pub secrets: Vec<String>,
}

impl Listener {
    pub fn hear(&self, text: &str) {
        if let Some(secret) = self.secrets.iter().find(|secret| text.contains(*secret)) {
            self.trace.violation(format_args!("the secret {secret} was told: {text}"));
        }
    }
}

impl Observer for Listener {
    fn event(&self, record: &ProvisionRecord, event: &Event) {
        self.hear(&format!("{event:?} {:?}", record.state));
    }

    fn outcome(&self, _: &ProvisionRecord, subject: Subject, step: Step, outcome: &Outcome) {
        self.hear(&format!("{subject:?} {step:?} {outcome:?}"));
    }

    fn note(&self, _: &ProvisionRecord, note: &Note) {
        let text = format!("{note:?}");
        self.hear(&text);
        self.trace.line(format_args!("note {text}"));
    }
}
