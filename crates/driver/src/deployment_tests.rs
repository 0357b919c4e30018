use proptest::prelude::*;

use super::*;

fn sample() -> DeploymentFile {
    let mut template = Attributes::new();
    template.push("PM_MAD", "packet");
    let provision = template.vector_mut("PROVISION");
    provision.push("PACKET_TOKEN", Secret::new("tok-1"));
    provision.push("IP", "192.0.2.7");
    template.push("NOTE", "]]> \"q\" <&>\nsecond");
    DeploymentFile {
        id: Some(HostId(7)),
        name: "node <1>".into(),
        im_mad: "kvm".into(),
        vm_mad: "qemu".into(),
        pm_mad: "packet".into(),
        cluster: Some((ClusterId(100), "edge".into())),
        template,
    }
}

#[test]
fn what_is_written_is_read_back() {
    let xml = sample().to_xml().unwrap();
    assert!(
        xml.starts_with("<HOST>\n  <ID>7</ID>\n  <NAME>node &lt;1&gt;</NAME>\n  <IM_MAD>kvm<"),
        "{xml}"
    );
    let back = DeploymentFile::parse(xml.as_bytes()).unwrap();
    let mut expected = sample();
    expected.template = [("IM_MAD", "kvm"), ("VM_MAD", "qemu")]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), Value::from(v)))
        .chain(expected.template)
        .collect();
    assert_eq!(back, expected);
    assert_eq!(back.parameter("packet_token"), Some("tok-1"));
    assert!(!format!("{back:?}").contains("tok-1"));
}

#[test]
fn a_name_that_not_every_reader_takes_is_left_out() {
    let mut host = sample();
    host.template.push("FOO:BAR", "x");
    host.template.vector_mut("PROVISION").push("A:B", "x");
    host.template.vector_mut("C:D").push("E", "x");
    assert_eq!(host.to_xml(), sample().to_xml());
}

#[test]
fn a_file_of_opennebula_is_read() {
    let xml = "\u{FEFF}<?xml version=\"1.0\"?>\n<HOST><ID>-1</ID><NAME> h </NAME><STATE>2</STATE>\
        <CLUSTER_ID>-1</CLUSTER_ID><CLUSTER/><HOST_SHARE><PCI_DEVICES/><NUMA_NODES><NODE/></NUMA_NODES>\
        </HOST_SHARE><VMS><ID>3</ID></VMS><TEMPLATE><PM_MAD><![CDATA[dummy]]></PM_MAD>\
        <PROVISION><IP><![CDATA[10.0.0.]]><![CDATA[1]]></IP></PROVISION></TEMPLATE></HOST>";
    let host = DeploymentFile::parse(xml.as_bytes()).unwrap();
    assert_eq!((host.id, host.cluster.clone(), host.name.as_str()), (None, None, "h"));
    assert_eq!(host.pm_mad, "dummy");
    assert_eq!(host.parameter("ip"), Some("10.0.0.1"));
    let xml = "<HOST><ID>12</ID><CLUSTER_ID>0</CLUSTER_ID><CLUSTER>default</CLUSTER></HOST>";
    let host = DeploymentFile::parse(xml.as_bytes()).unwrap();
    assert_eq!(host.id, Some(HostId(12)));
    assert_eq!(host.cluster, Some((ClusterId(0), "default".into())));
}

#[test]
fn a_mismatched_tag_is_named_with_its_place() {
    let xml = "<HOST>\n  <TEMPLATE>\n    <PACKET_PROJECT>x</PROJECT>\n  </TEMPLATE>\n</HOST>";
    let error = DeploymentFile::parse(xml.as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "deployment file, line 3, column 22: <PACKET_PROJECT> is closed by </PROJECT>"
    );
}

#[test]
fn what_is_no_host_is_refused() {
    let refuse = |bytes: &[u8]| DeploymentFile::parse(bytes).unwrap_err().to_string();
    assert_eq!(refuse(b" \n"), "the deployment file is empty");
    assert_eq!(
        refuse(b"<HOST>\n<NAME>\xff</NAME></HOST>"),
        "the deployment file is not UTF-8 at line 2, column 7"
    );
    assert_eq!(
        refuse(b"<VM/>"),
        "deployment file, line 1, column 1: the root element is <VM>, not <HOST>"
    );
    assert_eq!(
        refuse(b"<HOST>\n<ID>x</ID></HOST>"),
        "deployment file, line 2, column 1: ID is not a number"
    );
    assert_eq!(refuse(b"<HOST>\n<A>"), "deployment file, line 2, column 4: not well-formed XML");
    assert_eq!(
        refuse(b"<HOST><NAME>&xxe;</NAME></HOST>"),
        "deployment file, line 1, column 13: not well-formed XML"
    );
    assert!(refuse(&vec![b'x'; MAX_BYTES + 1]).contains("at most 8388608"));
}

#[test]
fn entity_bombs_and_external_entities_are_refused() {
    for dtd in [
        "<!DOCTYPE HOST [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]>",
        "<!DOCTYPE HOST [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>",
        "<!DOCTYPE HOST SYSTEM \"http://127.0.0.1/x.dtd\">",
    ] {
        let xml = format!("<?xml version=\"1.0\"?>\n {dtd}<HOST><NAME>&x;</NAME></HOST>");
        let error = DeploymentFile::parse(xml.as_bytes()).unwrap_err();
        assert!(
            matches!(error, DeploymentError::Dtd { at: Position { line: 2, column: 2 } }),
            "{error:?}"
        );
    }
}

#[test]
fn deep_nesting_is_refused() {
    let deep = |levels: usize| {
        format!("<HOST>{}{}</HOST>", "<A>".repeat(levels), "</A>".repeat(levels)).into_bytes()
    };
    assert!(DeploymentFile::parse(&deep(50)).is_ok());
    for levels in [MAX_DEPTH as usize, 200_000] {
        let error = DeploymentFile::parse(&deep(levels)).unwrap_err();
        assert!(matches!(error, DeploymentError::TooDeep { .. }), "{error:?}");
    }
}

#[test]
fn the_example_of_the_protocol_is_refused_as_printed_and_read_once_closed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/seed");
    let Some(page) = std::fs::read_dir(folder).ok().and_then(|mut entries| {
        entries.find_map(|entry| {
            let text = std::fs::read_to_string(entry.ok()?.path()).ok()?;
            text.contains("<PACKET_PROJECT>").then_some(text)
        })
    }) else {
        println!("skipped: no {folder}");
        return;
    };
    let lines = page.lines().skip_while(|line| line.trim() != "<HOST>");
    let mut example: String = String::new();
    for line in lines {
        example.push_str(line);
        example.push('\n');
        if line.trim() == "</HOST>" {
            break;
        }
    }
    let error = DeploymentFile::parse(example.as_bytes()).unwrap_err();
    let DeploymentError::MismatchedTag { at, expected, found } = &error else {
        panic!("{error:?}");
    };
    assert_eq!((expected.as_str(), found.as_str()), ("PACKET_PROJECT", "PROJECT"));
    let (number, line) = example
        .lines()
        .enumerate()
        .find(|(_, line)| line.contains("</PROJECT>"))
        .map(|(index, line)| (index + 1, line))
        .unwrap();
    assert_eq!(at.line as usize, number);
    assert_eq!(at.column as usize, line.find("</PROJECT>").unwrap() + 1);
    let closed = example.replace("</PROJECT>", "</PACKET_PROJECT>");
    let host = DeploymentFile::parse(closed.as_bytes()).unwrap();
    assert_eq!(host.pm_mad, "packet");
    assert_eq!(host.parameter("HOSTNAME"), Some("TestOneProvision1-C7"));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = DeploymentFile::parse(&bytes);
    }

    #[test]
    fn any_markup_is_survived(text in "(<|</|>|HOST|ID|A|&|;|\"|=|<!DOCTYPE|<!\\[CDATA\\[|\\]\\]>| |é){0,40}") {
        let _ = DeploymentFile::parse(text.as_bytes());
    }

    #[test]
    fn names_and_values_survive(name in "[ -~é]{0,20}", value in "[ -~é\n]{0,60}") {
        let mut host = DeploymentFile { name: name.trim().to_owned(), ..Default::default() };
        host.template.vector_mut("PROVISION").push("K", value.clone());
        let back = DeploymentFile::parse(host.to_xml().unwrap().as_bytes()).unwrap();
        prop_assert_eq!(&back.name, &host.name);
        prop_assert_eq!(back.template.text("PROVISION/K"), Some(value.as_str()));
    }
}
