//! Machines as Ansible wants them told: an inventory, a file of variables and perhaps one of a key for
//! each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use model::ProvisionId;
use serde_json::{Map, Value, json};

use super::folder::Folder;
use super::mask::Found;
use crate::script::quoted;
use crate::{Machine, ssh};

/// The variable of our options for ssh. Variables of a template come after it, and would replace it.
const SSH_ARGS: &str = "ansible_ssh_args";

/// The inventory of a run, being written.
pub(super) struct Inventory<'a> {
    folder: &'a Folder,
    known_hosts: &'a Path,
    provision: ProvisionId,
    release: Option<&'a str>,
    hosts: Map<String, Value>,
}

impl<'a> Inventory<'a> {
    /// An empty one.
    pub fn new(folder: &'a Folder, known_hosts: &'a Path, provision: ProvisionId) -> Self {
        Self { folder, known_hosts, provision, release: None, hosts: Map::new() }
    }

    /// Of nodes of a front-end of that release.
    pub fn of_release(self, release: Option<&'a str>) -> Self {
        Self { release, ..self }
    }

    /// Adds a machine, and writes its files.
    ///
    /// # Errors
    /// Why it cannot be in an inventory.
    pub fn add(&mut self, machine: &Machine) -> Result<(), String> {
        let name = &machine.address;
        let fits = |c: char| c.is_ascii_alphanumeric() || ".:-_%".contains(c);
        if name.is_empty() || name.starts_with(['-', '.']) || !name.chars().all(fits) {
            return Err(format!("{name:?} is no address of a machine"));
        }
        if self.hosts.contains_key(name) {
            return Err(format!("another host of this run has the address {name}, too"));
        }
        // Theirs would replace ours, by which a machine is known.
        if variables(machine)?.get(SSH_ARGS).is_some() {
            return Err(format!(
                "{SSH_ARGS} is among its variables (configuration), but is oneprovision's own; put \
                 options of ssh into ansible_ssh_common_args, to which it adds its own"
            ));
        }
        let file = |what: &str| format!("its {what} cannot be written");
        let key = ssh::key_file(&machine.connection.key, |key| {
            self.folder.write(&format!("keys/{}", self.hosts.len()), key.expose())
        });
        let key = key.map_err(|error| format!("{}: {error}", file("private key")))?;
        self.folder
            .write(&format!("host_vars/{name}.yml"), machine.variables.expose())
            .map_err(|error| format!("{}: {error}", file("file of variables")))?;
        let options = ssh::options(machine, self.known_hosts, key.as_deref());
        // ssh takes what it is told first, and Ansible tells it this first.
        let mut arguments = self.folder.ssh_args().to_owned();
        options.iter().for_each(|option| arguments.push_str(&format!(" -o {}", quoted(option))));
        let mut variables = json!({
            "ansible_connection": "ssh",
            "ansible_host": name,
            "ansible_port": machine.connection.port,
            "ansible_user": machine.connection.user,
            "oneprovision_hostname": machine.hostname,
            "oneprovision_host_id": machine.host_id,
            "oneprovision_vm_mad": machine.vm_mad,
            "oneprovision_provision_id": self.provision.to_string(),
        });
        if let Some(release) = self.release {
            variables["oneprovision_opennebula_version"] = release.into();
        }
        variables[SSH_ARGS] = arguments.into();
        if let Some(key) = key {
            // For ssh, a percent sign stands for something else.
            let key = key.display().to_string().replace('%', "%%");
            variables["ansible_ssh_private_key_file"] = key.into();
        }
        self.hosts.insert(name.clone(), variables);
        Ok(())
    }

    /// Adds a host that stands for those that will be, so that a playbook which asks for one of a group
    /// finds one.
    pub fn add_nobody(&mut self) {
        self.hosts.insert("nobody.invalid".to_owned(), json!({}));
    }

    /// Writes it.
    pub fn write(self) -> std::io::Result<std::path::PathBuf> {
        let names: Map<_, _> = self.hosts.keys().map(|name| (name.clone(), Value::Null)).collect();
        let all = json!({"all": {"children": {
            "nodes": {"hosts": self.hosts},
            "targets": {"hosts": names},
        }}});
        self.folder.write("inventory.json", &format!("{all:#}\n"))
    }
}

/// Addresses that more than one of these machines have.
pub(super) fn twice<'a>(machines: impl Iterator<Item = &'a Machine>) -> BTreeSet<&'a str> {
    let mut count = BTreeMap::new();
    machines.for_each(|machine| *count.entry(machine.address.as_str()).or_insert(0) += 1);
    count.into_iter().filter(|(_, n)| *n > 1).map(|(name, _)| name).collect()
}

/// The variables of a machine.
fn variables(machine: &Machine) -> Result<Value, String> {
    let text = machine.variables.expose();
    let wrong = "its variables for Ansible are not a YAML mapping that has each key once";
    // What the parser says could show a part of a secret.
    match serde_saphyr::from_str::<Option<Value>>(text).map_err(|_| wrong)? {
        None => Ok(Value::Null),
        Some(map @ Value::Object(_)) => Ok(map),
        Some(_) => Err(wrong.to_owned()),
    }
}

/// The secrets that may appear in a run on these machines.
pub(super) fn secrets<'a>(machines: impl Iterator<Item = &'a Machine>) -> Found {
    let mut found = Found::default();
    for machine in machines {
        found.key(&machine.connection.key);
        if let Ok(variables) = variables(machine) {
            found.variables("", &variables, false);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use model::{Attributes, HostKey, Secret};
    use uuid::Uuid;

    use super::*;
    use crate::{Connection, Key, Steps};

    fn machine(address: &str, variables: &str) -> Machine {
        Machine {
            host: HostKey(1),
            host_id: Some(7),
            address: address.to_owned(),
            alias: format!("alias-{address}"),
            hostname: "node1".to_owned(),
            vm_mad: "kvm".to_owned(),
            connection: Connection::read(&Attributes::new(), None).unwrap(),
            variables: variables.into(),
            steps: Steps::default(),
            secret_steps: false,
        }
    }

    #[test]
    fn an_inventory() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::new(base.path()).unwrap();
        let provision = ProvisionId(Uuid::nil());
        let known = Path::new("/state/it's/known_hosts");
        let mut inventory = Inventory::new(&folder, known, provision);
        let mut first = machine("fd00::1", "a: 1\npassword: secret-word\n");
        first.connection.key = Key::Content(Secret::new("KEY\n"));
        first.connection.port = 2222;
        inventory.add(&first).unwrap();
        inventory.add(&machine("node.example", "")).unwrap();
        assert!(inventory.add(&first).unwrap_err().contains("another host"));
        for (address, variables, part) in [
            ("-oProxyCommand=x", "", "no address"),
            ("../x", "", "no address"),
            ("", "", "no address"),
            ("a b", "", "no address"),
            ("h1", "- secret-list", "not a YAML mapping"),
            ("h1", "secret-text", "not a YAML mapping"),
            ("h1", "a: [secret", "not a YAML mapping"),
            ("h1", "secret: 1\nsecret: 2", "each key once"),
            ("h1", "ansible_ssh_args: secret", "ansible_ssh_args is among its variables"),
        ] {
            let error = inventory.add(&machine(address, variables)).unwrap_err();
            assert!(error.contains(part) && !error.contains("secret"), "{error}");
        }
        let text = fs::read_to_string(inventory.write().unwrap()).unwrap();
        let all: Value = serde_json::from_str(&text).unwrap();
        let children = &all["all"]["children"];
        let host = &children["nodes"]["hosts"]["fd00::1"];
        assert_eq!(host["ansible_host"], "fd00::1");
        assert_eq!(host["ansible_port"], 2222);
        assert_eq!(host["oneprovision_host_id"], 7);
        assert_eq!(host["oneprovision_provision_id"], provision.to_string());
        let arguments = host["ansible_ssh_args"].as_str().unwrap();
        assert!(arguments.starts_with(folder.ssh_args()), "{arguments}");
        assert_eq!(host["ansible_ssh_common_args"], Value::Null);
        assert!(arguments.contains("-o 'HostKeyAlias=alias-fd00::1'"), "{arguments}");
        let quoted = r#"-o 'UserKnownHostsFile="/state/it'\''s/known_hosts"'"#;
        assert!(arguments.contains(quoted), "{arguments}");
        assert_eq!(children["targets"]["hosts"]["node.example"], Value::Null);
        let key = host["ansible_ssh_private_key_file"].as_str().unwrap();
        for (path, content) in [
            (Path::new(key), "KEY\n"),
            (&folder.path("host_vars/fd00::1.yml"), "a: 1\npassword: secret-word\n"),
        ] {
            assert_eq!(fs::read_to_string(path).unwrap(), content);
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let masks = secrets([&first].into_iter()).masks();
        assert_eq!(masks.apply("a secret-word"), "a *****");
        let other = machine("fd00::1", "");
        assert_eq!(twice([&first, &other].into_iter()), BTreeSet::from(["fd00::1"]));
    }

    #[test]
    fn variables_of_ansible_s_own_kinds() {
        for text in [
            "",
            "---\n",
            "{}",
            "a: !unsafe '{{ x }}'\n",
            "password: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n",
            "a: &x {b: 1}\nc: *x\n",
            "a: &x {b: 1}\nc: {<<: *x, d: 2}\n",
            "1: number\ntrue: switch\n",
            "when: 2026-01-01\n",
        ] {
            assert!(
                variables(&machine("h", text)).is_ok(),
                "{text}: {:?}",
                serde_saphyr::from_str::<Option<Value>>(text)
            );
        }
    }
}
