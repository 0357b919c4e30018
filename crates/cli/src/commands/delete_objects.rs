//! `cluster|datastore|vnet|image|template|vntemplate|flowtemplate delete`

use std::sync::Arc;

use engine::{Engine, EngineError, ObjectDeleteRequest, ObjectKind};
use journal::VirtualKind;
use model::ProvisionId;

use super::Exit;
use super::operation::{confirmed, progress, stop_on_signals};
use crate::args::{Global, ObjectDeleteArgs};
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::failover;
use crate::selection::select;

/// What an object of the kind is called on the command line.
fn word(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Cluster => "cluster",
        ObjectKind::Datastore => "datastore",
        ObjectKind::Network => "vnet",
        ObjectKind::Virtual(VirtualKind::Image) => "image",
        ObjectKind::Virtual(VirtualKind::Template) => "template",
        ObjectKind::Virtual(VirtualKind::Vntemplate) => "vntemplate",
        ObjectKind::Virtual(VirtualKind::Flowtemplate) => "flowtemplate",
    }
}

/// Deletes the objects one after another; what cannot be deleted does not hold back the others.
pub async fn run(
    global: &Global,
    args: &ObjectDeleteArgs,
    kind: ObjectKind,
) -> Result<Exit, CliError> {
    let word = word(kind);
    let progress = Arc::new(progress(&args.log));
    let failover = failover::of(&args.fail, global, &progress, failover::Cleanup::Nothing)?;
    let context = Context::open(global, None, Arc::clone(&progress) as _).await?;
    let engine = Engine { failover, ..context.engine.clone() };
    let overviews = engine.overviews().await?;
    let there: Vec<(ProvisionId, i32, &str)> = overviews
        .iter()
        .flat_map(|o| kind.of(&o.pools).into_iter().map(|(id, name)| (o.id, id, name)))
        .collect();
    let named: Vec<(i32, &str)> = there.iter().map(|(_, id, name)| (*id, *name)).collect();
    let ids = select(&args.objects, &named, word)?;
    let question = match ids.as_slice() {
        [id] => format!("Delete {word} {id}?"),
        many => format!("Delete {} {word}s?", many.len()),
    };
    if !confirmed(global, &question) {
        return Err(CliError::new("nothing was deleted").code(Code::Confirmation));
    }
    stop_on_signals(&engine.stop)?;
    let named_once = ids.len() == 1;
    let mut failures = Vec::new();
    let mut code = Code::Refused;
    for id in ids {
        if engine.stop.requested() {
            progress.finish();
            return Ok(Exit::Interrupted);
        }
        let Some((provision, ..)) = there.iter().find(|(_, there, _)| *there == id) else {
            continue;
        };
        let request = ObjectDeleteRequest { provision: *provision, kind, id, force: args.force };
        match engine.delete_object(request).await {
            Ok(deleted) => {
                if deleted.failure.is_some() {
                    code = Code::Failed;
                }
                failures.extend(deleted.failure);
            }
            // One error is told with all that is known of it.
            Err(error) if named_once => {
                progress.finish();
                return Err(error.into());
            }
            Err(error) => {
                if !matches!(error, EngineError::Refused(_)) {
                    code = Code::Failed;
                }
                failures.push(error.to_string());
            }
        }
    }
    progress.finish();
    match failures.split_first() {
        None => Ok(Exit::Done),
        Some((first, rest)) => {
            let mut message = first.clone();
            for failure in rest {
                message += &format!("\n  {failure}");
            }
            Err(CliError::new(message).code(code))
        }
    }
}
