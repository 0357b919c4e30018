//! Every exchange that was recorded with real front-ends is understood.
//!
//! The recordings lie beside the workspace, `../shared/wire/<release>/<name>.{req,res}.xml`; without
//! them these tests say so and pass. What they show is repeated by hand in the other tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::Script;
use opennebula::objects::{HostState, HostStatus, ImageState, Permissions, VnetState};
use opennebula::xmlrpc::{MethodCall, ParseError, parse_call, parse_response};
use opennebula::{Effect, ErrorKind};

const RELEASES: [&str; 2] = ["6.10", "7.4"];

fn folder(release: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/wire").join(release);
    if !path.is_dir() {
        println!("skipped: no recordings of {release}");
        return None;
    }
    Some(path)
}

fn files(release: &str, end: &str) -> Vec<(String, Vec<u8>)> {
    let Some(folder) = folder(release) else { return Vec::new() };
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter_map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let name = name.strip_suffix(end)?.to_owned();
            Some((name, fs::read(entry.path()).unwrap()))
        })
        .collect();
    all.sort();
    assert!(all.len() > 140, "{} recordings of {release}", all.len());
    all
}

fn recorded(release: &str, name: &str) -> Option<(MethodCall, Vec<u8>)> {
    let folder = folder(release)?;
    let request = fs::read(folder.join(format!("{name}.req.xml"))).unwrap();
    let answer = fs::read(folder.join(format!("{name}.res.xml"))).unwrap();
    Some((parse_call(&request).unwrap(), answer))
}

#[test]
fn every_request_is_read_or_refused_for_its_reason() {
    for (release, (name, bytes)) in
        RELEASES.iter().flat_map(|r| files(r, ".req.xml").into_iter().map(move |file| (r, file)))
    {
        if bytes.is_empty() {
            continue;
        }
        let read = parse_call(&bytes);
        let expected = match name.as_str() {
            "err.badutf8" => matches!(read, Err(ParseError::Utf8 { .. })),
            "err.dtd.entity" => matches!(read, Err(ParseError::Dtd)),
            "err.wrongroot" => matches!(read, Err(ParseError::Root { .. })),
            "err.ctrlchar"
            | "err.malformed.xml"
            | "err.notxml"
            | "err.huge.claimed.2GB"
            | "err.chunkedrequest" => {
                matches!(read, Err(ParseError::Xml { .. }))
            }
            _ => read.as_ref().is_ok_and(|call| call.method.starts_with("one.")),
        };
        assert!(expected, "{release} {name}: {read:?}");
        assert!(!format!("{read:?}").contains("opennebula"), "{name} shows the session");
    }
}

/// What an error is, in one word.
fn word(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Authentication { .. } => "authentication",
        ErrorKind::NoSuchObject { .. } => "gone",
        ErrorKind::NameTaken { by: Some(_), .. } => "taken",
        ErrorKind::Refused { .. } => "refused",
        ErrorKind::Fault { .. } => "fault",
        ErrorKind::NotXmlRpc(_) => "no xml-rpc",
        _ => "something else",
    }
}

fn expected_word(name: &str) -> &'static str {
    match name {
        "err.badauth" | "err.badauth.empty" | "err.badauth.nocolon" | "err.dtd.entity" => {
            "authentication"
        }
        "err.noexist.host"
        | "err.noexist.cluster.update"
        | "err.host.allocate.badcluster"
        | "err.image.allocate.badds"
        | "err.image.chown.nouser"
        | "err.delete.twice" => "gone",
        name if name.starts_with("err.nametaken.") => "taken",
        "err.nomethod" | "err.noparams" | "err.missingparam" | "err.wrongtype"
        | "err.malformed.xml" | "err.notxml" | "err.wrongroot" | "err.badutf8" | "err.ctrlchar" => {
            "fault"
        }
        "vn.info.after-delete" => "gone",
        // HTML, which the HTTP transport would not hand on.
        "err.emptybody"
        | "err.get"
        | "err.get.root"
        | "err.wrongpath"
        | "err.nocontentlength"
        | "err.chunkedrequest"
        | "err.shortbody"
        | "err.garbagehttp"
        | "err.huge.claimed.2GB"
        | "err.huge.header" => "no xml-rpc",
        // A request of another content type is answered.
        "err.wrongctype" => "ok",
        name if name.starts_with("err.") => "refused",
        _ => "ok",
    }
}

#[tokio::test]
async fn every_answer_is_what_it_says() {
    for release in RELEASES {
        let folder = folder(release).unwrap_or_default();
        for (name, bytes) in files(release, ".res.xml") {
            let request = fs::read(folder.join(format!("{name}.req.xml"))).unwrap_or_default();
            let method = parse_call(&request).map_or("one.x.y".to_owned(), |call| call.method);
            let client = Script::of([Ok(bytes)]).client_with(opennebula::ClientSettings {
                patience: std::time::Duration::ZERO,
                ..Default::default()
            });
            let answer = client.call(Effect::Read, &method, Vec::new()).await;
            let found = answer.as_ref().map_or_else(|error| word(&error.kind), |_| "ok");
            // Whether the cluster's network was gone by then was a matter of luck.
            if name.ends_with("cluster.delete") && matches!(found, "ok" | "refused") {
                continue;
            }
            assert_eq!(found, expected_word(&name), "{release} {name}: {answer:?}");
        }
    }
}

/// Replays an answer to a typed call and demands that the call is the one that was recorded.
macro_rules! replay {
    ($name:expr, |$client:ident, $id:ident| $call:expr, |$release:ident, $got:ident| $check:block) => {
        for release in RELEASES {
            let Some((request, answer)) = recorded(release, $name) else { continue };
            let script: Arc<Script> = Script::of([Ok(answer)]);
            let $client = script.client();
            let $id = request.params.get(1).and_then(|id| id.as_i32()).unwrap_or(-1);
            let $got = $call.await.unwrap_or_else(|error| panic!("{release} {}: {error}", $name));
            let call = script.calls.lock().unwrap()[0].clone();
            assert_eq!(call.method, request.method, "{release} {}", $name);
            let same = call.params[1..] == request.params[1..];
            assert!(same, "{release} {}: {:?} {:?}", $name, call.params, request.params);
            let $release = release;
            let _ = $release;
            $check
        }
    };
}

#[tokio::test]
async fn objects_are_typed_and_asked_for_as_recorded() {
    replay!("host.info.after", |c, id| c.hosts().info(id.into()), |_r, host| {
        assert_eq!((host.state, host.im_mad.as_str()), (HostState::Offline, "dummy"));
        assert!(host.name.starts_with("10.9.9.9-") && host.cluster_name.starts_with("wire-"));
        assert!(host.cluster_id.0 >= 100 && host.vms.is_empty());
        assert_eq!(host.template.text("NOTE"), Some("line1\nline2 <&> é \"q\""));
        assert_eq!(host.template.text("PROVISION/IP"), Some("10.9.9.9"));
    });
    replay!("secret.host.info.decrypt", |c, id| c.hosts().info_decrypted(id.into()), |_r, host| {
        assert_eq!(host.template.text("PM_MAD"), Some("packet"));
    });
    replay!("hostpool.info", |c, _id| c.hosts().pool(), |release, hosts| {
        assert_eq!(hosts.len(), if release == "6.10" { 2 } else { 1 });
        assert!(hosts.windows(2).all(|pair| pair[0].id != pair[1].id));
    });
    replay!("cluster.info", |c, id| c.clusters().info(id.into()), |_r, cluster| {
        assert_eq!(cluster.template.text("PROVISION/NAME"), Some("wire & <co> \"q\" é"));
    });
    replay!("objects.cluster.info.full", |c, id| c.clusters().info(id.into()), |_r, cluster| {
        assert_eq!((cluster.datastores.len(), cluster.vnets.len()), (1, 1));
    });
    replay!("clusterpool.info", |c, _id| c.clusters().pool(), |_r, clusters| {
        assert!(clusters.iter().any(|cluster| cluster.id.0 == 0 && cluster.name == "default"));
    });
    replay!("datastore.info", |c, id| c.datastores().info(id.into()), |_r, datastore| {
        assert_eq!((datastore.ds_mad.as_str(), datastore.tm_mad.as_str()), ("fs", "ssh"));
        assert_eq!((datastore.clusters.len(), datastore.permissions.octal()), (1, 0o640));
        assert_eq!(datastore.owner.uname, "oneadmin");
    });
    replay!("datastorepool.info", |c, _id| c.datastores().pool(), |_r, datastores| {
        assert!(datastores.len() >= 4);
    });
    replay!("objects.vn.info", |c, id| c.vnets().info(id.into()), |_r, vnet| {
        assert!(matches!(vnet.state, VnetState::Ready | VnetState::LockCreate));
        // The ranges are there once the network is.
        let first = (vnet.state == VnetState::Ready).then_some("192.168.150.2");
        assert_eq!(vnet.address_ranges.text("AR/IP"), first);
        assert_eq!((vnet.bridge.as_str(), vnet.used_leases), ("br0", 0));
    });
    replay!("vnpool.info", |c, _id| c.vnets().pool(), |_r, vnets| {
        assert!(!vnets.is_empty());
    });
    replay!("image.info.later", |c, id| c.images().info(id.into()), |_r, image| {
        assert_eq!((image.state, image.size_mb), (ImageState::Ready, 8));
        assert!(image.datastore_id.0 >= 100);
    });
    replay!("imagepool.info.one", |c, _id| c.images().pool(), |_r, images| {
        assert_eq!(images.len(), 1);
    });
    replay!("template.info", |c, id| c.templates().info(id.into()), |_r, template| {
        assert_eq!(template.template.text("DISK/IMAGE_ID"), Some("0"));
    });
    replay!("templatepool.info", |c, _id| c.templates().pool(), |_r, templates| {
        assert_eq!(templates.len(), 1);
    });
    replay!("vntemplate.info", |c, id| c.vntemplates().info(id.into()), |_r, template| {
        assert_eq!(template.template.text("VN_MAD"), Some("bridge"));
    });
    replay!("vntemplatepool.info", |c, _id| c.vntemplates().pool(), |_r, templates| {
        assert_eq!(templates.len(), 1);
    });
    replay!("document.info", |c, id| c.documents().info(id.into()), |_r, document| {
        assert_eq!(document.document_type, 103);
        assert!(document.template.text("TEMPLATE/PROVISION_BODY").is_some());
    });
    replay!("documentpool.info", |c, _id| c.documents().pool(103), |_r, documents| {
        assert_eq!(documents.len(), 1);
    });
    replay!("userpool.info", |c, _id| c.users().pool(), |_r, users| {
        assert!(users.iter().any(|user| user.id.0 == 0 && user.name == "oneadmin"));
    });
    replay!("user.info.self", |c, _id| c.users().own(), |_r, user| {
        assert!(user.enabled && user.groups.len() == 1);
        assert!(!format!("{user:?}").contains("f9c132610e23"), "a password hash is shown");
    });
    replay!("grouppool.info", |c, _id| c.groups().pool(), |_r, groups| {
        assert_eq!(groups.len(), 2);
        assert!(groups.iter().any(|group| group.name == "oneadmin" && group.users.len() == 2));
    });
    replay!("marketapppool.info", |c, _id| c.marketapps().pool(), |_r, apps| {
        assert!(apps.is_empty());
    });
    replay!("vmpool.info.one", |c, _id| c.vms().pool(), |_r, vms| {
        assert_eq!((vms.len(), vms[0].state.number(), vms[0].host), (1, 2, None));
    });
    replay!("system.version", |c, _id| c.system().version(), |release, version| {
        assert!(version.starts_with(release), "{version}");
    });
}

#[tokio::test]
async fn writes_are_sent_as_recorded() {
    replay!(
        "host.status.offline",
        |c, id| c.hosts().status(id.into(), HostStatus::Offline),
        |_r, done| {
            let () = done;
        }
    );
    replay!(
        "host.status.enable",
        |c, id| c.hosts().status(id.into(), HostStatus::Enable),
        |_r, done| {
            let () = done;
        }
    );
    replay!("host.delete", |c, id| c.hosts().delete(id.into()), |_r, done| {
        let () = done;
    });
    replay!(
        "image.chmod",
        |c, id| c.images().chmod(id.into(), Permissions::from_octal(0o644)),
        |_r, done| {
            let () = done;
        }
    );
    replay!(
        "image.chown",
        |c, id| c.images().chown(id.into(), Some(0.into()), Some(1.into())),
        |_r, done| {
            let () = done;
        }
    );
    replay!(
        "vm.action.terminate-hard",
        |c, _id| c.vms().action(0.into(), "terminate-hard"),
        |_r, done| {
            let () = done;
        }
    );
    for release in RELEASES {
        let Some((request, answer)) = recorded(release, "host.allocate") else { continue };
        let script = Script::of([Ok(answer)]);
        let name = request.params[1].as_str().unwrap();
        let cluster = request.params[4].as_i32().unwrap().into();
        let id = script.client().hosts().allocate(name, "dummy", "dummy", cluster).await.unwrap();
        assert!(id.0 >= 0);
        assert!(script.params(0) == request.params[1..]);
    }
}

#[test]
fn templates_in_text_become_what_the_front_end_made_of_them() {
    for release in RELEASES {
        let Some((request, _)) = recorded(release, "odd.template.quotes") else { continue };
        let Some((_, answer)) = recorded(release, "odd.template.quotes.info") else { continue };
        let sent = request.params[1].as_str().unwrap();
        let mut ours = opennebula::text::sorted(opennebula::text::parse(sent).unwrap());
        ours.remove("NAME");
        let opennebula::xmlrpc::MethodResponse::Success(answer) = parse_response(&answer).unwrap()
        else {
            panic!("a fault");
        };
        let xml = answer.as_array().unwrap()[1].as_str().unwrap();
        let doc = roxmltree::Document::parse(xml).unwrap();
        let node = doc.descendants().find(|node| node.has_tag_name("TEMPLATE")).unwrap();
        assert_eq!(ours, model::Attributes::from_xml(node), "{release}");
    }
}

#[test]
fn the_words_of_text_errors_are_those_of_the_front_end() {
    for release in RELEASES {
        for name in ["err.host.update.badtemplate", "err.host.update.badtemplate2"] {
            let Some((request, answer)) = recorded(release, name) else { continue };
            let sent = request.params[2].as_str().unwrap();
            let ours = opennebula::text::parse(sent).unwrap_err().oned_text().unwrap();
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.contains(&format!("Parse error: {ours}<")), "{release} {name}: {ours}");
        }
    }
}
