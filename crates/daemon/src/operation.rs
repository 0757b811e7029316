//! Long requests: each runs in a task of its own, tells what it does, and can be cancelled.
//!
//! An operation belongs to nobody: a client that goes away leaves it running, another can watch it. Cancelling
//! only raises a flag ([`Handle::cancelled`]); the work looks at it wherever it waits, releases what it holds and
//! ends with [`Ended::Cancelled`]. The task itself is never dropped half-way, so an effect is never half done.
//! Finished ones stay readable for [`KEEP_FOR`], unless [`KEEP`] others have finished after them.

use banger_protocol::daemon_api::operation::{Event, OperationState, OperationView};
use banger_protocol::ids::OperationId;
use banger_protocol::wire::{ErrorKind, RpcError};
use serde::Serialize;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Finished operations that stay readable.
const KEEP: usize = 256;
const KEEP_FOR: Duration = Duration::from_secs(60 * 60);

/// Often enough for an eye.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);

tokio::task_local! {
    /// The operation that the present task works for.
    static CURRENT: OperationId;
}

/// The operation that the present task works for, if it works for one.
pub(crate) fn current() -> Option<OperationId> {
    CURRENT.try_with(Clone::clone).ok()
}

/// How work ended that did not succeed.
#[derive(Debug)]
pub(crate) enum Ended {
    Failed(RpcError),
    /// Because somebody asked for it; everything is released.
    Cancelled,
}

impl From<RpcError> for Ended {
    fn from(error: RpcError) -> Self {
        if error.kind == ErrorKind::Cancelled { Self::Cancelled } else { Self::Failed(error) }
    }
}

#[derive(Debug)]
struct Operation {
    id: OperationId,
    method: &'static str,
    subject: String,
    started: Instant,
    cancel: CancellationToken,
    called_off: AtomicBool,
    story: Mutex<Story>,
    /// Raised with every change of `story`.
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Story {
    /// Without progress, of which only the last matters.
    events: Vec<Event>,
    progress: Option<Event>,
    progress_told: Option<Instant>,
    state: OperationState,
    ended: Option<Instant>,
}

/// The running operation as its own work sees it.
#[derive(Clone, Debug)]
pub(crate) struct Handle(Arc<Operation>);

impl Handle {
    pub(crate) fn id(&self) -> &OperationId {
        &self.0.id
    }

    /// A stage begins.
    pub(crate) fn stage(&self, name: &str) {
        tracing::debug!(operation = %self.0.id, stage = name);
        let event =
            Event::Stage { name: name.to_owned(), elapsed_ms: millis(self.0.started, Instant::now()) };
        self.0.tell(|story| {
            story.progress = None;
            story.progress_told = None;
            story.events.push(event);
        });
    }

    /// Cheap enough to be called for every file: watchers are told at most every [`PROGRESS_EVERY`].
    pub(crate) fn progress(&self, done: u64, total: u64) {
        let now = Instant::now();
        let mut story = self.0.story();
        if story.progress_told.is_some_and(|told| now.duration_since(told) < PROGRESS_EVERY) && done < total {
            return;
        }
        story.progress_told = Some(now);
        story.progress = Some(Event::Progress { done, total });
        drop(story);
        self.0.changed.send_modify(|version| *version += 1);
    }

    pub(crate) fn warn(&self, message: String) {
        tracing::warn!(operation = %self.0.id, message);
        self.0.tell(|story| story.events.push(Event::Warning { message }));
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.cancel.is_cancelled()
    }

    /// Whether it was cancelled in favour of something else and not because its result is unwanted.
    pub(crate) fn is_called_off(&self) -> bool {
        self.0.called_off.load(Ordering::SeqCst)
    }

    /// Ends when somebody cancels the operation.
    pub(crate) async fn cancelled(&self) {
        self.0.cancel.cancelled().await;
    }
}

impl Operation {
    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: impl FnOnce(&mut Story)) {
        change(&mut self.story());
        self.changed.send_modify(|version| *version += 1);
    }

    fn view(&self) -> OperationView {
        let story = self.story();
        OperationView {
            operation: self.id.clone(),
            method: self.method.to_owned(),
            subject: self.subject.clone(),
            state: story.state.clone(),
            elapsed_ms: millis(self.started, story.ended.unwrap_or_else(Instant::now)),
        }
    }
}

fn millis(since: Instant, until: Instant) -> u64 {
    u64::try_from(until.duration_since(since).as_millis()).unwrap_or(u64::MAX)
}

/// All operations of this daemon.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    all: Mutex<BTreeMap<u64, Arc<Operation>>>,
}

impl Operations {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Operation>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts `work` in a task of its own and returns its id.
    pub(crate) fn start<R, F, W>(&self, method: &'static str, subject: String, work: W) -> OperationId
    where
        R: Serialize,
        F: Future<Output = Result<R, Ended>> + Send + 'static,
        W: FnOnce(Handle) -> F,
    {
        let operation = Arc::new(Operation {
            id: OperationId::random(),
            method,
            subject,
            started: Instant::now(),
            cancel: CancellationToken::new(),
            called_off: AtomicBool::new(false),
            story: Mutex::new(Story {
                events: Vec::new(),
                progress: None,
                progress_told: None,
                state: OperationState::Running,
                ended: None,
            }),
            changed: watch::Sender::new(0),
        });
        {
            let mut all = self.lock();
            let sequence = all.last_key_value().map_or(0, |(last, _)| last + 1);
            all.insert(sequence, operation.clone());
            prune(&mut all, Instant::now());
        }
        let id = operation.id.clone();
        tracing::info!(operation = %id, method, subject = operation.subject, "started");
        let work = work(Handle(operation.clone()));
        tokio::spawn(async move {
            // In a task of its own, so that a panic in the work is an ended operation and not an eternal one.
            let state = match tokio::spawn(
                CURRENT.scope(operation.id.clone(), async move { work.await.map(to_value) }),
            )
            .await
            {
                Ok(Ok(result)) => OperationState::Succeeded(result),
                Ok(Err(Ended::Cancelled)) => OperationState::Cancelled,
                Ok(Err(Ended::Failed(error))) => {
                    OperationState::Failed(RpcError { operation: Some(operation.id.clone()), ..error })
                }
                Err(panic) => OperationState::Failed(RpcError {
                    operation: Some(operation.id.clone()),
                    ..RpcError::new(
                        ErrorKind::OperationFailed,
                        format!("{} broke off: {panic}", operation.method),
                    )
                }),
            };
            if let OperationState::Failed(error) = &state {
                tracing::error!(operation = %operation.id, method = operation.method, %error, "failed");
            }
            operation.tell(|story| {
                story.ended = Some(Instant::now());
                story.state = state;
            });
        });
        id
    }

    fn find(&self, id: &OperationId) -> Result<Arc<Operation>, RpcError> {
        let found = self.lock().values().find(|operation| &operation.id == id).cloned();
        found.ok_or_else(|| RpcError::new(ErrorKind::NotFound, format!("operation {id} not found")))
    }

    pub(crate) fn status(&self, id: &OperationId) -> Result<OperationView, RpcError> {
        Ok(self.find(id)?.view())
    }

    pub(crate) fn list(&self) -> Vec<OperationView> {
        let mut all = self.lock();
        prune(&mut all, Instant::now());
        all.values().map(|operation| operation.view()).collect()
    }

    pub(crate) fn any_running(&self) -> bool {
        self.lock().values().any(|operation| operation.story().state == OperationState::Running)
    }

    /// Follows an operation from its beginning, wherever it is now.
    pub(crate) fn watch(&self, id: &OperationId) -> Result<Watcher, RpcError> {
        let operation = self.find(id)?;
        let changed = operation.changed.subscribe();
        Ok(Watcher { operation, changed, told: 0, progress: None })
    }

    /// Raises the flag and waits until the work has ended, one way or another.
    pub(crate) async fn cancel(&self, id: &OperationId) -> Result<OperationView, RpcError> {
        self.find(id)?.cancel.cancel();
        self.outcome(id).await
    }

    /// As [`Operations::cancel`], but what the operation was about stays: see [`Handle::is_called_off`].
    pub(crate) async fn call_off(&self, id: &OperationId) -> Result<OperationView, RpcError> {
        self.find(id)?.called_off.store(true, Ordering::SeqCst);
        self.cancel(id).await
    }

    /// Calls off everything under way and waits for its end.
    pub(crate) async fn end_all(&self) {
        let running = self.list().into_iter().filter(|view| view.state == OperationState::Running);
        let running: Vec<OperationId> = running.map(|view| view.operation).collect();
        for operation in running.iter().filter_map(|id| self.find(id).ok()) {
            operation.called_off.store(true, Ordering::SeqCst);
            operation.cancel.cancel();
        }
        for id in &running {
            // One that is forgotten meanwhile has ended.
            let _ = self.outcome(id).await;
        }
    }

    async fn outcome(&self, id: &OperationId) -> Result<OperationView, RpcError> {
        let mut watcher = self.watch(id)?;
        while watcher.next().await.is_some() {}
        Ok(watcher.view())
    }
}

/// One who follows an operation.
#[derive(Debug)]
pub(crate) struct Watcher {
    operation: Arc<Operation>,
    changed: watch::Receiver<u64>,
    /// Events handed out so far.
    told: usize,
    /// The progress handed out last.
    progress: Option<Event>,
}

impl Watcher {
    /// The next event, or `None` once the operation has ended and everything was told.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            self.changed.borrow_and_update();
            {
                let story = self.operation.story();
                if let Some(event) = story.events.get(self.told) {
                    self.told += 1;
                    return Some(event.clone());
                }
                if story.progress != self.progress {
                    self.progress.clone_from(&story.progress);
                    if let Some(progress) = &self.progress {
                        return Some(progress.clone());
                    }
                }
                if story.state != OperationState::Running {
                    return None;
                }
            }
            // The sender lives in the operation that we hold.
            self.changed.changed().await.ok()?;
        }
    }

    pub(crate) fn view(&self) -> OperationView {
        self.operation.view()
    }
}

fn to_value<R: Serialize>(result: R) -> serde_json::Value {
    serde_json::to_value(result).expect("a reply type serialises")
}

/// Forgets what ended long ago, and of the rest that has ended all but the last.
fn prune(all: &mut BTreeMap<u64, Arc<Operation>>, now: Instant) {
    let ended = |operation: &Operation| operation.story().ended;
    all.retain(|_, operation| ended(operation).is_none_or(|at| now.duration_since(at) < KEEP_FOR));
    let finished: Vec<u64> = all
        .iter()
        .filter(|(_, operation)| ended(operation).is_some())
        .map(|(&sequence, _)| sequence)
        .collect();
    for sequence in finished.iter().take(finished.len().saturating_sub(KEEP)) {
        all.remove(sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watcher_that_comes_late_hears_everything() {
        let operations = Operations::default();
        let id = operations.start("test", "x".to_owned(), |handle| async move {
            handle.stage("one");
            handle.progress(1, 2);
            handle.stage("two");
            Ok(42)
        });
        let mut stages = Vec::new();
        for _ in 0..2 {
            stages.clear();
            let mut watcher = operations.watch(&id).unwrap();
            while let Some(event) = watcher.next().await {
                if let Event::Stage { name, .. } = event {
                    stages.push(name);
                }
            }
            let view = watcher.view();
            assert_eq!(view.state, OperationState::Succeeded(42.into()));
        }
        assert_eq!(stages, ["one", "two"]);
    }

    #[tokio::test]
    async fn cancelling_waits_for_the_release() {
        let operations = Operations::default();
        let released = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flag = released.clone();
        let id = operations.start("test", "x".to_owned(), |handle| async move {
            handle.cancelled().await;
            tokio::task::yield_now().await;
            flag.store(true, std::sync::atomic::Ordering::SeqCst);
            Err::<(), _>(Ended::Cancelled)
        });
        let view = operations.cancel(&id).await.unwrap();
        assert_eq!(view.state, OperationState::Cancelled);
        assert!(released.load(std::sync::atomic::Ordering::SeqCst));
    }

    #[tokio::test]
    async fn work_that_panics_is_a_failure_and_not_an_eternal_operation() {
        let operations = Operations::default();
        let id =
            operations.start("test", "x".to_owned(), |_| async { panic!("planted") as Result<(), Ended> });
        let mut watcher = operations.watch(&id).unwrap();
        while watcher.next().await.is_some() {}
        assert!(matches!(watcher.view().state, OperationState::Failed(_)));
    }

    #[tokio::test]
    async fn the_last_that_ended_are_kept_for_a_while_and_one_under_way_for_as_long_as_it_takes() {
        let operations = Operations::default();
        let under_way = operations.start("test", "x".to_owned(), |handle| async move {
            handle.cancelled().await;
            Err::<(), _>(Ended::Cancelled)
        });
        for _ in 0..KEEP + 10 {
            let id = operations.start("test", "x".to_owned(), |_| async { Ok(()) });
            operations.outcome(&id).await.unwrap();
        }
        assert_eq!(operations.list().len(), KEEP + 1);
        prune(&mut operations.lock(), Instant::now() + KEEP_FOR / 2);
        assert_eq!(operations.lock().len(), KEEP + 1);
        prune(&mut operations.lock(), Instant::now() + KEEP_FOR);
        assert!(operations.any_running());
        assert_eq!(operations.list().len(), 1);
        operations.cancel(&under_way).await.unwrap();
        assert!(!operations.any_running());
    }
}
