//! The argument vector with which a machine is started.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::Path;

use super::machine::{CONSOLE, DISK, Machine, Network, SEED};
use super::parameters::Accel;
use super::process::MARK;
use super::qmp::SOCKET;

/// The program.
pub(super) const PROGRAM: &str = "qemu-system-x86_64";

/// Serial number of a disk that was made empty for a machine without an image: the rescue image keeps its SSH
/// host keys there, and never writes to another one.
pub(super) const BLANK_SERIAL: &str = "oneprovision";

/// The arguments, for a process whose working folder is the machine's: paths in it are relative, as that of
/// a socket may not be long.
pub(super) fn arguments(machine: &Machine, mark: &Path, kvm: bool) -> Vec<OsString> {
    let mut line = Line::default();
    line.pair("-name", &machine.id);
    line.flag("-daemonize").flag("-no-user-config").flag("-nodefaults");
    line.0.extend([OsStr::new(MARK).into(), mark.into()]);
    line.pair("-machine", "q35,usb=off");
    for accel in match (machine.accel, kvm) {
        (Accel::Kvm, _) => &["kvm"][..],
        (Accel::Auto, true) => &["kvm", "tcg"],
        (Accel::Auto, false) | (Accel::Tcg, _) => &["tcg"],
    } {
        line.pair("-accel", accel);
    }
    line.pair("-cpu", "max");
    line.pair("-smp", machine.cpus);
    line.pair("-m", format_args!("{}M", machine.memory_mib));
    line.pair("-display", "none");
    line.pair("-chardev", format_args!("file,id=console,path={CONSOLE}"));
    line.pair("-serial", "chardev:console");
    line.pair("-chardev", format_args!("socket,id=qmp,path={SOCKET},server=on,wait=off"));
    line.pair("-mon", "chardev=qmp,mode=control");
    let serial = match machine.image {
        None => format!(",serial={BLANK_SERIAL}"),
        Some(_) => String::new(),
    };
    line.pair("-drive", format_args!("if=none,id=disk,file={DISK},format=qcow2"));
    // A kernel of one's own is booted first without being told to.
    let boot = if machine.kernel.is_none() { ",bootindex=0" } else { "" };
    line.pair("-device", format_args!("virtio-blk-pci,drive=disk{boot}{serial}"));
    line.pair("-drive", format_args!("if=none,id=seed,file={SEED},format=raw,readonly=on"));
    line.pair("-device", "virtio-blk-pci,drive=seed,serial=seed");
    line.pair("-netdev", netdev(&machine.network));
    line.pair("-device", format_args!("virtio-net-pci,netdev=net,mac={},romfile=", machine.mac));
    line.pair("-object", "rng-random,id=rng,filename=/dev/urandom");
    line.pair("-device", "virtio-rng-pci,rng=rng");
    for (option, path) in [("-kernel", &machine.kernel), ("-initrd", &machine.initrd)] {
        if let Some(path) = path {
            line.0.extend([option.into(), path.into()]);
        }
    }
    if machine.kernel.is_some() {
        line.pair("-append", &machine.append);
    }
    line.0
}

fn netdev(network: &Network) -> String {
    match network {
        Network::User { address, port } => {
            let address = match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            };
            format!("user,id=net,hostfwd=tcp:{address}:{port}-:22")
        }
        Network::Bridge { bridge, .. } => format!("bridge,id=net,br={bridge}"),
        Network::Tap { device, .. } => {
            format!("tap,id=net,ifname={device},script=no,downscript=no")
        }
    }
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.into());
        self
    }

    fn pair(&mut self, option: &str, value: impl std::fmt::Display) {
        self.flag(option).flag(&value.to_string());
    }
}
