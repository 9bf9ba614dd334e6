//! Parked records for operators: list, show, replay, edit, discard. On an address of its own, so that
//! it need not be open to whoever may use the service.
//!
//! An action is written into the record and carried out by the instance that owns its partition, in
//! the order of the subject; the answer to an action is therefore 202. With `?dryRun=true` nothing is
//! written, and the answer is 200 with what would be.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use actix::{Addr, Recipient};
use actix_web::{HttpRequest, HttpResponse, web};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Body, Parameters, Problem, RequestContext, parse_duration, path_id, resource};
use crate::{
    actors::{
        consumer::{Inspect, KafkaConsumerActor, Look},
        repository::{ChangeJob, ChangeParked, Count, Find, List, Stop},
    },
    admission::{ask, read},
    document_store::{Direction, Document, Query},
    environment::Environment,
    json::Text,
    parking::{
        Change, JobChange, JobId, ParkedId, ParkedRecord, ParkedState, Refusal, ReplayJob, Request, decide,
    },
};

mod search;
mod view;

use search::{matching, of_states};
use view::{Outcome, Refused, detail, list_page, outcome, summary};

/// How long an operator waits for the database.
const PATIENCE: Duration = Duration::from_secs(10);
/// Records that are read at a time.
const PAGE: usize = 500;
/// Records that one request looks at, to find those that were asked for.
const LOOK_AT: usize = 20_000;

/// No more records of a job are counted.
const MOST_COUNTED: usize = 10_000_000;

/// What the routes work with.
#[derive(Clone)]
pub struct ParkedApi {
    /// Reads records by id.
    pub find: Recipient<Find<ParkedRecord>>,
    /// Pages through records.
    pub list: Recipient<List<ParkedRecord>>,
    /// Counts records.
    pub count: Recipient<Count>,
    /// Writes down what an operator asks for.
    pub change: Recipient<ChangeParked>,
    /// Reads replay jobs.
    pub jobs: Recipient<Find<ReplayJob>>,
    /// Makes replay jobs.
    pub change_job: Recipient<ChangeJob>,
    /// Told to look at once, where this instance may be the owner.
    pub consumer: Arc<OnceLock<Addr<KafkaConsumerActor>>>,
    /// The clock.
    pub environment: Environment,
    /// Whose keys are meant.
    pub topic: String,
}

/// Registers the routes.
pub fn configure(api: ParkedApi, config: &mut web::ServiceConfig) {
    config
        .app_data(web::Data::new(api))
        .service(resource("/admin/parked", "GET").get(list))
        .service(resource("/admin/parked/replay", "POST").post(replay_all))
        .service(resource("/admin/parked/jobs/{id}", "GET").get(show_job))
        .service(resource("/admin/parked/{id}", "GET").get(show))
        .service(resource("/admin/parked/{id}/replay", "POST").post(replay))
        .service(resource("/admin/parked/{id}/edit", "POST").post(edit))
        .service(resource("/admin/parked/{id}/discard", "POST").post(discard));
}

type Answer = Result<HttpResponse, Problem>;

/// `GET /admin/parked?key=&reason=&state=&olderThan=&limit=&cursor=`
async fn list(api: web::Data<ParkedApi>, request: HttpRequest) -> Answer {
    let mut parameters = Parameters::of(&request);
    let page = parameters.page();
    let text = |text: &str| Ok(text.to_owned());
    let key = parameters.take("key", "the key of the records", text);
    let reason = parameters.take("reason", "a reason such as malformed-event", text);
    let state = parameters.take(
        "state",
        "waiting, retrying, parked, requested, done or discarded",
        |text| ParkedState::parse(text).ok_or_else(|| "is no state".into()),
    );
    let older_than = parameters.take("olderThan", "a duration such as 90s", |text| {
        parse_duration(text).ok_or_else(|| "is no duration".into())
    });
    parameters.finish()?;
    let now = api.environment.now();
    let wanted = |record: &ParkedRecord| {
        (reason.is_none() || reason == record.reason)
            && older_than.is_none_or(|age| now.since(record.parked_at) >= age)
    };
    let states = state.map_or(ParkedState::OPEN.to_vec(), |state| vec![state]);
    let found = match &key {
        Some(key) => api.of_key(key, &states, page.after, page.limit, wanted).await?,
        None => {
            api.scan(of_states(&states), page.after, page.limit, wanted)
                .await?
        }
    };
    Ok(HttpResponse::Ok().json(list_page(&found.records, found.cursor)))
}

/// `GET /admin/parked/{id}`
async fn show(api: web::Data<ParkedApi>, request: HttpRequest) -> Answer {
    Parameters::of(&request).finish()?;
    let record = api.get(path_id(&request)?).await?;
    let behind = api.behind(&record).await?;
    Ok(HttpResponse::Ok().json(detail(&record, behind)))
}

/// `POST /admin/parked/{id}/replay`
async fn replay(
    api: web::Data<ParkedApi>,
    request: HttpRequest,
    context: RequestContext,
    _body: Body,
) -> Answer {
    api.act_on_one(&request, context, Request::Replay).await
}

/// `POST /admin/parked/{id}/edit` with `{"value": …}`, the whole value of the record.
async fn edit(
    api: web::Data<ParkedApi>,
    request: HttpRequest,
    context: RequestContext,
    body: Body,
) -> Answer {
    let value = required(&body, "value")?;
    api.refuse_if_no_better(path_id(&request)?, &value).await?;
    api.act_on_one(&request, context, Request::Edit { value }).await
}

/// `POST /admin/parked/{id}/discard` with `{"why": …}`.
async fn discard(
    api: web::Data<ParkedApi>,
    request: HttpRequest,
    context: RequestContext,
    body: Body,
) -> Answer {
    let why = required(&body, "why")?;
    api.act_on_one(&request, context, Request::Discard { why }).await
}

/// `POST /admin/parked/replay` with `{"key": …}`, all records of that key that failed, or
/// `{"reason": …}`, all that failed for that reason: that is a job, which outlives this request.
async fn replay_all(
    api: web::Data<ParkedApi>,
    request: HttpRequest,
    context: RequestContext,
    body: Body,
) -> Answer {
    let dry_run = dry_run(&request)?;
    let mut fields = body.fields()?;
    let (key, reason) = (fields.optional::<Text>("key"), fields.optional::<Text>("reason"));
    let (Some(key), Some(reason)) = (key, reason) else {
        return Err(Problem::invalid(fields.into_errors()));
    };
    let failed = [ParkedState::Parked, ParkedState::Retrying];
    match (key, reason) {
        (Some(key), None) => {
            let found = api.of_key(&key, &failed, None, LOOK_AT, |_| true).await?;
            api.act_on(found.records, &context, &Request::Replay, dry_run)
                .await
        }
        (None, Some(reason)) if dry_run => {
            let wanted = |record: &ParkedRecord| record.reason.as_deref() == Some(&*reason);
            let found = api.scan(of_states(&failed), None, LOOK_AT, wanted).await?;
            api.act_on(found.records, &context, &Request::Replay, dry_run)
                .await
        }
        (None, Some(reason)) => api.make_job(reason, context).await,
        _ => Err(Problem::choose("key, reason")),
    }
}

/// `GET /admin/parked/jobs/{id}`
async fn show_job(api: web::Data<ParkedApi>, request: HttpRequest) -> Answer {
    Parameters::of(&request).finish()?;
    let id = path_id(&request)?;
    let found = read(&api.jobs, Find::new([id]), PATIENCE, ()).await?;
    let job = found.into_iter().next();
    let job = job.ok_or_else(|| Problem::not_found("replay job", id))?;
    Ok(HttpResponse::Ok().json(api.progress(&job).await?))
}

impl ParkedApi {
    async fn make_job(&self, reason: String, RequestContext(context): RequestContext) -> Answer {
        let id = JobId(self.environment.new_id());
        let message = ChangeJob {
            id,
            change: JobChange::Create {
                reason,
                correlation_id: context.correlation_id,
            },
            deadline: Some(Instant::now() + PATIENCE),
        };
        let made = ask(&self.change_job, message, PATIENCE).await?;
        let job = made.ok_or_else(Problem::outcome_unknown)?;
        if let Some(consumer) = self.consumer.get() {
            consumer.do_send(Look);
        }
        let location = format!("/admin/parked/jobs/{id}");
        let body = self.progress(&job).await?;
        Ok(HttpResponse::Accepted()
            .insert_header(("location", location))
            .json(body))
    }

    /// A job, with what has become of its records.
    async fn progress(&self, job: &ReplayJob) -> Result<view::Progress, Problem> {
        let mut counts = [0; ParkedState::ALL.len()];
        // Those that are pending first: one that moves on meanwhile is counted twice rather than never, and
        // a job that is told as finished is told with all of its records.
        let mut states = ParkedState::ALL;
        states.sort_by_key(|state| !view::is_pending(*state));
        for state in states {
            let query = Query {
                collection: ParkedRecord::COLLECTION.name,
                matching: matching("job", job.id.0, &[state]),
                after: None,
                order: Direction::Ascending,
                limit: MOST_COUNTED,
            };
            counts[state as usize] = read(&self.count, Count::new(query), PATIENCE, ()).await?;
        }
        Ok(view::progress(job, &counts))
    }

    /// An edited value that could not be handled either helps nobody.
    async fn refuse_if_no_better(&self, id: Uuid, value: &str) -> Result<(), Problem> {
        let mut record = self.get(id).await?.as_it_came();
        record.value = Some(value.as_bytes().to_vec());
        let verdict = match self.consumer.get() {
            Some(consumer) => consumer.send(Inspect(record)).await,
            None => return Err(Problem::overloaded().about(id)),
        };
        let wrong = match verdict {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(wrong)) => wrong,
            Err(_) => return Err(Problem::outcome_unknown()),
        };
        let detail = format!("the new value cannot be handled either: {wrong}; nothing was changed");
        Err(Problem::unprocessable("value-is-no-better", detail).about(id))
    }

    async fn act_on_one(&self, request: &HttpRequest, context: RequestContext, asked: Request) -> Answer {
        let dry_run = dry_run(request)?;
        let record = self.get(path_id(request)?).await?;
        let id = record.id;
        let change = Change::Request {
            request: asked.clone(),
            correlation_id: String::new(),
        };
        // What is refused is said at once, with the status that fits.
        match decide(Some(&record), &change, self.environment.now()) {
            Ok(_) => self.act_on(vec![record], &context, &asked, dry_run).await,
            Err(refusal) => Err(refused(id, &refusal)),
        }
    }

    async fn act_on(
        &self,
        records: Vec<ParkedRecord>,
        RequestContext(context): &RequestContext,
        asked: &Request,
        dry_run: bool,
    ) -> Answer {
        let mut done = Outcome::new(dry_run);
        for record in records {
            let (id, behind) = (record.id, self.behind(&record).await?);
            let change = Change::Request {
                request: asked.clone(),
                correlation_id: context.correlation_id.clone(),
            };
            let changed = if dry_run {
                let decided = decide(Some(&record), &change, self.environment.now());
                decided.map(|changed| changed.unwrap_or(record))
            } else {
                let message = ChangeParked {
                    id,
                    change,
                    deadline: Some(Instant::now() + PATIENCE),
                    stop: Stop::default(),
                };
                ask(&self.change, message, PATIENCE)
                    .await?
                    .map(|changed| changed.record)
            };
            match changed {
                Ok(record) => {
                    if !dry_run {
                        log::info!(target: "HttpServer", parked:% = id, correlation_id = context.correlation_id.as_str();
                            "an operator asked for: {}", view::verb(asked));
                    }
                    done.behind += behind;
                    done.records.push(summary(&record));
                }
                Err(refusal) => done.refused.push(Refused {
                    id,
                    why: why(&refusal),
                }),
            }
        }
        if let Some(consumer) = self.consumer.get().filter(|_| !dry_run) {
            consumer.do_send(Look);
        }
        Ok(outcome(&done))
    }
}

fn dry_run(request: &HttpRequest) -> Result<bool, Problem> {
    let mut parameters = Parameters::of(request);
    let dry_run = parameters.take("dryRun", "true or false", |text| {
        text.parse::<bool>()
            .map_err(|_| "is neither true nor false".into())
    });
    parameters.finish()?;
    Ok(dry_run.unwrap_or(false))
}

fn required(body: &Body, field: &'static str) -> Result<String, Problem> {
    let mut fields = body.fields()?;
    let value = fields.required::<Text>(field);
    value.ok_or_else(|| Problem::invalid(fields.into_errors()))
}

fn why(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Unknown => "there is no such record".into(),
        Refusal::Closed(state) => format!("it is {} and stays so", state.as_str()),
        Refusal::Behind => "it stands behind an earlier record of its subject: deal with that first".into(),
        Refusal::Busy => "it is being handled at this moment: look at it again, then ask again".into(),
    }
}

fn refused(id: ParkedId, refusal: &Refusal) -> Problem {
    let code = match refusal {
        Refusal::Unknown => return Problem::not_found("parked record", id),
        Refusal::Closed(_) => "record-is-closed",
        Refusal::Behind => "record-is-behind",
        Refusal::Busy => "record-is-busy",
    };
    Problem::conflict(code, format!("the parked record {id}: {}", why(refusal))).about(id)
}
