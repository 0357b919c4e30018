//! Lists of objects (`src/rm/api/PoolSharedAPI.cc`, `src/pool/PoolSQL.cc`, 7.4).

use crate::calls::Value;
use crate::ctx::{Ctx, allowed};
use crate::failure::{Failure, Right};
use crate::kind::Kind;
use crate::kinds::vm;
use crate::object::{Detail, NONE, Object};
use crate::params::Params;
use crate::render::{self, Form};

/// What a list is narrowed to: the caller's own objects, …
const MINE: i32 = -3;
/// … those of the caller's primary group, …
const GROUP: i32 = -4;
/// … both, …
const MINE_GROUP: i32 = -1;
/// … or all that may be seen. Any other number is a user.
const ALL: i32 = -2;

/// The pool of a kind as XML.
pub(crate) fn run(ctx: &Ctx<'_>, kind: Kind, params: &Params<'_>) -> Result<Value, Failure> {
    let has_filter = matches!(
        kind,
        Kind::Vm | Kind::Vnet | Kind::Image | Kind::Template | Kind::Document | Kind::Vntemplate
    );
    let (filter, start, end) = match has_filter {
        true => (params.int(1)?, params.int(2)?, params.int(3)?),
        false => (ALL, NONE, NONE),
    };
    let doc_type = if kind == Kind::Document { Some(params.int(4)?) } else { None };
    let vm_state = if kind == Kind::Vm { Some(params.int(4)?) } else { None };
    if filter < GROUP {
        return Err(Failure::Api("Incorrect filter_flag".to_owned()));
    }
    let (first, last) = match (start, end) {
        (NONE, _) | (_, ..=-2) => (i32::MIN, i32::MAX),
        (start, NONE) => (start, i32::MAX),
        (start, end) => (start, end),
    };
    // An end below -1 is a number of objects; the start then is how many to leave out.
    let (skip, take) = match end {
        ..=-2 => (i64::from(start.max(0)), i64::from(end).saturating_neg()),
        _ => (0, i64::MAX),
    };

    let tag = format!("{}_POOL", kind.element());
    let mut xml = format!("<{tag}>");
    let mut seen: i64 = 0;
    ctx.store.scan::<Failure>(kind, first, last, |object| {
        let wanted = is_listed(ctx, filter, &object)
            && doc_type.is_none_or(|wanted| is_document(&object, wanted))
            && vm_state.is_none_or(|state| is_in_state(&object, state));
        if wanted {
            seen += 1;
            if seen > skip && seen <= skip.saturating_add(take) {
                render::object(ctx, &object, Form::Pool, &mut xml)?;
            }
        }
        Ok(())
    })?;
    render::pool_end(kind, &mut xml);
    xml.push_str("</");
    xml.push_str(&tag);
    xml.push('>');
    Ok(Value::Text(xml))
}

fn is_listed(ctx: &Ctx<'_>, filter: i32, object: &Object) -> bool {
    let caller = &ctx.caller;
    let mine = object.uid == caller.uid;
    let of_group = object.gid == caller.gid;
    let visible = caller.is_admin() || mine || allowed(caller, Right::Use, object);
    match filter {
        MINE => mine,
        GROUP => of_group && visible,
        MINE_GROUP => mine || (of_group && visible),
        ALL => visible,
        user => object.uid == user && visible,
    }
}

fn is_document(object: &Object, wanted: i32) -> bool {
    matches!(&object.detail, Detail::Document { doc_type, .. } if *doc_type == wanted)
}

/// -1 is every state but DONE, -2 every state.
fn is_in_state(object: &Object, wanted: i32) -> bool {
    match wanted {
        -2 => true,
        -1 => object.state != vm::state::DONE,
        state => object.state == state,
    }
}
