//! Examples and properties of the YAML layer.

use proptest::prelude::*;

use super::compose::{BUDGET, Composed, compose};
use super::decode::decode;
use super::emit::{Secrets, emit};
use super::*;
use crate::diagnostic::{Diagnostic, FileId, Severity};

fn read(text: &str) -> (Composed, Vec<Diagnostic>) {
    let (mut diagnostics, mut budget) = (Vec::new(), BUDGET);
    let composed = compose(FileId(0), text, &mut budget, &mut diagnostics);
    (composed, diagnostics)
}

fn tree(text: &str) -> Node {
    match read(text) {
        (Composed::Tree(node), diagnostics) if diagnostics.is_empty() => node,
        other => panic!("{other:?}"),
    }
}

fn get<'n>(node: &'n Node, key: &str) -> &'n Node {
    let entries = node.as_map().unwrap();
    &entries.iter().find(|entry| entry.name() == key).unwrap().value
}

fn text<'n>(node: &'n Node, key: &str) -> &'n str {
    &get(node, key).as_scalar().unwrap().text
}

/// Code, line, column of each finding.
fn places(text: &str) -> Vec<(&'static str, u32, u32)> {
    read(text).1.iter().map(|d| (d.code, d.span.line, d.span.column)).collect()
}

#[test]
fn scalars_keep_text_style_and_place() {
    let root = tree("a: 5.10\nb: 'é x'\nc: |\n  1\n  2\nd: yes\ne: ~\nf:\n");
    assert_eq!(text(&root, "a"), "5.10");
    assert_eq!(text(&root, "d"), "yes");
    let b = get(&root, "b");
    assert_eq!((b.span.line, b.span.column, b.span.length), (2, 4, 5));
    assert_eq!(b.as_scalar().unwrap().style, Style::Quoted);
    assert_eq!(get(&root, "c").as_scalar().unwrap().style, Style::Block);
    assert!(get(&root, "e").is_null() && get(&root, "f").is_null() && !get(&root, "d").is_null());
    assert_eq!((root.span.line, root.span.column, root.span.length), (1, 1, 1));
}

#[test]
fn aliases_and_merge_keys_are_resolved() {
    let root = tree("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz: {<<: [*x, {c: 4, a: 9}]}\n");
    assert_eq!((text(get(&root, "y"), "a"), text(get(&root, "y"), "b")), ("1", "3"));
    assert_eq!((text(get(&root, "z"), "a"), text(get(&root, "z"), "c")), ("1", "4"));
    assert_eq!(places("a: {<<: 1}\n"), [("merge-key", 1, 9)]);
    // Ruby let it win over what stands before it.
    assert_eq!(places("x: &x {a: 1, b: 2}\ny:\n  b: 3\n  <<: *x\n"), [("merge-key", 3, 3)]);
}

#[test]
fn duplicate_keys_name_both_places() {
    let (_, diagnostics) = read("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n");
    let found: Vec<_> =
        diagnostics.iter().map(|d| (d.code, d.span.line, d.related[0].span.line)).collect();
    assert_eq!(found, [("duplicate-key", 4, 3), ("duplicate-key", 5, 1)]);
    let (_, diagnostics) = read("name: a\ncluster:\nname: b\n");
    assert!(diagnostics[0].help.as_deref().unwrap().contains("'cluster' in line 2"));
}

#[test]
fn all_placeholders_are_found_in_one_run_and_the_rest_is_read() {
    let text = "token: ****\nlist:\n  - ***\n  - k: *****  # yours\nsg: sg-******\n\
                note: |\n  x: ****\nq: \"****\"\nname: n\n";
    assert_eq!(
        places(text),
        [
            ("placeholder", 1, 8),
            ("placeholder", 3, 5),
            ("placeholder", 4, 8),
            ("placeholder", 5, 5),
            ("placeholder", 8, 4),
        ]
    );
    let (composed, diagnostics) = read(text);
    let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
    assert_eq!(errors, 3);
    let Composed::Tree(root) = composed else { panic!("no tree") };
    assert_eq!(super::tests::text(&root, "note"), "x: ****\n");
    // A syntax error further down is reported together with them.
    assert_eq!(places("a: ****\nb: [\n"), [("placeholder", 1, 4), ("yaml-syntax", 2, 5)]);
    // A real alias is none.
    assert_eq!(places("a: &x 1\nb: *x\nc: *y\n"), [("placeholder", 3, 4)]);
}

#[test]
fn syntax_errors_have_a_place_and_help() {
    for (text, place, help) in [
        ("a:\n\t- b\n", (2, 1), "spaces"),
        ("a: b\n\tc: d\n", (2, 1), "spaces"),
        ("a: b: c\n", (1, 5), "quotes"),
        ("- a\nb: c\n", (2, 1), "- "),
        ("a: \"x\n", (1, 4), "closed"),
        ("a: @b\n", (1, 4), "quotes"),
        ("a: {b\n", (1, 6), "'{'"),
        ("key: value\nkey2\nkey3: v\n", (3, 1), "':'"),
        ("a: 'x\nb: c\n", (1, 4), "closed"),
    ] {
        let (composed, diagnostics) = read(text);
        assert!(matches!(composed, Composed::Failed), "{text:?}");
        assert_eq!(diagnostics.len(), 1, "{text:?}");
        let found = &diagnostics[0];
        assert_eq!((found.span.line, found.span.column), place, "{text:?} {found:?}");
        assert!(found.help.as_deref().unwrap_or("").contains(help), "{text:?} {found:?}");
    }
}

#[test]
fn only_the_first_document_may_hold_data() {
    assert_eq!(places("a: 1\n---\nb: 2\n"), [("second-document", 3, 1)]);
    assert_eq!(places("---\n---\nb: 2\n"), [("second-document", 3, 1)]);
    assert_eq!(places("a: 1\n---\n---\n# nothing\n"), []);
    // What stands behind it is not even looked at.
    assert_eq!(places("a: 1\n---\nb: [\n"), [("second-document", 3, 1)]);
}

#[test]
fn bombs_are_refused() {
    let mut bomb = "a0: &a0 xxxxxxxxxxxxxxxx\n".to_owned();
    for i in 1..40 {
        let parts = vec![format!("*a{}", i - 1); 10].join(",");
        bomb.push_str(&format!("a{i}: &a{i} [{parts}]\n"));
    }
    assert_eq!(read(&bomb).1[0].code, "too-large");
    let text = format!("a: &a {}\nb:\n{}", "x".repeat(1 << 20), "- *a\n".repeat(200));
    assert_eq!(read(&text).1[0].code, "too-large");
    for open in ["[", "{a: ", "- ", "? "] {
        let (composed, diagnostics) = read(&open.repeat(100_000));
        assert!(matches!(composed, Composed::Failed) && diagnostics.len() == 1, "{open}");
    }
    assert_eq!(places("a: &a [*a]\n"), [("alias-cycle", 1, 8)]);
}

#[test]
fn bytes_that_are_no_text_are_told_with_their_place() {
    assert_eq!(decode(b"\xEF\xBB\xBFa: 1\n".to_vec()).as_deref(), Ok("a: 1\n"));
    assert_eq!(decode(b"a: 1\r\nb: 2\rc: 3".to_vec()).as_deref(), Ok("a: 1\nb: 2\nc: 3"));
    let error = decode(b"a: 1\nb: \xFF\n".to_vec()).unwrap_err();
    assert_eq!(error.place, Some((2, 4)));
    let error = decode(b"\x7FELF\x00\x01\xFF".to_vec()).unwrap_err();
    assert_eq!(error.place, Some((1, 5)));
    assert!(error.message.contains("binary"));
    assert!(decode(b"\xFF\xFEa\x00".to_vec()).unwrap_err().message.contains("UTF-16"));
}

#[test]
fn emitting_masks_secrets_only_for_people() {
    let root = tree(
        "packet_token: abc\nprivate_key: /k/id_rsa\nopennebula_private_key: true\n\
         access:\n  user: bob\n  list: [one]\n",
    );
    let shown = emit(&root, Secrets::Masked);
    assert!(
        !shown.contains("abc") && !shown.contains("bob") && !shown.contains("one\n"),
        "{shown}"
    );
    assert!(shown.contains("/k/id_rsa") && shown.contains("true"), "{shown}");
    assert!(emit(&root, Secrets::Shown).contains("abc"));
}

/// A tree without places, for comparison.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Text(String, bool),
    List(Vec<Shape>),
    Map(Vec<(String, Shape)>),
}

fn shape(node: &Node) -> Shape {
    match &node.kind {
        Kind::Scalar(scalar) => Shape::Text(scalar.text.clone(), scalar.style == Style::Plain),
        Kind::List(items) => Shape::List(items.iter().map(shape).collect()),
        Kind::Map(entries) => {
            Shape::Map(entries.iter().map(|e| (e.name().to_owned(), shape(&e.value))).collect())
        }
    }
}

fn any_node() -> impl Strategy<Value = Node> {
    let span = Span { file: FileId(0), line: 1, column: 1, length: 1 };
    let scalar =
        |text: String, style| Kind::Scalar(Scalar { text, style, tag: None, secret: false });
    let leaf = prop_oneof![
        "[a-z0-9._-]{0,3}[a-z0-9]".prop_map(move |text| scalar(text, Style::Plain)),
        any::<String>().prop_map(move |text| scalar(text, Style::Quoted)),
        "[ a\n:#'\"\\\\\t\r-]{0,12}".prop_map(move |text| scalar(text, Style::Block)),
    ];
    let leaf = leaf.prop_map(move |kind| Node { span, kind });
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let key = "[a-z]{1,6}|[ -~]{1,6}|é:".prop_filter("a key", |k| !k.is_empty() && k != "<<");
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Kind::List),
            prop::collection::btree_map(key, inner, 0..4).prop_map(move |map| {
                let entry = |(text, value)| Entry {
                    key: Scalar { text, style: Style::Quoted, tag: None, secret: false },
                    key_span: span,
                    value,
                };
                Kind::Map(map.into_iter().map(entry).collect())
            }),
        ]
        .prop_map(move |kind| Node { span, kind })
    })
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "([a-c]|[ \n\t:#*&!|>'\"\\[\\]{},%@`~-]|---\n|<<: |\\*\\*\\*\\*|é){0,60}") {
        read(&text);
    }

    #[test]
    fn any_bytes_are_decoded_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(text) = decode(bytes) {
            read(&text);
        }
    }

    #[test]
    fn what_is_emitted_reads_back(node in any_node()) {
        let text = emit(&node, Secrets::Shown);
        match read(&text).0 {
            Composed::Tree(back) => prop_assert_eq!(shape(&back), shape(&node), "{}", text),
            Composed::Empty => prop_assert!(node.is_null()),
            Composed::Failed => prop_assert!(false, "not read: {text:?}"),
        }
    }
}

#[test]
fn a_tab_behind_a_colon_is_white_space() {
    let root = tree("é:\tname\nb:\n  c:\t \td\n  d: \"x:\ty\"\ne: |\n  f:\tg\nh:\ti\n");
    assert_eq!((text(&root, "é"), text(&root, "h")), ("name", "i"));
    assert_eq!((text(get(&root, "b"), "c"), text(get(&root, "b"), "d")), ("d", "x:\ty"));
    assert_eq!(text(&root, "e"), "f:\tg\n");
    let name = get(&root, "é");
    assert_eq!((name.span.line, name.span.column, name.span.length), (1, 4, 4));
    assert_eq!(places("a:\tb\nc: [\n"), [("yaml-syntax", 2, 5)]);
    assert_eq!(places(&"- a:\tb\n".repeat(300)).len(), 1);
}
