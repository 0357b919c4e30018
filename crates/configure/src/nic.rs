//! A machine is asked for the network interface that its default route goes through.

use std::time::Duration;

use model::ProvisionId;
use tokio::time::sleep;

use crate::output::{self, last_lines};
use crate::reach::{SSH_FAILED, not_started};
use crate::refusal::Refusal;
use crate::system::System;
use crate::{Machine, Trouble};

/// What is run on the machine. The route to that address is what Ansible's fact `ansible_default_ipv4`
/// goes by; nothing is sent to it. Users other than root may not have `ip` in their path.
const ROUTE: &str = "env PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C ip -4 route get 8.8.8.8";
/// How long that may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How often it is tried, and the pause between: the machine was configured just now, and may be busy.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);

impl System {
    /// See [`crate::Configure::default_nic`].
    pub(crate) async fn ask_for_nic(
        &self,
        provision: ProvisionId,
        machine: &Machine,
    ) -> Result<String, Trouble> {
        let login = self.login(provision, machine)?;
        let address = &machine.address;
        let trouble = |why: String| Trouble(format!("{address}: its network interface: {why}"));
        for attempt in 1.. {
            // It is never closed; if it were, there would be no reason to wait.
            let permit = self.logins.acquire().await.ok();
            let why = match output::run(&mut login.command(ROUTE), LIMIT).await {
                Err(error) => return Err(trouble(not_started("ssh", &error))),
                Ok(None) => Refusal::Stuck,
                Ok(Some(ended)) if ended.status.code() == Some(SSH_FAILED) => {
                    Refusal::of(&ended.err, &machine.alias)
                }
                Ok(Some(ended)) => {
                    let route = Some(&ended.out).filter(|_| ended.status.success());
                    return route.and_then(|out| interface(out)).ok_or_else(|| {
                        let words = last_lines(&format!("{}\n{}", ended.out, ended.err), 3);
                        trouble(format!("it has no default route of IPv4 ({})", words.join(" ")))
                    });
                }
            };
            drop(permit);
            if attempt == ATTEMPTS || why.is_final() {
                return Err(trouble(why.text(&login)));
            }
            sleep(PAUSE).await;
        }
        Err(trouble("it was not asked".to_owned()))
    }
}

/// The word behind `dev` in the answer of `ip route get`. What else is there a login's own files may have
/// written.
fn interface(answer: &str) -> Option<String> {
    let mut lines = answer.lines();
    let route = lines.find(|line| line.split_whitespace().next() == Some("8.8.8.8"))?;
    let name = route.split_whitespace().skip_while(|word| *word != "dev").nth(1)?;
    // `dev_valid_name` of Linux: 15 bytes, none of them a slash, a colon or a blank.
    let fits =
        name.len() <= 15 && name.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != ':');
    // The loopback is nobody's way out.
    (fits && name != "lo").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_is_read_from_the_route() {
        let of = |text: &str| interface(text);
        let answer = "8.8.8.8 via 10.0.0.1 dev enp1s0f0 src 10.0.0.5 uid 0 \n    cache \n";
        assert_eq!(of(answer).as_deref(), Some("enp1s0f0"));
        assert_eq!(of("8.8.8.8 dev wg0 table 5 src 10.0.0.5").as_deref(), Some("wg0"));
        let noise = "Welcome to the dev environment\n";
        assert_eq!(of(&format!("{noise}{answer}")).as_deref(), Some("enp1s0f0"));
        for none in [
            "",
            noise,
            "RTNETLINK answers: Network is unreachable",
            "8.8.8.8 dev",
            "8.8.8.8 dev a/b c",
            "8.8.8.8 dev lo src 127.0.0.1",
            "local 8.8.8.8 dev lo src 8.8.8.8",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
