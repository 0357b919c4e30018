//! Examples and properties of the closed evaluator.

use proptest::prelude::*;

use super::*;

struct Provision;

impl Lookup for Provision {
    fn name(&self) -> &str {
        "edge"
    }

    fn id(&self) -> &str {
        "11111111-2222-3333-4444-555555555555"
    }

    fn attribute(&self, kind: ObjectKind, index: usize, path: &str) -> Option<String> {
        match (kind, index, path) {
            (ObjectKind::Cluster, 0, "ID") => Some("100".into()),
            (ObjectKind::Network, 1, "TEMPLATE/BRIDGE") => Some("br\"0\\".into()),
            (ObjectKind::Host, 0, "EMPTY") => Some(String::new()),
            _ => None,
        }
    }
}

#[test]
fn documented_examples_evaluate() {
    let cases = [
        ("<%= @name %>-host", "edge-host"),
        ("<%=@name%>", "edge"),
        ("<%= @name -%>", "edge"),
        ("<%= @clusters[0]['ID'] %>", "100"),
        ("<%= @clusters[ 0 ][ \"ID\" ] %>", "100"),
        ("a <%= @clusters[0]['ID'] %>, <%= @name %> z", "a 100, edge z"),
        ("<%= @vnets[1]['TEMPLATE/BRIDGE'] %>", "br\"0\\"),
        ("<%= 'text' %><%= 12 %>", "text12"),
        ("no reference, 100 %> here", "no reference, 100 %> here"),
        ("<% exit %>", "<% exit %>"),
        ("<%% exit %>", "<%% exit %>"),
        ("<%% exit %> <%= @name %> <%%= @name %>", "<% exit %> edge <%= @name %>"),
        ("", ""),
    ];
    for (text, value) in cases {
        assert_eq!(evaluate(text, &Provision).as_deref(), Ok(value), "{text}");
    }
    assert_eq!(
        evaluate_yaml("a: \"<%= @networks[1]['TEMPLATE/BRIDGE'] %>\"", &Provision).as_deref(),
        Ok("a: \"br\\\"0\\\\\"")
    );
}

#[test]
fn code_is_refused_with_its_place() {
    let cases = [
        "<%= `id` + '@x' %>",
        "<%= @name; system('id') %>",
        "<%= @name + 'x' %>",
        "<%= @hosts.map { |h| h['ID'] } %>",
        "<%= @hosts[0].id %>",
        "<%= @hosts[-1]['ID'] %>",
        "<%= @hosts[0] %>",
        "<%= @hosts['ID'] %>",
        "<%= @hosts[]['ID'] %>",
        "<%= @hosts[99999999999999999999]['ID'] %>",
        "<%= @hosts[0]['//ID'] %>",
        "<%= @hosts[0]['ID'] + @hosts[1]['ID'] %>",
        "<%= @hosts[0]['a'][\"b\"] %>",
        "<%= \"#{@name}\" %>",
        "<%= @provision %>",
        "<%= @@name %>",
        "<%= %>",
        "<% exit %><%= @name %>",
        "<%# comment %><%= @name %>",
        "<%= @name",
    ];
    for text in cases {
        let error = parse(&format!("x{text}")).unwrap_err();
        assert_eq!(error.range.start, 1, "{text}");
        assert!(matches!(evaluate(text, &Provision), Err(EvaluateError::Parse(_))), "{text}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    for text in
        ["<%= @clusters[1]['ID'] %>", "<%= @clusters[0]['NO'] %>", "<%= @hosts[0]['EMPTY'] %>"]
    {
        let error = evaluate(text, &Provision).unwrap_err();
        assert_eq!(error.to_string(), format!("{text} not found"));
    }
}

#[test]
fn texts_of_json_become_numbers_only_where_that_is_wanted() {
    let text = r#"["<%= @clusters[0]['ID'] %>",["<%= @clusters[0]['ID'] %> "],{"a":"<%= 7 %>"}]"#;
    let json = |result: Result<String, EvaluateError>| result.unwrap();
    assert_eq!(json(evaluate_json(text, &Provision)), r#"[100,["100 "],{"a":"7"}]"#);
    assert_eq!(json(evaluate_json_texts(text, &Provision)), r#"["100",["100 "],{"a":"7"}]"#);
    assert!(matches!(evaluate_json_texts("[", &Provision), Err(EvaluateError::Json(_))));
}

#[test]
fn attributes_are_resolved_and_secrets_stay_secrets() {
    let mut all = Attributes::new();
    all.push("A", "<%= @name %>");
    all.push("TOKEN", Secret::new("t-<%= @name %>"));
    all.vector_mut("V").push("B", "<%= @clusters[0]['ID'] %>");
    let resolved = evaluate_attributes(&all, &Provision).unwrap();
    assert_eq!(resolved.text("A"), Some("edge"));
    assert_eq!(resolved.text("V/B"), Some("100"));
    assert!(matches!(resolved.get("TOKEN"), Some(Value::Secret(s)) if s.expose() == "t-edge"));
}

proptest! {
    #[test]
    fn never_panics(text in "(<%|%>|<%= |@name|@hosts|\\[0\\]|\\['ID'\\]|'|\"|[ -~é])*") {
        if let Ok(pieces) = parse(&text) {
            // The pieces cover the text, in order.
            let mut at = 0;
            for piece in &pieces {
                prop_assert_eq!(piece.range.start, at);
                at = piece.range.end;
            }
            prop_assert_eq!(at, text.len());
        }
        let _ = evaluate(&text, &Provision);
    }

    #[test]
    fn nothing_of_a_literal_is_a_reference(text in "(<|%|=|>|<%=|%>|@name|'|[ -~é])*") {
        prop_assert_eq!(evaluate(&literally(&text), &Provision), Ok(text));
    }

    #[test]
    fn canonical_form_means_the_same(text in "(<%= '<' %>|<%= '%' %>|<%= '<%=' %>|<%= @name %>|<|%|= @name %>|%>|x)*") {
        if let (Ok(pieces), Ok(value)) = (parse(&text), evaluate(&text, &Provision)) {
            let canonical: String = pieces
                .into_iter()
                .map(|piece| match piece.content {
                    Content::Text(text) => text,
                    Content::Reference(reference) => reference.to_string(),
                })
                .collect();
            prop_assert_eq!(evaluate(&canonical, &Provision), Ok(value));
        }
    }

    #[test]
    fn canonical_form_reads_back(index in 0usize..100, path in "[A-Z_]{1,8}(/[A-Z_]{1,8}){0,2}") {
        let reference = Reference::Object { kind: ObjectKind::Host, index, path };
        let pieces = parse(&reference.to_string()).unwrap();
        prop_assert_eq!(&pieces[0].content, &Content::Reference(reference));
    }
}
