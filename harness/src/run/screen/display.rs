//! A screen on a thread of its own: a terminal that takes nothing more, or is gone, holds up no sweep.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Event, Request, Screen, ScreenKind, TrialEntry, Update, open, terminal};

/// How often the screen is drawn at least, and asked for keys.
const TICK: Duration = Duration::from_millis(100);

/// With this many messages unread, those that a later one makes obsolete are left out.
const BACKLOG: usize = 1000;

/// How long the last lines of a sweep that was stopped may take to be written.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the sweep tells the thread that shows it.
enum Message {
    Update(Update),
    /// Estimated time to the end, and time to the moment the sweep stops.
    Times(Option<Duration>, Option<Duration>),
    /// The sweep is over: trials done, failed, open.
    End(usize, usize, usize),
}

/// Shows a sweep. Nothing here waits for whoever watches, but [`Display::finish`].
pub struct Display {
    messages: Sender<Message>,
    /// Messages not read yet.
    unread: Arc<AtomicUsize>,
    requests: Receiver<Request>,
    thread: JoinHandle<()>,
}

impl Display {
    /// Shows the sweep of this name over these trials. Without a terminal to draw on, a dashboard is lines.
    pub fn start(kind: ScreenKind, name: &str, entries: &[TrialEntry]) -> Self {
        let (messages, received) = channel();
        let (asked, requests) = channel();
        let unread = Arc::new(AtomicUsize::new(0));
        let (name, entries, counter) = (name.to_owned(), entries.to_vec(), Arc::clone(&unread));
        let thread = thread::spawn(move || {
            let screen = open(kind, &name, &entries);
            show_all(screen, &received, &counter, &asked);
        });
        Self { messages, unread, requests, thread }
    }

    /// Shows an update.
    pub fn show(&self, update: Update) {
        if !(matches!(update, Update::Event(_, Event::Step(_))) && self.is_behind()) {
            self.send(Message::Update(update));
        }
    }

    /// What was asked for since the last call. `left`: estimated time to the end of the sweep, `deadline`: time to the
    /// moment it stops.
    pub fn tick(&self, left: Option<Duration>, deadline: Option<Duration>) -> Vec<Request> {
        if !self.is_behind() {
            self.send(Message::Times(left, deadline));
        }
        // Asked here as well: the thread may be stuck in reading or writing.
        let gone = terminal::is_gone().then_some(Request::HangUp);
        gone.into_iter().chain(self.requests.try_iter()).collect()
    }

    /// Shows the end, and gives the terminal back. Waits until all is written; not for long if the sweep was `stopped`,
    /// maybe because nobody reads it.
    pub fn finish(self, done: usize, failed: usize, open: usize, stopped: bool) {
        self.send(Message::End(done, failed, open));
        let started = Instant::now();
        while !(self.thread.is_finished() || stopped && started.elapsed() > FAREWELL) {
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn is_behind(&self) -> bool {
        self.unread.load(Ordering::Relaxed) > BACKLOG
    }

    fn send(&self, message: Message) {
        self.unread.fetch_add(1, Ordering::Relaxed);
        // A screen that panicked shows nothing more; the sweep goes on.
        let _ = self.messages.send(message);
    }
}

/// Shows what comes until the end.
fn show_all(
    mut screen: Box<dyn Screen>,
    messages: &Receiver<Message>,
    unread: &AtomicUsize,
    requests: &Sender<Request>,
) {
    let (mut left, mut deadline) = (None, None);
    loop {
        let first = match messages.recv_timeout(TICK) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        for message in first.into_iter().chain(messages.try_iter()) {
            unread.fetch_sub(1, Ordering::Relaxed);
            match message {
                Message::Update(update) => screen.show(&update),
                Message::Times(to_end, to_stop) => (left, deadline) = (to_end, to_stop),
                Message::End(done, failed, open) => return screen.finish(done, failed, open),
            }
        }
        for ask in screen.tick(left, deadline) {
            let _ = requests.send(ask);
        }
    }
}
