//! Reading objects and pools out of the XML of answers.

use std::marker::PhantomData;

use model::attributes::element_text;
use model::{Attributes, Secret, Value};
use roxmltree::{Document, Node, ParsingOptions};

use super::{Object, Owner, Permissions};
use crate::xmlrpc::{MAX_NODES, TextSink, describe};

/// One element of an answer. What is not there, or is not what it should be, is an empty text, 0 or
/// an empty list: releases 5.8 to 7.4 differ in what they write.
#[derive(Clone, Copy)]
pub struct Element<'a, 'i> {
    node: Node<'a, 'i>,
    /// Names have [`STAND_IN`] where they had colons.
    has_stand_ins: bool,
}

impl<'a, 'i> Element<'a, 'i> {
    pub(super) fn child(self, name: &str) -> Option<Self> {
        let node = self.node.children().find(|node| node.has_tag_name(name))?;
        Some(Self { node, ..self })
    }

    pub(super) fn text(self, name: &str) -> String {
        self.child(name).map(|child| element_text(child.node)).unwrap_or_default()
    }

    pub(super) fn number<T: std::str::FromStr>(self, name: &str) -> Option<T> {
        self.text(name).trim().parse().ok()
    }

    /// A whole number, 0 if missing; some releases write counts as `12.0`.
    pub(super) fn count(self, name: &str) -> i64 {
        let text = self.text(name);
        let whole = text.trim().split('.').next().unwrap_or_default();
        whole.parse().unwrap_or(0)
    }

    /// The `<ID>`s within an element.
    pub(super) fn ids<T: From<i32>>(self, name: &str) -> Vec<T> {
        let Some(list) = self.child(name) else { return Vec::new() };
        let ids = list.node.children().filter(|node| node.has_tag_name("ID"));
        ids.filter_map(|id| element_text(id).trim().parse::<i32>().ok()).map(T::from).collect()
    }

    pub(super) fn children(self, name: &'static str) -> impl Iterator<Item = Self> {
        let children = self.node.children().filter(move |node| node.has_tag_name(name));
        children.map(move |node| Self { node, ..self })
    }

    pub(super) fn attributes(self, name: &str) -> Attributes {
        self.child(name).map(Self::all).unwrap_or_default()
    }

    /// Everything in it as attributes.
    fn all(self) -> Attributes {
        let attributes = Attributes::from_xml(self.node);
        if self.has_stand_ins { with_colons(attributes) } else { attributes }
    }

    /// Id of the object, without which nothing can be done with it.
    pub(super) fn id<T: From<i32>>(self) -> Result<T, String> {
        let id = self.number::<i32>("ID");
        id.map(T::from).ok_or_else(|| format!("a {} without an ID", self.node.tag_name().name()))
    }

    pub(super) fn owner(self) -> Owner {
        Owner {
            uid: self.number("UID").unwrap_or(-1).into(),
            gid: self.number("GID").unwrap_or(-1).into(),
            uname: self.text("UNAME"),
            gname: self.text("GNAME"),
        }
    }

    pub(super) fn permissions(self) -> Permissions {
        let Some(flags) = self.child("PERMISSIONS") else { return Permissions::UNCHANGED };
        Permissions(super::PERMISSION_NAMES.map(|name| match flags.number::<i32>(name) {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        }))
    }
}

/// Reads one object.
pub(super) fn object<O: Object>(xml: &str) -> Result<O, String> {
    with_root(xml, |root| {
        let expected = O::KIND.element();
        let found = root.node.tag_name().name();
        if found != expected {
            return Err(format!("a {expected} was expected"));
        }
        O::read(root)
    })
}

/// Reads the objects of a pool while its text comes, one tree at a time: a tree takes many times the
/// room of its text, and of most objects nothing is kept.
pub(super) struct PoolReader<O, T, F> {
    children: Children,
    keep: F,
    /// What was kept so far, or what is wrong with the pool.
    found: Result<Vec<T>, String>,
    object: PhantomData<fn() -> O>,
}

impl<O: Object, T, F: Fn(O) -> Option<T>> PoolReader<O, T, F> {
    pub(super) fn new(keep: F) -> Self {
        let children = Children::default();
        Self { children, keep, found: Ok(Vec::new()), object: PhantomData }
    }

    /// What was kept of the pool, whose text is at its end.
    pub(super) fn finish(self) -> Result<Vec<T>, String> {
        let found = self.found?;
        // What breaks off must not pass for a shorter pool, and so for objects that are gone.
        if self.children.done { Ok(found) } else { Err(CUT_SHORT.to_owned()) }
    }

    fn take(&mut self, piece: &str) -> Result<(), String> {
        let Ok(found) = &mut self.found else { return Ok(()) };
        self.children.push(piece);
        while let Some(text) = self.children.next_child()? {
            // A pool of users or groups has quotas beside the objects.
            if tag_name(text) == O::KIND.element() {
                found.extend((self.keep)(object(text)?));
            }
        }
        // A list of something else would pass for an empty pool.
        match &self.children.root {
            Some(root) if root.strip_suffix("_POOL") != Some(O::KIND.element()) => {
                Err(format!("a {}_POOL was expected", O::KIND.element()))
            }
            _ => Ok(()),
        }
    }
}

impl<O: Object, T: Send, F: Fn(O) -> Option<T> + Send> TextSink for PoolReader<O, T, F> {
    fn begin(&mut self) {
        self.children = Children::default();
        self.found = Ok(Vec::new());
    }

    fn text(&mut self, piece: &str) {
        if let Err(what) = self.take(piece) {
            self.found = Err(what);
        }
    }
}

/// Reads any element as attributes, passwords as secrets.
pub(super) fn attributes(xml: &str) -> Result<Attributes, String> {
    with_root(xml, |root| Ok(mask_passwords(root.all())))
}

/// Makes secrets of the values whose key says that they are passwords.
pub(super) fn mask_passwords(attributes: Attributes) -> Attributes {
    attributes
        .into_iter()
        .map(|(key, value)| {
            let value = match value {
                Value::Text(text) if key.to_ascii_uppercase().contains("PASSW") => {
                    Value::Secret(Secret::new(text))
                }
                Value::Vector(inner) => Value::Vector(mask_passwords(inner)),
                other => other,
            };
            (key, value)
        })
        .collect()
}

fn with_root<T>(
    xml: &str,
    read: impl FnOnce(Element<'_, '_>) -> Result<T, String>,
) -> Result<T, String> {
    let parse = |text| {
        let limits =
            ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..Default::default() };
        Document::parse_with_options(text, limits)
    };
    let mut parsed = parse(xml.trim_start());
    let replaced = if parsed.is_err() { without_colons(xml.trim_start()) } else { None };
    if let Some(text) = &replaced {
        parsed = parse(text);
    }
    let doc = parsed.map_err(|error| format!("the XML in it has {}", describe(&error)))?;
    let node = doc.root_element();
    if depth_exceeded(node) {
        return Err("the XML in it is nested too deep".to_owned());
    }
    read(Element { node, has_stand_ins: replaced.is_some() })
}

/// Stands for `:` in names while they are read. Letters may be in names, and nobody has this one there.
const STAND_IN: &str = "\u{A789}";

/// The text with a stand-in for each `:` in the names of its elements, if there is one. `oned` has such
/// names, for libxml2 wants no prefix to be declared; our reader wants it.
fn without_colons(text: &str) -> Option<String> {
    let mut tags = Children { text: text.to_owned(), ..Children::default() };
    let (mut replaced, mut copied) = (String::new(), 0);
    while let Ok(Some((begin, kind))) = tags.markup() {
        let tag = text.get(begin..tags.at).unwrap_or_default();
        let name = tag.split(char::is_whitespace).next().unwrap_or_default();
        if !matches!(kind, Markup::Other) && name.contains(':') {
            replaced += text.get(copied..begin).unwrap_or_default();
            replaced += &name.replace(':', STAND_IN);
            copied = begin + name.len();
        }
    }
    replaced += text.get(copied..).unwrap_or_default();
    (copied > 0).then_some(replaced)
}

fn with_colons(attributes: Attributes) -> Attributes {
    let pair = |(name, value): (String, Value)| match value {
        Value::Vector(inner) => (name.replace(STAND_IN, ":"), Value::Vector(with_colons(inner))),
        value => (name.replace(STAND_IN, ":"), value),
    };
    attributes.into_iter().map(pair).collect()
}

/// Attributes are read by recursion, so their depth must have an end; objects have about 8 levels.
fn depth_exceeded(root: Node<'_, '_>) -> bool {
    const DEEPEST: usize = 64;
    let mut depth = 0;
    let mut node = root;
    loop {
        if let Some(child) = node.first_child() {
            depth += 1;
            if depth > DEEPEST {
                return true;
            }
            node = child;
            continue;
        }
        while node.next_sibling().is_none() || node == root {
            match node.parent() {
                Some(parent) if node != root => node = parent,
                _ => return false,
            }
            depth -= 1;
        }
        match node.next_sibling() {
            Some(next) => node = next,
            None => return false,
        }
    }
}

fn tag_name(element: &str) -> &str {
    let name = element.strip_prefix('<').unwrap_or_default();
    name.split(|c: char| c.is_whitespace() || c == '>' || c == '/').next().unwrap_or_default()
}

/// Cuts a document, of which pieces come, into the texts of the root's child elements, without
/// building a tree.
#[derive(Default)]
struct Children {
    /// The document from `first` on, or from where markup is looked for.
    text: String,
    at: usize,
    /// Name of the root, once it is known.
    root: Option<String>,
    /// Number of open elements below the root.
    depth: usize,
    /// Where the open child begins.
    first: usize,
    /// The root is closed.
    done: bool,
}

/// What stands at a `<`.
enum Markup {
    Open,
    Close,
    Empty,
    Other,
}

const CUT_SHORT: &str = "the XML in it ends too early";

impl Children {
    fn push(&mut self, piece: &str) {
        let passed = if self.depth > 0 { self.first } else { self.at };
        self.text.drain(..passed);
        self.at -= passed;
        self.first = 0;
        if !self.done {
            self.text.push_str(piece);
        }
    }

    /// Goes behind the next piece of markup; where it begins and what it is. `None` if its end has not
    /// come.
    fn markup(&mut self) -> Result<Option<(usize, Markup)>, String> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let Some(begin) = rest.find('<') else {
            self.at = self.text.len();
            return Ok(None);
        };
        self.at += begin;
        let begin = self.at;
        let rest = self.text.get(begin..).unwrap_or_default();
        let (end, kind) = if rest.starts_with("<![CDATA[") {
            (rest.find("]]>").map(|end| end + 3), Markup::Other)
        } else if rest.starts_with("<!--") {
            (rest.find("-->").map(|end| end + 3), Markup::Other)
        } else if rest.starts_with("<?") {
            (rest.find("?>").map(|end| end + 2), Markup::Other)
        } else if "<![CDATA[".starts_with(rest) || "<!--".starts_with(rest) {
            (None, Markup::Other)
        } else if rest.starts_with("<!") {
            return Err("the XML in it has a document type".to_owned());
        } else if rest.starts_with("</") {
            (rest.find('>').map(|end| end + 1), Markup::Close)
        } else {
            let end = tag_end(rest);
            let empty = end.is_some_and(|end| rest.get(..end).is_some_and(|t| t.ends_with("/>")));
            (end, if empty { Markup::Empty } else { Markup::Open })
        };
        let Some(end) = end else { return Ok(None) };
        self.at += end;
        Ok(Some((begin, kind)))
    }

    /// The next child that is there as a whole; `None` if there is none yet, or none any more.
    fn next_child(&mut self) -> Result<Option<&str>, String> {
        while !self.done {
            let Some((begin, kind)) = self.markup()? else { break };
            match (kind, &self.root) {
                (Markup::Other, _) => continue,
                (Markup::Close, None) => return Err("the XML in it has no root".to_owned()),
                (kind, None) => {
                    let tag = self.text.get(begin..self.at).unwrap_or_default();
                    self.root = Some(tag_name(tag).to_owned());
                    self.done = matches!(kind, Markup::Empty);
                    continue;
                }
                (Markup::Open, _) => {
                    if self.depth == 0 {
                        self.first = begin;
                    }
                    self.depth += 1;
                    continue;
                }
                (Markup::Empty, _) if self.depth == 0 => self.first = begin,
                (Markup::Empty, _) => {}
                (Markup::Close, Some(root)) if self.depth == 0 => {
                    // Where tags do not match, this may be the end of anything.
                    let tag = self.text.get(begin + "</".len()..self.at).unwrap_or_default();
                    if tag.trim_end_matches('>').trim_end() != root {
                        return Err(
                            "the XML in it has a closing tag that does not match".to_owned()
                        );
                    }
                    self.done = true;
                }
                (Markup::Close, _) => self.depth -= 1,
            }
            if self.depth == 0 && !self.done {
                return Ok(self.text.get(self.first..self.at));
            }
        }
        Ok(None)
    }
}

/// End of an opening tag; a `>` within quotes is none.
fn tag_end(tag: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn element() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            Just("<![CDATA[</A> ]] > <B>]]>".to_owned()),
            Just("<!-- <A> -->".to_owned()),
            Just("<?p </A> ?>".to_owned()),
            "[a-z ]{0,3}".prop_map(String::from),
        ];
        let tag = prop_oneof![Just("A"), Just("B x='/>'"), Just("C y=\"'>\" ")];
        let leaf = prop_oneof![text, tag.clone().prop_map(|tag| format!("<{tag}/>"))];
        leaf.prop_recursive(4, 20, 4, move |inner| {
            (tag.clone(), proptest::collection::vec(inner, 0..4)).prop_map(|(tag, inner)| {
                let name = tag.split(' ').next().unwrap_or(tag);
                format!("<{tag}>{}</{name}>", inner.concat())
            })
        })
    }

    proptest! {
        #[test]
        fn children_are_cut_where_an_xml_reader_finds_them(
            parts in proptest::collection::vec(element(), 0..6)
        ) {
            let text = format!("<P>{}</P>", parts.concat());
            let doc = Document::parse(&text).unwrap();
            let elements = doc.root_element().children().filter(Node::is_element);
            let expected: Vec<String> =
                elements.map(|child| text[child.range()].to_owned()).collect();
            prop_assert_eq!(cut(&text), Ok(expected.clone()));
            let one_by_one = text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]);
            prop_assert_eq!(cut_in_pieces(one_by_one), Ok(expected));
        }

        #[test]
        fn any_text_is_cut_or_refused(text in r#"(<|>|/|</?A>|<A/>|"|'|<!\[CDATA\[|\]\]>|<!--|-->|x|é){0,20}"#) {
            let _ = cut(&text);
        }
    }

    fn cut(text: &str) -> Result<Vec<String>, String> {
        cut_in_pieces([text])
    }

    fn cut_in_pieces<'t>(pieces: impl IntoIterator<Item = &'t str>) -> Result<Vec<String>, String> {
        let mut children = Children::default();
        let mut found = Vec::new();
        for piece in pieces {
            children.push(piece);
            while let Some(child) = children.next_child()? {
                found.push(child.to_owned());
            }
        }
        if children.done { Ok(found) } else { Err(CUT_SHORT.to_owned()) }
    }

    #[test]
    fn a_pool_is_cut_into_its_objects() {
        let pool = "<?xml version='1.0'?><!-- <x> --><P a='>'>\n<H><ID>1</ID></H> <Q/>\
                    <H><N><![CDATA[</H></P>]]></N><E/></H><!-- </P> --></P>";
        assert_eq!(
            cut(pool).unwrap(),
            ["<H><ID>1</ID></H>", "<Q/>", "<H><N><![CDATA[</H></P>]]></N><E/></H>"]
        );
        assert_eq!(cut("<P/>"), Ok(vec![]));
        assert_eq!(cut("<P></P\n>"), Ok(vec![]));
    }

    #[test]
    fn a_pool_that_is_cut_short_is_an_error() {
        for bad in [
            "",
            "x",
            "<P></Q>",
            "<P>x</PP>",
            "<P><H<a>b</a></H></P>",
            "<P>",
            "<P><H>",
            "<P><H></H>",
            "<P><H><![CDATA[",
            "</P>",
            "<P a='>",
        ] {
            assert!(cut(bad).is_err(), "{bad}");
        }
        assert!(cut("<!DOCTYPE P []><P/>").is_err());
    }

    #[test]
    fn passwords_are_secrets() {
        let read =
            attributes("<C><DB><PASSWD>x1</PASSWD></DB><TOKEN_PASSWORD>x2</TOKEN_PASSWORD></C>");
        let shown = format!("{:?}", read.unwrap());
        assert!(!shown.contains("x1") && !shown.contains("x2"), "{shown}");
    }

    #[test]
    fn deep_xml_is_refused() {
        let deep = format!("<C>{}{}</C>", "<a>".repeat(100_000), "</a>".repeat(100_000));
        assert!(attributes(&deep).unwrap_err().contains("deep"));
    }
}
