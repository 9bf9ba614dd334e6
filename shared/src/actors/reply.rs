//! Answers of actors that take a while.

use actix::{
    Actor, Message,
    dev::{MessageResponse, OneshotSender},
};
use futures_util::future::LocalBoxFuture;

/// An answer that a future gives, as with [`actix::ResponseFuture`], but every answer is a task of the same
/// type: a task is a lot of code, which would be compiled for each message once more.
pub struct Reply<T>(LocalBoxFuture<'static, T>);

impl<T> Reply<T> {
    /// What this future gives.
    pub fn by(answer: impl Future<Output = T> + 'static) -> Reply<T> {
        Reply(Box::pin(answer))
    }
}

impl<A: Actor, M: Message> MessageResponse<A, M> for Reply<M::Result> {
    fn handle(self, _: &mut A::Context, asker: Option<OneshotSender<M::Result>>) {
        spawn(Box::pin(async move {
            let answer = self.0.await;
            if let Some(asker) = asker {
                // Nobody waiting any more is no error.
                let _ = asker.send(answer);
            }
        }));
    }
}

fn spawn(task: LocalBoxFuture<'static, ()>) {
    actix::spawn(task);
}
