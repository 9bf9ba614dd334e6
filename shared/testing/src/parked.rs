//! What operators see and do of a service under test: its parked records.

use serde_json::Value;
use shared::service::Service;

use super::{http::Answer, service::ServiceUnderTest};

impl<S: Service> ServiceUnderTest<S> {
    /// The parked records that a query such as `?state=done` asks for, in the order of the log; those
    /// that are open without one.
    pub fn parked(&self, query: &str) -> Vec<Value> {
        let answer = self.admin.get(&format!("/admin/parked{query}"));
        let answer = answer.expect(200).json();
        answer["items"].as_array().expect("a list").clone()
    }

    /// Waits until exactly so many records are open; they, in the order of the log.
    pub fn until_parked(&self, number: usize) -> Vec<Value> {
        self.until(&format!("{number} records are parked"), || {
            let found = self.parked("");
            if found.len() == number {
                Ok(found)
            } else {
                Err(found)
            }
        })
    }

    /// All that is known of a parked record.
    pub fn parked_detail(&self, record: &Value) -> Value {
        let path = format!("/admin/parked/{}", parked_id(record));
        self.admin.get(&path).expect(200).json()
    }

    /// Asks for an action on a parked record: `replay`, `edit` or `discard`.
    pub fn act_on_parked(&self, record: &Value, action: &str, body: &Value) -> Answer {
        let path = format!("/admin/parked/{}/{action}", parked_id(record));
        self.admin.post(&path, body)
    }

    /// Waits until a replay job is finished; how it then stands.
    pub fn until_finished(&self, job: &Value) -> Value {
        let id = job["job"].as_str().expect("an id");
        let path = format!("/admin/parked/jobs/{id}");
        self.until("the job is finished", || {
            let now = self.admin.get(&path).expect(200).json();
            if now["finished"] == true {
                Ok(now)
            } else {
                Err(now)
            }
        })
    }
}

/// The id of a parked record.
pub fn parked_id(record: &Value) -> &str {
    record["id"].as_str().expect("an id")
}
