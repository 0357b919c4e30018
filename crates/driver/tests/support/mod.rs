//! Drivers that are written when a test runs, and a watch that remembers.

// Every test program uses a part of it.
#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use driver::{
    Action, Call, DeploymentFile, ExecutableDriver, ExecutableSettings, ProcessRecord, Remotes,
    Watch,
};
use model::{Attributes, DeployId, HostId, Secret};
use tokio::sync::Notify;

/// A folder with remotes, calls, and room for what drivers write down.
pub struct Lab {
    pub dir: tempfile::TempDir,
}

impl Lab {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn calls(&self) -> PathBuf {
        self.path("calls")
    }

    /// What is left in the calls' folder.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        match fs::read_dir(self.calls()) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
            Err(_) => Vec::new(),
        }
    }

    pub fn settings(&self) -> ExecutableSettings {
        ExecutableSettings {
            grace: Duration::from_millis(200),
            ..ExecutableSettings::new(self.calls())
        }
    }

    /// Writes a driver whose actions all run this script, and `deploy` that one.
    pub fn driver(&self, script: &str, deploy: &str) -> ExecutableDriver {
        self.driver_with(script, deploy, self.settings())
    }

    pub fn driver_with(
        &self,
        script: &str,
        deploy: &str,
        settings: ExecutableSettings,
    ) -> ExecutableDriver {
        for action in Action::REQUIRED.into_iter().chain([Action::List]) {
            let script = if action == Action::Deploy { deploy } else { script };
            write_program(&self.path("remotes/pm/site").join(action.as_str()), script);
        }
        self.open(settings)
    }

    /// The driver that was written before.
    pub fn open(&self, settings: ExecutableSettings) -> ExecutableDriver {
        ExecutableDriver::new(Remotes::new(self.path("remotes")).find("site").unwrap(), settings)
    }

    /// A driver in POSIX shell whose `deploy` is this; the other actions do nothing.
    pub fn deploys(&self, body: &str) -> ExecutableDriver {
        self.driver("#!/bin/sh\nexit 0\n", &self.sh(body))
    }

    /// A shell script that finds the lab's folder in `$LAB`.
    pub fn sh(&self, body: &str) -> String {
        format!("#!/bin/sh\nLAB='{}'\n{body}\n", self.dir.path().display())
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Waits until a driver has written a file, line end included.
    pub async fn wait_for(&self, name: &str) -> String {
        let written = async {
            loop {
                if let Ok(text) = fs::read_to_string(self.path(name))
                    && text.ends_with('\n')
                {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Far beyond what any machine needs: a test that fails is better than one that hangs.
        tokio::time::timeout(Duration::from_secs(120), written).await.expect("a driver's file")
    }
}

pub fn write_program(path: &Path, script: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Remembers what it hears.
#[derive(Default)]
pub struct Ear {
    pub started: Mutex<Vec<ProcessRecord>>,
    pub ids: Mutex<Vec<String>>,
    pub heard_id: Notify,
}

#[async_trait]
impl Watch for Ear {
    async fn started(&self, process: &ProcessRecord) {
        self.started.lock().unwrap().push(process.clone());
    }

    async fn deploy_id(&self, id: &DeployId) {
        self.ids.lock().unwrap().push(id.to_string());
        self.heard_id.notify_one();
    }
}

impl Ear {
    pub fn ids(&self) -> Vec<String> {
        self.ids.lock().unwrap().clone()
    }

    pub fn record(&self) -> ProcessRecord {
        self.started.lock().unwrap().first().cloned().unwrap()
    }
}

pub fn host(name: &str) -> DeploymentFile {
    let mut template = Attributes::new();
    template.vector_mut("PROVISION").push("TOKEN", Secret::new("s3cr3t-tok"));
    DeploymentFile {
        id: Some(HostId(42)),
        name: name.to_owned(),
        im_mad: "kvm".into(),
        vm_mad: "kvm".into(),
        pm_mad: "site".into(),
        cluster: None,
        template,
    }
}

pub fn call(name: &str) -> (Call, Arc<Ear>) {
    call_within(name, Duration::from_secs(60))
}

pub fn call_within(name: &str, deadline: Duration) -> (Call, Arc<Ear>) {
    let ear = Arc::new(Ear::default());
    let call = Call { key: "key-1".into(), host: host(name), deadline, watch: ear.clone() };
    (call, ear)
}

pub fn id(text: &str) -> DeployId {
    DeployId::new(text).unwrap()
}

/// Whether a process runs; zombies do not.
pub fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim().starts_with('Z'))
}
