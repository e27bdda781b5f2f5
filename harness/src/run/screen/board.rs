//! What is known of a sweep at a moment: pure state, whatever it is shown on. Clocks are passed in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::live::Live;
use super::text::{clean, duration, one_line, percent};
use super::{Event, TrialEntry, TrialSummary, Update};
use crate::config::schema::off_engine_remark;

/// Most notes that are kept.
const NOTES: usize = 200;

/// Where a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardState {
    Waiting,
    Running,
    Done,
    Failed,
    Stopped,
    Elsewhere,
}

/// How much something said matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// What happens all the time.
    Routine,
    News,
    Good,
    Warning,
    Failure,
}

/// Something to be said, of one trial or of all.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub trial: Option<usize>,
    pub tone: Tone,
    pub text: String,
}

/// A trial of the sweep.
#[derive(Debug)]
pub struct Card {
    pub entry: TrialEntry,
    /// Its name without the words that all trials share.
    pub short: String,
    pub state: CardState,
    /// The n-th, from 1; 0: never started.
    pub attempt: u32,
    /// Why it failed, if it did at its last attempt.
    pub reason: Option<String>,
    pub summary: Option<TrialSummary>,
    /// What it says while it runs; kept of the one that ended last.
    pub live: Option<Box<Live>>,
}

/// The best trial of a method so far, by its last epoch on validation.
#[derive(Clone, Debug, PartialEq)]
pub struct Best<'a> {
    pub method: &'a str,
    pub validation: f64,
    pub trial: usize,
}

/// The sweep.
#[derive(Debug)]
pub struct Board {
    pub trials: Vec<Card>,
    /// The words that all trials' names share.
    pub shared: String,
    /// What was said that is not routine, oldest first.
    pub notes: VecDeque<Note>,
    started: Instant,
    running: BTreeSet<usize>,
    /// The one that ran and ended last.
    ended: Option<usize>,
    counts: [usize; 6],
    /// The best of each method that is done.
    best: BTreeMap<String, (f64, usize)>,
    /// Epochs of all trials, and of those that will not run any more.
    work: (f64, f64),
}

impl Board {
    /// A sweep that starts now.
    pub fn new(entries: &[TrialEntry], now: Instant) -> Self {
        let names: Vec<String> = entries.iter().map(|entry| one_line(&entry.name)).collect();
        let (shared, shorts) = shorten(&names);
        let entries = entries.iter().zip(names).map(|(entry, name)| TrialEntry { name, ..entry.clone() });
        let trial = |(entry, short)| Card {
            entry,
            short,
            state: CardState::Waiting,
            attempt: 0,
            reason: None,
            summary: None,
            live: None,
        };
        let trials: Vec<Card> = entries.zip(shorts).map(trial).collect();
        let mut counts = [0; 6];
        counts[CardState::Waiting as usize] = trials.len();
        let work = (trials.iter().map(Card::work).sum(), 0.0);
        let (notes, running, best) = Default::default();
        Self { trials, shared, notes, started: now, running, ended: None, counts, best, work }
    }

    /// Takes in what happened, and gives what is to be said of it. Trials that are not there are nobody's.
    pub fn update(&mut self, update: &Update, now: Instant) -> Option<Note> {
        let trial = match update {
            Update::Launched(index, _) | Update::Event(index, _) | Update::Done(index, _) => Some(*index),
            Update::Failed(index, ..) | Update::Stopped(index) | Update::Elsewhere(index) => Some(*index),
            Update::Line(_) => None,
        };
        if trial.is_some_and(|index| index >= self.trials.len()) {
            return None;
        }
        let (tone, text) = match update {
            Update::Launched(index, attempt) => self.launched(*index, *attempt, now),
            Update::Event(index, event) => self.trials[*index].said(event, now),
            Update::Done(index, summary) => self.done(*index, summary),
            Update::Failed(index, reason, again) => Some(self.failed(*index, reason, *again)),
            Update::Stopped(index) => {
                let ran = self.trials[*index].state == CardState::Running;
                self.turn(*index, CardState::Stopped);
                ran.then(|| (Tone::News, "stopped; goes on from its checkpoint next time".into()))
            }
            Update::Elsewhere(index) => {
                self.turn(*index, CardState::Elsewhere);
                Some((Tone::News, "another process is at work on it".into()))
            }
            Update::Line(text) => Some((Tone::News, clean(text))),
        }?;
        let note = Note { trial, tone, text };
        if tone != Tone::Routine {
            if self.notes.len() == NOTES {
                self.notes.pop_front();
            }
            self.notes.push_back(note.clone());
        }
        Some(note)
    }

    fn launched(&mut self, index: usize, attempt: u32, now: Instant) -> Option<(Tone, String)> {
        self.turn(index, CardState::Running);
        let trial = &mut self.trials[index];
        trial.attempt = attempt;
        trial.live = Some(Box::new(Live::new(trial.entry.epochs, 0, now)));
        (attempt > 1).then(|| (Tone::News, format!("attempt {attempt}")))
    }

    fn done(&mut self, index: usize, summary: &TrialSummary) -> Option<(Tone, String)> {
        self.turn(index, CardState::Done);
        let trial = &mut self.trials[index];
        (trial.summary, trial.reason) = (Some(*summary), None);
        // Without training there is a cost and nothing to tell; thousands may come in a second.
        if summary.validation.is_none() && summary.test.is_none() {
            return None;
        }
        // By test images nothing is ranked while others may still be trained.
        if let Some(validation) = summary.validation {
            let best = self.best.entry(trial.entry.method.clone()).or_insert((validation, index));
            if validation > best.0 {
                *best = (validation, index);
            }
        }
        let told = |name: &str, accuracy: Option<f64>| accuracy.map(|share| format!(", {name} {}", percent(share)));
        let accuracies = [told("val", summary.validation), told("test", summary.test)];
        let text = format!(
            "done{}, {} params, {} MACs, {}",
            accuracies.into_iter().flatten().collect::<String>(),
            summary.params,
            summary.macs,
            duration(summary.seconds)
        );
        Some((Tone::Good, text))
    }

    fn failed(&mut self, index: usize, reason: &str, again: bool) -> (Tone, String) {
        self.turn(index, if again { CardState::Waiting } else { CardState::Failed });
        let reason = clean(reason);
        let text = format!("FAILED: {reason}{}", if again { "; tried again" } else { "" });
        self.trials[index].reason = Some(reason);
        (Tone::Failure, text)
    }

    fn turn(&mut self, index: usize, state: CardState) {
        let trial = &mut self.trials[index];
        let before = std::mem::replace(&mut trial.state, state);
        self.counts[before as usize] -= 1;
        self.counts[state as usize] += 1;
        self.work.1 += trial.work() * (f64::from(u8::from(state.settled())) - f64::from(u8::from(before.settled())));
        if state == CardState::Running {
            self.running.insert(index);
        } else if before == CardState::Running {
            self.running.remove(&index);
            // A screen may go on showing the last one's curves; those of all would not fit in memory.
            if let Some(last) = self.ended.replace(index).filter(|&last| last != index)
                && self.trials[last].state != CardState::Running
            {
                self.trials[last].live = None;
            }
        }
    }

    /// Trials in this state.
    pub fn count(&self, state: CardState) -> usize {
        self.counts[state as usize]
    }

    /// The trials that run, in order.
    pub fn running(&self) -> impl ExactSizeIterator<Item = usize> {
        self.running.iter().copied()
    }

    /// The share of the work that is done, by epochs, in [0, 1].
    pub fn share(&self) -> f64 {
        let running: f64 = self.running.iter().map(|&index| self.trials[index].worked()).sum();
        ((self.work.1 + running) / self.work.0.max(1e-9)).clamp(0.0, 1.0)
    }

    pub fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// The best of each method, best first: what trials came to, or what those that run have reached.
    pub fn best(&self) -> Vec<Best<'_>> {
        let mut best: BTreeMap<&str, (f64, usize)> = self.best.iter().map(|(key, &value)| (&**key, value)).collect();
        for &trial in &self.running {
            let Card { entry, live, .. } = &self.trials[trial];
            let log = live.as_ref().and_then(|live| live.validation.as_ref());
            let Some(reached) = log.and_then(|log| log.validation_accuracy) else { continue };
            let place = best.entry(&entry.method).or_insert((reached, trial));
            if reached > place.0 {
                *place = (reached, trial);
            }
        }
        let mut best: Vec<_> =
            best.into_iter().map(|(method, (validation, trial))| Best { method, validation, trial }).collect();
        best.sort_by(|a, b| b.validation.total_cmp(&a.validation));
        best
    }

    /// Trials that failed, for good or at their last attempt.
    pub fn failures(&self) -> Vec<usize> {
        self.trials.iter().enumerate().filter(|(_, trial)| trial.reason.is_some()).map(|(index, _)| index).collect()
    }
}

impl CardState {
    /// Every state.
    pub const ALL: [Self; 6] = [Self::Waiting, Self::Running, Self::Done, Self::Failed, Self::Stopped, Self::Elsewhere];

    fn settled(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Stopped)
    }
}

impl Card {
    /// Its part of the sweep: epochs, or next to nothing where only a cost is worked out.
    fn work(&self) -> f64 {
        if self.entry.epochs == 0 { 1e-3 } else { self.entry.epochs as f64 }
    }

    fn worked(&self) -> f64 {
        let live = self.live.as_ref();
        live.map_or(0.0, |live| (live.position() / live.epochs.max(1) as f64).min(1.0) * self.work())
    }

    fn said(&mut self, event: &Event, now: Instant) -> Option<(Tone, String)> {
        if let Event::Warning { text } = event {
            return Some((Tone::Warning, format!("warning: {}", clean(text))));
        }
        let live = self.live.as_mut()?;
        match event {
            Event::Started { epochs, steps_per_epoch, resumed } => {
                **live = Live::new(*epochs, *steps_per_epoch, now);
                for log in resumed {
                    live.epoch(log, now);
                }
                Some(match resumed.last() {
                    Some(last) => (Tone::News, format!("goes on after epoch {}/{epochs}", last.epoch)),
                    None => (Tone::Routine, format!("starts, {epochs} epoch{}", if *epochs == 1 { "" } else { "s" })),
                })
            }
            Event::Step(log) => {
                live.step(log, now);
                None
            }
            Event::Epoch(log) => {
                live.epoch(log, now);
                Some((Tone::Routine, live.sentence(log, now)))
            }
            Event::OffEngine { why } => {
                live.off_engine = true;
                Some((Tone::Warning, format!("† {}", off_engine_remark(clean(why)))))
            }
            Event::Warning { .. } => None,
        }
    }
}

/// What all names begin and end with, and what is left of each.
fn shorten(names: &[String]) -> (String, Vec<String>) {
    let words: Vec<Vec<&str>> = names.iter().map(|name| name.split_whitespace().collect()).collect();
    let shortest = words.iter().map(Vec::len).min().unwrap_or(0);
    let Some((first, rest)) = words.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return (String::new(), names.to_vec());
    };
    let most = shortest.saturating_sub(1);
    let same = |at: &dyn Fn(&[&str]) -> usize| rest.iter().all(|other| other[at(other)] == first[at(first)]);
    let head = (0..most).take_while(|&i| same(&|_| i)).count();
    let tail = (0..most - head).take_while(|&i| same(&|words| words.len() - 1 - i)).count();
    let shorts = words.iter().map(|words| words[head..words.len() - tail].join(" ")).collect();
    let ends = [first[..head].join(" "), first[first.len() - tail..].join(" ")];
    (ends.into_iter().filter(|end| !end.is_empty()).collect::<Vec<_>>().join(", "), shorts)
}
