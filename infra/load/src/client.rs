//! HTTP/1.1 over kept connections with as little work as possible: the generator shares processors
//! with what it measures.

use std::{cell::RefCell, net::SocketAddr, time::Duration};

use anyhow::Context;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Uri,
    body::Bytes,
    client::conn::http1::{SendRequest, handshake},
    header::{CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longer than a request may take (`REQUEST_TIMEOUT`, 10 s).
const PATIENCE: Duration = Duration::from_secs(15);

type Connection = SendRequest<Full<Bytes>>;

/// Connections to one instance of a service. Needs a `LocalSet`.
pub struct Client {
    addr: SocketAddr,
    host: HeaderValue,
    idle: RefCell<Vec<Connection>>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// Status and body, for people.
    pub fn told(&self) -> String {
        format!("{} {}", self.status, String::from_utf8_lossy(&self.body))
    }
}

impl Client {
    /// A client without a connection yet. `url`: `http://host:port`.
    pub async fn new(url: &str) -> anyhow::Result<Client> {
        let host = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        let with_port = if host.contains(':') {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let mut found = tokio::net::lookup_host(&with_port)
            .await
            .with_context(|| format!("{url} is no address"))?;
        Ok(Client {
            addr: found.next().with_context(|| format!("{url} is nowhere"))?,
            host: HeaderValue::from_str(host)?,
            idle: RefCell::default(),
        })
    }

    /// `POST` of JSON.
    pub async fn post(&self, path: Uri, body: impl Into<Bytes>) -> anyhow::Result<Answer> {
        self.ask(Method::POST, path, body.into()).await
    }

    /// `GET`.
    pub async fn get(&self, path: Uri) -> anyhow::Result<Answer> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    async fn ask(&self, method: Method, path: Uri, body: Bytes) -> anyhow::Result<Answer> {
        let asked = async {
            // A kept connection may have been closed by now; all we ask for may be asked for twice.
            while let Some(kept) = self.kept() {
                match self.on(kept, &method, &path, &body).await {
                    Err(error) if error.is_canceled() || error.is_incomplete_message() => {}
                    answer => return Ok(answer?),
                }
            }
            let stream = TcpStream::connect(self.addr).await?;
            stream.set_nodelay(true)?;
            let (connection, driver) = handshake(TokioIo::new(stream)).await?;
            tokio::task::spawn_local(driver);
            anyhow::Ok(self.on(connection, &method, &path, &body).await?)
        };
        tokio::time::timeout(PATIENCE, asked)
            .await
            .with_context(|| format!("no answer within {PATIENCE:?}"))?
    }

    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        std::iter::from_fn(|| idle.pop()).find(|connection| !connection.is_closed())
    }

    async fn on(
        &self,
        mut connection: Connection,
        method: &Method,
        path: &Uri,
        body: &Bytes,
    ) -> hyper::Result<Answer> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = path.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let answer = Answer {
            status: response.status().as_u16(),
            body: response.into_body().collect().await?.to_bytes(),
        };
        self.idle.borrow_mut().push(connection);
        Ok(answer)
    }
}
