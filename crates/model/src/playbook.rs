//! Playbooks of OpenNebula that are none here.

/// Those of OpenNebula 6.x (`share/oneprovision/ansible`, 6.0.0 to 6.10.0), one for each kind of provider.
const OF_6: [&str; 8] =
    ["aws", "digitalocean", "equinix", "google", "onprem", "packet", "vultr", "vultr_metal"];

/// Why a playbook that came with OpenNebula up to 6.10 is not there, and what to take; none of any other.
pub fn gone_playbook(name: &str) -> Option<&'static str> {
    match name {
        "default_firecracker" => Some(
            "OpenNebula has no driver for Firecracker any more, and neither is there a playbook for it; \
             take default (KVM) or default_lxc",
        ),
        "ceph_hci/site" => Some(
            "it made Ceph clusters for OpenNebula 6.x, which no playbook does here; name one of your own \
             by its path",
        ),
        _ if OF_6.contains(&name) => Some(
            "it was one of OpenNebula 6.x; take default (KVM) or default_lxc, or static_vxlan for a \
             network among the hosts, which 6.x made by BGP, or name one of your own by its path",
        ),
        _ => None,
    }
}
