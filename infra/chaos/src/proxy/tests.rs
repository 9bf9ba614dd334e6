//! The proxy before a server that sends back what it is sent.

use super::*;

const SOON: Duration = Duration::from_millis(200);
const DEADLINE: Duration = Duration::from_secs(10);

/// A server that sends back what it is sent, behind a proxy.
async fn echo() -> Proxy {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let proxy = Proxy::bind().await.unwrap();
    proxy.lead_to(listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    proxy
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.addr()).await.unwrap()
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// What comes within the deadline: a text of this length, or the error.
async fn receive(stream: &mut TcpStream, length: usize) -> io::Result<String> {
    let mut buffer = vec![0; length];
    let read = tokio::time::timeout(DEADLINE, stream.read_exact(&mut buffer)).await;
    read.expect("an answer in time")?;
    Ok(String::from_utf8(buffer).unwrap())
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(SOON, stream.read(&mut [0; 1]))
        .await
        .is_err()
}

#[tokio::test]
async fn a_sound_network_passes_everything_on() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    let text = "x".repeat(100_000);
    let (mut from, mut to) = stream.split();
    let mut back = vec![0; text.len()];
    let (sent, read) = tokio::join!(to.write_all(text.as_bytes()), from.read_exact(&mut back));
    sent.unwrap();
    read.unwrap();
    assert!(back.iter().all(|byte| *byte == b'x'));
}

#[tokio::test]
async fn a_slow_and_a_narrow_network_take_their_time() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    for network in [Network::Slow(SOON), Network::Narrow(20)] {
        proxy.set(network);
        let begin = Instant::now();
        send(&mut stream, "ping").await;
        assert_eq!(receive(&mut stream, 4).await.unwrap(), "ping");
        assert!(begin.elapsed() >= SOON, "{network:?}");
    }
}

#[tokio::test]
async fn what_fell_into_the_black_hole_arrives_when_it_is_gone() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    proxy.set(Network::BlackHole);
    send(&mut stream, "ping").await;
    assert!(is_silent(&mut stream).await);
    proxy.set(Network::Sound);
    assert_eq!(receive(&mut stream, 4).await.unwrap(), "ping");
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    send(&mut stream, "ping").await;
    receive(&mut stream, 4).await.unwrap();
    proxy.set(Network::Reset);
    let error = receive(&mut stream, 1).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let mut new = connect(&proxy).await;
    assert!(receive(&mut new, 1).await.is_err());
    proxy.set(Network::Sound);
    let mut new = connect(&proxy).await;
    send(&mut new, "pong").await;
    assert_eq!(receive(&mut new, 4).await.unwrap(), "pong");
}

#[tokio::test]
async fn a_half_open_connection_stays_silent_when_others_are_sound_again() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    send(&mut stream, "ping").await;
    receive(&mut stream, 4).await.unwrap();
    proxy.set(Network::HalfOpen);
    let mut accepted = connect(&proxy).await;
    send(&mut accepted, "ping").await;
    assert!(is_silent(&mut accepted).await);
    proxy.set(Network::Sound);
    send(&mut stream, "ping").await;
    assert!(is_silent(&mut stream).await && is_silent(&mut accepted).await);
    let mut new = connect(&proxy).await;
    send(&mut new, "pong").await;
    assert_eq!(receive(&mut new, 4).await.unwrap(), "pong");
}

#[tokio::test]
async fn what_befalls_a_connection_for_a_moment_befalls_it_for_good() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    send(&mut stream, "ping").await;
    receive(&mut stream, 4).await.unwrap();
    proxy.set(Network::HalfOpen);
    proxy.set(Network::Sound);
    send(&mut stream, "ping").await;
    assert!(is_silent(&mut stream).await);
}

#[tokio::test]
async fn an_answer_is_cut_in_its_middle() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    send(&mut stream, "ping").await;
    receive(&mut stream, 4).await.unwrap();
    proxy.set(Network::CutAfter(3));
    send(&mut stream, "pong").await;
    let mut answer = Vec::new();
    let end = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(end.is_err() && answer.len() <= 3, "{end:?} {answer:?}");
}

#[tokio::test]
async fn one_connection_may_be_struck_alone() {
    let proxy = echo().await;
    let (mut first, mut second) = (connect(&proxy).await, connect(&proxy).await);
    for stream in [&mut first, &mut second] {
        send(stream, "ping").await;
        receive(stream, 4).await.unwrap();
    }
    let [one, _] = proxy.connections()[..] else {
        panic!("two connections are open")
    };
    proxy.set_one(one, Network::Reset);
    assert!(receive(&mut first, 1).await.is_err());
    send(&mut second, "pong").await;
    assert_eq!(receive(&mut second, 4).await.unwrap(), "pong");
}
