//! `host ssh`: the system's ssh, with what the host's `PROVISION_CONNECTION` says.
//!
//! Host keys are those that were kept when the machine was configured, per machine and not per address,
//! for rented addresses come back with other machines: a key is taken when it is first seen, and a
//! different one later is refused.

use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::Arc;

use opennebula::objects::Host;

use crate::args::{Global, HostSshArgs};
use crate::context::{Context, Folders};
use crate::error::{CliError, Code};
use crate::exit::Exit;
use crate::selection;

/// What a host's name begins with as long as its machine has no address.
const UNNAMED: &str = "provision-";

pub async fn run(global: &Global, args: &HostSshArgs) -> Result<Exit, CliError> {
    let context = Context::open(global, None, Arc::new(engine::observe::Silent)).await?;
    let overviews = context.engine.overviews().await?;
    let chosen = selection::hosts(&overviews).select_one(&args.host)?;
    let host = overviews.iter().flat_map(|o| &o.pools.hosts).find(|h| Some(h.id) == chosen.id);
    let host = host.filter(|host| !host.name.starts_with(UNNAMED)).ok_or_else(|| {
        CliError::new(format!("host {} has no address yet", chosen.name)).code(Code::Refused).hint(
            format!(
                "`oneprovision show {0}` tells where it stands, `oneprovision resume {0}` goes on",
                chosen.provision
            ),
        )
    })?;
    let folder = Folders::of(global)?.provisions().join(chosen.provision.to_string());
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|error| CliError::caused(format!("{} cannot be made", folder.display()), error))?;
    let known_hosts = folder.join("known_hosts");
    // The journal's, if it has one: somebody may have renamed the host.
    let overview = overviews.iter().find(|overview| overview.id == chosen.provision);
    let records = overview.and_then(|overview| overview.record.as_ref()).into_iter();
    let mut records = records.flat_map(|record| record.hosts.values()).filter(|it| !it.removed);
    let record = records.find(|record| record.host_id == Some(host.id.0));
    let address = record.and_then(|record| record.address.as_deref());
    let arguments = arguments(host, address, &known_hosts, &args.command)?;
    // On success this program is ssh from here on: its terminal, its signals, its exit status.
    let error = std::process::Command::new("ssh").args(arguments).exec();
    Err(CliError::caused("ssh cannot be run", error)
        .code(Code::System)
        .hint("is OpenSSH's client installed?"))
}

/// What ssh is called with.
fn arguments(
    host: &Host,
    address: Option<&str>,
    known_hosts: &Path,
    command: &[OsString],
) -> Result<Vec<OsString>, CliError> {
    let connection = |key: &str| {
        let text = host.template.text(&format!("PROVISION_CONNECTION/{key}"));
        text.map(str::trim).filter(|text| !text.is_empty())
    };
    let mut arguments: Vec<OsString> = Vec::new();
    let mut option = |name: &str, value: OsString| arguments.extend([name.into(), value]);
    option("-l", connection("REMOTE_USER").unwrap_or(template::spec::DEFAULT_REMOTE_USER).into());
    if let Some(port) = connection("REMOTE_PORT") {
        let port: u16 = port.parse().map_err(|_| {
            CliError::new(format!("host {}: {port:?} is no port", host.id))
                .code(Code::Refused)
                .hint("it stands in PROVISION_CONNECTION/REMOTE_PORT of the host")
        })?;
        option("-p", port.to_string().into());
    }
    // Else it is one of an agent's, or one that only the template has.
    if let Some(key) = connection("PRIVATE_KEY").filter(|key| model::is_path(key)) {
        // ssh itself takes the home folder of the password file, whatever $HOME says.
        option("-i", crate::secret_source::home(Path::new(key)).into_os_string());
    }
    // Quotes let a path have blanks in it; it cannot have a quote then.
    option("-o", format!("UserKnownHostsFile=\"{}\"", known_hosts.display()).into());
    option("-o", "StrictHostKeyChecking=accept-new".into());
    let text = |path: &str| host.template.text(path).unwrap_or_default();
    let alias = configure::alias(text("PM_MAD"), text("PROVISION/DEPLOY_ID"));
    option("-o", format!("HostKeyAlias={alias}").into());
    if connection("JUMP_HOSTS").is_some()
        && let Some(model::Value::Vector(vector)) = host.template.get("PROVISION_CONNECTION")
    {
        let jump = configure::Connection::read(vector, None).ok().and_then(|read| read.jump);
        let key = connection("PRIVATE_KEY").filter(|key| model::is_path(key));
        let key = key.map(|key| crate::secret_source::home(Path::new(key)));
        if let Some(jump) = jump {
            let command = configure::proxy_command(&jump, known_hosts, key.as_deref());
            option("-o", format!("ProxyCommand={command}").into());
        }
    }
    // An address of IPv6 cannot be the host's name.
    let named = host.name.parse::<std::net::IpAddr>().is_err();
    let told = || host.template.text("PROVISION_ADDRESS").filter(|_| named);
    let address = address.or_else(told).unwrap_or(&host.name);
    arguments.extend(["--".into(), address.into()]);
    arguments.extend(command.iter().cloned());
    Ok(arguments)
}
