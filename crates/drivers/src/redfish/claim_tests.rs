use std::sync::Arc;
use std::time::Duration;

use driver::{DeploymentFile, Unwatched};

use super::*;

const ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
const OTHER: &str = "1f8fad5b-d9cb-469f-a165-70867728950e";

fn call(key: &str, name: &str, provision: Option<&str>) -> Call {
    let mut host = DeploymentFile { name: name.to_owned(), ..DeploymentFile::default() };
    if let Some(provision) = provision {
        host.template.vector_mut("PROVISION").push("PROVISION_ID", provision);
    }
    let deadline = Duration::from_secs(1);
    Call { key: key.to_owned(), host, deadline, watch: Arc::new(Unwatched) }
}

#[test]
fn a_claim_is_short_and_tells_the_key() {
    let key = format!("{ID}-12-1");
    let claim = Claim::of(&call(&key, "n", Some(ID)));
    assert_eq!(claim.text, "1p.D4-tW9nLRp-hZXCGdyiVDg.12.1");
    assert!(claim.text.len() <= 32);
    let read = Claim::read(&claim.text).unwrap();
    assert_eq!((read.key(), read.provision()), (Some(key), Some(ID)));
    assert_eq!(read, claim);
    // The name of the host while it has no address, as the engine gives it.
    assert_eq!(claim.name(), "provision-0f8fad5bd9cb469fa16570867728950e000000000000000c");
    // Where that is no number of a host's, and where nothing is told, it is the claim.
    for key in [format!("{ID}-a-1"), format!("{ID}-012-1"), "k1".to_owned()] {
        let claim = Claim::of(&call(&key, "n", Some(ID)));
        assert_eq!(claim.name(), claim.text);
    }
}

#[test]
fn a_claim_belongs_to_its_host() {
    let claim = Claim::of(&call(&format!("{ID}-1-1"), "n", Some(ID)));
    for (key, name, provision, ours) in [
        (&*format!("{ID}-1-1"), "n", Some(ID), true),
        // Another attempt, and a power operation.
        (&*format!("{ID}-1-2"), "192.0.2.1", Some(ID), true),
        (&*format!("{ID}-1-p7"), "n", Some(ID), true),
        (&*format!("{ID}-2-1"), "n", Some(ID), false),
        (&*format!("{OTHER}-1-1"), "n", Some(OTHER), false),
        // An orphan, by the name in the list.
        ("list", &*claim.name(), Some(OTHER), true),
        ("list", "n", Some(OTHER), false),
        // Somebody's script that only knows the id.
        ("once-1", "n", None, true),
    ] {
        assert_eq!(claim.is_of(&call(key, name, provision)), ours, "{key} {name}");
    }
    let old = Claim::of(&call("once-1", "provision-abc", None));
    assert_eq!(old, Claim::of(&call("once-2", "provision-abc", None)));
    assert_ne!(old, Claim::of(&call("once-1", "node", None)));
    assert!(old.is_of(&call("once-3", "192.0.2.1", None)));
    assert!(!old.is_of(&call(&format!("{ID}-1-1"), "n", Some(ID))));
    let plain = Claim::of(&call("k1", "n", Some("prov-1")));
    assert!(plain.is_of(&call("k1", "n", Some("prov-1"))));
    assert!(!plain.is_of(&call("k2", "n", Some("prov-1"))));
}

#[test]
fn what_others_write_is_no_claim() {
    for text in ["", "Chicago-45Z-2381", "1p.", "1p.x", "1p.D4-tW9nLRp-hZXCGdyiVDg.1", "1p.ä.1.1"]
    {
        assert_eq!(Claim::read(text), None, "{text}");
    }
    assert_eq!(unwrap(&wrap("1p.x")), "1p.x");
    assert_eq!(unwrap("-----BEGIN CERTIFICATE-----\nMIIB\n"), "a certificate");
}

proptest::proptest! {
    #[test]
    fn any_text_can_be_read(text in ".{0,80}") {
        let _ = Claim::read(&text);
        let _ = Claim::of(&call(&text, "n", None));
        let _ = unwrap(&text);
    }

    #[test]
    fn different_calls_have_different_claims(a in "[a-z0-9-]{1,64}", b in "[a-z0-9-]{1,64}") {
        let (first, second) = (Claim::of(&call(&a, "n", None)), Claim::of(&call(&b, "n", None)));
        proptest::prop_assert_eq!(a == b, first.text == second.text);
        proptest::prop_assert_eq!(Claim::read(&first.text).map(|c| c.text), Some(first.text));
    }
}
