//! The thread that owns the connection, and group commit: what is queued goes to the disk in one transaction, so that
//! a thousand writers wait for a few syncs and not for a thousand.

use std::{fs::File, sync::Mutex, thread::JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{Result, StoreError};

/// Jobs that may wait; beyond it callers do.
const QUEUE: usize = 1024;

/// Writes in one transaction, at most.
const GROUP: usize = 256;

type Apply = Box<dyn FnOnce(&Connection) -> Result<()> + Send>;

struct Write {
    apply: Apply,
    reply: oneshot::Sender<Result<()>>,
}

enum Job {
    Write(Write),
    Read(Box<dyn FnOnce(&mut Connection) + Send>),
    Close(oneshot::Sender<Result<()>>),
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Worker {
    /// `None` only while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Worker {
    /// Starts the thread; it holds `lock` as long as it lives.
    pub(super) fn start(connection: Connection, lock: Option<File>) -> Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new().name("plimsoll-store".to_owned()).spawn(move || {
            serve(connection, queue);
            drop(lock);
        })?;
        Ok(Self { jobs: Some(jobs), thread: Mutex::new(Some(thread)) })
    }

    fn jobs(&self) -> &mpsc::Sender<Job> {
        self.jobs.as_ref().expect("there until the worker is dropped")
    }

    async fn ask<T>(&self, (job, reply): (Job, oneshot::Receiver<Result<T>>)) -> Result<T> {
        self.jobs().send(job).await.map_err(|_| StoreError::Closed)?;
        reply.await.map_err(|_| StoreError::Closed)?
    }

    fn ask_blocking<T>(&self, (job, reply): (Job, oneshot::Receiver<Result<T>>)) -> Result<T> {
        self.jobs().blocking_send(job).map_err(|_| StoreError::Closed)?;
        reply.blocking_recv().map_err(|_| StoreError::Closed)?
    }

    pub(super) async fn write(&self, apply: impl FnOnce(&Connection) -> Result<()> + Send + 'static) -> Result<()> {
        self.ask(write(apply)).await
    }

    pub(super) fn write_blocking(&self, apply: impl FnOnce(&Connection) -> Result<()> + Send + 'static) -> Result<()> {
        self.ask_blocking(write(apply))
    }

    /// Between two commits; may hold transactions of its own.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.ask(read(query)).await
    }

    pub(super) fn read_blocking<T: Send + 'static>(
        &self,
        query: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.ask_blocking(read(query))
    }

    pub(super) async fn close(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let closed = self.ask((Job::Close(reply), answer)).await;
        self.join();
        closed
    }

    pub(super) fn close_blocking(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let closed = self.ask_blocking((Job::Close(reply), answer));
        self.join();
        closed
    }

    /// Waits for the thread, which has nothing left to do, so that the lock is free afterwards.
    fn join(&self) {
        let thread = self.thread.lock().expect("no holder of the handle panics").take();
        if let Some(thread) = thread {
            // If it panicked, its callers know already: they were answered with `Closed`.
            thread.join().ok();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        self.join();
    }
}

fn write(apply: impl FnOnce(&Connection) -> Result<()> + Send + 'static) -> (Job, oneshot::Receiver<Result<()>>) {
    let (reply, answer) = oneshot::channel();
    (Job::Write(Write { apply: Box::new(apply), reply }), answer)
}

fn read<T: Send + 'static>(
    query: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T>>) {
    let (reply, answer) = oneshot::channel();
    // Nobody may be waiting any longer; then the answer is not wanted.
    let job = move |connection: &mut Connection| drop(reply.send(query(connection)));
    (Job::Read(Box::new(job)), answer)
}

fn serve(mut connection: Connection, mut queue: mpsc::Receiver<Job>) {
    while let Some(job) = queue.blocking_recv() {
        let mut next = Some(job);
        while let Some(job) = next.take() {
            match job {
                Job::Read(query) => query(&mut connection),
                Job::Close(reply) => {
                    queue.close();
                    let tidied = connection.close().map_err(|(_, error)| error.into());
                    reply.send(tidied).ok();
                    return;
                }
                Job::Write(first) => {
                    let mut group = vec![first];
                    while group.len() < GROUP && next.is_none() {
                        match queue.try_recv() {
                            Ok(Job::Write(write)) => group.push(write),
                            Ok(other) => next = Some(other),
                            Err(_) => break,
                        }
                    }
                    commit(&connection, group);
                }
            }
        }
    }
}

/// One transaction for all, in which each is all or nothing by itself; answers come after the sync.
fn commit(connection: &Connection, group: Vec<Write>) {
    let (applies, replies): (Vec<_>, Vec<_>) = group.into_iter().map(|write| (write.apply, write.reply)).unzip();
    let results = apply_all(connection, applies);
    for (index, reply) in replies.into_iter().enumerate() {
        let result = match &results {
            Ok(each) => each[index].clone(),
            Err(error) => Err(error.clone()),
        };
        // Nobody may be waiting any longer; it is committed all the same.
        reply.send(result).ok();
    }
}

/// The outer error is that of the whole transaction: nothing was written at all.
fn apply_all(connection: &Connection, applies: Vec<Apply>) -> Result<Vec<Result<()>>> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let all = apply_each(connection, applies);
    let done = all.and_then(|results| {
        connection.execute_batch("COMMIT")?;
        Ok(results)
    });
    // SQLite itself rolls back when the disk is full or fails; not after every error.
    if done.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    done
}

fn apply_each(connection: &Connection, applies: Vec<Apply>) -> Result<Vec<Result<()>>> {
    let mut results = Vec::with_capacity(applies.len());
    for apply in applies {
        connection.execute_batch("SAVEPOINT one")?;
        let result = apply(connection);
        if let Err(error) = &result {
            if connection.is_autocommit() || error.is_disk() {
                return Err(error.clone());
            }
            connection.execute_batch("ROLLBACK TO one")?;
        }
        connection.execute_batch("RELEASE one")?;
        results.push(result);
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(value: &str) -> Apply {
        let value = value.to_owned();
        Box::new(move |connection| {
            connection.execute("INSERT INTO facts VALUES (?1, 'x')", [value])?;
            Ok(())
        })
    }

    #[test]
    fn one_bad_write_does_not_take_the_others_along() {
        let mut connection = Connection::open_in_memory().expect("memory");
        super::super::schema::prepare(&mut connection).expect("a schema");
        let results = apply_all(&connection, vec![insert("a"), insert("a"), insert("b")]).expect("a commit");
        assert!(matches!(results.as_slice(), [Ok(()), Err(StoreError::Refused(_)), Ok(())]), "{results:?}");
        let count: i64 = connection.query_row("SELECT count(*) FROM facts", [], |row| row.get(0)).expect("a count");
        assert_eq!(count, 2);
        assert!(connection.is_autocommit());
    }

    #[test]
    fn a_full_disk_fails_all_of_the_group_and_is_not_for_ever() {
        let mut connection = Connection::open_in_memory().expect("memory");
        super::super::schema::prepare(&mut connection).expect("a schema");
        let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).expect("pages");
        let limit = |pages: i64| {
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).expect("a limit");
        };
        limit(pages);
        let group = || vec![insert("small"), insert(&"large".repeat(10_000)), insert("late")];
        assert_eq!(apply_all(&connection, group()), Err(StoreError::Full));
        assert!(connection.is_autocommit());
        limit(1 << 20);
        assert_eq!(apply_all(&connection, group()), Ok(vec![Ok(()), Ok(()), Ok(())]));
    }
}
