//! Calls to OpenNebula that are made again when they were not answered.

use std::future::Future;
use std::time::Duration;

use model::DocumentId;
use opennebula::Error;
use opennebula::objects::{Deletable, Document, Listed, Objects};
use tokio::time::{Instant, sleep};

/// First and longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Repeats a write that does no harm when done twice, as long as it is not known whether it was
/// done, up to the patience. What the client itself retries is not seen here.
pub(crate) async fn repeat<T, F>(
    patience: Duration,
    mut write: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let begun = Instant::now();
    let (mut pause, longest) = PAUSES;
    loop {
        match write().await {
            Err(error) if error.is_unknown() && begun.elapsed() < patience => sleep(pause).await,
            answer => return answer,
        }
        pause = (pause * 2).min(longest);
    }
}

/// Deletes an object. A busy database says "no such object" of one that is there, and what is believed to be
/// gone is never looked at again; so that answer counts only if the pool does not have it either.
///
/// # Errors
/// [`Error::is_gone`] if it is not there; a refusal.
pub(crate) async fn delete<O: Listed + Deletable>(
    patience: Duration,
    objects: &Objects<O>,
    id: O::Id,
) -> Result<(), Error> {
    delete_unless(patience, || objects.delete(id), || objects.exists(id)).await
}

/// The same of a document, whose pool is that of its type.
pub(crate) async fn delete_document(
    patience: Duration,
    documents: &Objects<Document>,
    id: DocumentId,
    doc_type: i32,
) -> Result<(), Error> {
    let exists =
        || async { Ok(documents.pool(doc_type).await?.iter().any(|document| document.id == id)) };
    delete_unless(patience, || documents.delete(id), exists).await
}

async fn delete_unless<D, E>(
    patience: Duration,
    mut delete: impl FnMut() -> D,
    exists: impl Fn() -> E,
) -> Result<(), Error>
where
    D: Future<Output = Result<(), Error>>,
    E: Future<Output = Result<bool, Error>>,
{
    let begun = Instant::now();
    let (mut pause, longest) = PAUSES;
    loop {
        match repeat(patience, &mut delete).await {
            Err(error) if error.is_gone() => match exists().await? {
                true if begun.elapsed() < patience => sleep(pause).await,
                _ => return Err(error),
            },
            answer => return answer,
        }
        pause = (pause * 2).min(longest);
    }
}

/// Makes an object. After an attempt that was not answered it is looked for, and if it is not there
/// it is asked for again, up to the patience.
///
/// An attempt that is carried out late does no harm: the next one finds the name taken, and the
/// object is found. A name that is taken before anything was tried is somebody else's, unless
/// `may_be_ours` says that an earlier command tried.
pub(crate) async fn make<T, A, F>(
    patience: Duration,
    may_be_ours: bool,
    mut allocate: impl FnMut() -> A,
    mut find: impl FnMut() -> F,
) -> Result<T, Error>
where
    A: Future<Output = Result<T, Error>>,
    F: Future<Output = Result<Option<T>, Error>>,
{
    let begun = Instant::now();
    let (mut pause, longest) = PAUSES;
    let mut tried = may_be_ours;
    loop {
        let error = match allocate().await {
            Err(error) if error.is_unknown() || (tried && error.name_taken()) => error,
            answer => return answer,
        };
        tried = true;
        match find().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) if error.is_unknown() && begun.elapsed() < patience => sleep(pause).await,
            // If it cannot be looked for, the first error is still what is known.
            _ => return Err(error),
        }
        pause = (pause * 2).min(longest);
    }
}
