//! Tests of both directions.

use proptest::prelude::*;

use super::*;

fn answer(value: &str) -> Result<Param, ParseError> {
    let body = format!(
        "<?xml version=\"1.0\"?>\n<methodResponse><params><param>{value}</param></params></methodResponse>"
    );
    match parse_response(body.as_bytes())? {
        MethodResponse::Success(param) => Ok(param),
        MethodResponse::Fault { .. } => panic!("no fault"),
    }
}

#[test]
fn every_type_of_value_is_read() {
    for (xml, value) in [
        ("<value>bare <![CDATA[text]]></value>", Param::from("bare text")),
        ("<value/>", Param::from("")),
        ("<value><string/></value>", Param::from("")),
        ("<value> <string> a&amp;&#65;\n</string>\n</value>", Param::from(" a&A\n")),
        ("<value><i4>-7</i4></value>", Param::Int(-7)),
        ("<value><int> +7 </int></value>", Param::Int(7)),
        ("<value><i8>9000000000</i8></value>", Param::Long(9_000_000_000)),
        ("<value><boolean>1</boolean></value>", Param::Bool(true)),
        ("<value><double>-1.5</double></value>", Param::Double(-1.5)),
        ("<value><base64>aGVs\nbG8=</base64></value>", Param::from("hello")),
        ("<value><nil/></value>", Param::Nil),
        (
            "<value><dateTime.iso8601>20260101T00:00:00</dateTime.iso8601></value>",
            "20260101T00:00:00".into(),
        ),
        ("<value><array><data/></array></value>", Param::Array(vec![])),
        (
            "<value><struct><member><name>a</name><value><i4>1</i4></value></member></struct></value>",
            Param::Struct(vec![("a".into(), Param::Int(1))]),
        ),
    ] {
        let read = answer(xml).unwrap();
        assert!(read == value, "{xml}: {read:?}");
    }
}

#[test]
fn what_is_no_value_is_refused() {
    for (xml, error) in [
        ("<value><i4>x</i4></value>", ParseError::Value { kind: "i4" }),
        ("<value><i4>9000000000</i4></value>", ParseError::Value { kind: "i4" }),
        ("<value><boolean>2</boolean></value>", ParseError::Value { kind: "boolean" }),
        ("<value><double>inf</double></value>", ParseError::Value { kind: "double" }),
        ("<value><base64>!</base64></value>", ParseError::Value { kind: "base64" }),
        ("<value><odd/></value>", ParseError::Value { kind: "value" }),
        ("<value><array/></value>", ParseError::Missing { element: "data" }),
        ("", ParseError::Missing { element: "value" }),
    ] {
        assert!(answer(xml) == Err(error.clone()), "{xml}: {:?}", answer(xml));
    }
}

#[test]
fn calls_are_refused_for_their_reason_and_never_quoted() {
    let secret = "oneadmin:s3cret";
    for (body, error) in [
        (format!("<!DOCTYPE a [<!ENTITY x \"{secret}\">]><methodCall/>"), ParseError::Dtd),
        (format!("<foo>{secret}</foo>"), ParseError::Root { expected: "methodCall" }),
        ("<methodCall/>".to_owned(), ParseError::Missing { element: "methodName" }),
        (
            format!("<methodCall>{secret}</wrong>"),
            ParseError::Xml { line: 1, column: 28, what: "a closing tag that does not match" },
        ),
        (
            format!("<methodCall>&{secret};"),
            ParseError::Xml { line: 1, column: 13, what: "an unknown entity" },
        ),
        (String::new(), ParseError::Xml { line: 1, column: 1, what: "there is no element" }),
    ] {
        let found = parse_call(body.as_bytes()).unwrap_err();
        assert_eq!(found, error, "{body}");
        assert!(!format!("{found} {found:?}").contains("s3cret"), "{found}");
    }
    assert_eq!(parse_call(b"<a>\xFF</a>"), Err(ParseError::Utf8 { offset: 3 }));
}

#[test]
fn depth_and_size_have_an_end() {
    let deep = |depth| {
        let open = "<value><array><data>".repeat(depth);
        answer(&format!("{open}{}", "</data></array></value>".repeat(depth)))
    };
    assert!(deep(MAX_DEPTH).is_ok());
    assert!(deep(100_000) == Err(ParseError::TooComplex));
    let many = answer(&"<a/>".repeat(MAX_NODES as usize + 1));
    assert!(many == Err(ParseError::TooComplex), "{many:?}");
}

#[test]
fn a_body_of_sixteen_megabytes_passes_both_ways() {
    let text = "<KEY><![CDATA[value]]></KEY>\n".repeat((16 << 20) / 29);
    let call = MethodCall {
        method: "one.host.update".to_owned(),
        params: vec![Param::from("u:p"), Param::Int(1), Param::Str(text), Param::Int(1)],
    };
    let bytes = write_call(&call).unwrap();
    assert!(bytes.len() > 16 << 20);
    assert!(parse_call(&bytes).unwrap() == call);
}

#[test]
fn characters_that_xml_has_not_are_refused_in_calls_and_replaced_in_answers() {
    let call =
        |param| write_call(&MethodCall { method: "m".to_owned(), params: vec![Param::Nil, param] });
    assert_eq!(call("a\u{1}".into()), Err(WriteError::Character { index: 1, code: 1 }));
    assert_eq!(call(Param::Double(f64::NAN)), Err(WriteError::NotFinite { index: 1 }));
    let inner = Param::Struct(vec![("\u{FFFF}".into(), Param::Nil)]);
    assert_eq!(
        call(Param::Array(vec![inner])),
        Err(WriteError::Character { index: 1, code: 0xFFFF })
    );

    let bytes = write_response(&MethodResponse::Success("a\u{1}b".into()));
    assert!(parse_response(&bytes) == Ok(MethodResponse::Success("a\u{FFFD}b".into())));
    // As a probe's text may come out of a front-end.
    let body = b"<methodResponse><params><param><value>a\x01b\xFF</value></param></params></methodResponse>";
    assert!(parse_response(body) == Ok(MethodResponse::Success("a\u{FFFD}b\u{FFFD}".into())));
}

#[test]
fn what_is_printed_for_debugging_holds_no_text() {
    let call = MethodCall {
        method: "one.host.info".to_owned(),
        params: vec![Param::from("oneadmin:s3cret"), Param::Int(5)],
    };
    assert_eq!(format!("{call:?}"), "MethodCall(one.host.info, 2 parameters)");
    assert_eq!(format!("{:?}", call.params), "[Str(15 bytes), Int(5)]");
}

fn text() -> impl Strategy<Value = String> {
    r#"([ -~\t\n\ré<&>"'\]]|\PC){0,12}"#
}

fn param() -> impl Strategy<Value = Param> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(Param::Int),
        any::<i64>().prop_map(Param::Long),
        any::<bool>().prop_map(Param::Bool),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Param::Double),
        Just(Param::Nil),
        text().prop_map(Param::Str),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Param::Array),
            proptest::collection::vec((text(), inner), 0..4).prop_map(Param::Struct),
        ]
    })
}

proptest! {
    #[test]
    fn calls_are_read_as_written(method in "[a-z.]{1,20}", params in proptest::collection::vec(param(), 0..4)) {
        let call = MethodCall { method, params };
        let bytes = write_call(&call).unwrap();
        prop_assert!(parse_call(&bytes) == Ok(call), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn answers_are_read_as_written(value in param(), code in any::<i32>(), text in text()) {
        for answer in [MethodResponse::Success(value), MethodResponse::Fault { code, text }] {
            let bytes = write_response(&answer);
            prop_assert!(parse_response(&bytes) == Ok(answer), "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in r#"(<|>|/|</?(value|array|data|struct|member|name|i4|methodResponse|params|param|fault)/?>|&amp;|&|\PC){0,30}"#
    ) {
        let _ = parse_call(bytes.as_bytes());
        let _ = parse_response(bytes.as_bytes());
    }
}
