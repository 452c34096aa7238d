//! A thread that sleeps until it is given a message.

use std::{
    io,
    sync::mpsc::{self, Receiver, Sender},
    thread::{Builder, JoinHandle},
};

/// The thread. Dropping it ends and joins it.
#[derive(Debug)]
pub(super) struct InboxThread<M> {
    to: Option<Sender<M>>,
    thread: Option<JoinHandle<()>>,
}

impl<M: Send + 'static> InboxThread<M> {
    /// Starts the thread. `run` returns when its receiver is disconnected.
    ///
    /// # Errors
    /// The kernel gives no thread.
    pub(super) fn start(
        name: &str,
        run: impl FnOnce(Receiver<M>) + Send + 'static,
    ) -> io::Result<Self> {
        let (to, from) = mpsc::channel();
        let thread = Builder::new().name(name.into()).spawn(move || run(from))?;
        Ok(Self {
            to: Some(to),
            thread: Some(thread),
        })
    }
}

impl<M> InboxThread<M> {
    /// Gives it a message. It has no effect when the thread has ended.
    pub(super) fn send(&self, message: M) {
        if let Some(to) = &self.to {
            let _ = to.send(message);
        }
    }
}

impl<M> Drop for InboxThread<M> {
    fn drop(&mut self) {
        self.to = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
