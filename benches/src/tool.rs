//! Runs the real binary as an operator does: as a process, with a state folder of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Surroundings;
use crate::failure::{Because as _, Result};
use crate::measure::{self, Cost};

/// The binary with a home.
pub struct Tool {
    program: PathBuf,
    home: PathBuf,
    endpoint: String,
    auth: PathBuf,
}

impl Tool {
    /// In a new home, on that front-end.
    ///
    /// # Errors
    /// If the binary is not there or no home can be made.
    pub fn new(surroundings: &Surroundings, endpoint: &str, auth: &Path) -> Result<Self> {
        let program = surroundings.program.clone();
        if !program.is_file() {
            let text = format!("{} is not there: scripts/bench builds it", program.display());
            return Err(text.into());
        }
        let home = surroundings.new_folder("home")?;
        Ok(Self { program, home, endpoint: endpoint.to_owned(), auth: auth.to_owned() })
    }

    /// Writes a template and returns its path.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn template(&self, text: &str) -> Result<PathBuf> {
        let path = self.home.join("template.yaml");
        std::fs::write(&path, text).because(path.display())?;
        Ok(path)
    }

    fn surround(&self, command: &mut Command, name: &str) -> Result<()> {
        let file = |what: &str| {
            let path = self.home.join(format!("{name}.{what}"));
            File::create(&path).because(path.display())
        };
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .env("ONE_XMLRPC", &self.endpoint)
            .env("ONE_AUTH", &self.auth)
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .stdout(file("out")?)
            .stderr(file("err")?);
        Ok(())
    }

    fn read(&self, name: &str, what: &str) -> String {
        let bytes = std::fs::read(self.home.join(format!("{name}.{what}"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs it to its end, which must be a success; how long that took, and what it printed.
    ///
    /// # Errors
    /// What it said, if it failed.
    pub fn run(&self, arguments: &[&str]) -> Result<(Duration, String)> {
        let name = arguments.first().copied().unwrap_or("run");
        let mut command = Command::new(&self.program);
        command.args(arguments);
        self.surround(&mut command, name)?;
        let begun = Instant::now();
        let status = command.status().because(self.program.display())?;
        let took = begun.elapsed();
        match status.success() {
            true => Ok((took, self.read(name, "out"))),
            false => Err(self.complaint(arguments, name)),
        }
    }

    fn complaint(&self, arguments: &[&str], name: &str) -> crate::failure::Failure {
        let said = self.read(name, "err");
        let lines: Vec<&str> = said.lines().collect();
        let last = lines.get(lines.len().saturating_sub(10)..).unwrap_or_default();
        format!("oneprovision {} failed:\n{}", arguments.join(" "), last.join("\n")).into()
    }

    /// The same, and what it cost in the mean of some runs.
    ///
    /// # Errors
    /// What it said, if it failed.
    pub fn measured(&self, times: u32, arguments: &[&str]) -> Result<(Cost, String)> {
        let name = arguments.first().copied().unwrap_or("run").trim_start_matches('-');
        let file = self.home.join(format!("{name}.cost"));
        let mut command = measure::command(&file, times, self.program.as_os_str())?;
        command.args(arguments);
        self.surround(&mut command, name)?;
        command.status().because("it cannot be measured")?;
        match measure::read(&file)? {
            (cost, 0) => Ok((cost, self.read(name, "out"))),
            _ => Err(self.complaint(arguments, name)),
        }
    }

    /// Creates a provision; its id, and how long that took.
    ///
    /// # Errors
    /// What it said, if it failed.
    pub fn create(&self, template: &Path, options: &[&str]) -> Result<(String, Duration)> {
        let template = template.to_string_lossy();
        let arguments: Vec<&str> = ["create", &template].iter().chain(options).copied().collect();
        let (took, printed) = self.run(&arguments)?;
        Ok((id_in(&printed)?, took))
    }

    /// Deletes a provision.
    ///
    /// # Errors
    /// What it said, if it failed.
    pub fn delete(&self, id: &str, options: &[&str]) -> Result<Duration> {
        let arguments: Vec<&str> = ["delete", id].iter().chain(options).copied().collect();
        Ok(self.run(&arguments)?.0)
    }
}

/// The id that `create` printed.
///
/// # Errors
/// If there is none.
pub fn id_in(printed: &str) -> Result<String> {
    let id = printed.lines().find_map(|line| line.strip_prefix("ID: "));
    Ok(id.because("create printed no id")?.trim().to_owned())
}

/// A template of one cluster and some hosts of the driver `dummy`, which are not configured.
pub fn template(name: &str, hosts: usize, parameters: &[(&str, &str)]) -> String {
    let mut text = format!(
        "name: {name}\nplaybook: []\ncluster:\n  name: {name}-cluster\ndefaults:\n  provision:\n    \
         driver: dummy\n"
    );
    for (key, value) in parameters {
        text += &format!("    {key}: {value}\n");
    }
    if hosts > 0 {
        text += "hosts:\n";
    }
    for n in 0..hosts {
        text += &format!(
            "  - im_mad: kvm\n    vm_mad: kvm\n    provision:\n      hostname: {name}-{n}\n"
        );
    }
    text
}
