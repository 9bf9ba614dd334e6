//! Requests to the services, by clients that do not trust any single answer to come.

use std::time::Duration;

use serde_json::Value;

/// Longer than a request may take (`REQUEST_TIMEOUT`, 10 s) and than an order is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// An answer: its status and its body.
pub type Answer = (u16, Value);

/// A client with connections of its own.
pub struct Client {
    http: ureq::Agent,
}

impl Client {
    /// A client that waits 15 s at most.
    pub fn new() -> Client {
        Client::with_patience(PATIENCE)
    }

    /// A client that waits so long at most.
    pub fn with_patience(patience: Duration) -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(patience));
        Client {
            http: config.build().into(),
        }
    }

    /// `GET`.
    pub fn get(&self, url: &str) -> Result<Answer, ureq::Error> {
        read(self.http.get(url).call()?)
    }

    /// `POST` with a JSON body, and a secret that no log may show.
    pub fn post(&self, url: &str, body: &Value, secret: &str) -> Result<Answer, ureq::Error> {
        let request = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {secret}"));
        read(request.send(body.to_string())?)
    }

    /// `PUT` with a JSON body.
    pub fn put(&self, url: &str, body: &Value) -> Result<Answer, ureq::Error> {
        let request = self.http.put(url).header("content-type", "application/json");
        read(request.send(body.to_string())?)
    }

    /// `GET` of what is no JSON.
    pub fn text(&self, url: &str) -> Result<String, ureq::Error> {
        self.http.get(url).call()?.body_mut().read_to_string()
    }
}

impl Default for Client {
    fn default() -> Client {
        Client::new()
    }
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let status = response.status().as_u16();
    let body = response.body_mut().read_to_string()?;
    Ok((status, serde_json::from_str(&body).unwrap_or(Value::String(body))))
}
