//! Who may do what.

use opennebula::xmlrpc::Param;
use sandbox::Version;

use crate::support::{Answer, Front, all, ids, text};

fn refused(answer: Answer) -> String {
    let (code, text) = answer.error();
    assert_eq!(code, 512, "{text}");
    text
}

fn chmod(front: &Front, session: &str, kind: &str, id: i32, bits: [i32; 9]) -> Answer {
    let mut params = vec![Param::Int(id)];
    params.extend(bits.map(Param::Int));
    front.call_as(session, &format!("one.{kind}.chmod"), &params)
}

#[test]
fn only_the_right_password_opens() {
    for front in Front::both() {
        for wrong in ["", "oneadmin", "oneadmin:", "oneadmin:x", "nobody:x", ":", ":x"] {
            let answer = front.call_as(wrong, "one.system.version", &[]);
            let text = "[one.system.version] User couldn't be authenticated, aborting call.";
            assert_eq!(answer.error(), (256, text.to_owned()), "{wrong}");
        }
        // A password may have colons, and may be changed.
        front.call("one.user.passwd", &[0.into(), "a:b:c".into()]).id();
        assert_eq!(front.call("one.system.version", &[]).error().0, 256);
        front.call_as("oneadmin:a:b:c", "one.system.version", &[]);
        assert_eq!(front.sandbox.session().expose(), "oneadmin:a:b:c");
    }
}

#[test]
fn passwords_are_made_anew_for_each_front_end() {
    let [a, b] = Front::both();
    assert_ne!(a.session, b.session);
    assert_eq!(a.session.len(), "oneadmin:".len() + 32);
}

#[test]
fn others_may_not_touch_hosts_and_clusters() {
    for front in Front::both() {
        let (uid, session) = front.user("alice");
        assert_eq!(uid, 2);
        let host = front.host("node", -1);
        let as_user =
            |method: &str, params: &[Param]| refused(front.call_as(&session, method, params));
        assert_eq!(
            as_user("one.host.info", &[host.into()]),
            "[one.host.info] User [2] : Not authorized to perform USE HOST [0]."
        );
        let params = ["n2".into(), "kvm".into(), "kvm".into(), (-1).into()];
        assert_eq!(
            as_user("one.host.allocate", &params),
            "[one.host.allocate] User [2] : Not authorized to perform CREATE HOST; Not authorized \
             to perform ADMIN CLUSTER [0]."
        );
        for (method, params) in [
            ("one.host.update", vec![host.into(), "A=1".into(), 1.into()]),
            ("one.host.delete", vec![host.into()]),
            ("one.host.status", vec![host.into(), 2.into()]),
            ("one.host.rename", vec![host.into(), "x1".into()]),
            ("one.cluster.allocate", vec!["c".into()]),
            ("one.cluster.addhost", vec![0.into(), host.into()]),
            ("one.user.allocate", vec!["eve".into(), "x".into(), "core".into()]),
            ("one.user.info", vec![0.into()]),
            ("one.user.passwd", vec![0.into(), "x".into()]),
        ] {
            let text = as_user(method, &params);
            assert!(text.contains("Not authorized to perform"), "{text}");
        }
        let hosts = front.call_as(&session, "one.hostpool.info", &[]).xml();
        assert_eq!(hosts, "<HOST_POOL></HOST_POOL>");
        let users = front.call_as(&session, "one.userpool.info", &[]).xml();
        assert_eq!(all(&users, "NAME"), ["alice"]);
        let myself = front.call_as(&session, "one.user.info", &[(-1).into()]).xml();
        assert_eq!(text(&myself, "NAME").as_deref(), Some("alice"));
        front.call_as(&session, "one.user.passwd", &[2.into(), "new".into()]).id();
        assert_eq!(front.call_as(&session, "one.system.version", &[]).error().0, 256);
    }
}

#[test]
fn permissions_open_and_close() {
    for front in Front::both() {
        let (_, alice) = front.user("alice");
        let (_, bob) = front.user("bob");
        let params = ["NAME=t\nA=1".into()];
        let id = front.call_as(&alice, "one.template.allocate", &params).id();
        let info = |session: &str| front.call_as(session, "one.template.info", &[id.into()]);
        let list = |session: &str, filter: i32| {
            let params = [filter.into(), (-1).into(), (-1).into()];
            all(&front.call_as(session, "one.templatepool.info", &params).xml(), "ID").len()
        };
        assert_eq!(text(&info(&alice).xml(), "UNAME").as_deref(), Some("alice"));
        refused(info(&bob));
        assert_eq!((list(&alice, -2), list(&bob, -2), list(&front.session, -2)), (1, 0, 1));
        // Bob is in the same group.
        chmod(&front, &alice, "template", id, [-1, -1, -1, 1, 0, 0, -1, -1, -1]).id();
        info(&bob).xml();
        assert_eq!((list(&bob, -2), list(&bob, -1), list(&bob, -3)), (1, 1, 0));
        assert_eq!((list(&bob, 2), list(&bob, 3), list(&alice, -4)), (1, 0, 1));
        let update = [id.into(), "B=2".into(), 1.into()];
        refused(front.call_as(&bob, "one.template.update", &update));
        refused(chmod(&front, &bob, "template", id, [1; 9]));
        // Owners have no admin right of their own to give away.
        let text = refused(chmod(&front, &alice, "template", id, [1; 9]));
        assert!(text.contains("ADMIN TEMPLATE [0]"), "{text}");
        chmod(&front, &alice, "template", id, [1, 1, 0, 1, 1, 0, 0, 0, 0]).id();
        front.call_as(&bob, "one.template.update", &update).id();
        chmod(&front, &front.session, "template", id, [0, 0, 0, 0, 0, 0, 1, 0, 0]).id();
        info(&bob).xml();
        refused(front.call_as(&bob, "one.template.update", &update));
        let (code, _) = chmod(&front, &front.session, "template", id, [2; 9]).error();
        assert_eq!(code, 8192);
    }
}

#[test]
fn owners_can_be_changed_by_those_who_may() {
    for front in Front::both() {
        let (uid, alice) = front.user("alice");
        let id = front.call("one.template.allocate", &["NAME=t".into()]).id();
        let chown = |session: &str, uid: i32, gid: i32| {
            front.call_as(session, "one.template.chown", &[id.into(), uid.into(), gid.into()])
        };
        refused(chown(&alice, uid, -1));
        chown(&front.session, uid, 1).id();
        let info = front.info("template", id);
        assert_eq!(text(&info, "UNAME").as_deref(), Some("alice"));
        assert_eq!(text(&info, "GNAME").as_deref(), Some("users"));
        chown(&front.session, -1, 0).id();
        assert_eq!(text(&front.info("template", id), "UID"), Some(uid.to_string()));
        let missing = "[one.template.chown] Error getting user [9999].";
        assert_eq!(chown(&front.session, 9999, -1).error(), (1024, missing.to_owned()));
        let missing = "[one.template.chown] Error getting group [9999].";
        assert_eq!(chown(&front.session, -1, 9999).error(), (1024, missing.to_owned()));
        // Two owners may have the same name; one owner may not.
        front.call("one.template.allocate", &["NAME=t".into()]).id();
        assert_eq!(chown(&front.session, 0, -1).error().0, 8192);
    }
}

#[test]
fn the_rules_that_a_front_end_starts_with_hold() {
    let front = Front::new(Version::V7_4);
    let (_, alice) = front.user("alice");
    let image = ["NAME=i\nSIZE=1\nTYPE=DATABLOCK".into(), 1.into()];
    front.call_as(&alice, "one.image.allocate", &image).id();
    front.call_as(&alice, "one.document.allocate", &["NAME=d".into(), 4242.into()]).id();
    let net = ["NAME=n\nVN_MAD=bridge".into(), (-1).into()];
    let text = refused(front.call_as(&alice, "one.vn.allocate", &net));
    assert!(text.contains("ADMIN CLUSTER [0]"), "{text}");
    refused(front.call_as(&alice, "one.vntemplate.allocate", &["NAME=v".into()]));
    let datastores = front.call_as(&alice, "one.datastorepool.info", &[]).xml();
    assert_eq!(all(&datastores, "NAME").len(), 3);
}

#[test]
fn locks_hold_everybody_off_until_they_are_opened() {
    for front in Front::both() {
        let (_, alice) = front.user("alice");
        let document = ["NAME=d\nA=1".into(), 4242.into()];
        let id = front.call_as(&alice, "one.document.allocate", &document).id();
        let update = [id.into(), "A=2".into(), 1.into()];
        front.call_as(&alice, "one.document.lock", &[id.into(), 2.into()]).id();
        // Why it is refused is told to administrators alone.
        for (session, words) in
            [(&alice, "Not authorized to perform MANAGE DOCUMENT"), (&front.session, "is locked")]
        {
            let text = refused(front.call_as(session, "one.document.update", &update));
            assert!(text.contains(words), "{text}");
        }
        // Reading goes on.
        assert_eq!(text(&front.info("document", id), "LOCK/LOCKED").as_deref(), Some("2"));
        let params = [id.into(), 2.into(), true.into()];
        assert_eq!(front.call_as(&alice, "one.document.lock", &params).error().0, 2048);
        assert_eq!(front.call("one.document.lock", &[id.into(), 9.into()]).error().0, 2048);
        // Whoever may manage it may not open another's lock, but an administrator may.
        let (_, bob) = front.user("bob");
        chmod(&front, &front.session, "document", id, [1, 1, 0, 1, 1, 0, 0, 0, 0]).error();
        front.call("one.document.unlock", &[id.into()]).id();
        chmod(&front, &alice, "document", id, [1, 1, 0, 1, 1, 0, 0, 0, 0]).id();
        front.call_as(&alice, "one.document.lock", &[id.into(), 4.into()]).id();
        let (code, words) = front.call_as(&bob, "one.document.unlock", &[id.into()]).error();
        assert_eq!(code, 2048);
        assert!(words.contains("owned by another user"), "{words}");
        front.call("one.document.unlock", &[id.into()]).id();
        front.call_as(&alice, "one.document.update", &update).id();
    }
}

#[test]
fn users_and_groups_come_and_go() {
    for front in Front::both() {
        let group = front.call("one.group.allocate", &["staff".into()]).id();
        assert_eq!(group, 100);
        let groups = Param::Array(vec![group.into()]);
        let params = ["carol".into(), "pw".into(), "core".into(), groups];
        let carol = front.call("one.user.allocate", &params).id();
        assert_eq!(text(&front.info("user", carol), "GNAME").as_deref(), Some("staff"));
        assert!(front.call("one.group.delete", &[group.into()]).error().1.contains("not empty"));
        assert!(front.call("one.user.allocate", &params).error().1.contains("already taken"));
        for (name, password) in [("", "x"), ("a b", "x"), ("a:b", "x"), ("ab", "")] {
            let params = [name.into(), password.into(), "core".into()];
            assert_eq!(front.call("one.user.allocate", &params).error().0, 8192, "{name}");
        }
        front.call("one.user.delete", &[carol.into()]).id();
        assert_eq!(front.call_as("carol:pw", "one.system.version", &[]).error().0, 256);
        front.call("one.group.delete", &[group.into()]).id();
        assert_eq!(front.call("one.user.delete", &[0.into()]).error().0, 2048);
    }
}

#[test]
fn users_and_groups_are_as_a_front_end_makes_them() {
    for front in Front::both() {
        let pool = front.call("one.userpool.info", &[]).xml();
        assert_eq!(all(&pool, "NAME"), ["serveradmin", "oneadmin"]);
        assert_eq!(all(&pool, "TOKEN_PASSWORD").iter().map(String::len).sum::<usize>(), 128);
        assert_eq!(ids(&front.info("group", 0), "USERS"), ["0", "1"]);
        let users = front.info("group", 1);
        assert_eq!(text(&users, "TEMPLATE/SUNSTONE/VIEWS").as_deref(), Some("cloud"));
        let is_7 = front.call("one.system.version", &[]) == Answer::Value("7.4.0".into());
        assert_eq!(users.contains("<VLAN_RULES><ID><![CDATA[1]]></ID></VLAN_RULES>"), is_7);

        let error = |method: &str, params: &[Param]| front.call(method, params).error();
        let user = |password: &str| {
            error("one.user.allocate", &["u".into(), password.into(), "core".into()])
        };
        let words = "[one.user.allocate] Invalid password, character ' ' is not allowed.";
        assert_eq!(user("a b"), (8192, words.to_owned()));
        let words = "[one.user.allocate] Invalid password, it cannot be empty.";
        assert_eq!(user(""), (8192, words.to_owned()));
        let words = "[one.user.passwd] Invalid password, character '\n' is not allowed";
        assert_eq!(error("one.user.passwd", &[0.into(), "a\nb".into()]), (2048, words.to_owned()));
        let spaced = front.call("one.group.allocate", &["a b".into()]);
        let words = "[one.group.allocate] Invalid NAME, char ' ' is not allowed";
        match is_7 {
            true => assert_eq!(spaced.error(), (8192, words.to_owned())),
            false => _ = spaced.id(),
        }
        let group = front.call("one.group.allocate", &["g".into()]).id();
        let params = ["c".into(), "p".into(), "core".into(), Param::Array(vec![group.into()])];
        let carol = front.call("one.user.allocate", &params).id();
        let words = format!("[one.group.delete] Cannot delete group. Group {group} is not empty.");
        assert_eq!(error("one.group.delete", &[group.into()]), (2048, words));

        let source = "SSH_PASSPHRASE=secret";
        front.call("one.user.update", &[carol.into(), source.into(), 1.into()]).id();
        assert!(!front.info("user", carol).contains("secret"));
        let clear = front.call("one.user.info", &[carol.into(), true.into()]).xml();
        assert!(clear.contains("secret"), "{clear}");
    }
}

#[test]
fn the_rights_that_changes_need_are_those_of_oned() {
    for front in Front::both() {
        let group = front.call("one.group.allocate", &["g".into()]).id();
        let groups = Param::Array(vec![group.into()]);
        let params = ["carol".into(), "p".into(), "core".into(), groups];
        let carol = front.call("one.user.allocate", &params).id();
        let missing = |method: &str, params: &[Param]| {
            let text = refused(front.call_as("carol:p", method, params));
            text.split_once("Not authorized to perform ").unwrap().1.to_owned()
        };
        let update = [group.into(), "A=1".into(), 1.into()];
        assert_eq!(missing("one.group.update", &update), format!("ADMIN GROUP [{group}]."));
        let update = [0.into(), "A=1".into(), 1.into()];
        assert_eq!(missing("one.cluster.update", &update), "MANAGE CLUSTER [0].");
        assert_eq!(missing("one.cluster.rename", &update[..2]), "MANAGE CLUSTER [0].");
        let net = ["NAME=n\nVN_MAD=bridge".into(), (-1).into()];
        let words = "CREATE NET; Not authorized to perform ADMIN CLUSTER [0].";
        assert_eq!(missing("one.vn.allocate", &net), words);
        // An id below 0 stands for all of a kind.
        let update = [(-1).into(), "A=1".into(), 1.into()];
        assert_eq!(missing("one.host.update", &update), "ADMIN HOST.");
        assert_eq!(missing("one.document.info", &update[..1]), "USE DOCUMENT.");
        assert_eq!(missing("one.template.unlock", &update[..1]), "MANAGE TEMPLATE.");
        // These look for the object first.
        for method in ["one.template.rename", "one.document.delete", "one.vn.info"] {
            let params = if method.ends_with("rename") { &update[..2] } else { &update[..1] };
            assert_eq!(front.call_as("carol:p", method, params).error().0, 1024, "{method}");
        }
        let is_7 = front.call("one.system.version", &[]) == Answer::Value("7.4.0".into());
        let right = if is_7 { "MANAGE" } else { "ADMIN" };
        let words = format!("{right} DATASTORE [1].");
        assert_eq!(missing("one.datastore.delete", &[1.into()]), words);
        // Every group may use what is in the default VDC.
        assert!(front.call_as("carol:p", "one.datastore.info", &[1.into()]).xml().len() > 100);

        // Why something is not allowed is told to administrators alone.
        let (uid, alice) = front.user("alice");
        let document = front.call_as(&alice, "one.document.allocate", &["NAME=d".into(), 1.into()]);
        let document = document.id();
        let words = "[one.document.unlock] Cannot unlock: Lock is owned by another user";
        let unlocked = front.call_as(&alice, "one.document.unlock", &[document.into()]);
        assert_eq!(unlocked.error(), (2048, words.to_owned()), "what is not locked");
        front.call("one.document.unlock", &[document.into()]).id();
        front.call_as(&alice, "one.document.lock", &[document.into(), 1.into()]).id();
        let update = [document.into(), "A=1".into(), 1.into()];
        let refusal = refused(front.call_as(&alice, "one.document.update", &update));
        let words = format!("Not authorized to perform MANAGE DOCUMENT [{document}].");
        assert_eq!(refusal, format!("[one.document.update] User [{uid}] : {words}"));
        let refusal = refused(front.call("one.document.update", &update));
        assert!(refusal.contains(&format!("DOCUMENT is locked. [{document}].")), "{refusal}");

        // A name that the new owner has already.
        let template = |session: &str| {
            front.call_as(session, "one.template.allocate", &["NAME=t".into()]).id()
        };
        let (first, second) = (template(&front.session), template(&alice));
        let (code, words) =
            front.call("one.template.chown", &[second.into(), 0.into(), (-1).into()]).error();
        let owns = "user [0] already owns virtual machine template";
        let expected = format!("[one.template.chown] {owns} [{first}] with NAME t");
        assert_eq!((code, words), (8192, expected));
        assert!(carol > 1);
    }
}
