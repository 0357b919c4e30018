//! Playbooks by the real `ansible-playbook` on real machines: several sshd on addresses of 127.0.0.0/8 and
//! ::1, each with a host key and a folder of its own.
//!
//! Ansible is the one that `scripts/test` installs, or that of the PATH. Where it or sshd is not there the
//! tests are passed over, and say so; with CI=true that is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod checking;
mod endings;
mod lab;
mod surroundings;
mod verdicts;
