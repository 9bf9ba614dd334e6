//! A cluster that names none of its brokers for a moment, as one does whose brokers were frozen.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use shared::event_log::{
    EventLog,
    kafka::{KafkaLog, KafkaSettings},
};
use testing::eventually;

use super::{PATIENCE, within};

/// Keys of the requests that are answered.
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const INIT_PRODUCER_ID: i16 = 22;
/// Of the one broker.
const ID: i32 = 1;

/// As much of a broker as a client needs to ask who belongs to the cluster.
struct Broker {
    port: u16,
    /// Whether it counts itself among the cluster's brokers.
    names_itself: AtomicBool,
    /// Answers about the cluster: in which it did not, and in which it did.
    answers: [AtomicUsize; 2],
}

impl Broker {
    fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let broker = Arc::new(Self {
            port: listener.local_addr().unwrap().port(),
            names_itself: AtomicBool::new(true),
            answers: Default::default(),
        });
        let this = Arc::clone(&broker);
        thread::spawn(move || {
            for connection in listener.incoming() {
                let this = Arc::clone(&this);
                // Ends with the connection.
                thread::spawn(move || while this.answer(connection.as_ref().unwrap()).is_some() {});
            }
        });
        broker
    }

    fn answer(&self, mut connection: &TcpStream) -> Option<()> {
        let mut size = [0; 4];
        connection.read_exact(&mut size).ok()?;
        let mut request = vec![0; usize::try_from(i32::from_be_bytes(size)).ok()?];
        connection.read_exact(&mut request).ok()?;
        let key = i16::from_be_bytes([request[0], request[1]]);
        let mut answer = request[4..8].to_vec();
        match key {
            API_VERSIONS => answer.extend(versions()),
            METADATA => answer.extend(self.metadata()),
            // No throttling, no error, producer 1 of epoch 0.
            INIT_PRODUCER_ID => answer.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]),
            _ => return None,
        }
        let size = i32::try_from(answer.len()).ok()?.to_be_bytes();
        connection.write_all(&[&size, answer.as_slice()].concat()).ok()
    }

    /// Version 1: the brokers, the controller, and one topic of one partition.
    fn metadata(&self) -> Vec<u8> {
        let broker = self.names_itself.load(Ordering::SeqCst).then_some(ID);
        self.answers[usize::from(broker.is_some())].fetch_add(1, Ordering::SeqCst);
        let leader = broker.unwrap_or(-1);
        let mut answer = Vec::new();
        answer.extend(i32::from(broker.is_some()).to_be_bytes());
        if broker.is_some() {
            answer.extend(ID.to_be_bytes());
            answer.extend([0, 9]);
            answer.extend(b"127.0.0.1");
            answer.extend(i32::from(self.port).to_be_bytes());
            // No rack.
            answer.extend((-1_i16).to_be_bytes());
        }
        answer.extend(leader.to_be_bytes());
        answer.extend(1_i32.to_be_bytes());
        // No error, its name, not an internal topic.
        answer.extend([0, 0, 0, 1, b't', 0]);
        // One partition, no error; number, leader, and who has it and who keeps up.
        answer.extend(1_i32.to_be_bytes());
        answer.extend([0, 0]);
        answer.extend([0, leader, 1, ID, 1, ID].map(i32::to_be_bytes).concat());
        answer
    }
}

/// Which requests are understood, in the one version of this answer that names no sizes in advance.
fn versions() -> Vec<u8> {
    let ranges: [[i16; 3]; 3] = [[METADATA, 0, 1], [API_VERSIONS, 0, 3], [INIT_PRODUCER_ID, 0, 0]];
    // No error, and how many follow, plus one.
    let mut answer = vec![0, 0, 4];
    for range in ranges {
        answer.extend(range.map(i16::to_be_bytes).concat());
        answer.push(0);
    }
    // No throttling.
    answer.extend([0; 5]);
    answer
}

#[tokio::test]
async fn a_client_that_was_told_of_no_broker_finds_its_way_back() {
    let broker = Broker::start();
    let log = KafkaLog::new(KafkaSettings::new(format!("127.0.0.1:{}", broker.port))).unwrap();
    within("the first answer", log.check()).await.unwrap();
    for named in [false, true] {
        broker.names_itself.store(named, Ordering::SeqCst);
        let answers = &broker.answers[usize::from(named)];
        let before = answers.load(Ordering::SeqCst);
        let asked = async || answers.load(Ordering::SeqCst) > before;
        eventually(PATIENCE, "the client asks about the cluster", asked).await;
    }
    within("an answer", log.check()).await.unwrap();
}
