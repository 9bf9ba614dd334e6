//! What the log and the databases say, once everything is quiet.

use std::time::Duration;

use contracts::TOPIC;

use super::{
    FINAL_WITHIN, faults, leaderless, odd, watch,
    world::{World, lock},
};
use crate::audit::{
    self, AuditSettings,
    database::Databases,
    differences::{Differences, Invariant},
};

/// What the log and the databases say.
pub(super) async fn judge(
    world: &World,
    settings: &AuditSettings,
    mongo: &mongodb::Client,
    (struck, probes): (&[faults::Struck], &[watch::Probes]),
) -> anyhow::Result<(audit::Audit, Vec<leaderless::Window>, Option<(i64, i64)>)> {
    let ledger = lock(&world.ledger).clone();
    let mut audit = audit::audit(settings, Some(&ledger)).await?;
    let found = &mut audit.differences;
    odd::i9_each_odd_record_has_its_fate(world, mongo, found).await?;
    odd::i15_nobody_waits_for_an_odd_record(world, mongo, found).await?;
    let leaderless = leaderless::look(mongo, (struck, probes), world.began_at, found).await?;
    Ok((audit, leaderless, watch::sessions(mongo).await))
}

/// The system is quiet: nothing may be under way, and there is one clock.
pub(super) fn quiet(kafka: &str, mongo: &str) -> AuditSettings {
    AuditSettings {
        kafka: kafka.to_owned(),
        mongo: mongo.to_owned(),
        topic: TOPIC.to_owned(),
        databases: Databases {
            customers: "customers".to_owned(),
            orders: "orders".to_owned(),
        },
        customers_group: "customer-service".to_owned(),
        orders_group: "order-service".to_owned(),
        grace: Duration::ZERO,
        skew: Duration::ZERO,
    }
}

pub(super) fn i5_all_is_final_in_time(settled_after: Option<f64>, healed: bool, found: &mut Differences) {
    let fault = match (healed, settled_after) {
        (true, Some(_)) => None,
        (false, _) => Some("not every instance became ready after the last fault".to_owned()),
        (true, None) => Some(format!(
            "{FINAL_WITHIN:?} after the last fault there are open orders, full outboxes, records that are tried again, \
             or unread ones"
        )),
    };
    found.check(Invariant::FinalInTime, "the system", fault);
}
