use proptest::prelude::*;

use model::Value;

use super::*;

fn read(line: &str) -> PollReport {
    PollReport::parse(line)
}

#[test]
fn every_shape_of_an_address_is_understood() {
    for (line, expected) in [
        ("GUEST_IP_ADDRESSES=\"192.0.2.1,10.0.0.1\"", "192.0.2.1"),
        ("GUEST_IP_ADDRESSES=\"192.0.2.1\"", "192.0.2.1"),
        ("GUEST_IP_ADDRESSES=\"192.0.2.1 ", "192.0.2.1"),
        ("GUEST_IP_ADDRESSES=\"192.0.2.1 \n", "192.0.2.1"),
        ("GUEST_IP_ADDRESSES=192.0.2.1", "192.0.2.1"),
        ("GUEST_IP_ADDRESSES=192.0.2.1,10.0.0.1", "192.0.2.1"),
        ("guest_ip_addresses = \"192.0.2.1\"", "192.0.2.1"),
        ("STATE=a GUEST_IP_ADDRESSES= \"192.0.2.1\" X=1", "192.0.2.1"),
        ("GUEST_IP_ADDRESSES=\\\"192.0.2.1\\\"", "192.0.2.1"),
        ("GUEST_IP_ADDRESSES=\"2001:db8::1,fe80::1%eth0\"", "2001:db8::1"),
        ("GUEST_IP_ADDRESSES=\"\" AWS_PUBLIC_IP_ADDRESS=\"192.0.2.1\"", "192.0.2.1"),
        ("AWS_PUBLIC_IP_ADDRESS=\\\"192.0.2.1\\\" STATE=a", "192.0.2.1"),
        ("AWS_PUBLIC_IP_ADDRESS=\"192.0.2.9\" GUEST_IP_ADDRESSES=\"192.0.2.1\"", "192.0.2.1"),
        ("some log line: x\nGUEST_IP_ADDRESSES=\"192.0.2.1\"\r\n", "192.0.2.1"),
        ("GUEST_IP_ADDRESSES=\"192.0.2.1 STATE=a NAME=\"x y\"", "192.0.2.1"),
        ("GUEST_IP_ADDRESSES=192.0.2.1/24 STATE=a", "192.0.2.1"),
        ("GUEST_IP_ADDRESSES=[2001:db8::5] STATE=a", "2001:db8::5"),
        ("GUEST_IP_ADDRESSES=\"[2001:db8::5],192.0.2.1\"", "2001:db8::5"),
        ("GUEST_IP_ADDRESSES=2001:db8::5/64", "2001:db8::5"),
        ("GUEST_IP=192.0.2.1", "192.0.2.1"),
        ("GUEST_IP=192.0.2.9 GUEST_IP_ADDRESSES=192.0.2.1", "192.0.2.1"),
    ] {
        assert_eq!(read(line).address(), Some(expected), "{line}");
    }
    let many = read("GUEST_IP_ADDRESSES=\"192.0.2.1, 2001:db8::1 ,host.example\"");
    assert_eq!(many.addresses, ["192.0.2.1", "2001:db8::1", "host.example"]);
}

#[test]
fn what_cannot_be_an_address_is_none() {
    for line in [
        "",
        "STATE=a",
        "GUEST_IP_ADDRESSES=",
        "GUEST_IP_ADDRESSES= STATE=a",
        "GUEST_IP_ADDRESSES=\"$(reboot)\"",
        "GUEST_IP_ADDRESSES=\"-oProxyCommand=x\"",
        "GUEST_IP_ADDRESSES=[ A=1 ]",
        "GUEST_IP_ADDRESSES=192.0.2.1/eth0",
        "GUEST_IP_ADDRESSES=null/24",
    ] {
        assert_eq!(read(line).address(), None, "{line}");
    }
}

#[test]
fn why_there_is_no_address_is_told() {
    for (text, expected) in [
        ("STATE=a", "it has no address yet"),
        ("GUEST_IP_ADDRESSES=null", "it has no address yet"),
        ("GUEST_IP_ADDRESSES=", "it has no address yet"),
        ("{\"STATE\":\"a\",\"GUEST_IP_ADDRESSES\":\"192.0.2.8\"}", "poll prints no KEY=VALUE pair"),
        ("", "poll prints no KEY=VALUE pair"),
        (
            "GUEST_IP_ADDRESSES=http://x/",
            "what poll prints as GUEST_IP_ADDRESSES can be no address: \"http://x/\"",
        ),
    ] {
        assert_eq!(read(text).no_address(), expected, "{text}");
    }
    assert_eq!(PollReport::new(MachineState::Paused, vec![]).no_address(), "it has no address yet");
}

#[test]
fn states_are_letters() {
    for (line, state) in [
        ("STATE=a", MachineState::Active),
        ("STATE=\"p\"", MachineState::Paused),
        ("STATE = e", MachineState::Error),
        ("STATE=d", MachineState::Gone),
        ("STATE=-", MachineState::NotKnown),
        ("STATE=active", MachineState::Active),
        ("STATE=RUNNING", MachineState::Active),
        ("STATE=Provisioning", MachineState::Paused),
        ("STATE=failed", MachineState::Error),
        ("STATE=terminated", MachineState::Gone),
        ("STATE=rescued", MachineState::NotKnown),
        ("STATE=a\nSTATE=d", MachineState::Gone),
    ] {
        assert_eq!(read(line).state, Some(state), "{line}");
    }
    assert_eq!(read("CPU=1").state, None);
    assert!(read("GUEST_IP_ADDRESSES=\"192.0.2.1\"").is_up());
    assert!(read("STATE=a GUEST_IP_ADDRESSES=\"192.0.2.1\"").is_up());
    assert!(!read("STATE=p GUEST_IP_ADDRESSES=\"192.0.2.1\"").is_up());
    assert!(!read("STATE=a").is_up());
}

#[test]
fn the_documented_line_is_read_with_its_vectors() {
    let report = read(
        "STATE=a USEDMEMORY=554632 DISK_SIZE=[ ID=0, SIZE=24 ] DISK_SIZE=[ ID=1, SIZE=242 ] \
         SNAPSHOT_SIZE=[ ID=0, DISK_ID=0, SIZE=24 ] X = [A=\"b, ]c\",D=e] Y=[\n  P=1,\n  Q=2 ] Z=9",
    );
    assert_eq!(report.attributes.text("USEDMEMORY"), Some("554632"));
    assert_eq!(report.attributes.all("DISK_SIZE").count(), 2);
    assert_eq!(report.attributes.text("SNAPSHOT_SIZE/SIZE"), Some("24"));
    assert_eq!(report.attributes.text("X/A"), Some("b, ]c"));
    assert_eq!(report.attributes.text("X/D"), Some("e"));
    assert_eq!(report.attributes.text("Y/Q"), Some("2"));
    assert_eq!(report.attributes.text("Z"), Some("9"));
    let report = read("V=[ A=\"B=\", C=\"D=\" ]");
    assert_eq!(report.attributes.text("V/A"), Some("B="));
    assert_eq!(report.attributes.text("V/C"), Some("D="));
}

#[test]
fn an_open_vector_ends_with_its_line() {
    let report = read("V=[ A=1, B=2\nSTATE=a W=[ C=3 ]");
    assert_eq!(report.attributes.text("V/B"), Some("2"));
    assert_eq!(report.state, Some(MachineState::Active));
    assert_eq!(report.attributes.text("W/C"), Some("3"));
}

#[test]
fn quotes_and_escapes_are_taken_away() {
    let report = read(
        "A=\"say \\\"hi\\\"\" B = \"x\" AWS_C=\\\"a%20b%2Fc\\\" AWS_D=\"a+b%2Bc\" E=\"a+b%20\" \
         AWS_F=100% G=YWJj== H=\"YWJj==\" junk I=1 =x J=\"",
    );
    for (key, value) in [
        ("A", "say \"hi\""),
        ("B", "x"),
        ("AWS_C", "a b/c"),
        ("AWS_D", "a b+c"),
        ("E", "a+b%20"),
        ("AWS_F", "100%"),
        ("G", "YWJj=="),
        ("H", "YWJj=="),
        ("I", "1"),
        ("J", ""),
    ] {
        assert_eq!(report.attributes.text(key), Some(value), "{key}");
    }
}

#[test]
fn credentials_are_secrets() {
    let report = read("STATE=a ROOT_PASSWORD=\"hunter2\" GUEST_IP_ADDRESSES=\"192.0.2.1\"");
    assert!(!format!("{report:?}").contains("hunter2"));
    assert!(!report.to_masked_line().contains("hunter2"));
    assert_eq!(report.attributes.get("ROOT_PASSWORD").and_then(Value::expose), Some("hunter2"));
    assert!(report.to_line().contains("ROOT_PASSWORD=hunter2"));
}

#[test]
fn a_large_answer_is_read_in_part_and_in_time() {
    let words = PollReport::parse("word ".repeat(1 << 20));
    assert!(words.attributes.is_empty());
    let pairs = PollReport::parse("K=[ A=1, B=\"x\" ] ".repeat(100_000));
    assert!(pairs.attributes.len() <= MAX_PAIRS);
    for piece in ["A=\"", "A=[", "\\\"", "A=\\\"", "\" ", "[A=", "= ", "A", "A=\"\\\" ", "A= "] {
        let report = PollReport::parse(piece.repeat(300_000));
        assert!(report.attributes.len() <= MAX_PAIRS, "{piece}");
    }
}

#[test]
fn a_list_has_a_machine_a_line() {
    let machines = parse_list(
        "DEPLOY_ID=\"i-1\" PROVISION_ID=p HOST_KEY=3 STATE=a\nnoise\nID=i-2 NAME=\"a b\"\n",
    )
    .unwrap();
    assert_eq!(machines.len(), 2);
    assert_eq!(machines[0].id.as_str(), "i-1");
    assert_eq!(machines[0].attributes.text("HOST_KEY"), Some("3"));
    assert_eq!(machines[1].attributes.text("NAME"), Some("a b"));
    let written: String = machines.iter().map(|m| list_line(m) + "\n").collect();
    assert_eq!(parse_list(written), Some(machines));
}

/// That a machine is not in the list is proof that it was not made.
#[test]
fn what_names_no_machine_is_no_list_unless_it_is_empty() {
    assert_eq!(parse_list(""), Some(Vec::new()));
    assert_eq!(parse_list(" \r\n\n"), Some(Vec::new()));
    for other in ["{\"error\": \"401 unauthorized\"}\n", "<html>\n", "no machines\n", "STATE=a\n"] {
        assert_eq!(parse_list(other), None, "{other}");
    }
}

/// It is being made, and may be the one that is looked for.
#[test]
fn a_machine_without_an_id_makes_a_list_none() {
    for line in ["DEPLOY_ID= KEY=k-0-1", "NAME=provision-1", "DEPLOY_ID=null", "ID=\"\" STATE=p"] {
        assert_eq!(parse_list(format!("DEPLOY_ID=i-1 KEY=x\n{line}\n")), None, "{line}");
    }
}

/// What `jq -r` and Python print, and what an interface has before it has an address.
#[test]
fn a_word_for_no_address_is_none() {
    for none in ["null", "None", "0.0.0.0", "::", "nil"] {
        let report = PollReport::parse(format!("STATE=a GUEST_IP_ADDRESSES=\"{none},10.0.0.1\""));
        assert_eq!(report.address(), Some("10.0.0.1"), "{none}");
    }
}

fn value() -> impl Strategy<Value = String> {
    "[ -~é]{0,20}".prop_map(|text| text.trim_end_matches('\\').to_owned())
}

/// Keys of either kind are apart: a scalar that repeats is one of the things that are not kept.
fn report() -> impl Strategy<Value = PollReport> {
    let scalars =
        proptest::collection::btree_map("[A-Z][A-Z0-9_]{0,8}|AWS_[A-Z]{1,5}", value(), 0..6);
    let vectors = proptest::collection::vec(
        ("V_[A-Z]{1,4}", proptest::collection::vec(("[A-Z]{1,6}", value()), 0..4)),
        0..4,
    );
    let addresses = proptest::collection::vec("[1-9][0-9]{0,2}\\.0\\.0\\.[0-9]", 0..3);
    (scalars, vectors, addresses).prop_map(|(scalars, vectors, addresses)| {
        let mut attributes = Attributes::new();
        attributes.push("STATE", "a");
        if !addresses.is_empty() {
            attributes.push("GUEST_IP_ADDRESSES", addresses.join(","));
        }
        for (key, text) in scalars {
            if !key.starts_with("STATE") && !key.starts_with("V_") && !is_secret(&key) {
                attributes.push(key, text);
            }
        }
        for (key, inner) in vectors {
            let inner: Attributes = inner
                .into_iter()
                .filter(|(key, _)| !is_secret(key))
                .map(|(k, v)| (k, Value::from(v)))
                .collect();
            attributes.push(key, inner);
        }
        PollReport { state: Some(MachineState::Active), addresses, attributes }
    })
}

fn is_secret(key: &str) -> bool {
    model::is_secret_name(key) || crate::deployment::is_secret_key(key, "")
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let report = PollReport::parse(&bytes);
        let _ = report.to_line();
        let _ = parse_list(&bytes);
    }

    #[test]
    fn any_near_miss_is_survived(text in "(STATE|GUEST_IP_ADDRESSES|AWS_X|=|\"|\\\\|\\[|\\]|,| |\n|%|\\+|4|é){0,60}") {
        let report = PollReport::parse(&text);
        for address in &report.addresses {
            prop_assert!(is_address(address));
        }
        let _ = PollReport::parse(report.to_line());
    }

    #[test]
    fn what_is_written_is_read_back(report in report()) {
        let line = report.to_line();
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(PollReport::parse(&line), report, "{}", line);
    }
}
