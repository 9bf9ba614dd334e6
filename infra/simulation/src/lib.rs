//! Both services, whole, on one thread with paused time: their actors, rules and protocols are the
//! real ones, the log and the databases are in memory, and whatever can go wrong at a port does,
//! by chance that a seed decides. The same seed plays the same run, step for step.
//!
//! In the order in which a newcomer should read:
//!
//! | module | |
//! | --- | --- |
//! | [`run`](mod@run), [`many`] | one seed: services, clients and faults for a while, then peace, then judgement; and many of them |
//! | [`invariants`] | what has to hold, a function each |
//! | [`seen`] | everything that became durable, as it happened |
//! | [`process`], [`instance`] | what is killed, frozen and started again |
//! | [`wire`], [`store`], [`log`] | the ports: how calls travel, and what they reach |
//! | [`faults`], [`havoc`], [`chance`], [`clock`] | what goes wrong, and when |
//! | [`clients`], [`stranger`], [`operator`] | who asks the services, who else writes to the log, and who clears up |
//! | [`timeline`] | what happened, for people |
//! | [`mutants`] | faults built into copies of the sources, to prove that they are found |
//!
//! One seed in twenty is calm: nothing goes wrong, and two instances of each service see each other's
//! fresh documents. In one in twenty the log loses records that it had confirmed (see
//! [`Kind`](faults::Kind)). What is not asked for in such a seed is said where it is judged: dead letters
//! of records at the places that were lost, and the order of offsets. Everything else has to heal; but
//! where the last word about an order was lost after all else was heard, somebody mentions the order once
//! more at the end.
//!
//! When nothing goes wrong any more, what is parked stays parked for a while, and a partition may have
//! no leader: meanwhile every order whose own events have not failed has to become final (I15). Then
//! operators clear up.
//!
//! Deliberately absent: sockets and HTTP (its handlers' part is played by [`clients`]).

use std::sync::{Mutex, MutexGuard, PoisonError};

pub mod run;
pub mod many;
pub mod invariants;
pub mod seen;
pub mod process;
pub mod instance;
pub mod wire;
pub mod store;
pub mod log;
pub mod faults;
pub mod havoc;
pub mod chance;
pub mod clock;
pub mod clients;
pub mod stranger;
pub mod operator;
pub mod timeline;
pub mod mutants;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
