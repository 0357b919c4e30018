//! Calls to OpenNebula that are made again when they were not answered.

use std::future::Future;
use std::time::Duration;

use model::DocumentId;
use opennebula::objects::{Deletable, Document, Listed, Objects};
use opennebula::{Error, ErrorKind};
use tokio::time::{Instant, sleep};

/// First and longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// How long is waited without a word for what may be a busy database.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);

/// Takes what an operator should know.
pub(crate) type Tell<'t> = &'t (dyn Fn(String) + Sync);

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
/// gone is never looked at again; so that answer counts only if the pool does not have it either. Why that
/// takes its time, `tell` is told.
///
/// # Errors
/// [`Error::is_gone`] if it is not there; [`ErrorKind::Denied`]; a refusal.
pub(crate) async fn delete<O: Listed + Deletable>(
    patience: Duration,
    tell: Tell<'_>,
    objects: &Objects<O>,
    id: O::Id,
) -> Result<(), Error> {
    delete_unless(patience, tell, || objects.delete(id), || objects.exists(id)).await
}

/// The same of a document, whose pool is that of its type.
pub(crate) async fn delete_document(
    patience: Duration,
    tell: Tell<'_>,
    documents: &Objects<Document>,
    id: DocumentId,
    doc_type: i32,
) -> Result<(), Error> {
    let exists =
        || async { Ok(documents.pool(doc_type).await?.iter().any(|document| document.id == id)) };
    delete_unless(patience, tell, || documents.delete(id), exists).await
}

async fn delete_unless<D, E>(
    patience: Duration,
    tell: Tell<'_>,
    mut delete: impl FnMut() -> D,
    exists: impl Fn() -> E,
) -> Result<(), Error>
where
    D: Future<Output = Result<(), Error>>,
    E: Future<Output = Result<bool, Error>>,
{
    let begun = Instant::now();
    let (mut pause, longest) = PAUSES;
    let mut told = false;
    loop {
        let Err(mut error) = repeat(patience, &mut delete).await else { return Ok(()) };
        let ErrorKind::NoSuchObject { object, id } = &error.kind else { return Err(error) };
        if !exists().await? {
            return Err(error);
        }
        if begun.elapsed() >= patience {
            error.kind = ErrorKind::Denied { object: object.clone(), id: *id };
            return Err(error);
        }
        if !told && begun.elapsed() >= SILENCE {
            let seconds = patience.as_secs();
            tell(format!(
                "OpenNebula lists {object} {id}, and says that there is none; waiting up to {seconds} s"
            ));
            told = true;
        }
        sleep(pause).await;
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
