//! Works on replay jobs: asks for the replay of all records that failed for a reason, page by page.
//!
//! One instance works on a job at a time; when it is gone, another one goes on (see
//! [`ReplayJob`]). The records themselves are replayed by the owners of their partitions.

use actix::{AsyncContext, Context, Handler, Message};
use futures_util::future::join_all;

use super::{KafkaConsumerActor, ParkingDesk, desk::Ending};
use crate::parking::{Change, JobChange, ReplayJob};

/// Records that are looked at at a time.
const PAGE: usize = 500;

/// No job is worked on by this instance any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct JobsDone;

impl KafkaConsumerActor {
    /// Works on jobs that nobody works on.
    pub(super) fn work_on_jobs(&mut self, ctx: &mut Context<Self>) {
        if self.draining.is_some() || std::mem::replace(&mut self.working_on_jobs, true) {
            return;
        }
        let (desk, this) = (self.desk.clone(), ctx.address());
        actix::spawn(async move {
            for job in desk.unfinished_jobs().await {
                if work_on(&desk, job).await.is_err() {
                    break;
                }
            }
            this.do_send(JobsDone);
        });
    }
}

impl Handler<JobsDone> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, _: JobsDone, _: &mut Context<Self>) {
        self.working_on_jobs = false;
    }
}

async fn work_on(desk: &ParkingDesk, job: ReplayJob) -> Result<(), Ending> {
    let Some(job) = desk.change_job(job.id, JobChange::Claim).await? else {
        return Ok(());
    };
    log::info!(target: "KafkaConsumerActor", job:% = job.id, reason = job.reason.as_str(),
        correlation_id = job.correlation_id.as_str(); "a replay of all that failed for this reason goes on");
    let mut after = job.after;
    loop {
        let page = match desk.page(ParkingDesk::failed(), after, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                // The next look goes on, here or elsewhere.
                log::warn!(target: "KafkaConsumerActor", job:% = job.id; "parked records cannot be read: {error}");
                return Ok(());
            }
        };
        let asks = page
            .records
            .iter()
            .filter(|record| record.reason.as_deref() == Some(&*job.reason))
            .map(|record| {
                let change = Change::ReplayFor {
                    job: job.id,
                    correlation_id: job.correlation_id.clone(),
                };
                desk.change(record.id, change)
            });
        for asked in join_all(asks).await {
            asked?;
        }
        let last = page.records.last().map(|record| record.id);
        let Some(last) = page.next.or(last) else {
            break;
        };
        after = Some(last);
        // Another instance has taken the job over, or it is done.
        if desk.change_job(job.id, JobChange::Advance(last)).await?.is_none() {
            return Ok(());
        }
        if page.next.is_none() {
            break;
        }
    }
    desk.change_job(job.id, JobChange::Finish).await?;
    log::info!(target: "KafkaConsumerActor", job:% = job.id, reason = job.reason.as_str();
        "the replay of all that failed for this reason is asked for");
    Ok(())
}
