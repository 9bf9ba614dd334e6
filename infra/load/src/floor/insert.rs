//! The yardstick of one request: an order with its event, inserted by itself, on the majority and in
//! the journal; through the bare driver, and behind a bare HTTP `POST`.
//!
//! Which of the two a `POST` of ours is to be compared with: the one behind HTTP. Both then read a
//! request, store the same document with the same durability and write an answer; what is left over is
//! what group commit, outbox and publishing cost or gain. The bare driver is told beside it, as the
//! engine's own part. Our Orders runs without Customers then: the question is what a `POST` costs, not
//! what the rest of the saga takes of the same two processors. The driver has a connection for each
//! caller, which its default of ten would not allow: so much is granted to the other side.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, web};
use anyhow::{Context as _, anyhow, bail, ensure};
use contracts::{CustomerId, OrderId};
use hyper::Uri;
use mongodb::{
    Client as Mongo, Collection,
    bson::RawDocumentBuf,
    options::{Acknowledgment, ClientOptions, CollectionOptions, WriteConcern},
};
use orders::domain::{Creation, NewOrder, Order};
use serde::{Deserialize, Serialize};
use shared::{
    document_store::{
        Document, DocumentStore, encode,
        mongo::{MongoSettings, MongoStore},
    },
    envelope::{Context, OutboxEvent},
    environment::Environment,
    money::Money,
};
use tokio::task::{JoinSet, LocalSet};
use uuid::Uuid;

use crate::{client::Client, run::Latency, timing::Timing};

/// Before it is measured.
const WARM_UP: Duration = Duration::from_millis(500);
/// Connections of the driver, at most.
const CONNECTIONS: u32 = 64;
/// As many threads as our services have for HTTP.
const HTTP_WORKERS: usize = 2;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Callers {
    /// One, so many times a second, never before the last answer.
    Calm(f64),
    /// So many, each again as soon as it is answered.
    Busy(usize),
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inserts {
    /// Orders stored, divided by the time.
    pub per_second: f64,
    /// Of each, from asking to the answer.
    pub latency: Latency,
}

/// Orders inserted through the bare driver, one by one. Blocks.
pub fn bare_insert(uri: &str, callers: Callers, length: Duration) -> anyhow::Result<Inserts> {
    let runtime = super::runtime()?;
    LocalSet::new().block_on(&runtime, async {
        let orders = Orders::open(uri).await?;
        let collection = orders.collection.clone();
        let inserts = asked(callers, length, async move || {
            store(&collection, &new_order()).await
        })
        .await?;
        orders.remove().await?;
        Ok(inserts)
    })
}

/// The same behind HTTP. Blocks.
pub fn bare_post(uri: &str, callers: Callers, length: Duration) -> anyhow::Result<Inserts> {
    let server = Server::start(uri)?;
    posts(&format!("http://{}", server.addr), callers, length)
}

/// Orders sent to whatever answers `POST /api/orders` there. Blocks.
pub fn posts(url: &str, callers: Callers, length: Duration) -> anyhow::Result<Inserts> {
    let runtime = super::runtime()?;
    LocalSet::new().block_on(&runtime, async {
        let client = Rc::new(Client::new(url).await?);
        asked(callers, length, async move || {
            let NewOrder { id, customer_id, .. } = new_order();
            let body = format!(r#"{{"id":"{id}","customerId":"{customer_id}","amount":50}}"#);
            let answer = client.post(Uri::from_static("/api/orders"), body).await?;
            ensure!(answer.status == 201, "an order was answered {}", answer.told());
            Ok(())
        })
        .await
    })
}

/// Asks, and measures after a while.
async fn asked<F>(callers: Callers, length: Duration, ask: F) -> anyhow::Result<Inserts>
where
    F: AsyncFn() -> anyhow::Result<()> + 'static,
{
    let (ask, timing) = (Rc::new(ask), Rc::new(RefCell::new(Timing::default())));
    let begin = Instant::now() + WARM_UP;
    let end = begin + length;
    let (count, pause) = match callers {
        Callers::Calm(rate) => (1, Duration::from_secs_f64(1.0 / rate)),
        Callers::Busy(callers) => (callers, Duration::ZERO),
    };
    let done = Rc::new(Cell::new(0_u64));
    let mut asking = JoinSet::new();
    for _ in 0..count {
        let (ask, timing, done) = (Rc::clone(&ask), Rc::clone(&timing), Rc::clone(&done));
        asking.spawn_local(async move {
            loop {
                let asked = Instant::now();
                if asked >= end {
                    return anyhow::Ok(());
                }
                ask().await?;
                if asked >= begin {
                    timing.borrow_mut().record(asked.elapsed());
                }
                let now = Instant::now();
                if (begin..end).contains(&now) {
                    done.set(done.get() + 1);
                }
                if let Some(left) = pause.checked_sub(asked.elapsed()).filter(|left| !left.is_zero()) {
                    tokio::time::sleep(left).await;
                }
            }
        });
    }
    while let Some(ended) = asking.join_next().await {
        ended??;
    }
    let latency = timing.borrow().latency();
    Ok(Inserts {
        per_second: done.get() as f64 / length.as_secs_f64(),
        latency,
    })
}

/// A collection of its own, with the indexes that Orders has.
struct Orders {
    mongo: Mongo,
    name: String,
    collection: Collection<RawDocumentBuf>,
}

impl Orders {
    async fn open(uri: &str) -> anyhow::Result<Orders> {
        let name = format!("floor-{}", Uuid::new_v4().simple());
        let prepared = MongoStore::new(MongoSettings::new(uri, &name)).await?;
        prepared.prepare(vec![Order::COLLECTION]).await?;
        let mut options = ClientOptions::parse(uri).await?;
        options.max_pool_size = Some(CONNECTIONS);
        let mongo = Mongo::with_options(options)?;
        let durable = WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .journal(true)
            .build();
        let options = CollectionOptions::builder().write_concern(durable).build();
        let collection = mongo
            .database(&name)
            .collection_with_options(Order::COLLECTION.name, options);
        Ok(Orders {
            mongo,
            name,
            collection,
        })
    }

    async fn remove(&self) -> anyhow::Result<()> {
        Ok(self.mongo.database(&self.name).drop().await?)
    }
}

fn new_order() -> NewOrder {
    NewOrder {
        id: OrderId(Uuid::now_v7()),
        customer_id: CustomerId(Uuid::new_v4()),
        amount: Money::units(50),
    }
}

/// The document that Orders writes.
async fn store(collection: &Collection<RawDocumentBuf>, new: &NewOrder) -> anyhow::Result<()> {
    let now = Environment::real().now();
    let context = Context {
        correlation_id: Uuid::now_v7().to_string(),
        ..Context::default()
    };
    let Creation::Created(order) = orders::domain::create(None, new, &context, now) else {
        bail!("a new order exists");
    };
    let (event, name) = (order.created(), orders::NAME);
    let event = OutboxEvent::new(&event, new.id, 1, name, now, &context);
    collection
        .insert_one(RawDocumentBuf::from(encode(&order, 1, Uuid::now_v7(), &[event])?))
        .await?;
    Ok(())
}

/// Answers `POST /api/orders`, and nothing else; ends when it is dropped.
struct Server {
    addr: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Server {
    fn start(uri: &str) -> anyhow::Result<Server> {
        let (tell, told) = std::sync::mpsc::channel();
        let uri = uri.to_owned();
        let thread = std::thread::Builder::new()
            .name("bare-post".to_owned())
            .spawn(move || actix::System::new().block_on(serve(uri, tell)))?;
        match told.recv() {
            Ok((addr, handle)) => Ok(Server {
                addr,
                handle,
                thread: Some(thread),
            }),
            Err(_) => match thread.join() {
                Ok(Err(error)) => Err(error).context("a bare POST cannot be served"),
                _ => Err(anyhow!("a bare POST cannot be served")),
            },
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Sends the order to stop; its answer is the end of the thread.
        drop(self.handle.stop(true));
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("load: {error:#}");
        }
    }
}

async fn serve(uri: String, tell: std::sync::mpsc::Sender<(SocketAddr, ServerHandle)>) -> anyhow::Result<()> {
    let orders = Orders::open(&uri).await?;
    let collection = web::Data::new(orders.collection.clone());
    let server = HttpServer::new(move || {
        let app = App::new().app_data(collection.clone());
        app.route("/api/orders", web::post().to(post))
    })
    .workers(HTTP_WORKERS)
    .disable_signals()
    .bind(("127.0.0.1", 0))?;
    let addr = server.addrs().first().copied().context("no address")?;
    let server = server.run();
    // Fails where nobody waits any more; then the server ends at once.
    let _ = tell.send((addr, server.handle()));
    server.await?;
    orders.remove().await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    id: Uuid,
    customer_id: Uuid,
    amount: u32,
}

async fn post(collection: web::Data<Collection<RawDocumentBuf>>, asked: web::Json<Asked>) -> HttpResponse {
    let new = NewOrder {
        id: OrderId(asked.id),
        customer_id: CustomerId(asked.customer_id),
        amount: Money::units(asked.amount.into()),
    };
    match store(&collection, &new).await {
        Ok(()) => HttpResponse::Created().json(serde_json::json!({
            "id": asked.id,
            "customerId": asked.customer_id,
            "amount": asked.amount,
            "status": "Created",
        })),
        Err(error) => HttpResponse::InternalServerError().body(format!("{error:#}")),
    }
}
