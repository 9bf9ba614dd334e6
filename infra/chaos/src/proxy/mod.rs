//! A faulty network: a TCP proxy whose connections can be slowed, stalled, broken and silenced while
//! they are in use, all of them or one by one.
//!
//! It works on bytes and knows no protocol. What it cannot do: lose single packets, or keep the
//! kernel from answering keep-alive probes for a peer that is gone; who waits for an answer on a
//! silent connection has to have a deadline of its own.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::Instant,
};

#[cfg(test)]
mod tests;

/// Bytes that are passed on at a time.
const CHUNK: usize = 16 * 1024;
/// Throttled connections pass something on so often in a second.
const SLICES: u64 = 20;

/// How a connection behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// As it should.
    Sound,
    /// Everything comes so much later, in both directions.
    Slow(Duration),
    /// So many bytes a second and direction, at most.
    Narrow(u64),
    /// Nothing moves and nothing is lost: what was sent arrives when the network is sound again.
    BlackHole,
    /// Broken by RST; so is each new connection.
    Reset,
    /// The peer is gone without a word: accepts, says nothing more, never ends. Stays so for the
    /// connections that it befell, whatever the network is later.
    HalfOpen,
    /// Broken by RST after so many more bytes of answers, most likely within a message. Connections
    /// that are made later are cut as well.
    CutAfter(u64),
}

/// A proxy; everything of it ends when it is dropped.
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    upstream: Mutex<Option<SocketAddr>>,
    connections: Mutex<Connections>,
}

struct Connections {
    /// Of new ones.
    network: Network,
    next: u64,
    open: BTreeMap<u64, (watch::Sender<Network>, JoinHandle<()>)>,
}

impl Proxy {
    /// Listens on a free port of the loopback address; connections wait until it is told where to
    /// lead them.
    pub async fn bind() -> io::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream: Mutex::new(None),
            connections: Mutex::new(Connections {
                network: Network::Sound,
                next: 0,
                open: BTreeMap::new(),
            }),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Proxy {
            addr,
            shared,
            accepting,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Leads new connections there.
    pub fn lead_to(&self, upstream: SocketAddr) {
        *lock(&self.shared.upstream) = Some(upstream);
    }

    /// All connections, those to come too, behave like this from now on.
    pub fn set(&self, network: Network) {
        let mut connections = lock(&self.shared.connections);
        connections.network = network;
        for (connection, _) in connections.open.values() {
            befall(connection, network);
        }
    }

    /// This connection alone behaves like this from now on; one that has ended does not mind.
    pub fn set_one(&self, connection: u64, network: Network) {
        if let Some((connection, _)) = lock(&self.shared.connections).open.get(&connection) {
            befall(connection, network);
        }
    }

    /// The open connections, silent ones too, oldest first.
    pub fn connections(&self) -> Vec<u64> {
        lock(&self.shared.connections).open.keys().copied().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        for (_, task) in lock(&self.shared.connections).open.values() {
            task.abort();
        }
    }
}

/// What broke or silenced a connection is not undone, even if the connection has not come to it yet.
fn befall(connection: &watch::Sender<Network>, network: Network) {
    connection.send_if_modified(|now| {
        let final_now = matches!(now, Network::Reset | Network::HalfOpen);
        if !final_now {
            *now = network;
        }
        !final_now
    });
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of file handles, say; who waits is accepted later.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let mut connections = lock(&shared.connections);
        let number = connections.next;
        connections.next += 1;
        let (sender, network) = watch::channel(connections.network);
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            serve(client, &serving, network).await;
            lock(&serving.connections).open.remove(&number);
        });
        connections.open.insert(number, (sender, task));
    }
}

/// How the passing on of bytes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// One side has closed, and so do we.
    Closed,
    /// By RST.
    Broken,
    /// Not at all, for the client.
    Silent,
}

async fn serve(mut client: TcpStream, shared: &Shared, network: watch::Receiver<Network>) {
    let _ = client.set_nodelay(true);
    let upstream = match *network.borrow() {
        Network::Reset => Err(End::Broken),
        Network::HalfOpen => Err(End::Silent),
        _ => Ok(*lock(&shared.upstream)),
    };
    let end = match upstream {
        Ok(Some(upstream)) => match TcpStream::connect(upstream).await {
            Ok(mut upstream) => {
                let _ = upstream.set_nodelay(true);
                let end = pass_on(&mut client, &mut upstream, network).await;
                if end == End::Broken {
                    break_off(&upstream);
                }
                end
            }
            Err(_) => End::Broken,
        },
        Ok(None) => End::Broken,
        Err(end) => end,
    };
    match end {
        End::Closed => {}
        End::Broken => break_off(&client),
        // Takes what comes, says nothing, until the client has had enough.
        End::Silent => {
            let mut nowhere = vec![0; CHUNK];
            while client.read(&mut nowhere).await.is_ok_and(|read| read > 0) {}
        }
    }
}

/// Both directions, until one of them ends.
async fn pass_on(client: &mut TcpStream, upstream: &mut TcpStream, network: watch::Receiver<Network>) -> End {
    let (from_client, to_client) = client.split();
    let (from_upstream, to_upstream) = upstream.split();
    let requests = pump(from_client, to_upstream, network.clone(), false);
    let answers = pump(from_upstream, to_client, network, true);
    tokio::select! {
        end = requests => end,
        end = answers => end,
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut network: watch::Receiver<Network>,
    answers: bool,
) -> End {
    let mut buffer = vec![0; CHUNK];
    let mut passed = 0;
    loop {
        let now = *network.borrow_and_update();
        let room = match now {
            Network::Sound | Network::Slow(_) => CHUNK as u64,
            Network::Narrow(rate) => (rate / SLICES).clamp(1, CHUNK as u64),
            Network::CutAfter(bytes) if answers => match bytes.saturating_sub(passed) {
                0 => return End::Broken,
                left => left.min(CHUNK as u64),
            },
            Network::CutAfter(_) => CHUNK as u64,
            Network::Reset => return End::Broken,
            Network::HalfOpen => return End::Silent,
            Network::BlackHole => {
                // The sender is gone only when the proxy is.
                let _ = network.changed().await;
                continue;
            }
        };
        let room = usize::try_from(room).unwrap_or(CHUNK);
        let read = tokio::select! {
            biased;
            _ = network.changed() => {
                // Counted from here on, if it is to be cut.
                passed = 0;
                continue;
            }
            read = from.read(&mut buffer[..room]) => read,
        };
        let Ok(read @ 1..) = read else {
            return End::Closed;
        };
        let pause = match now {
            Network::Slow(pause) => pause,
            Network::Narrow(rate) => Duration::from_secs_f64(read as f64 / rate.max(1) as f64),
            _ => Duration::ZERO,
        };
        if !pause.is_zero() && !wait(pause, &mut network).await {
            return End::Silent;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return End::Closed;
        }
        passed += read as u64;
    }
}

/// Waits with bytes in hand; `false` where they are lost because the peer fell silent meanwhile.
async fn wait(pause: Duration, network: &mut watch::Receiver<Network>) -> bool {
    let until = Instant::now() + pause;
    loop {
        match tokio::time::timeout_at(until, network.changed()).await {
            Err(_) | Ok(Err(_)) => return true,
            Ok(Ok(())) => match *network.borrow() {
                Network::HalfOpen => return false,
                // Late, but not for longer than the network is slow.
                Network::Sound => return true,
                _ => {}
            },
        }
    }
}

/// The next thing that the peer sees is RST.
fn break_off(stream: &TcpStream) {
    // Fails only where the connection is broken already.
    let _ = stream.set_zero_linger();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
