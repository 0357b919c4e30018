//! What this computer says of itself.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Whether KVM can be used: its device may be opened, and the processor shows that it can. In some
/// virtual machines there is the device without the processor, and guests die on it.
pub(super) fn kvm_is_usable() -> bool {
    let opens = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = processor.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    flags.split_ascii_whitespace().any(|flag| flag == "vmx" || flag == "svm") && opens()
}

/// Memory that can be given to machines, in MiB (proc_meminfo(5)).
pub(super) fn free_memory_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB"))?;
    Some(kib.trim().parse::<u64>().ok()? >> 10)
}

/// The address that this computer's neighbour table (proc_net(5), `/proc/net/arp`) has for a device.
pub(super) fn neighbour(mac: &str) -> Option<IpAddr> {
    let text = std::fs::read_to_string("/proc/net/arp").ok()?;
    text.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let is_it = fields.get(3)?.eq_ignore_ascii_case(mac) && *fields.get(2)? != "0x0";
        if is_it { fields.first()?.parse().ok() } else { None }
    })
}

/// A network device, if there is one of that name: its folder in `/sys`.
pub(super) fn device(name: &str) -> Option<PathBuf> {
    let path = Path::new("/sys/class/net").join(name);
    path.exists().then_some(path)
}
