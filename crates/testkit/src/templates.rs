//! Random templates, as text: they pass through the loader like those of people.

use std::fmt::Write as _;
use std::path::Path;

use template::Spec;

use crate::dice::Dice;

/// A template and what must never be seen of it.
#[derive(Clone, Debug)]
pub struct Random {
    /// The template, loaded.
    pub spec: Spec,
    /// A part of each of its secrets.
    pub secrets: Vec<String>,
    /// The credential of every host, `provision.cloud_token`.
    pub credential: String,
}

struct Text<'a>(&'a str);

impl template::SourceReader for Text<'_> {
    fn read(&self, _: &Path, _: u64) -> std::io::Result<Vec<u8>> {
        Ok(self.0.as_bytes().to_vec())
    }
}

/// Loads a template from its text.
///
/// # Panics
/// If it has mistakes; they are in the message.
pub fn load(text: &str) -> Spec {
    let loaded = template::load(Path::new("t.yaml"), &Text(text), &template::Options::default());
    let findings: Vec<String> =
        loaded.diagnostics.iter().map(|d| template::render(d, &loaded.sources)).collect();
    loaded.spec.unwrap_or_else(|| panic!("{}\n{text}", findings.join("\n")))
}

/// A template of up to `most_hosts` hosts on the driver `cloud`, up to three datastores and up to
/// three networks, with references to what is made before them and to what is known only after the hosts,
/// datastores of others, and secrets.
pub fn random(seed: u64, most_hosts: u64) -> Random {
    let dice = Dice::new(seed, 3);
    let secret = format!("planted-{seed:x}-{:x}", dice.number(0, u64::MAX));
    let mut text = format!(
        "name: sim{}\n{}\
         defaults: {{provision: {{driver: cloud, cloud_token: {secret}-a}}}}\n",
        dice.number(0, 9),
        if dice.chance(500) { "playbook: []\n" } else { "" },
    );
    let datastores = dice.number(0, 3);
    if datastores > 0 {
        text += "datastores:\n";
    }
    for n in 0..datastores {
        writeln!(text, "- {{name: '<%= @name %>-store{n}', ds_mad: fs, tm_mad: ssh}}").unwrap();
    }
    let networks = dice.number(0, 3);
    if networks > 0 {
        text += "networks:\n";
    }
    for n in 0..networks {
        let mut note = "cluster <%= @clusters[0]['ID'] %>".to_owned();
        if datastores > 0 && dice.chance(500) {
            let other = dice.number(0, datastores - 1);
            write!(note, ", store <%= @datastores[{other}]['ID'] %>").unwrap();
        }
        if n > 0 && dice.chance(500) {
            write!(note, ", net <%= @networks[{}]['NAME'] %>", n - 1).unwrap();
        }
        writeln!(
            text,
            "- {{name: '<%= @name %>-net{n}', vn_mad: dummy, bridge: br{n}, note: \"{note}\", \
             ar: [{{ip: 10.{n}.0.1, size: 9, type: IP4}}]}}"
        )
        .unwrap();
    }
    let hosts = match dice.chance(800) {
        true => dice.number(0, most_hosts.min(4)),
        false => dice.number(0, most_hosts),
    };
    if hosts > 0 {
        text += "hosts:\n";
    }
    for n in 0..hosts {
        let own = match dice.chance(300) {
            true => format!(", cloud_password: {secret}-{n}"),
            false => String::new(),
        };
        let reserved = match networks > 0 && dice.chance(300) {
            true => ", note: \"<%= @networks[0]['ID'] %>\"",
            false => "",
        };
        writeln!(
            text,
            "- {{im_mad: kvm, vm_mad: kvm, provision: {{hostname: h{n}{own}}}{reserved}}}"
        )
        .unwrap();
    }
    // What 6.x added, with dice of its own: the templates of all seeds stay what they are otherwise.
    let six = Dice::new(seed, 6);
    if six.chance(300) {
        text += "cluster: {datastores: [2, 0]}\n";
    }
    if hosts > 0 && six.chance(300) {
        let waits = "tm_mad: ssh, replica_host: '${updates.first_host}'}";
        text = text.replace("tm_mad: ssh}", waits);
    }
    if hosts > 0 && six.chance(200) {
        text =
            text.replace("vn_mad: dummy,", "vn_mad: dummy, phydev: '${updates.default_ipv4_nic}',");
    }
    Random { spec: load(&text), credential: format!("{secret}-a"), secrets: vec![secret] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_load_and_hide_their_secrets() {
        let mut most = 0;
        for seed in 0..200 {
            let random = random(seed, 12);
            most = most.max(random.spec.hosts.len());
            let json = serde_json::to_string(&random.spec).unwrap();
            assert!(!json.contains(&random.secrets[0]), "seed {seed}: {json}");
        }
        assert!(most > 6, "{most}");
    }
}
