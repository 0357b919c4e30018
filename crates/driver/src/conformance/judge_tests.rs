#![allow(clippy::unwrap_used)]

use super::*;
use crate::conformance::caller::empty;
use crate::executable::outcome::id_line;

fn failed(stdout: &str, stderr: &[u8]) -> Seen {
    Seen { stdout: stdout.as_bytes().to_vec(), stderr: stderr.to_vec(), ..empty(Ending::Exit(255)) }
}

fn deployed(stdout: &str) -> Seen {
    Seen {
        stdout: stdout.as_bytes().to_vec(),
        id: id_line(stdout.as_bytes(), true),
        ..empty(Ending::Exit(0))
    }
}

#[test]
fn a_failure_is_told_by_its_status() {
    for (ending, verdict) in [
        (Ending::Exit(255), Verdict::Kept),
        (Ending::Exit(1), Verdict::Kept),
        (Ending::Exit(75), Verdict::Warning),
        (Ending::Exit(0), Verdict::Broken),
        (Ending::Signal(9), Verdict::Broken),
        (Ending::Deadline(std::time::Duration::from_secs(1)), Verdict::Broken),
    ] {
        assert_eq!(failure_status(&empty(ending)).0, verdict, "{ending}");
    }
}

#[test]
fn a_block_is_whole_or_it_is_none() {
    let block = |text: &str| format!("{OPENING}\n{text}\n{CLOSING}\n").into_bytes();
    for (stderr, verdict) in [
        (block("no file"), Some(Verdict::Kept)),
        ([b"trying\n".to_vec(), block("no file"), b"bye\n".to_vec()].concat(), Some(Verdict::Kept)),
        (block(""), Some(Verdict::Broken)),
        (block("\u{7}\u{1b}[31mred"), Some(Verdict::Broken)),
        (format!("{OPENING}\nno file\n").into_bytes(), Some(Verdict::Broken)),
        (b"ERROR MESSAGE: no file".to_vec(), Some(Verdict::Broken)),
        (vec![0xff, 0xfe, 0x00], Some(Verdict::Broken)),
        (b"no file".to_vec(), Some(Verdict::Warning)),
        (Vec::new(), Some(Verdict::Broken)),
    ] {
        let judged = error_block(&failed("", &stderr)).map(|(verdict, _)| verdict);
        assert_eq!(judged, verdict, "{}", String::from_utf8_lossy(&stderr));
    }
    assert_eq!(error_block(&failed("no file", b"")), None, "that is told of standard output");
}

#[test]
fn an_id_is_one_word_on_one_line() {
    for (stdout, verdict) in [
        ("m-1\n", Verdict::Kept),
        ("\n  m-1  \n", Verdict::Kept),
        ("m-1\nwaiting for it\n", Verdict::Kept),
        ("", Verdict::Broken),
        ("m-1\nm-2\n", Verdict::Broken),
        ("machine 1\n", Verdict::Broken),
        ("m\u{7}1\n", Verdict::Broken),
    ] {
        assert_eq!(id(&deployed(stdout)).0, verdict, "{stdout:?}");
    }
}

#[test]
fn a_poll_has_pairs_and_a_letter() {
    let of = |stdout: &str| poll(&deployed(stdout)).map(|(report, _)| poll_state(&report).0);
    assert_eq!(of("STATE=a GUEST_IP_ADDRESSES=\"192.0.2.1\""), Ok(Verdict::Kept));
    assert_eq!(of("GUEST_IP_ADDRESSES=\"192.0.2.1\""), Ok(Verdict::Warning));
    assert_eq!(of("STATE=running"), Ok(Verdict::Broken));
    for nothing in ["", "\n", "it runs"] {
        assert_eq!(of(nothing).unwrap_err().0, Verdict::Broken, "{nothing:?}");
    }
}

#[test]
fn a_listed_machine_carries_its_marks() {
    let of = |line: &str| {
        let machine = crate::poll::parse_list(line).unwrap().remove(0);
        listed(&machine, "k", "h", "p").0
    };
    assert_eq!(of("DEPLOY_ID=m KEY=k NAME=h PROVISION_ID=p CREATED=7"), Verdict::Kept);
    assert_eq!(of("DEPLOY_ID=m KEY=k PROVISION_ID=p CREATED=7"), Verdict::Warning);
    assert_eq!(of("DEPLOY_ID=m KEY=k NAME=h PROVISION_ID=p CREATED=today"), Verdict::Warning);
    assert_eq!(of("DEPLOY_ID=m STATE=a"), Verdict::Broken);
    assert_eq!(of("DEPLOY_ID=m KEY=other NAME=h"), Verdict::Broken);
}
