use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::dashboard;
use super::theme::Theme;
use super::view::{Page, View};
use crate::run::screen::board::{Board, CardState};
use crate::run::screen::tests::{done, entries, middle};
use crate::run::screen::{Event, Request, TrialEntry, TrialSummary, Update};
use crate::train::{EpochLog, StepLog};

const COLOURLESS: Theme = Theme { colours: false };

/// A sweep in which much has happened, as [`middle`] tells it.
fn busy() -> (View, Instant) {
    let (board, now) = middle(Instant::now());
    let mut view = View::new("cifar", board, COLOURLESS);
    view.left = Some(Duration::from_secs(4_321));
    view.deadline = Some(Duration::from_secs(20_000));
    (view, now)
}

/// A sweep that has hardly begun.
fn fresh() -> (View, Instant) {
    let now = Instant::now();
    let mut board = Board::new(&entries(), now);
    board.update(&Update::Launched(0, 1), now);
    (View::new("cifar", board, COLOURLESS), now + Duration::from_secs(2))
}

fn drawn(view: &mut View, now: Instant, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| dashboard::draw(view, frame, now)).unwrap();
    terminal.backend().to_string()
}

fn press(view: &mut View, code: KeyCode, now: Instant) -> Option<Request> {
    view.press(KeyEvent::new(code, KeyModifiers::NONE), now)
}

fn char(view: &mut View, c: char, now: Instant) -> Option<Request> {
    press(view, KeyCode::Char(c), now)
}

#[test]
fn a_busy_sweep_at_several_sizes() {
    for (width, height) in [(80, 24), (120, 40), (50, 14), (20, 5), (1, 1)] {
        let (mut view, now) = busy();
        insta::assert_snapshot!(format!("busy_{width}x{height}"), drawn(&mut view, now, width, height));
    }
}

#[test]
fn a_fresh_sweep_at_several_sizes() {
    for (width, height) in [(80, 24), (120, 40), (20, 5), (1, 1)] {
        let (mut view, now) = fresh();
        insta::assert_snapshot!(format!("fresh_{width}x{height}"), drawn(&mut view, now, width, height));
    }
}

#[test]
fn pages() {
    let folder = tempfile::tempdir().unwrap();
    let (mut view, now) = busy();
    let log: String = (0..100).map(|line| format!("\x1b[32mline\x1b[0m {line}\n")).collect();
    view.board.trials[2].entry.log = folder.path().join("log");
    std::fs::write(&view.board.trials[2].entry.log, log).unwrap();
    char(&mut view, '?', now);
    insta::assert_snapshot!("help", drawn(&mut view, now, 80, 24));
    press(&mut view, KeyCode::Esc, now);
    char(&mut view, 'f', now);
    insta::assert_snapshot!("failures", drawn(&mut view, now, 80, 24));
    char(&mut view, 'l', now);
    press(&mut view, KeyCode::Up, now);
    insta::assert_snapshot!("log", drawn(&mut view, now, 80, 24));
    // Back to where it was opened from.
    press(&mut view, KeyCode::Esc, now);
    assert!(matches!(view.page, Page::Failures(0)));
    press(&mut view, KeyCode::Esc, now);
    assert!(matches!(view.page, Page::Dashboard));
}

#[test]
fn the_selection_moves_among_those_that_run() {
    let (mut view, now) = busy();
    assert_eq!(view.chosen(), Some(3));
    for (code, chosen) in
        [(KeyCode::Down, 4), (KeyCode::Down, 4), (KeyCode::Up, 3), (KeyCode::Up, 3), (KeyCode::Down, 4)]
    {
        press(&mut view, code, now);
        assert_eq!(view.chosen(), Some(chosen));
    }
    // One that ends gives way to one that runs; without any, it stays.
    view.board.update(&Update::Done(4, done(0.6)), now);
    assert_eq!(view.chosen(), Some(3));
    drawn(&mut view, now, 80, 24);
    view.board.update(&Update::Done(3, done(0.6)), now);
    assert_eq!(view.chosen(), Some(3));
}

#[test]
fn skipping_is_asked_twice() {
    let (mut view, now) = busy();
    assert_eq!(char(&mut view, 's', now), None);
    assert!(drawn(&mut view, now, 80, 24).contains("Skip compconv depth=1?  y / n"));
    assert!(drawn(&mut view, now, 30, 1).contains("Skip"));
    // Anything but yes is no.
    assert_eq!((char(&mut view, 'n', now), char(&mut view, 'y', now)), (None, None));
    char(&mut view, 's', now);
    assert_eq!((char(&mut view, 'q', now), view.question), (None, None));
    char(&mut view, 's', now);
    assert_eq!(char(&mut view, 'y', now), Some(Request::Skip(3)));
    assert!(drawn(&mut view, now, 80, 24).contains("■ compconv depth=1"));
    // Asked already.
    char(&mut view, 's', now);
    assert_eq!(view.question, None);
    // It ended while the question stood.
    press(&mut view, KeyCode::Down, now);
    char(&mut view, 's', now);
    assert_eq!(view.question, Some(4));
    view.board.update(&Update::Done(4, done(0.6)), now);
    assert_eq!(char(&mut view, 'y', now), None);
}

#[test]
fn stopping() {
    let (mut view, now) = busy();
    let after = |millis| now + Duration::from_millis(millis);
    assert_eq!(char(&mut view, 'q', now), Some(Request::Stop));
    assert!(drawn(&mut view, now, 80, 24).contains("again: at once"));
    // The same key, held down.
    assert_eq!(char(&mut view, 'q', after(100)), None);
    assert_eq!(char(&mut view, 'q', after(700)), Some(Request::Stop));
    // Ctrl-C at any time, on any page.
    let (mut view, now) = busy();
    char(&mut view, '?', now);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.press(control_c, now), Some(Request::Stop));
    assert_eq!(view.press(control_c, now), Some(Request::Stop));
    // On a page, `q` leaves the page.
    assert_eq!(char(&mut view, 'q', after(5_000)), None);
    assert!(matches!(view.page, Page::Dashboard));
}

#[test]
fn a_log_is_followed_until_it_is_scrolled() {
    let folder = tempfile::tempdir().unwrap();
    let (mut view, now) = busy();
    let path = folder.path().join("log");
    view.board.trials[3].entry.log = path.clone();
    char(&mut view, 'l', now);
    // Not there yet.
    assert!(drawn(&mut view, now, 80, 24).contains("log: No such file"), "{}", drawn(&mut view, now, 80, 24));
    let later = |seconds| now + Duration::from_secs(seconds);
    std::fs::write(&path, "").unwrap();
    assert!(view.refresh(later(1)) && drawn(&mut view, now, 80, 24).contains("empty so far"));
    std::fs::write(&path, "one\n").unwrap();
    assert!(!view.refresh(later(1)));
    assert!(view.refresh(later(2)) && drawn(&mut view, now, 80, 24).contains("one"));
    assert!(!view.refresh(later(4)));
    let many: String = (0..200).map(|line| format!("line {line}\n")).collect();
    std::fs::write(&path, &many).unwrap();
    assert!(view.refresh(later(6)) && drawn(&mut view, now, 80, 24).contains("line 199"));
    press(&mut view, KeyCode::Home, now);
    assert!(drawn(&mut view, now, 80, 24).contains("line 0 "));
    std::fs::write(&path, many + "more\n").unwrap();
    assert!(!view.refresh(later(8)));
    press(&mut view, KeyCode::End, now);
    assert!(view.refresh(later(9)) && drawn(&mut view, now, 80, 24).contains("more"));
    // A trial that is over writes nothing more.
    std::fs::write(&path, "").unwrap();
    view.board.update(&Update::Done(3, done(0.7)), later(10));
    let over = view.refresh(later(11)).then(|| drawn(&mut view, now, 80, 24)).unwrap();
    assert!(over.contains("empty: it had nothing to report") && !over.contains("so far"), "{over}");
}

/// Numbers that no test thinks of.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % most
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn number(&mut self) -> f64 {
        self.of(&[0.0, 0.5, 1.0, -1.0, 3.2, 1e9, 1e-9, f64::NAN, f64::INFINITY, f64::MAX, f64::MIN_POSITIVE])
    }

    fn count(&mut self) -> usize {
        self.of(&[0, 1, 2, 3, 10, 350, usize::MAX])
    }

    fn text(&mut self) -> String {
        self.of(&[
            "",
            "no memory",
            "a\nb\n\nc",
            "\x1b[2J\0",
            "名前が長い trial 🎉",
            "\u{202e}x\u{301}\u{200b}",
            "long ",
        ])
        .repeat(self.of(&[1, 1, 1, 40]))
    }

    fn update(&mut self) -> Update {
        let index = self.below(11);
        match self.below(12) {
            0 | 1 => Update::Launched(index, self.count() as u32),
            2 => Update::Done(
                index,
                TrialSummary { validation: Some(self.number()).filter(|n| *n != 0.5), ..done(self.number()) },
            ),
            3 => Update::Failed(index, self.text(), self.below(2) == 0),
            4 => self.of(&[Update::Stopped, Update::Elsewhere])(index),
            5 => Update::Line(self.text()),
            6 if self.below(3) == 0 => Update::Event(index, Event::OffEngine { why: self.text() }),
            6 => Update::Event(index, Event::Warning { text: self.text() }),
            7 => Update::Event(
                index,
                Event::Started {
                    epochs: self.count(),
                    steps_per_epoch: self.count(),
                    resumed: (0..self.below(3)).map(|_| self.epoch()).collect(),
                },
            ),
            8 | 9 => Update::Event(index, Event::Epoch(self.epoch())),
            _ => Update::Event(
                index,
                Event::Step(StepLog {
                    epoch: self.count(),
                    step: self.count(),
                    loss: self.number(),
                    accuracy: self.number(),
                    images_per_second: self.number(),
                }),
            ),
        }
    }

    fn epoch(&mut self) -> EpochLog {
        EpochLog {
            epoch: self.count(),
            phase: self.text(),
            train_loss: self.number(),
            train_accuracy: self.number(),
            validation_loss: Some(self.number()),
            validation_accuracy: Some(self.number()),
            images_per_second: self.number(),
            ..EpochLog::default()
        }
    }
}

#[test]
fn whatever_happens_at_whatever_size_it_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    std::fs::write(&log, b"\xff\x1b[31m\r\n".repeat(300)).unwrap();
    let mut chance = Chance(7);
    for round in 0..60 {
        let mut entries: Vec<TrialEntry> = entries().into_iter().take(chance.of(&[0, 1, 9, 9])).collect();
        for entry in &mut entries {
            entry.log = log.clone();
            entry.epochs = chance.count();
            if round % 3 == 0 {
                (entry.name, entry.method) = (chance.text(), chance.text());
            }
        }
        let mut now = Instant::now();
        let mut view = View::new(&chance.text(), Board::new(&entries, now), Theme { colours: round % 2 == 0 });
        for _ in 0..120 {
            now += Duration::from_millis(chance.of(&[0, 1, 500, 5_000_000]));
            for _ in 0..chance.below(4) {
                view.board.update(&chance.update(), now);
            }
            let keys = [
                KeyCode::Up,
                KeyCode::Down,
                KeyCode::Esc,
                KeyCode::Home,
                KeyCode::End,
                KeyCode::PageUp,
                KeyCode::PageDown,
                KeyCode::Enter,
                KeyCode::Char('s'),
                KeyCode::Char('y'),
                KeyCode::Char('l'),
                KeyCode::Char('f'),
                KeyCode::Char('q'),
                KeyCode::Char('?'),
            ];
            let _ = press(&mut view, chance.of(&keys), now);
            view.left = Some(Duration::from_secs(chance.count() as u64)).filter(|left| !left.is_zero());
            view.deadline = view.left;
            view.refresh(now);
            let (width, height) =
                (chance.of(&[1, 2, 5, 20, 39, 40, 80, 109, 110, 200]), chance.of(&[1, 2, 3, 4, 5, 6, 9, 10, 24, 60]));
            drawn(&mut view, now, width, height);
            let counted: usize = CardState::ALL.iter().map(|&state| view.board.count(state)).sum();
            assert_eq!(counted, entries.len());
        }
    }
}
