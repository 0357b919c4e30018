//! Numbers of states, by name.

use std::fmt;

/// Declares an enum over the numbers that `oned` uses; a number that is not known here is kept.
macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
            /// A number of a release that is not known here.
            Other(i32),
        }

        impl $name {
            /// The number in calls and answers.
            pub fn number(self) -> i32 {
                match self {
                    $(Self::$variant => $number,)*
                    Self::Other(number) => number,
                }
            }
        }

        impl From<i32> for $name {
            fn from(number: i32) -> Self {
                match number {
                    $($number => Self::$variant,)*
                    other => Self::Other(other),
                }
            }
        }

        /// The name as OpenNebula's own tools list it, or the number.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.pad($text),)*
                    Self::Other(number) => f.pad(&number.to_string()),
                }
            }
        }
    )*};
}

numbers! {
    /// State of a host (`include/Host.h`), shown as `onehost list` does.
    HostState {
        /// Just made or enabled; not looked at yet.
        Init = 0 "init",
        /// Being looked at; was fine the last time.
        MonitoringMonitored = 1 "update",
        /// Fine.
        Monitored = 2 "on",
        /// The last look failed.
        Error = 3 "err",
        /// No new VMs; looked at.
        Disabled = 4 "dsbl",
        /// Being looked at; failed the last time.
        MonitoringError = 5 "retry",
        /// Being looked at for the first time.
        MonitoringInit = 6 "init",
        /// Being looked at while disabled.
        MonitoringDisabled = 7 "dsbl",
        /// No new VMs; not looked at.
        Offline = 8 "off",
    }

    /// State of a virtual network (`include/VirtualNetwork.h`, since 6.0; before, every network
    /// counts as ready).
    VnetState {
        /// Just made.
        Init = 0 "init",
        /// To be used.
        Ready = 1 "rdy",
        /// The network driver is making it.
        LockCreate = 2 "lock",
        /// The network driver is removing it.
        LockDelete = 3 "lock",
        /// Removed.
        Done = 4 "done",
        /// The network driver failed.
        Error = 5 "err",
        /// Networks of running VMs could not be changed.
        UpdateFailure = 6 "fail",
    }

    /// State of an image (`include/Image.h`), shown as `oneimage list` does.
    ImageState {
        /// Just made.
        Init = 0 "init",
        /// To be used.
        Ready = 1 "rdy",
        /// In use.
        Used = 2 "used",
        /// Not to be used.
        Disabled = 3 "disa",
        /// Being copied or made.
        Locked = 4 "lock",
        /// Copying or making it failed.
        Error = 5 "err",
        /// Being cloned.
        Clone = 6 "clon",
        /// Being removed.
        Delete = 7 "dele",
        /// In use, persistent.
        UsedPersistent = 8 "used",
        /// In use, an operation is running.
        LockedUsed = 9 "lock",
        /// In use, persistent, an operation is running.
        LockedUsedPersistent = 10 "lock",
    }

    /// What a datastore is for (`include/Datastore.h`).
    DatastoreType {
        /// Disk images.
        Image = 0 "img",
        /// Disks of running VMs.
        System = 1 "sys",
        /// Kernels and other files.
        File = 2 "fil",
        /// Backups, since 6.6.
        Backup = 3 "bck",
    }

    /// State of a datastore (`include/Datastore.h`).
    DatastoreState {
        /// To be used.
        Ready = 0 "on",
        /// Not to be used.
        Disabled = 1 "off",
    }

    /// State of an app in a marketplace (`include/MarketPlaceApp.h`).
    MarketAppState {
        /// Just made.
        Init = 0 "init",
        /// To be used.
        Ready = 1 "rdy",
        /// Being imported or exported.
        Locked = 2 "lock",
        /// That failed.
        Error = 3 "err",
        /// Not to be used.
        Disabled = 4 "disa",
    }

    /// What an app of a marketplace is (`include/MarketPlaceApp.h`).
    MarketAppType {
        /// An image, perhaps with a VM template.
        Image = 1 "img",
        /// A VM template with all its images.
        VmTemplate = 2 "tpl",
        /// A service template with all that it needs.
        ServiceTemplate = 3 "srv",
    }

    /// State of a VM (`include/VirtualMachine.h`).
    VmState {
        /// Just made.
        Init = 0 "init",
        /// Waits for a host.
        Pending = 1 "pend",
        /// Held by its user.
        Hold = 2 "hold",
        /// On a host, in one of the states of [`super::Vm::lcm_state`].
        Active = 3 "actv",
        /// Stopped, its state in the datastore.
        Stopped = 4 "stop",
        /// Suspended on its host.
        Suspended = 5 "susp",
        /// Gone.
        Done = 6 "done",
        /// Failed; not used since 4.14.
        Failed = 7 "fail",
        /// Powered off on its host.
        PowerOff = 8 "poff",
        /// Powered off, disks in the datastore.
        Undeployed = 9 "unde",
        /// Disks are being cloned.
        Cloning = 10 "clon",
        /// Cloning disks failed.
        CloningFailure = 11 "fail",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_have_names_and_unknown_ones_are_kept() {
        for number in -1..20 {
            assert_eq!(HostState::from(number).number(), number);
            assert_eq!(VnetState::from(number).number(), number);
        }
        assert_eq!(HostState::from(8), HostState::Offline);
        assert_eq!(format!("{:>5}|{}", HostState::Offline, HostState::from(42)), "  off|42");
    }
}
