//! Asks all questions of a protocol.
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use gar_core::kernels::Progress;

use super::{ChatRequest, Client, JudgeError, Protocol, Reply};
use crate::{Error, Result};

/// All answers of a protocol, in the order of its questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// One for each question.
    pub answers: Vec<String>,
    /// How many of them were in the cache.
    pub cached: usize,
}

/// What a session would send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryRun {
    /// The first request, its pictures shortened.
    pub first: String,
    /// Questions in all.
    pub requests: usize,
    /// Bytes of all bodies together.
    pub bytes: u64,
    /// The longest body.
    pub longest: u64,
    /// How many answers are in the cache and would not be asked for.
    pub cached: usize,
}

/// Asks every question once, several at one time. Answers are in the cache as they come: after an error or a kill, the
/// next session asks for the others alone.
///
/// # Errors
/// [`JudgeError::Incomplete`] where some question got no answer: the others were asked nevertheless, unless the endpoint
/// refused in a way that concerns all. A question that cannot be made, an answer that cannot be kept.
pub fn ask_all(protocol: &dyn Protocol, client: &Client, progress: &dyn Progress) -> Result<Session> {
    let count = protocol.len();
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let results: Mutex<Vec<Option<Result<Reply>>>> = Mutex::new((0..count).map(|_| None).collect());
    let work = || {
        while !stop.load(Relaxed) {
            let at = next.fetch_add(1, Relaxed);
            if at >= count {
                return;
            }
            let result = protocol.question(at).and_then(|question| client.ask(&question.request));
            if result.as_ref().is_err_and(concerns_all) {
                stop.store(true, Relaxed);
            }
            results.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(result);
            progress.advance(1);
        }
    };
    progress.start("judge", count as u64);
    std::thread::scope(|scope| (0..client.settings().at_once.min(count)).for_each(|_| drop(scope.spawn(work))));
    progress.finish();
    gather(protocol, results.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What [`ask_all`] would send; sends nothing.
///
/// # Errors
/// A question that cannot be made.
pub fn dry_run(protocol: &dyn Protocol, client: &Client) -> Result<DryRun> {
    let endpoint = client.endpoint();
    let mut run = DryRun { first: String::new(), requests: protocol.len(), bytes: 0, longest: 0, cached: 0 };
    for at in 0..protocol.len() {
        let request: ChatRequest = protocol.question(at)?.request;
        let bytes = request.body(endpoint).len() as u64;
        run.bytes += bytes;
        run.longest = run.longest.max(bytes);
        run.cached += usize::from(client.known(&request).is_some());
        if at == 0 {
            run.first = request.shown(endpoint);
        }
    }
    Ok(run)
}

/// Whether it makes no sense to go on.
fn concerns_all(error: &Error) -> bool {
    match error {
        Error::Judge(error) => matches!(&**error, JudgeError::GaveUp { fault, .. } if fault.is_final()),
        _ => true,
    }
}

/// All answers, or the first of the errors.
fn gather(protocol: &dyn Protocol, results: Vec<Option<Result<Reply>>>) -> Result<Session> {
    let questions = results.len();
    let (mut answers, mut cached, mut failed, mut first) = (Vec::with_capacity(questions), 0, 0, None);
    for (at, result) in results.into_iter().enumerate() {
        match result {
            Some(Ok(reply)) => {
                cached += usize::from(reply.cached);
                answers.push(reply.text);
            }
            Some(Err(Error::Judge(error))) => {
                failed += 1;
                first.get_or_insert((at, error));
            }
            Some(Err(other)) => return Err(other),
            None => failed += 1,
        }
    }
    match first {
        None => Ok(Session { answers, cached }),
        Some((at, first)) => {
            let first_question = protocol.question(at)?.name;
            Err(JudgeError::Incomplete { failed, questions, first_question, first }.into())
        }
    }
}
