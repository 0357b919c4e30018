//! How many driver calls are in flight: of one command, and to one account of a provider.
//!
//! A provider answers too many calls at once with refusals, and what was refused at a bad moment
//! has to be found out about later. Its limit is one of the account, so hosts that name the same
//! account share one, whichever operation of this process they belong to. A driver that says
//! nothing of accounts has one for all its hosts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use model::{Attributes, HostKey, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::hosts::HostWork;

/// For so many calls that may be in flight, one more deploy may be written down.
const AHEAD: usize = 4;

/// The provider accounts that operations of this process use at present.
#[derive(Default)]
pub struct Accounts(Mutex<Vec<(Account, Weak<Semaphore>)>>);

/// A driver, and the values of those parameters that name or open an account.
#[derive(PartialEq, Eq)]
struct Account {
    driver: String,
    values: Attributes,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What opens an account is a secret.
        f.debug_struct("Accounts").finish_non_exhaustive()
    }
}

impl Accounts {
    /// The calls that may be in flight to an account: those of others that use it, or `limit` if
    /// nobody does.
    fn calls(&self, account: Account, limit: usize) -> Arc<Semaphore> {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|(_, calls)| calls.strong_count() > 0);
        let known = accounts.iter().find(|(known, _)| *known == account);
        if let Some(calls) = known.and_then(|(_, calls)| calls.upgrade()) {
            return calls;
        }
        let calls = Arc::new(Semaphore::new(limit.max(1)));
        accounts.push((account, Arc::downgrade(&calls)));
        calls
    }
}

/// The account of a host.
fn account(host: &HostWork) -> Account {
    let template = &host.file.template;
    let driver = template.text("PM_MAD").unwrap_or_default().to_owned();
    let mut values = Attributes::new();
    if let Some(Value::Vector(provision)) = template.get("PROVISION") {
        let parameters = host.driver.describe().parameters.unwrap_or_default();
        for parameter in parameters.iter().filter(|parameter| parameter.account) {
            if let Some((_, value)) = provision.iter().find(|(name, _)| parameter.is_named(name)) {
                values.set(&parameter.name, value.clone());
            }
        }
    }
    Account { driver, values }
}

/// The limits that hold for the hosts of an operation.
pub(crate) struct Slots {
    command: Arc<Semaphore>,
    accounts: BTreeMap<HostKey, Places>,
    /// Whether there is room for more than one call at a time.
    several: bool,
    /// The place that all polls of an account share, while there are any.
    shared: Mutex<Vec<(Arc<Semaphore>, Weak<Slot>)>>,
}

/// The places of an account.
#[derive(Clone)]
struct Places {
    /// For calls, also those of others.
    calls: Arc<Semaphore>,
    /// For deploys of this operation that are written down.
    begun: Arc<Semaphore>,
    /// One at a time takes the place that all polls share.
    sharing: Arc<tokio::sync::Mutex<()>>,
}

/// The right to have one deploy written down, until it is dropped.
pub(crate) struct Begun {
    _place: Option<OwnedSemaphorePermit>,
}

/// The right to one driver call, until it is dropped.
pub(crate) struct Slot {
    _command: Option<OwnedSemaphorePermit>,
    _account: Option<OwnedSemaphorePermit>,
}

impl Slots {
    pub fn new(
        hosts: &BTreeMap<HostKey, HostWork>,
        command: usize,
        accounts: &Accounts,
        of_account: usize,
    ) -> Self {
        let limit = command.min(of_account).max(1);
        let mut known = BTreeMap::new();
        let mut places = |host| {
            let calls = accounts.calls(account(host), of_account);
            let places = known.entry(Arc::as_ptr(&calls)).or_insert_with(|| Places {
                calls,
                begun: Arc::new(Semaphore::new(limit + limit.div_ceil(AHEAD))),
                sharing: Arc::default(),
            });
            places.clone()
        };
        Self {
            command: Arc::new(Semaphore::new(command.max(1))),
            accounts: hosts.iter().map(|(key, host)| (*key, places(host))).collect(),
            several: limit > 1,
            shared: Mutex::default(),
        }
    }

    /// Tells the accounts of hosts apart, as long as this lives.
    pub fn account(&self, key: HostKey) -> Option<usize> {
        self.accounts.get(&key).map(|places| Arc::as_ptr(&places.calls).addr())
    }

    /// Waits until a deploy may be written down: those in flight, and a few that wait for their call, so that
    /// no call waits for the disk. Not all of them, since what is written down has to be looked for when
    /// the tool is killed.
    pub async fn begin(&self, key: HostKey) -> Begun {
        let Some(account) = self.accounts.get(&key) else { return Begun { _place: None } };
        Begun { _place: Arc::clone(&account.begun).acquire_owned().await.ok() }
    }

    /// Waits for a call on the machine of a host. Who waits for one of the limits holds no place of
    /// the other: a busy account keeps nobody else from calling.
    pub async fn acquire(&self, key: HostKey) -> Slot {
        let command = || Arc::clone(&self.command);
        let Some(Places { calls: account, .. }) = self.accounts.get(&key) else {
            return Slot { _command: command().acquire_owned().await.ok(), _account: None };
        };
        loop {
            let of_account = Arc::clone(account).acquire_owned().await.ok();
            if let Ok(permit) = command().try_acquire_owned() {
                return Slot { _command: Some(permit), _account: of_account };
            }
            drop(of_account);
            let of_command = command().acquire_owned().await.ok();
            if let Ok(permit) = Arc::clone(account).try_acquire_owned() {
                return Slot { _command: of_command, _account: Some(permit) };
            }
        }
    }

    /// The same for a call that is one request to the provider with those of others: all of them have
    /// one place together. Where there is but one, each waits for its turn, or polls that follow each other
    /// would keep everything else from it.
    pub async fn share(&self, key: HostKey) -> Arc<Slot> {
        let account = self.accounts.get(&key).filter(|_| self.several);
        let Some(Places { calls: account, sharing, .. }) = account else {
            return Arc::new(self.acquire(key).await);
        };
        let _sharing = sharing.lock().await;
        {
            let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.retain(|(_, slot)| slot.strong_count() > 0);
            let known = shared.iter().find(|(known, _)| Arc::ptr_eq(known, account));
            if let Some(slot) = known.and_then(|(_, slot)| slot.upgrade()) {
                return slot;
            }
        }
        let slot = Arc::new(self.acquire(key).await);
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.push((Arc::clone(account), Arc::downgrade(&slot)));
        slot
    }
}
