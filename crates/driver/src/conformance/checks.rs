//! The checks as data.

/// What came of a check. The order is from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It could not be tried.
    NotTried,
    /// The promise is kept.
    Kept,
    /// It works, but not as well as it could.
    Warning,
    /// The promise is not kept.
    Broken,
}

/// A promise of the protocol.
struct Promise {
    name: &'static str,
    /// What is promised.
    text: &'static str,
    /// Where it is written: a heading of `docs/DRIVER_PROTOCOL.md`, as a link names it.
    section: &'static str,
    /// What to do if it is not kept.
    advice: &'static str,
    /// Whether a driver in Rust can be asked the same through its trait.
    through_trait: bool,
}

macro_rules! checks {
    ($($(#[$doc:meta])* $id:ident $name:literal $through:ident $section:literal $text:literal => $advice:literal;)*) => {
        /// One thing that is tried.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Check { $($(#[$doc])* $id,)* }

        impl Check {
            /// All of them, in the order in which they are tried.
            pub const ALL: [Self; [$(Self::$id),*].len()] = [$(Self::$id),*];

            const fn promise(self) -> Promise {
                match self {
                    $(Self::$id => Promise {
                        name: $name, text: $text, section: $section, advice: $advice,
                        through_trait: checks!(@$through),
                    },)*
                }
            }
        }
    };
    (@both) => { true };
    (@file) => { false };
}

checks! {
    /// Which actions there are.
    Actions "actions" file "folder-and-names"
        "cancel, deploy and poll are there; the other four are worth having"
        => "add the missing actions; with `list` a machine whose deploy was not answered is found again";
    /// What it says of itself.
    Describe "describe" both "what-a-driver-says-of-itself"
        "driver.yaml or `describe` says which parameters it takes"
        => "put a driver.yaml beside the actions, so that mistakes are found before anything is bought";
    /// Exit status of a failure.
    FailureStatus "failure-status" file "exit-status"
        "a deploy without its deployment file makes nothing and does not exit with 0"
        => "exit with 255 when nothing was made, with 75 when that is not known";
    /// Standard output of a failure.
    FailureOutput "failure-output" file "deploy"
        "a deploy that made nothing prints nothing on standard output"
        => "write reasons to standard error: what stands on standard output is taken for the id";
    /// Standard error of a failure.
    ErrorBlock "error-block" file "error-block"
        "the reason of a failure stands on standard error between the two lines"
        => "print ERROR MESSAGE --8<------, the reason, ERROR MESSAGE ------>8--, each on its own line, as plain text";
    /// It makes a machine.
    Deploy "deploy" both "deploy"
        "makes a machine from the deployment file at the path of its first argument, and exits with 0"
        => "read the driver's own words; --param and --template give it what it needs";
    /// The form of the id.
    Id "id" both "deploy"
        "the id is the first line of standard output, one word, and the only one"
        => "print the id and nothing else on standard output; everything else goes to standard error";
    /// When the id comes.
    IdEarly "id-early" file "deploy"
        "the id is printed and flushed as soon as it is known, before the machine is waited for"
        => "print the id right after the request that makes the machine, flush, and wait then";
    /// It tells of a machine.
    Poll "poll" both "poll"
        "prints pairs KEY=VALUE of a machine that exists and exits with 0"
        => "print at least STATE=a, p, e or d, and the addresses once there are any";
    /// The state that poll tells.
    PollState "poll-state" both "poll"
        "STATE is one of the letters a, p, e, d and -"
        => "print STATE=a when it runs, p in the making, e in error, d when it is off or gone";
    /// The machine comes up.
    Ready "ready" both "poll"
        "after a deploy the machine gets active and has an address"
        => "print STATE=a and GUEST_IP_ADDRESSES=\"…\" once the machine can be reached";
    /// The machine is in the list with its marks.
    List "list" both "list"
        "lists the machine under its id, with KEY, NAME, PROVISION_ID and CREATED"
        => "put the marks on the machine in the request that makes it, and print them in `list`";
    /// Powering off.
    Poweroff "poweroff" both "reboot-reset-shutdown"
        "shutdown with SHUTDOWN_POWEROFF exits with 0"
        => "power the machine off and keep it";
    /// What poll says of a machine that is off.
    PollOff "poll-off" both "poll"
        "a machine that is off is STATE=d"
        => "ask the provider for the power state, and print STATE=d if it is off";
    /// A machine that is off exists.
    ListOff "list-off" both "list"
        "a machine that is off is still listed"
        => "list every machine that somebody pays for: machines that are off or in the making too";
    /// Powering on.
    Resume "resume" both "deploy"
        "with DEPLOY_ID in the deployment file, deploy powers that machine on, makes none, and prints the id again"
        => "look for TEMPLATE/PROVISION/DEPLOY_ID first, and never make a machine if it is there";
    /// An orderly reboot.
    Reboot "reboot" both "reboot-reset-shutdown"
        "exits with 0, and the machine gets active again"
        => "reboot in an orderly way; it may end before the machine is up";
    /// A hard reboot.
    Reset "reset" both "reboot-reset-shutdown"
        "exits with 0, and the machine gets active again"
        => "reboot hard; it may end before the machine is up";
    /// It destroys a machine.
    Cancel "cancel" both "cancel"
        "destroys the machine and exits with 0"
        => "destroy the machine; if it is not there, fail with \"machine DEPLOY_ID not found\"";
    /// The machine is gone.
    Gone "gone" both "cancel"
        "after a cancel the machine is gone for poll: STATE=d, or \"not found\""
        => "print STATE=d for a machine that is gone; do not exit with 0 from cancel before the provider took it";
    /// Cancel of a machine that is gone.
    CancelAgain "cancel-again" both "cancel"
        "cancel of a machine that is gone succeeds, or fails with \"machine DEPLOY_ID not found\""
        => "treat the provider's \"not found\" as done, or pass it on in these words";
    /// Powering on what is gone.
    ResumeGone "resume-gone" both "deploy"
        "a deploy with the DEPLOY_ID of a machine that is gone fails and makes none"
        => "fail if the machine of DEPLOY_ID is not there; never make one in its place";
    /// Called as by the old tool.
    Legacy "legacy" file "drivers-of-opennebula-58-to-512"
        "works as the tool of OpenNebula 5.12 called it: deploy FILE TODO, standard input empty"
        => "read the file at the path of the first argument, and do without the further ones, if the old tool is to be served";
    /// Hosts at once.
    Concurrency "concurrency" both "process"
        "three deploys at once make three machines with three ids"
        => "lock what the calls share, and make ids that cannot be the same";
    /// A deploy that is killed.
    Kill "kill" both "when-the-tool-is-killed"
        "after a deploy that was killed, its machine is found by its mark, and the next deploy works"
        => "mark the machine in the request that makes it, add `list`, and leave no lock behind";
    /// Secrets in output.
    Secrets "secrets" file "secrets"
        "credentials are in no output and in no argument of a program"
        => "print no deployment file and no command line; give programs their secrets by files or the environment";
    /// Deadlines.
    Time "time" both "deadlines-and-limits"
        "every action ends within its deadline"
        => "give every request a time limit of its own";
}

impl Check {
    /// Its name, lower case with `-`.
    pub const fn name(self) -> &'static str {
        self.promise().name
    }

    /// What is promised.
    pub const fn promised(self) -> &'static str {
        self.promise().text
    }

    /// The heading of `docs/DRIVER_PROTOCOL.md` under which it is promised, as a link names it.
    pub const fn section(self) -> &'static str {
        self.promise().section
    }

    /// What to do if the promise is not kept.
    pub const fn advice(self) -> &'static str {
        self.promise().advice
    }

    /// Whether it can be tried through the trait.
    pub(super) const fn through_trait(self) -> bool {
        self.promise().through_trait
    }
}

impl Verdict {
    /// For a table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotTried => "not tried",
            Self::Kept => "ok",
            Self::Warning => "warning",
            Self::Broken => "FAILED",
        }
    }
}
