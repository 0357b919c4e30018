//! What is little more than a template: VM templates, network templates, documents
//! (`src/template/VMTemplate.cc`, `src/vntemplate/VNTemplate.cc`, `src/document/Document.cc`).

use model::Attributes;
use model::attributes::element_text;

use super::{check_name, own, taken_text};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::kinds::vnet;
use crate::object::{Detail, Object};
use crate::template::take;

/// A VM template or a network template, not yet stored.
pub(crate) fn new_template(
    ctx: &Ctx<'_>,
    kind: Kind,
    mut template: Attributes,
) -> Result<Object, Failure> {
    let name = take(&mut template, "NAME");
    check_name(ctx, &name).map_err(Failure::internal)?;
    if let Some(text) = taken_text(ctx, kind, &name)? {
        return Err(Failure::internal(text));
    }
    if kind == Kind::Vntemplate {
        vnet::check_template(ctx, &template)?;
    }
    let detail = Detail::Registered { regtime: ctx.seconds(), lock: None };
    let mut object = Object::new(kind, &name, detail);
    own(ctx, &mut object);
    ctx.set_template(&mut object, template)?;
    Ok(object)
}

/// A document of any type, not yet stored. Its id must be known, because its name may come of it.
/// Names of documents may be anything and repeat.
pub(crate) fn new_document(
    ctx: &Ctx<'_>,
    mut template: Attributes,
    doc_type: i32,
    id: i32,
) -> Result<Object, Failure> {
    let name = match take(&mut template, "NAME") {
        name if name.is_empty() => format!("document-{id}"),
        name if name.len() > 128 => {
            return Err(Failure::internal("NAME is too long; max length is 128 chars."));
        }
        name => as_xml(&name)
            .ok_or_else(|| Failure::internal("Error transforming the Document to XML."))?,
    };
    let detail = Detail::Document { doc_type, lock: None };
    let mut object = Object::new(Kind::Document, &name, detail);
    object.id = id;
    own(ctx, &mut object);
    ctx.set_template(&mut object, template)?;
    Ok(object)
}

/// What is read of a text that was written into XML as it is, as `oned` does with this name.
fn as_xml(text: &str) -> Option<String> {
    let xml = format!("<T>{text}</T>");
    let doc = roxmltree::Document::parse(&xml).ok()?;
    let root = doc.root_element();
    root.children().all(|node| node.is_text()).then(|| element_text(root))
}
