//! Templates: in and out, updates, secrets.

use opennebula::xmlrpc::Param;
use proptest::prelude::*;
use sandbox::{EncryptedAttribute, EncryptedKind, Version};

use crate::support::{Answer, Front, settings, text};

fn update(front: &Front, kind: &str, id: i32, source: &str, append: i32) {
    let params = [id.into(), source.into(), append.into()];
    front.call(&format!("one.{kind}.update"), &params).id();
}

/// What stands between the tags of `TEMPLATE`.
fn template(xml: &str) -> &str {
    let start = xml.find("<TEMPLATE>").unwrap() + "<TEMPLATE>".len();
    &xml[start..xml.rfind("</TEMPLATE>").unwrap()]
}

#[test]
fn updates_append_or_replace() {
    for front in Front::both() {
        let id = front.host("node", -1);
        update(&front, "host", id, "PROVISION=[ A=1, B=2 ]\nNOTE=\"x\"", 1);
        let info = front.info("host", id);
        assert_eq!(text(&info, "TEMPLATE/PROVISION/B").as_deref(), Some("2"));
        assert!(info.contains("<RESERVED_CPU><![CDATA[]]></RESERVED_CPU>"), "{info}");
        // A vector is replaced as a whole.
        update(&front, "host", id, "<T><PROVISION><C>3</C></PROVISION></T>", 1);
        let info = front.info("host", id);
        assert_eq!(text(&info, "TEMPLATE/PROVISION/B"), None);
        assert_eq!(text(&info, "TEMPLATE/NOTE").as_deref(), Some("x"));
        update(&front, "host", id, "VM_MAD=lxc", 0);
        let expected = "<IM_MAD><![CDATA[kvm]]></IM_MAD><VM_MAD><![CDATA[lxc]]></VM_MAD>";
        let info = front.info("host", id);
        assert_eq!(template(&info), expected);
        assert_eq!(text(&info, "VM_MAD").as_deref(), Some("lxc"));
        let bad = [id.into(), "A=[".into(), 1.into()];
        let (code, words) = front.call("one.host.update", &bad).error();
        assert_eq!(code, 8192);
        assert!(words.contains("Cannot update template. Parse error: syntax error"), "{words}");
        assert_eq!(template(&front.info("host", id)), expected);
        // A name that XML does not allow is made one that it does.
        update(&front, "host", id, "1=2", 1);
        assert_eq!(text(&front.info("host", id), "TEMPLATE/ONE_1").as_deref(), Some("2"));
    }
}

#[test]
fn an_update_with_the_end_of_a_section_is_answered_and_lost() {
    for front in Front::both() {
        let host = front.host("node", -1);
        update(&front, "host", host, "NOTE=old", 1);
        for bad in ["a]]&gt;b", "<![CDATA[a]]]]><![CDATA[>b]]>"] {
            let source = format!("<T><NOTE>{bad}</NOTE><OTHER>1</OTHER></T>");
            update(&front, "host", host, &source, 1);
            let info = front.info("host", host);
            assert_eq!(text(&info, "TEMPLATE/NOTE").as_deref(), Some("old"));
            assert_eq!(text(&info, "TEMPLATE/OTHER"), None);
            for (kind, place, title) in [
                ("document", Some(4242), "Document"),
                ("template", None, "Template"),
                ("vn", Some(-1), "Virtual Network"),
                ("datastore", Some(-1), "Datastore"),
            ] {
                let source = format!(
                    "<T><NAME>x</NAME><VN_MAD>bridge</VN_MAD><TYPE>SYSTEM_DS</TYPE>\
                     <TM_MAD>ssh</TM_MAD><NOTE>{bad}</NOTE></T>"
                );
                let params = [source.as_str().into()].into_iter().chain(place.map(Into::into));
                let params: Vec<Param> = params.collect();
                let (code, words) = front.call(&format!("one.{kind}.allocate"), &params).error();
                let expected =
                    format!("[one.{kind}.allocate] Error transforming the {title} to XML.");
                assert_eq!((code, words), (8192, expected));
            }
        }
        // What is encrypted is stored, and answered in clear as what is no XML.
        let source = "<T><NAME>d</NAME><PROVISION_BODY>a]]&gt;b</PROVISION_BODY></T>";
        let document = front.call("one.document.allocate", &[source.into(), 4242.into()]).id();
        let clear = match front.call("one.document.info", &[document.into(), true.into()]) {
            Answer::Value(Param::Str(text)) => text,
            other => panic!("{other:?}"),
        };
        assert!(clear.contains("<PROVISION_BODY><![CDATA[a]]>b]]></PROVISION_BODY>"), "{clear}");
    }
}

#[test]
fn what_belongs_to_the_object_survives_a_replacement() {
    for front in Front::both() {
        let source = "NAME=d\nDS_MAD=fs\nTM_MAD=ssh\nNOTE=1";
        let place = front.call("one.datastore.allocate", &[source.into(), 0.into()]).id();
        update(&front, "datastore", place, "NOTE=2", 0);
        let info = front.info("datastore", place);
        assert_eq!(text(&info, "TEMPLATE/TM_MAD").as_deref(), Some("ssh"));
        // What the transfer driver adds comes with its name only.
        assert_eq!(text(&info, "TEMPLATE/CLONE_TARGET"), None);
        let params = [place.into(), "TM_MAD=nosuch".into(), 1.into()];
        let (_, words) = front.call("one.datastore.update", &params).error();
        assert!(words.contains("Cannot update template. TM_MAD named"), "{words}");
        update(&front, "datastore", place, "TM_MAD=ceph", 1);
        let info = front.info("datastore", place);
        assert_eq!(text(&info, "TEMPLATE/CLONE_TARGET").as_deref(), Some("SELF"));
        assert_eq!(text(&info, "TM_MAD").as_deref(), Some("ceph"));

        let source = "NAME=n\nVN_MAD=bridge\nBRIDGE=b0\nNOTE=1";
        let net = front.call("one.vn.allocate", &[source.into(), 0.into()]).id();
        front.wait();
        update(&front, "vn", net, "NOTE=2\nVN_MAD=ovswitch\nVLAN_ID=9", 0);
        let info = front.info("vn", net);
        assert_eq!(text(&info, "BRIDGE").as_deref(), Some("b0"));
        assert_eq!(text(&info, "VLAN_ID").as_deref(), Some("9"));
    }
}

#[test]
fn the_body_of_a_document_is_a_secret() {
    for front in Front::both() {
        let body = "{\"token\":\"tok-1\"}";
        let source =
            format!("<T><NAME>d</NAME><PROVISION_BODY><![CDATA[{body}]]></PROVISION_BODY></T>");
        let params = [source.as_str().into(), 4242.into()];
        let id = front.call("one.document.allocate", &params).id();
        let shown = |decrypt: bool| {
            let xml = front.call("one.document.info", &[id.into(), decrypt.into()]).xml();
            text(&xml, "TEMPLATE/PROVISION_BODY").unwrap()
        };
        let hidden = shown(false);
        assert!(!hidden.contains("tok-1") && !hidden.is_empty(), "{hidden}");
        assert_eq!(shown(true), body);
        let params = [(-2).into(), (-1).into(), (-1).into(), 4242.into()];
        let pool = front.call("one.documentpool.info", &params).xml();
        assert!(pool.contains(&hidden) && !pool.contains("tok-1"));
        // Written back as it was read, it is the same secret; another one is another.
        update(&front, "document", id, &format!("PROVISION_BODY=\"{hidden}\"\nA=1"), 0);
        assert_eq!(shown(true), body);
        update(&front, "document", id, "PROVISION_BODY=\"new\"", 1);
        assert_eq!(shown(true), "new");

        // Only administrators see it, whoever owns it.
        let (uid, alice) = front.user("alice");
        front.call("one.document.chown", &[id.into(), uid.into(), (-1).into()]).id();
        let xml = front.call_as(&alice, "one.document.info", &[id.into(), true.into()]).xml();
        assert_ne!(text(&xml, "TEMPLATE/PROVISION_BODY").unwrap(), "new");
    }
}

#[test]
fn more_attributes_can_be_secrets_as_in_5_12() {
    let (plain, clock) = settings(Version::V6_10);
    let mut with = plain.clone();
    with.encrypted = vec![EncryptedAttribute::new(EncryptedKind::Host, "provision/packet_token")];
    for (settings, is_hidden) in [(with, true), (plain, false)] {
        let front = Front::with(settings, clock.clone());
        let id = front.host("node", -1);
        update(&front, "host", id, "PROVISION=[ PACKET_TOKEN=tok, PLAN=p ]\nEC2_SECRET=s", 1);
        let info = front.info("host", id);
        assert_eq!(text(&info, "TEMPLATE/PROVISION/PLAN").as_deref(), Some("p"));
        assert_eq!(info.contains("CDATA[tok]"), !is_hidden, "{info}");
        // 6.x's own list.
        assert!(!info.contains("CDATA[s]"), "{info}");
        // A later update keeps it.
        update(&front, "host", id, "NOTE=1", 1);
        let clear = front.call("one.host.info", &[id.into(), true.into()]).xml();
        assert_eq!(text(&clear, "TEMPLATE/PROVISION/PACKET_TOKEN").as_deref(), Some("tok"));
        assert_eq!(text(&clear, "TEMPLATE/EC2_SECRET").as_deref(), Some("s"));
        let config = front.call("one.system.config", &[]).xml();
        assert_eq!(config.contains("PROVISION/PACKET_TOKEN"), is_hidden);
        assert!(config.contains("PROVISION_BODY"));
    }
}

#[test]
fn a_large_template_is_kept() {
    let front = Front::new(Version::V7_4);
    let id = front.host("node", -1);
    let value = "v<&é".repeat(1 << 18);
    let mut tree = model::Attributes::new();
    tree.push("BIG", value.as_str());
    update(&front, "host", id, &tree.to_xml("TEMPLATE").unwrap(), 1);
    assert_eq!(text(&front.info("host", id), "TEMPLATE/BIG"), Some(value));
}

#[test]
fn deep_nesting_is_survived() {
    let front = Front::new(Version::V7_4);
    let deep = format!("{}{}", "<A>".repeat(200_000), "</A>".repeat(200_000));
    let template = format!("<T>{deep}</T>");
    // A value or a refusal, and then it goes on.
    let _ = front.call("one.cluster.update", &[0.into(), template.as_str().into(), 1.into()]);
    let call =
        format!("<methodCall><methodName>one.system.version</methodName>{deep}</methodCall>");
    let _ = front.sandbox.handle(call.as_bytes());
    assert_eq!(front.call("one.system.version", &[]), Answer::Value("7.4.0".into()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn almost_every_value_survives_in_xml(
        value in "([^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\r>\u{fffe}-\u{10ffff}]|[\\\\\"\\[\\]<&]| >){1,30}",
    ) {
        let front = Front::new(Version::V6_10);
        let mut inner = model::Attributes::new();
        inner.push("IN", value.as_str());
        let mut tree = model::Attributes::new();
        tree.push("OUT", value.as_str());
        tree.push("VEC", inner);
        update(&front, "cluster", 0, &tree.to_xml("TEMPLATE").unwrap(), 1);
        let info = front.info("cluster", 0);
        prop_assert_eq!(text(&info, "TEMPLATE/OUT"), Some(value.clone()));
        prop_assert_eq!(text(&info, "TEMPLATE/VEC/IN"), Some(value));
    }

    #[test]
    fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let front = Front::new(Version::V7_4);
        let answer = front.sandbox.handle(&bytes);
        prop_assert!(answer.starts_with(b"<?xml"));
    }

    #[test]
    fn any_template_gets_an_answer(source in r#"([A-C="\\\[\],# \n<>/]|[ -~é]){0,40}"#) {
        let front = Front::new(Version::V7_4);
        let params = [0.into(), source.as_str().into(), 1.into()];
        // Either a value or an error of the right code; then the pool is well-formed all the same.
        if let crate::support::Answer::Error { code, .. } = front.call("one.cluster.update", &params) {
            prop_assert_eq!(code, 8192);
        }
        front.call("one.clusterpool.info", &[]).xml();
    }
}
