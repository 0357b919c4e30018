//! What objects do: names, ids, states, clusters, what is in the way of a deletion, pools.

use opennebula::xmlrpc::Param;
use sandbox::Version;

use crate::support::{Answer, DELAY, Front, all, ids, text};

const VNET: &str = "NAME=net\nVN_MAD=dummy\nBRIDGE=br0\nAR=[ IP=10.0.0.2, SIZE=3, TYPE=IP4 ]";

fn vnet(front: &Front, source: &str, cluster: i32) -> i32 {
    front.call("one.vn.allocate", &[source.into(), cluster.into()]).id()
}

fn datastore(front: &Front, name: &str, cluster: i32) -> i32 {
    let source = format!("NAME={name}\nDS_MAD=dummy\nTM_MAD=dummy");
    front.call("one.datastore.allocate", &[source.into(), cluster.into()]).id()
}

#[test]
fn a_new_front_end_has_what_every_one_has() {
    for front in Front::both() {
        let clusters = front.call("one.clusterpool.info", &[]).xml();
        assert_eq!(all(&clusters, "NAME"), ["default"]);
        let datastores = front.call("one.datastorepool.info", &[]).xml();
        assert_eq!(all(&datastores, "NAME"), ["files", "default", "system"]);
        let users = front.call("one.userpool.info", &[]).xml();
        assert_eq!(all(&users, "NAME"), ["serveradmin", "oneadmin"]);
        let groups = front.call("one.grouppool.info", &[]).xml();
        assert_eq!(all(&groups, "NAME"), ["users", "oneadmin"]);
        for pool in ["hostpool", "marketpool"] {
            let xml = front.call(&format!("one.{pool}.info"), &[]).xml();
            assert!(all(&xml, "ID").is_empty(), "{xml}");
        }
    }
}

#[test]
fn ids_are_never_given_twice() {
    for front in Front::both() {
        assert_eq!((front.cluster("a"), front.cluster("b")), (100, 101));
        front.call("one.cluster.delete", &[101.into()]).id();
        assert_eq!(front.cluster("b"), 102);
        assert_eq!(datastore(&front, "d", -1), 100);
        assert_eq!((front.host("h0", -1), front.host("h1", -1)), (0, 1));
        front.call("one.host.delete", &[1.into()]).id();
        assert_eq!(front.host("h1", -1), 2);
        // A refused call uses up no id.
        let params = ["h1".into(), "kvm".into(), "kvm".into(), 0.into()];
        front.call("one.host.allocate", &params).error();
        assert_eq!(front.host("h3", -1), 3);
    }
}

#[test]
fn names_are_unique_and_case_matters() {
    let [old, new] = Front::both();
    for front in [&old, &new] {
        front.host("node", -1);
        front.host("Node", -1);
        let collides = front.call("one.host.rename", &[1.into(), "node".into()]).error();
        let expected = "[one.host.rename] host cannot be renamed to node because it collides with \
                        host 0";
        assert_eq!(collides, (2048, expected.to_owned()));
        // A name of one's own is no collision.
        front.call("one.host.rename", &[1.into(), "Node".into()]).id();
    }
    let params = ["node".into(), "kvm".into(), "kvm".into(), 0.into()];
    let taken = "[one.host.allocate] NAME is already taken by HOST 0.";
    assert_eq!(old.call("one.host.allocate", &params).error(), (8192, taken.to_owned()));
    let taken = "[one.host.allocate] Error allocating a new host. NAME is already taken by HOST 0.";
    assert_eq!(new.call("one.host.allocate", &params).error(), (16384, taken.to_owned()));
}

#[test]
fn names_have_rules_by_release() {
    let [old, new] = Front::both();
    let allocate = |front: &Front, name: &str| {
        front.call("one.host.allocate", &[name.into(), "kvm".into(), "kvm".into(), 0.into()])
    };
    // 6.x takes what 7.x does not.
    for name in ["x", "a b", "-a", &"n".repeat(100)] {
        allocate(&old, name).id();
        assert_eq!(allocate(&new, name).error().0, 16384, "{name}");
    }
    for name in ["", "a/b", "a$b", "a#b", &"n".repeat(129)] {
        assert_eq!(allocate(&old, name).error().0, 8192, "{name}");
    }
    assert_eq!(old.call("one.host.rename", &[0.into(), "a;b".into()]).error().0, 2048);
    let without_driver = ["hh".into(), "".into(), "kvm".into(), 0.into()];
    assert_eq!(old.call("one.host.allocate", &without_driver).error().0, 8192);
}

#[test]
fn a_host_is_found_well_after_it_is_enabled() {
    for front in Front::both() {
        let id = front.host("node", -1);
        let state = || text(&front.info("host", id), "STATE").unwrap();
        assert_eq!(state(), "0");
        front.wait();
        assert_eq!(state(), "2");
        for (status, at_once, later) in [(2, "8", "8"), (0, "0", "2"), (1, "4", "4")] {
            front.call("one.host.status", &[id.into(), status.into()]).id();
            assert_eq!(state(), at_once);
            front.wait();
            assert_eq!(state(), later);
        }
        let wrong = front.call("one.host.status", &[id.into(), 9.into()]).error();
        assert_eq!(wrong, (8192, "[one.host.status] Wrong status code".to_owned()));
    }
}

#[test]
fn a_network_takes_a_moment_to_be_made_and_deleted() {
    for front in Front::both() {
        let id = vnet(&front, VNET, -1);
        let info = front.info("vn", id);
        assert_eq!((text(&info, "STATE").as_deref(), all(&info, "AR_ID").len()), (Some("2"), 0));
        let (code, words) = front.call("one.vn.delete", &[id.into()]).error();
        assert_eq!(code, 2048);
        assert!(words.ends_with("wrong state LOCK_CREATE"), "{words}");
        front.clock.advance(DELAY - std::time::Duration::from_millis(1));
        assert_eq!(text(&front.info("vn", id), "STATE").as_deref(), Some("2"));
        front.wait();
        let info = front.info("vn", id);
        assert_eq!(text(&info, "STATE").as_deref(), Some("1"));
        assert_eq!(all(&info, "IP_END"), ["10.0.0.4"]);
        assert_eq!(text(&info, "TEMPLATE/AR"), None);

        front.call("one.vn.delete", &[id.into()]).id();
        assert_eq!(text(&front.info("vn", id), "STATE").as_deref(), Some("3"));
        let again = front.call("one.vn.delete", &[id.into()]).error();
        assert!(again.1.ends_with("wrong state LOCK_DELETE"), "{again:?}");
        // The name is free only when it is gone.
        let taken = front.call("one.vn.allocate", &[VNET.into(), 0.into()]).error();
        assert!(taken.1.contains("already taken by NET 0"), "{taken:?}");
        front.wait();
        let gone = front.call("one.vn.info", &[id.into()]);
        let expected = Answer::Error {
            code: 1024,
            text: format!("[one.vn.info] Error getting virtual network [{id}]."),
            id,
        };
        assert_eq!(gone, expected);
        assert_eq!(vnet(&front, VNET, -1), id + 1);
    }
}

#[test]
fn networks_are_checked_and_their_ranges_too() {
    for front in Front::both() {
        let refused =
            |source: &str| front.call("one.vn.allocate", &[source.into(), 0.into()]).error().1;
        assert!(refused("NAME=n\nVN_MAD=dummy").contains("BRIDGE is mandatory"));
        assert!(refused("NAME=n\nVN_MAD=nosuch").contains("not defined in oned.conf"));
        assert!(refused("NAME=n\nVN_MAD=vxlan\nVLAN_ID=7").contains("PHYDEV is mandatory"));
        let no_vlan = refused("NAME=n\nVN_MAD=802.1Q\nPHYDEV=eth0");
        assert!(no_vlan.contains("VLAN_ID (or AUTOMATIC_VLAN_ID) is mandatory"), "{no_vlan}");

        let bad = vnet(&front, "NAME=bad\nVN_MAD=bridge\nAR=[ SIZE=3 ]", -1);
        assert_eq!(text(&front.info("vn", bad), "BRIDGE"), Some(format!("onebr{bad}")));
        let vxlan = "NAME=v\nVN_MAD=vxlan\nPHYDEV=eth0\nAUTOMATIC_VLAN_ID=YES";
        let vxlan = vnet(&front, vxlan, -1);
        front.wait();
        let info = front.info("vn", bad);
        assert_eq!(text(&info, "STATE").as_deref(), Some("5"));
        assert!(text(&info, "TEMPLATE/ERROR").unwrap().contains("TYPE"));
        assert!(!text(&front.info("vn", vxlan), "VLAN_ID").unwrap().is_empty());

        let range = "AR=[ IP=10.1.0.1, SIZE=2, TYPE=IP4 ]";
        front.call("one.vn.add_ar", &[vxlan.into(), range.into()]).id();
        front.call("one.vn.add_ar", &[vxlan.into(), range.into()]).id();
        assert_eq!(all(&front.info("vn", vxlan), "AR_ID"), ["0", "1"]);
        front.call("one.vn.rm_ar", &[vxlan.into(), 0.into()]).id();
        assert_eq!(front.call("one.vn.rm_ar", &[vxlan.into(), 0.into()]).error().0, 2048);
        assert_eq!(all(&front.info("vn", vxlan), "AR_ID"), ["1"]);
        // In the pool ranges are shorter.
        let pool = front.call("one.vnpool.info", &[(-2).into(), (-1).into(), (-1).into()]).xml();
        assert!(pool.contains("<AR_ID>") && !pool.contains("<MAC_END>"));
    }
}

#[test]
fn an_image_takes_a_moment_and_holds_its_datastore() {
    for front in &Front::both() {
        let place = datastore(front, "d", -1);
        front.wait();
        let image = "NAME=i\nSIZE=8\nTYPE=DATABLOCK";
        let id = front.call("one.image.allocate", &[image.into(), place.into()]).id();
        assert_eq!(text(&front.info("image", id), "STATE").as_deref(), Some("4"));
        assert_eq!(text(&front.info("image", id), "PREV_STATE").as_deref(), Some("0"));
        front.wait();
        assert_eq!(text(&front.info("image", id), "STATE").as_deref(), Some("1"));
        assert_eq!(ids(&front.info("datastore", place), "IMAGES"), [id.to_string()]);
        front.call("one.image.persistent", &[id.into(), true.into()]).id();
        assert_eq!(text(&front.info("image", id), "PERSISTENT").as_deref(), Some("1"));
        let full = front.call("one.datastore.delete", &[place.into()]).error();
        assert!(full.1.contains(&format!("Datastore {place} is not empty.")), "{full:?}");
        front.call("one.image.delete", &[id.into()]).id();
        assert_eq!(text(&front.info("image", id), "STATE").as_deref(), Some("7"));
        front.wait();
        assert_eq!(front.call("one.image.info", &[id.into()]).error().0, 1024);
        front.call("one.datastore.delete", &[place.into()]).id();
        let system = front.call("one.image.allocate", &[image.into(), 0.into()]).error();
        assert!(system.1.contains("files or image datastore"), "{system:?}");
    }
}

#[test]
fn a_cluster_must_be_empty() {
    for front in Front::both() {
        let id = front.cluster("c");
        let refused = || front.call("one.cluster.delete", &[id.into()]).error();
        let host = front.host("node", id);
        let place = datastore(&front, "d", id);
        let net = vnet(&front, VNET, id);
        front.wait();
        let info = front.info("cluster", id);
        assert_eq!(ids(&info, "HOSTS"), [host.to_string()]);
        assert_eq!(ids(&info, "DATASTORES"), [place.to_string()]);
        assert_eq!(ids(&info, "VNETS"), [net.to_string()]);

        assert!(refused().1.ends_with("it contains 1 hosts."));
        front.call("one.cluster.delhost", &[id.into(), host.into()]).id();
        assert_eq!(text(&front.info("host", host), "CLUSTER").as_deref(), Some("default"));
        assert!(refused().1.ends_with("it contains 1 datastores."));
        front.call("one.cluster.deldatastore", &[id.into(), place.into()]).id();
        front.call("one.cluster.deldatastore", &[id.into(), place.into()]).id();
        assert!(refused().1.ends_with("it contains 1 vnets."));
        front.call("one.vn.delete", &[net.into()]).id();
        let expected = format!(
            "[one.cluster.delete] Cannot delete cluster. Cluster {id} is not empty, it contains 1 \
             vnets."
        );
        assert_eq!(refused(), (2048, expected));
        front.wait();
        front.call("one.cluster.delete", &[id.into()]).id();
        assert_eq!(front.call("one.cluster.info", &[id.into()]).error().0, 1024);
        assert_eq!(front.call("one.cluster.delete", &[0.into()]).error().0, 2048);
    }
}

#[test]
fn things_can_be_in_several_clusters_and_hosts_in_one() {
    for front in Front::both() {
        let (a, b) = (front.cluster("a"), front.cluster("b"));
        let place = datastore(&front, "d", a);
        front.call("one.cluster.adddatastore", &[b.into(), place.into()]).id();
        front.call("one.cluster.adddatastore", &[b.into(), place.into()]).id();
        assert_eq!(
            ids(&front.info("datastore", place), "CLUSTERS"),
            [a.to_string(), b.to_string()]
        );
        // To add what is there, and to take out what is not, are successes.
        let net = vnet(&front, VNET, a);
        front.wait();
        for method in ["addvnet", "addvnet", "delvnet", "delvnet"] {
            let method = format!("one.cluster.{method}");
            assert_eq!(front.call(&method, &[b.into(), net.into()]).id(), b);
        }
        assert_eq!(ids(&front.info("vn", net), "CLUSTERS"), [a.to_string()]);
        let host = front.host("node", a);
        front.call("one.cluster.addhost", &[b.into(), host.into()]).id();
        assert_eq!(ids(&front.info("cluster", a), "HOSTS"), [""; 0]);
        assert_eq!(ids(&front.info("cluster", b), "HOSTS"), [host.to_string()]);
        for (cluster, host, named) in [(99, host, "cluster [99]"), (a, 77, "host [77]")] {
            let params = [cluster.into(), host.into()];
            let (code, words) = front.call("one.cluster.addhost", &params).error();
            assert_eq!(code, 1024);
            assert!(words.contains(named), "{words}");
        }
    }
}

#[test]
fn a_host_with_a_vm_stays() {
    for front in Front::both() {
        let host = front.host("node", -1);
        let source = "NAME=vm\nCPU=0.5\nMEMORY=64\nNOTE=mine";
        let vm = front.call("one.vm.allocate", &[source.into()]).id();
        let info = front.info("vm", vm);
        assert_eq!(text(&info, "STATE").as_deref(), Some("1"));
        assert_eq!(text(&info, "USER_TEMPLATE/NOTE").as_deref(), Some("mine"));
        let deploy = [vm.into(), host.into(), false.into(), (-1).into()];
        front.call("one.vm.deploy", &deploy).id();
        assert!(front.call("one.vm.deploy", &deploy).error().1.contains("RUNNING"));
        let info = front.info("host", host);
        assert_eq!(text(&info, "HOST_SHARE/RUNNING_VMS").as_deref(), Some("1"));
        assert_eq!(text(&info, "HOST_SHARE/CPU_USAGE").as_deref(), Some("50"));
        assert_eq!(text(&info, "HOST_SHARE/MEM_USAGE").as_deref(), Some("65536"));
        let refused = front.call("one.host.delete", &[host.into()]).error();
        let expected =
            "[one.host.delete] Cannot delete host. Can not remove a host with running VMs";
        assert_eq!(refused, (2048, expected.to_owned()));
        front.call("one.vm.action", &["terminate-hard".into(), vm.into()]).id();
        assert_eq!(text(&front.info("vm", vm), "STATE").as_deref(), Some("6"));
        let list = |state: i32| {
            let params = [(-2).into(), (-1).into(), (-1).into(), state.into()];
            all(&front.call("one.vmpool.info", &params).xml(), "ID").len()
        };
        assert_eq!((list(-1), list(-2), list(6), list(3)), (0, 1, 1, 0));
        front.call("one.host.delete", &[host.into()]).id();
        let odd = front.call("one.vm.action", &["fly".into(), vm.into()]).error();
        assert!(odd.1.contains("not supported"), "{odd:?}");
    }
}

#[test]
fn pools_are_newest_first_and_can_be_cut() {
    let front = Front::new(Version::V7_4);
    for name in ["a", "b", "c", "d", "e"] {
        let source = format!("NAME={name}");
        front.call("one.template.allocate", &[source.into()]).id();
    }
    let list = |start: i32, end: i32| {
        let params = [(-2).into(), start.into(), end.into()];
        all(&front.call("one.templatepool.info", &params).xml(), "NAME").concat()
    };
    assert_eq!(list(-1, -1), "edcba");
    assert_eq!(list(1, 3), "dcb");
    assert_eq!(list(3, -1), "ed");
    // An end below -1 is a number of objects, the start how many to leave out.
    assert_eq!(list(1, -2), "dc");
    assert_eq!(list(0, -100), "edcba");
    assert_eq!(list(7, 9), "");
    assert_eq!(list(i32::MAX, i32::MIN), "");
    let params = [(-5).into(), (-1).into(), (-1).into()];
    assert_eq!(front.call("one.templatepool.info", &params).error().0, 4096);
    assert!(matches!(front.call("one.templatepool.info", &[]), Answer::Fault { code: -501, .. }));
}

#[test]
fn documents_are_listed_by_type() {
    for front in Front::both() {
        for (name, doc_type) in [("a", 4242), ("b", 100), ("a", 4242)] {
            let source = format!("NAME={name}");
            front.call("one.document.allocate", &[source.into(), doc_type.into()]).id();
        }
        front.call("one.document.allocate", &["".into(), 4242.into()]).id();
        let params = [(-2).into(), (-1).into(), (-1).into(), 4242.into()];
        let pool = front.call("one.documentpool.info", &params).xml();
        assert_eq!(all(&pool, "NAME"), ["document-3", "a", "a"]);
        front.call("one.document.rename", &[3.into(), "x".into()]).id();
        assert_eq!(text(&front.info("document", 3), "NAME").as_deref(), Some("x"));
    }
}

#[test]
fn reserved_capacity_is_the_hosts_or_the_clusters() {
    let front = Front::new(Version::V7_4);
    let cluster = front.cluster("c");
    let host = front.host("node", cluster);
    let cpu = || text(&front.info("host", host), "HOST_SHARE/MAX_CPU").unwrap();
    assert_eq!(cpu(), "0");
    let update = |kind: &str, id: i32, source: &str| {
        let params = [id.into(), source.into(), 1.into()];
        front.call(&format!("one.{kind}.update"), &params).id();
    };
    update("cluster", cluster, "RESERVED_CPU=50");
    assert_eq!(cpu(), "-50");
    update("host", host, "RESERVED_CPU=100");
    assert_eq!(cpu(), "-100");
    front.call("one.cluster.addhost", &[0.into(), host.into()]).id();
    update("host", host, "RESERVED_CPU=\"\"");
    assert_eq!(cpu(), "0");
}

#[test]
fn calls_that_are_wrong_are_told_so() {
    let [old, new] = Front::both();
    for front in [&old, &new] {
        let fault = |method: &str, params: &[Param]| match front.call(method, params) {
            Answer::Fault { code, .. } => code,
            other => panic!("{method}: {other:?}"),
        };
        assert_eq!(fault("one.nosuch.info", &[]), -506);
        assert_eq!(fault("one.host.chown", &[]), -506);
        assert_eq!(fault("one.host.info", &[]), -501);
        assert_eq!(fault("one.host.info", &["0".into()]), -501);
        assert_eq!(fault("one.host.info", &[Param::Nil]), -501);
        assert_eq!(fault("one.host.status", &[0.into()]), -501);
        assert_eq!(front.call("one.marketapp.info", &[3.into()]).error().0, 1024);
        assert_eq!(front.call("one.host.info", &[(-1).into()]).error().0, 1024);
        let params = [0.into(), "A=1".into(), 7.into()];
        assert_eq!(front.call("one.cluster.update", &params).error().0, 4096);
        // More parameters than a method knows are ignored.
        front.call("one.cluster.info", &[0.into(), false.into(), 1.into(), Param::Nil]).xml();
    }
    for junk in ["", "x", "<a/>", "<methodCall/>", "<methodCall><methodName>x</methodName>"] {
        let answer = Answer::of(&new.sandbox.handle(junk.as_bytes()));
        assert!(matches!(answer, Answer::Fault { code: -503, .. }), "{junk}: {answer:?}");
    }
}

#[test]
fn ids_below_minus_one_are_ids_like_others() {
    for front in Front::both() {
        let error = |id: i32| front.call("one.host.info", &[id.into()]);
        let words = |text: &str, id| Answer::Error { code: 1024, text: text.to_owned(), id };
        assert_eq!(error(-1), words("[one.host.info] Error getting host Pool.", -1));
        assert_eq!(error(-5), words("[one.host.info] Error getting host [-5].", -5));
    }
}

#[test]
fn an_update_of_a_network_says_all_of_it() {
    for front in Front::both() {
        let source = "NAME=n\nVN_MAD=bridge\nBRIDGE=br0\nPHYDEV=e0\nVLAN_ID=07\nERROR=x";
        let net = vnet(&front, source, -1);
        let chosen = "NAME=a\nVN_MAD=vxlan\nPHYDEV=e0\nAUTOMATIC_VLAN_ID=yes";
        let chosen = vnet(&front, chosen, -1);
        front.wait();
        let of = |id: i32, path: &str| text(&front.info("vn", id), path);
        assert_eq!(of(net, "VLAN_ID").as_deref(), Some("07"));
        assert_eq!(of(net, "TEMPLATE/ERROR"), None);
        assert_eq!(of(chosen, "TEMPLATE/VLAN_ID"), None);
        let vlan = of(chosen, "VLAN_ID");
        assert!(vlan.is_some());

        let update = |id: i32, source: &str, how: i32| {
            front.call("one.vn.update", &[id.into(), source.into(), how.into()])
        };
        update(net, "VN_MAD=bridge\nSECURITY_GROUPS=5", 0).id();
        assert_eq!(of(net, "TEMPLATE/SECURITY_GROUPS").as_deref(), Some("5"));
        for path in ["VLAN_ID", "PHYDEV", "TEMPLATE/VLAN_ID", "TEMPLATE/PHYDEV"] {
            assert_eq!(of(net, path).as_deref(), Some(""), "{path}");
        }
        assert_eq!(of(net, "BRIDGE").as_deref(), Some("br0"));
        update(chosen, "VN_MAD=vxlan\nPHYDEV=e0\nVLAN_ID=77", 0).id();
        assert_eq!(of(chosen, "VLAN_ID"), vlan);
        assert_eq!(of(chosen, "TEMPLATE/VLAN_ID"), None);

        let is_7 = front.call("one.system.version", &[]) == Answer::Value("7.4.0".into());
        if is_7 {
            let (_, words) = update(net, "B=1", 0).error();
            assert!(words.contains("No VN_MAD in template for Virtual Network."), "{words}");
            let (_, words) = update(net, "BRIDGE_TYPE=none", 1).error();
            assert!(words.contains("Attribute BRIDGE_TYPE has wrong value \"none\""), "{words}");
        } else {
            update(net, "B=1\nBRIDGE_TYPE=none", 0).id();
            assert_eq!(of(net, "VN_MAD").as_deref(), Some(""));
            assert_eq!(of(net, "BRIDGE_TYPE").as_deref(), Some("none"));
        }
    }
}

#[test]
fn of_several_ranges_the_first_is_added() {
    for front in Front::both() {
        let net = vnet(&front, "NAME=n\nVN_MAD=bridge", -1);
        front.wait();
        let two = "AR=[TYPE=IP4,IP=10.0.0.1,SIZE=1]\nAR=[TYPE=IP4,IP=nonsense,SIZE=1]";
        front.call("one.vn.add_ar", &[net.into(), two.into()]).id();
        assert_eq!(all(&front.info("vn", net), "AR_ID"), ["0"]);
    }
}

#[test]
fn an_update_of_a_datastore_says_what_it_is() {
    for front in Front::both() {
        let id =
            |source: &str| front.call("one.datastore.allocate", &[source.into(), (-1).into()]).id();
        let update = |id: i32, source: &str| {
            front.call("one.datastore.update", &[id.into(), source.into(), 0.into()])
        };
        let template = |id: i32| {
            let xml = front.info("datastore", id);
            let start = xml.find("<TEMPLATE>").unwrap() + "<TEMPLATE>".len();
            xml[start..xml.rfind("</TEMPLATE>").unwrap()].to_owned()
        };
        let system = id("NAME=s\nTYPE=SYSTEM_DS\nTM_MAD=ssh");
        update(system, "A=1").id();
        let expected = "<A><![CDATA[1]]></A><TM_MAD><![CDATA[ssh]]></TM_MAD>\
                        <TYPE><![CDATA[SYSTEM_DS]]></TYPE>";
        assert_eq!(template(system), expected);
        let (_, words) = update(system, "TYPE=IMAGE_DS").error();
        assert!(words.contains("DS_MAD named \"-\" is not defined in oned.conf"), "{words}");
        let backup = id("NAME=b\nTYPE=BACKUP_DS\nDS_MAD=rsync\nRSYNC_HOST=h\nRSYNC_USER=u");
        update(backup, "TYPE=IMAGE_DS\nRSYNC_HOST=h\nRSYNC_USER=u").id();
        let info = front.info("datastore", backup);
        assert_eq!(text(&info, "TYPE").as_deref(), Some("3"));
        assert_eq!(text(&info, "TEMPLATE/TM_MAD").as_deref(), Some("-"));
    }
}

#[test]
fn templates_of_networks_need_a_driver() {
    for front in Front::both() {
        let new = |source: &str| front.call("one.vntemplate.allocate", &[source.into()]);
        let words = "[one.vntemplate.allocate] Error inserting Template in DB. VN_MAD is mandatory";
        assert_eq!(new("NAME=t").error(), (8192, words.to_owned()));
        let is_7 = front.call("one.system.version", &[]) == Answer::Value("7.4.0".into());
        let bridge = new("NAME=b\nVN_MAD=bridge").id();
        let words = "[one.vntemplate.allocate] NAME is already taken by VN TEMPLATE";
        let again = new("NAME=b\nVN_MAD=bridge").error();
        assert_eq!(again, (8192, format!("{words} {bridge}.")));
        let dummy = new("NAME=t\nVN_MAD=dummy");
        match is_7 {
            true => _ = dummy.id(),
            false => assert!(dummy.error().1.contains("BRIDGE is mandatory for driver dummy")),
        }
        let (_, words) =
            front.call("one.document.allocate", &["NAME=\"a & b\"".into(), 7.into()]).error();
        assert_eq!(words, "[one.document.allocate] Error transforming the Document to XML.");
        let source = "NAME=\"a &amp; b\"";
        let document = front.call("one.document.allocate", &[source.into(), 7.into()]).id();
        let name = text(&front.info("document", document), "NAME");
        assert_eq!(name.as_deref(), Some("a & b"));
    }
}

#[test]
fn calls_with_a_character_of_four_bytes_are_refused_as_a_whole() {
    for front in Front::both() {
        let answer = front.call("one.cluster.allocate", &["ü€\u{1d11e}".into()]);
        let Answer::Fault { code, text } = answer else { panic!("{answer:?}") };
        assert_eq!(code, -503);
        assert!(text.contains("9-byte supposed UTF-8 string is not valid UTF-8."), "{text}");
    }
}

#[test]
fn what_a_network_is_made_of_depends_on_the_release() {
    for front in Front::both() {
        let is_7 = front.call("one.system.version", &[]) == Answer::Value("7.4.0".into());
        let new = |source: &str| {
            let params = [source.into(), (-1).into()];
            front.call("one.vn.allocate", &params)
        };
        let odd = new("NAME=a\nVN_MAD=bridge\nVLAN_ID=odd\nTEMPLATE_ID=5").id();
        let info = front.info("vn", odd);
        let bridge = if is_7 { format!("onebr{odd}") } else { "onebr.odd".to_owned() };
        assert_eq!(text(&info, "BRIDGE"), Some(bridge));
        assert_eq!(text(&info, "VLAN_ID").as_deref(), Some("odd"));
        assert_eq!(text(&info, "TEMPLATE/TEMPLATE_ID").is_none(), is_7);
        let wanted = new("NAME=b\nVN_MAD=bridge\nBRIDGE_TYPE=openvswitch");
        match is_7 {
            true => assert!(wanted.error().1.contains("BRIDGE_TYPE has wrong value")),
            false => {
                let info = front.info("vn", wanted.id());
                assert_eq!(text(&info, "BRIDGE_TYPE").as_deref(), Some("linux"));
            }
        }
        front.wait();
        let ar = "AR=[TYPE=IP4,IP=\" 10.0.0.1 \",SIZE=1]";
        let added = front.call("one.vn.add_ar", &[odd.into(), ar.into()]);
        match is_7 {
            true => _ = added.id(),
            false => assert!(added.error().1.ends_with("Wrong or empty IP attribute")),
        }
        let ar = "AR=[TYPE=IP6,SIZE=1,MAC=\"02:00:00:00:00:09\",ULA_PREFIX=\"fd00::\"]";
        front.call("one.vn.add_ar", &[odd.into(), ar.into()]).id();
        let info = front.info("vn", odd);
        assert_eq!(all(&info, "IP6_ULA_END"), ["fd00::ff:fe00:9"]);
        let ar = "AR=[TYPE=ETHER,SIZE=1,MAC=\"02:00:0:0:0:AA\"]";
        front.call("one.vn.add_ar", &[odd.into(), ar.into()]).id();
        let mac = if is_7 { "02:00:00:00:00:aa" } else { "02:00:0:0:0:AA" };
        assert!(all(&front.info("vn", odd), "MAC").contains(&mac.to_owned()));
        let lost = "<T><AR><TYPE>ETHER</TYPE><SIZE>1</SIZE><X>]]&gt;</X></AR></T>";
        let ranges = all(&front.info("vn", odd), "AR_ID");
        front.call("one.vn.add_ar", &[odd.into(), lost.into()]).id();
        assert_eq!(all(&front.info("vn", odd), "AR_ID"), ranges);
    }
}
