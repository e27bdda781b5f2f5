use std::cell::RefCell;
use std::io::{self, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::board::{Board, CardState, Tone};
use super::plain::Plain;
use super::{Event, TrialEntry, TrialSummary, Update};
use crate::train::{EpochLog, StepLog};

/// Trials of this many epochs.
const EPOCHS: usize = 10;
const STEPS: usize = 350;

pub fn entries() -> Vec<TrialEntry> {
    let labels = [
        ("vanilla", ""),
        ("depthwise", ""),
        ("ghost", ""),
        ("compconv", " depth=1"),
        ("compconv", " depth=2"),
        ("compconv", " depth=3"),
        ("thin", " ratio=0.5"),
        ("pruned", " criterion=l1"),
        ("pruned", " criterion=taylor"),
    ];
    let entry = |(index, (method, options)): (usize, &(&str, &str))| TrialEntry {
        key: format!("{index:x}"),
        name: format!("resnet20 {method}{options} seed 0"),
        method: (*method).into(),
        epochs: EPOCHS,
        log: PathBuf::from("none"),
    };
    labels.iter().enumerate().map(entry).collect()
}

fn started(index: usize) -> Update {
    Update::Event(index, Event::Started { epochs: EPOCHS, steps_per_epoch: STEPS, resumed: Vec::new() })
}

/// A curve of the usual shape: it ends near `best`.
fn learned(x: f64, best: f64) -> f64 {
    0.1 + (best - 0.1) * (1.0 - (-0.45 * x).exp())
}

fn step(index: usize, epoch: usize, step: usize, best: f64) -> Update {
    let x = epoch as f64 - 1.0 + step as f64 / STEPS as f64;
    let wiggle = 0.06 * (step as f64 * 0.7).sin() / (1.0 + x);
    let accuracy = learned(x, best) + wiggle;
    let log = StepLog { epoch, step, loss: 2.4 - 2.1 * accuracy, accuracy, images_per_second: 612.0 + step as f64 };
    Update::Event(index, Event::Step(log))
}

fn epoch(index: usize, epoch: usize, best: f64) -> Update {
    let accuracy = learned(epoch as f64, best);
    let validation = accuracy - 0.03 + 0.02 * (epoch as f64 * 2.1).sin();
    let log = EpochLog {
        epoch,
        phase: "train".into(),
        lr: 0.1,
        train_loss: 2.4 - 2.1 * accuracy,
        train_accuracy: accuracy,
        validation_loss: Some(2.45 - 2.1 * validation),
        validation_accuracy: Some(validation),
        seconds: 70.0,
        images_per_second: 640.0,
    };
    Update::Event(index, Event::Epoch(log))
}

pub fn done(validation: f64) -> TrialSummary {
    TrialSummary {
        validation: Some(validation),
        test: Some(validation - 0.01),
        params: 269_722,
        macs: 40_813_184,
        seconds: 702.0,
    }
}

/// A sweep in which much has happened: two trials run, one of them for the second time, and one failed.
pub fn middle(now: Instant) -> (Board, Instant) {
    let mut board = Board::new(&entries(), now);
    let mut clock = now;
    let mut play = |update: Update, seconds: u64| {
        clock += Duration::from_secs(seconds);
        board.update(&update, clock);
    };
    play(Update::Line("3 of 12 trials are done already".into()), 0);
    play(Update::Launched(0, 1), 2);
    play(started(0), 1);
    play(Update::Done(0, done(0.681)), 702);
    play(Update::Launched(1, 1), 1);
    play(Update::Done(1, done(0.584)), 420);
    play(Update::Launched(2, 1), 1);
    play(Update::Failed(2, "the loss is no number at epoch 2, step 17".into(), false), 60);
    play(Update::Launched(3, 1), 1);
    play(Update::Failed(3, "killed by signal 9 (out of memory?)".into(), true), 9);
    play(Update::Launched(3, 2), 0);
    play(Update::Launched(4, 1), 0);
    play(started(3), 1);
    play(started(4), 1);
    play(Update::Event(4, Event::Warning { text: "checkpoint damaged; the one before it is used".into() }), 0);
    for (index, epochs, best, until) in [(3, 5, 0.70, 120), (4, 3, 0.66, 290)] {
        for at in 1..=epochs {
            for part in (10..=STEPS).step_by(10).take_while(|part| at < epochs || *part <= until) {
                play(step(index, at, part, best), 1);
            }
            if at < epochs {
                play(epoch(index, at, best), 2);
            }
        }
    }
    play(Update::Elsewhere(8), 0);
    (board, clock)
}

#[test]
fn images_per_second_off_the_engine_are_marked() {
    let now = Instant::now();
    let mut board = Board::new(&entries(), now);
    for index in [0, 1] {
        board.update(&Update::Launched(index, 1), now);
        board.update(&started(index), now);
    }
    let why = "4 images at a time, and the engine trains 8 and more".to_owned();
    board.update(&Update::Event(1, Event::OffEngine { why }), now);
    let said = &board.notes.back().unwrap().text;
    assert!(said.starts_with("† trains operation by operation and not on the engine (4 images"), "{said}");
    let shown = [0, 1].map(|index| {
        let Update::Event(_, Event::Epoch(log)) = epoch(index, 1, 0.5) else { unreachable!("an epoch") };
        board.trials[index].live.as_ref().unwrap().sentence(&log, now)
    });
    assert!(!shown[0].contains('†') && shown[1].contains("† img/s"), "{shown:?}");
}

#[test]
fn trials_go_from_state_to_state() {
    let start = Instant::now();
    let mut board = Board::new(&entries(), start);
    let counts = |board: &Board| CardState::ALL.map(|state| board.count(state));
    assert_eq!(counts(&board), [9, 0, 0, 0, 0, 0]);
    for index in [0, 4, 5] {
        board.update(&Update::Launched(index, 1), start);
    }
    assert_eq!((counts(&board), board.running().collect()), ([6, 3, 0, 0, 0, 0], vec![0, 4, 5]));
    board.update(&Update::Done(0, done(0.5)), start);
    board.update(&Update::Failed(4, "x".into(), true), start);
    board.update(&Update::Failed(5, "y\n\x1b[2Jz".into(), false), start);
    board.update(&Update::Elsewhere(6), start);
    board.update(&Update::Stopped(7), start);
    assert_eq!(counts(&board), [5, 0, 1, 1, 1, 1]);
    assert_eq!(board.failures(), [4, 5]);
    assert_eq!(board.trials[5].reason.as_deref(), Some("y\n[2Jz"));
    // One that failed and came right is no failure.
    board.update(&Update::Launched(4, 2), start);
    board.update(&Update::Done(4, done(0.6)), start);
    assert_eq!((counts(&board), board.failures()), ([4, 0, 2, 1, 1, 1], vec![5]));
    // Nobody's.
    assert_eq!(board.update(&Update::Done(9, done(0.6)), start), None);
    assert_eq!(board.update(&step(2, 1, 1, 0.5), start), None);
}

#[test]
fn a_trial_knows_how_far_it_is() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut board = Board::new(&entries(), start);
    board.update(&Update::Launched(0, 1), start);
    let resumed =
        vec![EpochLog { epoch: 4, phase: "train".into(), validation_accuracy: Some(0.4), ..EpochLog::default() }];
    let event = Event::Started { epochs: EPOCHS, steps_per_epoch: STEPS, resumed };
    let note = board.update(&Update::Event(0, event), at(10)).unwrap();
    assert_eq!((note.tone, &*note.text), (Tone::News, "goes on after epoch 4/10"));
    let live = |board: &Board| board.trials[0].live.clone().unwrap();
    assert_eq!((live(&board).position(), live(&board).left(at(10))), (4.0, None));
    // Interrupted in the middle of an epoch; what an earlier attempt did says nothing of the pace.
    board.update(&step(0, 5, STEPS / 10, 0.5), at(10));
    assert_eq!(live(&board).left(at(10)), None);
    board.update(&step(0, 5, STEPS / 2, 0.5), at(26));
    let left = |board: &Board, second| live(board).left(at(second)).map(f64::round);
    assert_eq!((live(&board).position(), left(&board, 26)), (4.5, Some(220.0)));
    assert_eq!((left(&board, 76), left(&board, 900)), (Some(170.0), Some(0.0)));
    assert!((board.share() - 0.05).abs() < 1e-9, "{}", board.share());
    board.update(&epoch(0, 5, 0.5), at(46));
    assert_eq!((live(&board).position(), left(&board, 46)), (5.0, Some(200.0)));
    assert_eq!(live(&board).curves.validation_accuracy.points().len(), 2);
    assert_eq!(board.elapsed(at(50)), Duration::from_secs(50));
    // A second attempt begins anew.
    board.update(&Update::Failed(0, "x".into(), true), at(60));
    board.update(&Update::Launched(0, 2), at(61));
    assert_eq!((live(&board).position(), live(&board).curves.loss.points().len()), (0.0, 0));
}

#[test]
fn curves_are_kept_of_those_that_run_and_the_last() {
    let now = Instant::now();
    let mut board = Board::new(&entries(), now);
    for index in 0..3 {
        board.update(&Update::Launched(index, 1), now);
    }
    board.update(&Update::Done(0, done(0.5)), now);
    board.update(&Update::Done(1, done(0.5)), now);
    let live: Vec<bool> = board.trials.iter().take(4).map(|trial| trial.live.is_some()).collect();
    assert_eq!(live, [false, true, true, false]);
}

#[test]
fn the_best_of_each_method_counts_those_that_run() {
    let (board, _) = middle(Instant::now());
    let best: Vec<_> = board.best().iter().map(|best| (best.method.to_owned(), best.trial)).collect();
    assert_eq!(best, [("vanilla".into(), 0), ("compconv".into(), 3), ("depthwise".into(), 1)]);
}

#[test]
fn names_are_shown_without_what_they_share() {
    let named = |names: &[&str]| {
        let entry = |name: &&str| TrialEntry { name: (*name).into(), ..entries()[0].clone() };
        let board = Board::new(&names.iter().map(entry).collect::<Vec<_>>(), Instant::now());
        (board.shared.clone(), board.trials.iter().map(|trial| trial.short.clone()).collect::<Vec<_>>())
    };
    let (shared, shorts) = named(&["r20 ghost seed 0", "r20 thin ratio=0.5 seed 0"]);
    assert_eq!((&*shared, shorts), ("r20, seed 0", vec!["ghost".into(), "thin ratio=0.5".to_owned()]));
    let (shared, shorts) = named(&["r20 ghost seed 0", "r20 ghost seed 1"]);
    assert_eq!((&*shared, shorts), ("r20 ghost seed", vec!["0".into(), "1".to_owned()]));
    assert_eq!(named(&["a b"]), (String::new(), vec!["a b".into()]));
    assert_eq!(named(&["a a a", "a a"]).1, ["a a", "a"]);
    assert_eq!(named(&["", "\x1b"]).1, ["", ""]);
}

/// Lines into memory.
#[derive(Clone, Default)]
struct Printed(Rc<RefCell<Vec<u8>>>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is printed of a small sweep with two jobs.
fn printed(quiet: bool) -> String {
    let (start, out) = (Instant::now(), Printed::default());
    let mut screen = Plain::to(Board::new(&entries()[..4], start), Box::new(out.clone()), quiet);
    let finetune = EpochLog {
        epoch: 9,
        phase: "finetune".into(),
        train_loss: 1.2344,
        train_accuracy: 0.5,
        validation_accuracy: Some(0.456),
        images_per_second: 1234.4,
        ..EpochLog::default()
    };
    let updates = [
        (0, Update::Line("2 of 6 trials are done already".into())),
        (0, Update::Launched(0, 1)),
        (0, Update::Launched(1, 1)),
        (1, started(0)),
        (1, started(1)),
        (5, step(0, 1, 10, 0.5)),
        (748, Update::Event(0, Event::Epoch(finetune))),
        (750, Update::Event(1, Event::Warning { text: "checkpoint\x07 damaged".into() })),
        (760, Update::Failed(1, "no memory".into(), true)),
        (761, Update::Launched(1, 2)),
        (770, Update::Failed(1, "no memory".into(), false)),
        (780, Update::Done(0, done(0.456))),
        (780, Update::Launched(2, 1)),
        (790, Update::Stopped(2)),
        (790, Update::Stopped(3)),
    ];
    for (second, update) in updates {
        screen.update(&update, start + Duration::from_secs(second));
    }
    screen.close(1, 1, 2, start + Duration::from_secs(791));
    let bytes = out.0.borrow().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn lines_say_everything() {
    insta::assert_snapshot!(printed(false), @r"
    2 of 6 trials are done already
    [1/4] resnet20 vanilla seed 0: starts, 10 epochs
    [2/4] resnet20 depthwise seed 0: starts, 10 epochs
    [1/4] resnet20 vanilla seed 0: epoch 9/10 (finetune), loss 1.234, acc 50.0 %, val 45.6 %, 1234 img/s, 1 min 23 s left
    [2/4] resnet20 depthwise seed 0: warning: checkpoint damaged
    [2/4] resnet20 depthwise seed 0: FAILED: no memory; tried again
    [2/4] resnet20 depthwise seed 0: attempt 2
    [2/4] resnet20 depthwise seed 0: FAILED: no memory
    [1/4] resnet20 vanilla seed 0: done, val 45.6 %, test 44.6 %, 269722 params, 40813184 MACs, 11 min 42 s
    [3/4] resnet20 ghost seed 0: stopped; goes on from its checkpoint next time
    4 trials in 13 min 11 s: 1 done, 1 failed, 2 open
    ");
}

#[test]
fn quiet_lines_are_failures_and_warnings() {
    insta::assert_snapshot!(printed(true), @r"
    [2/4] resnet20 depthwise seed 0: warning: checkpoint damaged
    [2/4] resnet20 depthwise seed 0: FAILED: no memory; tried again
    [2/4] resnet20 depthwise seed 0: FAILED: no memory
    ");
}
