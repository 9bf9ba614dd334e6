//! What the design rests on and actix does not promise in so many words. When a new version of
//! actix answers otherwise, a test here says which decision has to be looked at again.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::prelude::*;
use tokio::sync::{mpsc, oneshot};

/// Only ends a test that hangs; nothing waits for it.
const DEADLINE: Duration = Duration::from_secs(10);

fn run(test: impl Future<Output = ()>) {
    System::new().block_on(async {
        tokio::time::timeout(DEADLINE, test)
            .await
            .expect("the test comes to its end");
    });
}

/// Lets every task that can run do so.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

type Story = Rc<RefCell<Vec<String>>>;

/// An actor that does what its messages say, and writes down what happens.
#[derive(Default)]
struct Subject {
    story: Story,
    starts: Option<mpsc::UnboundedSender<()>>,
}

impl Actor for Subject {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        if let Some(starts) = &self.starts {
            let _ = starts.send(());
        }
    }
}

impl Supervised for Subject {}

/// How a message is handled.
enum How {
    Future,
    ActFuture,
    Atomic,
}

/// Handled once the gate opens; answers its number.
#[derive(Message)]
#[rtype(result = "u32")]
struct Wait(u32, How, oneshot::Receiver<()>);

/// Which kind of future handles it is chosen by the message.
impl Handler<Wait> for Subject {
    type Result = AtomicOrNot;

    fn handle(&mut self, Wait(number, how, gate): Wait, _: &mut Context<Self>) -> AtomicOrNot {
        let story = self.story.clone();
        story.borrow_mut().push(format!("begin {number}"));
        let told = Told(story.clone(), number);
        let work = async move {
            let told = told;
            let _ = gate.await;
            told.0.borrow_mut().push(format!("end {number}"));
            number
        };
        match how {
            How::Future => AtomicOrNot::Future(Box::pin(work)),
            How::ActFuture => AtomicOrNot::ActFuture(Box::pin(work.into_actor(self))),
            How::Atomic => AtomicOrNot::Atomic(AtomicResponse::new(Box::pin(work.into_actor(self)))),
        }
    }
}

/// Writes down that it is dropped.
struct Told(Story, u32);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.borrow_mut().push(format!("dropped {}", self.1));
    }
}

enum AtomicOrNot {
    Future(ResponseFuture<u32>),
    ActFuture(ResponseActFuture<Subject, u32>),
    Atomic(AtomicResponse<Subject, u32>),
}

impl actix::dev::MessageResponse<Subject, Wait> for AtomicOrNot {
    fn handle(self, ctx: &mut Context<Subject>, tx: Option<actix::dev::OneshotSender<u32>>) {
        use actix::dev::MessageResponse;
        match self {
            AtomicOrNot::Future(future) => {
                MessageResponse::<Subject, Wait>::handle(future, ctx, tx);
            }
            AtomicOrNot::ActFuture(future) => {
                MessageResponse::<Subject, Wait>::handle(future, ctx, tx);
            }
            AtomicOrNot::Atomic(future) => {
                MessageResponse::<Subject, Wait>::handle(future, ctx, tx);
            }
        }
    }
}

/// Panics in the handler itself, or in the future that it returns.
#[derive(Message)]
#[rtype(result = "()")]
enum Panic {
    InHandler,
    InFuture,
}

impl Handler<Panic> for Subject {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, panic: Panic, _: &mut Context<Self>) -> Self::Result {
        match panic {
            Panic::InHandler => panic!("meant by the test, in the handler"),
            Panic::InFuture => Box::pin(async { panic!("meant by the test, in the future") }),
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

impl Handler<Stop> for Subject {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

fn gate() -> (oneshot::Sender<()>, oneshot::Receiver<()>) {
    oneshot::channel()
}

#[test]
fn a_supervisor_does_not_survive_a_panic() {
    let (starts, mut started) = mpsc::unbounded_channel();
    // A panic in a handler takes the thread's task of the actor with it; the arbiter goes on.
    run(async move {
        let addr = Supervisor::start(move |_| Subject {
            starts: Some(starts),
            ..Subject::default()
        });
        started.recv().await.expect("it starts");
        let answer = addr.send(Panic::InHandler).await;
        assert_eq!(answer, Err(MailboxError::Closed));
        settle().await;
        assert!(started.try_recv().is_err(), "it was not started again");
        assert!(!addr.connected());
        // Later messages are dropped: silently, or as closed.
        addr.do_send(Stop);
        assert_eq!(addr.send(Stop).await, Err(MailboxError::Closed));
    });
}

#[test]
fn a_panic_in_a_response_future_costs_only_that_message() {
    run(async {
        let addr = Subject::default().start();
        let (open, gate) = gate();
        let other = addr.send(Wait(1, How::Future, gate));
        let panicking = addr.send(Panic::InFuture);
        assert_eq!(panicking.await, Err(MailboxError::Closed));
        assert!(addr.connected());
        open.send(()).expect("the other message is still handled");
        assert_eq!(other.await, Ok(1));
    });
}

#[test]
fn the_capacity_of_a_mailbox_holds_nobody_back() {
    run(async {
        let addr = Subject::default().start();
        let (open, _) = tokio::sync::broadcast::channel::<()>(1);
        let answered = Rc::new(RefCell::new(0));
        for number in 0..1000 {
            let (addr, mut opened, answered) = (addr.clone(), open.subscribe(), answered.clone());
            let (unlock, gate) = gate();
            actix::spawn(async move {
                assert_eq!(addr.send(Wait(number, How::Future, gate)).await, Ok(number));
                *answered.borrow_mut() += 1;
            });
            actix::spawn(async move {
                let _ = opened.recv().await;
                let _ = unlock.send(());
            });
        }
        settle().await;
        // The capacity is 16; all are in the hands of the actor, none is answered.
        assert_eq!(*answered.borrow(), 0);
        drop(open);
        while *answered.borrow() < 1000 {
            settle().await;
        }
    });
}

#[derive(Message)]
#[rtype(result = "()")]
struct Count(Arc<AtomicUsize>);

impl Handler<Count> for Subject {
    type Result = ();

    fn handle(&mut self, Count(counter): Count, _: &mut Context<Self>) {
        counter.fetch_add(1, SeqCst);
    }
}

#[test]
fn do_send_ignores_the_capacity_of_the_mailbox() {
    run(async {
        let addr = Subject::default().start();
        let counter = Arc::new(AtomicUsize::new(0));
        for _ in 0..1000 {
            addr.do_send(Count(counter.clone()));
        }
        assert_eq!(
            counter.load(SeqCst),
            0,
            "nothing is handled before the actor is polled"
        );
        addr.send(Count(counter.clone())).await.expect("it lives");
        assert_eq!(counter.load(SeqCst), 1001);
    });
}

/// So whoever waits for an effect of a message has to poll its `send` meanwhile.
#[test]
fn a_send_to_a_full_mailbox_is_delivered_only_when_it_is_polled() {
    run(async {
        let recipient: Recipient<Count> = Subject::default().start().recipient();
        let counter = Arc::new(AtomicUsize::new(0));
        let unpolled: Vec<_> = (0..1000)
            .map(|_| recipient.send(Count(counter.clone())))
            .collect();
        settle().await;
        let delivered = counter.load(SeqCst);
        assert!(
            delivered < 50,
            "{delivered} of 1000 were delivered without being polled"
        );
        for request in unpolled {
            request.await.expect("it lives");
        }
        assert_eq!(counter.load(SeqCst), 1000);
    });
}

fn story_of(story: &Story) -> Vec<String> {
    story.borrow().clone()
}

/// Two messages whose gates open in the opposite order.
async fn two_messages(how: fn() -> How) -> Vec<String> {
    let story = Story::default();
    let addr = Subject {
        story: story.clone(),
        ..Subject::default()
    }
    .start();
    let ((open_one, gate_one), (open_two, gate_two)) = (gate(), gate());
    let one = actix::spawn(addr.send(Wait(1, how(), gate_one)));
    let two = actix::spawn(addr.send(Wait(2, how(), gate_two)));
    settle().await;
    let _ = open_two.send(());
    settle().await;
    let _ = open_one.send(());
    assert_eq!(
        (one.await.expect("no panic"), two.await.expect("no panic")),
        (Ok(1), Ok(2))
    );
    let story = story_of(&story);
    story
        .into_iter()
        .filter(|line| !line.starts_with("dropped"))
        .collect()
}

#[test]
fn response_futures_interleave() {
    run(async {
        let expected = ["begin 1", "begin 2", "end 2", "end 1"];
        assert_eq!(two_messages(|| How::Future).await, expected);
        assert_eq!(two_messages(|| How::ActFuture).await, expected);
    });
}

#[test]
fn an_atomic_response_keeps_the_order() {
    run(async {
        let expected = ["begin 1", "end 1", "begin 2", "end 2"];
        assert_eq!(two_messages(|| How::Atomic).await, expected);
    });
}

#[test]
fn on_stop_act_futures_are_dropped_and_response_futures_finish() {
    run(async {
        let story = Story::default();
        let addr = Subject {
            story: story.clone(),
            ..Subject::default()
        }
        .start();
        let ((open_one, gate_one), (open_two, gate_two)) = (gate(), gate());
        let dropped = actix::spawn(addr.send(Wait(1, How::ActFuture, gate_one)));
        let finished = actix::spawn(addr.send(Wait(2, How::Future, gate_two)));
        settle().await;
        addr.send(Stop).await.expect("it lives");
        settle().await;
        assert_eq!(story_of(&story), ["begin 1", "begin 2", "dropped 1"]);
        assert!(open_one.send(()).is_err(), "nobody waits behind the first gate");
        open_two.send(()).expect("the second is still waited for");
        assert_eq!(dropped.await.expect("no panic"), Err(MailboxError::Closed));
        assert_eq!(finished.await.expect("no panic"), Ok(2));
    });
}

#[test]
fn stopping_the_arbiter_drops_everything() {
    struct Sent(mpsc::UnboundedSender<&'static str>);
    impl Drop for Sent {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }
    run(async {
        let (tell, mut told) = mpsc::unbounded_channel();
        let arbiter = Arbiter::new();
        let of_task = tell.clone();
        arbiter.spawn(async move {
            let held = Sent(of_task);
            let _ = held.0.send("begun");
            std::future::pending::<()>().await;
        });
        assert_eq!(told.recv().await, Some("begun"));
        arbiter.stop();
        assert_eq!(told.recv().await, Some("dropped"));
    });
}

#[test]
fn dropping_a_send_cancels_a_message_that_is_still_queued() {
    run(async {
        let addr = Subject::default().start();
        let counter = Arc::new(AtomicUsize::new(0));
        // Nothing was awaited since, so the actor has not seen it yet.
        drop(addr.send(Count(counter.clone())));
        settle().await;
        assert_eq!(counter.load(SeqCst), 0);
        addr.do_send(Count(counter.clone()));
        settle().await;
        assert_eq!(counter.load(SeqCst), 1);
    });
}

#[test]
fn a_spawned_send_survives_its_caller() {
    run(async {
        let addr = Subject::default().start();
        let counter = Arc::new(AtomicUsize::new(0));
        drop(actix::spawn(addr.send(Count(counter.clone()))));
        settle().await;
        assert_eq!(counter.load(SeqCst), 1);
    });
}
