//! What the program asks a service that runs: whether it is ready, and what is parked there.
//!
//! Exit codes: 0 yes, done; 1 no, refused, or no answer.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::logging::Escaped;

/// How long an answer may take. A container's health check has to be shorter than its timeout.
const WITHIN: Duration = Duration::from_secs(4);
/// How long it is watched what becomes of a request.
const WATCH: Duration = Duration::from_secs(5);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Of how many records it is watched.
const WATCHED: usize = 20;

/// Commands on parked records.
#[derive(Debug, Clone, Args)]
pub struct Parked {
    #[command(subcommand)]
    action: Action,
    /// Print what the service answers, as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// List records, in the order of the log; those that are open unless --state says otherwise
    List {
        /// Of this key
        #[arg(long)]
        key: Option<String>,
        /// That failed for this reason, such as malformed-event
        #[arg(long)]
        reason: Option<String>,
        /// In this state: waiting, retrying, parked, requested, done or discarded
        #[arg(long)]
        state: Option<String>,
        /// Parked at least so long ago, such as 90s
        #[arg(long, value_name = "DURATION")]
        older_than: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        /// Go on behind the page before
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show a record: value, headers, error, history
    Show {
        /// Its id
        id: String,
    },
    /// Handle records now: one, the head of a key and then the rest, or all that failed for a reason
    Replay {
        /// Of one record
        #[arg(required_unless_present_any = ["key", "reason"], conflicts_with_all = ["key", "reason"])]
        id: Option<String>,
        /// Of a key
        #[arg(long, conflicts_with = "reason")]
        key: Option<String>,
        /// Of all that failed for this reason
        #[arg(long)]
        reason: Option<String>,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Show how far a replay of all that failed for a reason has come
    Job {
        /// Its id
        id: String,
    },
    /// Handle a record with another value now; the old one is kept
    Edit {
        /// Its id
        id: String,
        /// The whole value: {"name": …, "eventData": …}
        #[arg(long, required_unless_present = "file", conflicts_with = "file")]
        value: Option<String>,
        /// A file with the whole value
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Never handle a record; what stands behind it goes on
    Discard {
        /// Its id
        id: String,
        /// Why, for whoever looks later
        #[arg(long)]
        why: String,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
}

/// Asks `ready` of the service on this machine.
pub fn health(addr: SocketAddr) -> ExitCode {
    let answer = Client::new(addr).send("GET", "/health/ready", &[], None);
    report(addr, answer, say)
}

impl Parked {
    /// Asks the service that answers operators there.
    pub fn run(&self, addr: SocketAddr) -> ExitCode {
        let client = Client::new(addr);
        let post = |path: &str, dry_run: bool, body: Value| {
            let query: &[_] = if dry_run { &[("dryRun", "true")] } else { &[] };
            client.send("POST", path, query, Some(&body))
        };
        match &self.action {
            Action::List {
                key,
                reason,
                state,
                older_than,
                limit,
                cursor,
            } => {
                let limit = Some(limit.to_string());
                let query = [
                    ("key", key),
                    ("reason", reason),
                    ("state", state),
                    ("olderThan", older_than),
                    ("limit", &limit),
                    ("cursor", cursor),
                ];
                let given = |(name, value): (_, &Option<String>)| Some((name, value.clone()?));
                let query: Vec<(&str, String)> = query.into_iter().filter_map(given).collect();
                let query: Vec<_> = query
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .collect();
                let answer = client.send("GET", "/admin/parked", &query, None);
                report(addr, answer, |page| self.print_page(page))
            }
            Action::Show { id } => {
                let answer = client.send("GET", &format!("/admin/parked/{id}"), &[], None);
                report(addr, answer, |record| say(format!("{record:#}")))
            }
            Action::Replay {
                id: Some(id),
                dry_run,
                ..
            } => {
                let answer = post(&format!("/admin/parked/{id}/replay"), *dry_run, json!({}));
                self.report_action(&client, answer)
            }
            Action::Replay {
                key, reason, dry_run, ..
            } => {
                let (which, is_job) = match (key, reason) {
                    (Some(key), _) => (json!({ "key": key }), false),
                    (None, reason) => (json!({ "reason": reason }), !*dry_run),
                };
                let answer = post("/admin/parked/replay", *dry_run, which);
                match is_job {
                    true => report(addr, answer, |job| self.follow(&client, job)),
                    false => self.report_action(&client, answer),
                }
            }
            Action::Job { id } => {
                let answer = client.send("GET", &format!("/admin/parked/jobs/{id}"), &[], None);
                report(addr, answer, |job| self.follow(&client, job))
            }
            Action::Edit {
                id,
                value,
                file,
                dry_run,
            } => {
                let value = match (value, file) {
                    (Some(value), _) => Ok(value.clone()),
                    (None, Some(file)) => {
                        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
                    }
                    (None, None) => Err("--value or --file is needed".into()),
                };
                let answer = value.and_then(|value| {
                    post(
                        &format!("/admin/parked/{id}/edit"),
                        *dry_run,
                        json!({ "value": value }),
                    )
                });
                self.report_action(&client, answer)
            }
            Action::Discard { id, why, dry_run } => {
                let answer = post(
                    &format!("/admin/parked/{id}/discard"),
                    *dry_run,
                    json!({ "why": why }),
                );
                self.report_action(&client, answer)
            }
        }
    }

    fn print_page(&self, page: Value) {
        if self.json {
            return say(page);
        }
        let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().for_each(|record| say(Escaped(line(record))));
        match page["nextCursor"].as_str() {
            Some(cursor) => say(format!("more: --cursor {cursor}")),
            None if items.is_empty() => say("nothing is parked"),
            None => {}
        }
    }

    /// Says how far a job has come, until it is finished or this takes too long. The job goes on.
    fn follow(&self, client: &Client, mut job: Value) {
        let path = format!("/admin/parked/jobs/{}", text(&job["job"]));
        let end = Instant::now() + WATCH;
        while job["finished"] != true && Instant::now() < end {
            std::thread::sleep(LOOK_EVERY);
            let Ok(answer) = client.send("GET", &path, &[], None) else {
                break;
            };
            match serde_json::from_str(&answer.body) {
                Ok(now) if answer.status == 200 => job = now,
                _ => break,
            }
        }
        if self.json {
            return say(job);
        }
        say(Escaped(format!(
            "job {}: {} asked for, {} done, {} failed again, {} pending",
            text(&job["job"]),
            job["total"],
            job["done"],
            job["failed"],
            job["pending"]
        )));
        if job["finished"] != true {
            say(format!(
                "it goes on by itself; look with: parked job {}",
                text(&job["job"])
            ));
        }
    }

    /// Says what was asked for, and what has become of it soon after.
    fn report_action(&self, client: &Client, answer: Result<Answer, String>) -> ExitCode {
        report(client.addr, answer, |outcome| {
            if self.json {
                return say(outcome);
            }
            let dry_run = outcome["dryRun"] == true;
            let records = outcome["records"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let refused = outcome["refused"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            for (number, record) in records.iter().enumerate() {
                let watched = !dry_run && number < WATCHED;
                let now = watched.then(|| client.settled(record)).flatten();
                say(Escaped(line(now.as_ref().unwrap_or(record))));
            }
            for record in refused {
                say(format!(
                    "{}  refused: {}",
                    text(&record["id"]),
                    text(&record["why"])
                ));
            }
            let (done, behind) = (records.len(), &outcome["behind"]);
            let what = if dry_run {
                "would be asked for"
            } else {
                "asked for"
            };
            say(format!(
                "{done} {what}, {behind} behind, {} refused",
                refused.len()
            ));
        })
    }
}

struct Client {
    agent: ureq::Agent,
    addr: SocketAddr,
}

struct Answer {
    status: u16,
    body: String,
}

impl Client {
    fn new(addr: SocketAddr) -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(WITHIN));
        let host = match addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Client {
            agent: config.build().into(),
            addr: SocketAddr::new(host, addr.port()),
        }
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let url = format!("http://{}{path}", self.addr);
        let answer = match (method, body) {
            ("POST", Some(body)) => {
                let request = self.agent.post(url).query_pairs(query.iter().copied());
                request
                    .header("content-type", "application/json")
                    .send(body.to_string())
            }
            _ => self.agent.get(url).query_pairs(query.iter().copied()).call(),
        };
        let mut answer = answer.map_err(|error| error.to_string())?;
        let body = answer
            .body_mut()
            .read_to_string()
            .map_err(|error| error.to_string())?;
        Ok(Answer {
            status: answer.status().as_u16(),
            body,
        })
    }

    /// The record once what was asked for is carried out; as it is then.
    fn settled(&self, record: &Value) -> Option<Value> {
        let path = format!("/admin/parked/{}", record["id"].as_str()?);
        let end = Instant::now() + WATCH;
        loop {
            let answer = self.send("GET", &path, &[], None).ok()?;
            let now: Value = serde_json::from_str(&answer.body).ok()?;
            if now["state"] != "requested" || Instant::now() >= end {
                return Some(now);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

fn line(record: &Value) -> String {
    let mut line = format!(
        "{}  {:<9}  {}/{}/{}  key {}",
        text(&record["id"]),
        text(&record["state"]),
        text(&record["topic"]),
        record["partition"],
        record["offset"],
        text(&record["key"]),
    );
    if let Some(reason) = record["reason"].as_str() {
        line += &format!(
            "  {reason} after {} attempts: {}",
            record["attempts"],
            text(&record["error"])
        );
    }
    line
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

fn report(addr: SocketAddr, answer: Result<Answer, String>, show: impl FnOnce(Value)) -> ExitCode {
    match answer {
        Ok(Answer { status, body }) => {
            let value = serde_json::from_str(&body).unwrap_or(Value::String(body));
            if (200..300).contains(&status) {
                show(value);
                return ExitCode::SUCCESS;
            }
            complain(format!(
                "{status}: {}",
                value["detail"].as_str().map_or(value.to_string(), str::to_owned)
            ));
        }
        Err(error) => complain(format!("no answer at {addr}: {error}")),
    }
    ExitCode::FAILURE
}

fn say(line: impl std::fmt::Display) {
    // Whoever read may have gone.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn complain(line: String) {
    let _ = writeln!(std::io::stderr(), "{}", Escaped(line));
}
