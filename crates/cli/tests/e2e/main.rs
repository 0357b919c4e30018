//! The whole binary, run as people run it: in an empty home, with nothing but a search path in its
//! environment, and looked at from outside only: its output, its exit status, what it leaves in its
//! folders, what stands in the front-end, and what the dummy driver's ledger says is still paid for.
//!
//! | module | what it shows |
//! | --- | --- |
//! | [`support`] | a home, a command in it, the ledger, drivers and front-ends made for a test |
//! | [`main_job`] | the README's first command, all formats, 200 hosts |
//! | [`shell_drivers`] | six executables in POSIX shell, six in Python, the installed dummy |
//! | [`providers`] | named providers |
//! | [`misbehaviour`] | drivers that fail, hang, die, or name a machine and then fail |
//! | [`clouds`] | the drivers of clouds, against what speaks their APIs |
//! | [`configuring`] | machines reached and configured, and what goes wrong with that |
//! | [`descriptions`] | what drivers say of themselves, and mistakes found by it |
//! | [`interrupted`] | signals, and a tool that is killed |
//! | [`bad_input`] | templates, drivers, front-ends, folders that are no good |
//! | [`inputs`] | user inputs, and secrets that a template names |
//! | [`orphans`] | machines that nobody accounts for, ours and others' |
//! | [`own_machines`] | the README's second example: three machines of QEMU |
//! | [`power`] | poweroff, resume, reboot, top and ssh of hosts |
//! | [`old_callers`] | drivers of ours, called as the tool of 5.12 does |
//! | [`serving`] | `sandbox serve`, from other processes |
//! | [`secrets`] | where a secret may not be found |
//! | [`events`] | `--events`, line by line against its schema |
//! | [`manual`] | completions, and the pages of the manual |
//! | [`views`] | what people see: help texts, tables, messages |
//! | [`tls`] | front-ends behind HTTPS, and the variables of OpenNebula's client |
//! | [`of_six`] | templates as OpenNebula 6.10 has them |
//! | [`updating`] | plan, update, export, host add |
//! | [`validating`] | `validate`, over the corpus too |

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

mod support;

mod bad_input;
mod clouds;
mod configuring;
mod conformance;
mod descriptions;
mod events;
mod inputs;
mod interrupted;
mod main_job;
mod manual;
mod misbehaviour;
mod objects;
mod of_six;
mod old_callers;
mod orphans;
mod own_machines;
mod power;
mod providers;
mod secrets;
mod serving;
mod shell_drivers;
mod tls;
mod updating;
mod validating;
mod views;
