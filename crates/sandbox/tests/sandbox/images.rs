//! Images that VMs use, that cannot be copied, and that come from a marketplace.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sandbox::{MarketApp, Version};

use crate::support::{Answer, Front, settings, text};

fn front(version: Version) -> Front {
    let (mut settings, clock) = settings(version);
    settings.failing_paths = vec!["/nowhere/".to_owned()];
    settings.apps = vec![MarketApp {
        id: 7,
        name: "Small <Linux>".to_owned(),
        app_type: 1,
        size: 256,
        source: "https://market.example/small".to_owned(),
        image_template: "DEV_PREFIX=\"vd\"\nTYPE=\"OS\"".to_owned(),
        vm_template: "CPU=1\nMEMORY=64".to_owned(),
    }];
    Front::with(settings, clock)
}

#[test]
fn an_image_in_use_is_not_deleted() {
    for version in [Version::V6_10, Version::V7_4] {
        let front = front(version);
        let image = "NAME=i\nSIZE=8\nTYPE=DATABLOCK";
        let id = front.call("one.image.allocate", &[image.into(), 1.into()]).id();
        front.wait();
        let vm = format!("NAME=v\nCPU=1\nMEMORY=64\nDISK=[IMAGE_ID=\"{id}\"]");
        let vm = front.call("one.vm.allocate", &[vm.as_str().into(), false.into()]).id();
        let info = front.info("image", id);
        assert_eq!(text(&info, "STATE").as_deref(), Some("2"));
        assert_eq!(text(&info, "RUNNING_VMS").as_deref(), Some("1"));
        assert!(info.contains(&format!("<VMS><ID>{vm}</ID></VMS>")), "{info}");
        let refused = front.call("one.image.delete", &[id.into()]).error();
        assert_eq!(refused.0, 2048);
        assert!(refused.1.contains("There are 1 VMs using it."), "{refused:?}");

        front.call("one.vm.action", &["terminate-hard".into(), vm.into()]).id();
        assert_eq!(text(&front.info("image", id), "STATE").as_deref(), Some("1"));
        front.call("one.image.delete", &[id.into()]).id();

        let nothing = "NAME=v\nCPU=1\nMEMORY=64\nDISK=[IMAGE_ID=\"4711\"]";
        let error = front.call("one.vm.allocate", &[nothing.into(), false.into()]).error();
        assert_eq!(error.0, 1024);
    }
}

#[test]
fn a_datastore_has_no_room_until_it_has_been_measured() {
    let front = front(Version::V6_10);
    let source = "NAME=d\nDS_MAD=fs\nTM_MAD=ssh";
    let store = front.call("one.datastore.allocate", &[source.into(), (-1).into()]).id();
    let image = "NAME=i\nSIZE=8\nTYPE=DATABLOCK";
    let refused = front.call("one.image.allocate", &[image.into(), store.into()]).error();
    assert_eq!(refused.0, 2048);
    assert!(refused.1.ends_with("Not enough space in datastore"), "{refused:?}");
    front.wait();
    front.call("one.image.allocate", &[image.into(), store.into()]).id();
}

#[test]
fn an_image_that_is_being_copied_is_deleted_by_force_only() {
    for version in [Version::V6_10, Version::V7_4] {
        let front = front(version);
        let image = "NAME=i\nSIZE=8\nTYPE=DATABLOCK";
        let id = front.call("one.image.allocate", &[image.into(), 1.into()]).id();
        let refused = front.call("one.image.delete", &[id.into()]).error();
        assert_eq!(refused.0, 8192);
        assert!(refused.1.contains("use --force flag"), "{refused:?}");
        front.call("one.image.delete", &[id.into(), true.into()]).id();
    }
}

#[test]
fn an_image_that_cannot_be_copied_says_why() {
    let front = front(Version::V7_4);
    let image = "NAME=i\nPATH=/nowhere/at-all";
    let id = front.call("one.image.allocate", &[image.into(), 1.into()]).id();
    assert_eq!(text(&front.info("image", id), "STATE").as_deref(), Some("4"));
    front.wait();
    let info = front.info("image", id);
    assert_eq!(text(&info, "STATE").as_deref(), Some("5"));
    assert!(info.contains("Error copying image in the datastore"), "{info}");
    front.call("one.image.delete", &[id.into()]).id();
}

#[test]
fn an_app_is_listed_shown_and_made_into_an_image() {
    let front = front(Version::V6_10);
    let pool = front.call("one.marketapppool.info", &[(-2).into(), (-1).into(), (-1).into()]).xml();
    let app = front.call("one.marketapp.info", &[7.into()]).xml();
    assert!(pool.contains(&app));
    assert!(app.contains(&STANDARD.encode("CPU=1\nMEMORY=64")), "{app}");
    assert_eq!(front.call("one.marketapp.info", &[8.into()]).error().0, 1024);

    let image = "NAME=i\nFROM_APP=7";
    let id = front.call("one.image.allocate", &[image.into(), 1.into()]).id();
    let info = front.info("image", id);
    assert_eq!(text(&info, "SIZE").as_deref(), Some("256"));
    assert_eq!(text(&info, "PATH").as_deref(), Some("https://market.example/small"));
    let unknown = "NAME=j\nFROM_APP=8";
    assert!(
        front.call("one.image.allocate", &[unknown.into(), 1.into()]).error().1.contains("app 8")
    );
}

#[test]
fn what_an_image_is_decides_where_it_may_be() {
    for front in Front::both() {
        let new = |source: &str, place: i32| {
            front.call("one.image.allocate", &[source.into(), place.into()])
        };
        let is_7 = front.call("one.system.version", &[]) == Answer::Value("7.4.0".into());
        let refused = |source: &str, place: i32, words: &str| {
            let words = format!("[one.image.allocate] Error allocating a new image. {words}");
            assert_eq!(new(source, place).error(), (16384, words));
        };
        new("NAME=a\nTYPE=DATABLOCK\nSIZE=1", 1).id();
        refused("NAME=a\nTYPE=DATABLOCK\nSIZE=1", 1, "NAME is already taken by IMAGE 0.");
        refused("NAME=\"a/b\"\nTYPE=OS\nSIZE=1", 1, "Invalid NAME, char '/' is not allowed");
        refused("NAME=b\nTYPE=odd\nSIZE=1", 1, "Unknown type ");
        refused("NAME=b\nSOURCE=/x\nSIZE=1", 1, "SOURCE needs FORMAT to be set.");
        let kinds = "KERNEL, RAMDISK and CONTEXT";
        let words = format!("Only IMAGES of type {kinds} can be registered in a FILE_DS datastore");
        refused("NAME=b\nTYPE=DATABLOCK\nSIZE=1", 2, &words);
        let words = format!("IMAGES of type {kinds} cannot be registered in an IMAGE_DS datastore");
        refused("NAME=b\nTYPE=KERNEL\nSIZE=1\nPATH=/x", 1, &words);
        let size =
            |words: &str| (8192, format!("[one.image.allocate] Cannot parse image SIZE: {words}"));
        let words = "Either PATH or SOURCE are required for CDROM";
        assert_eq!(new("NAME=b\nTYPE=CDROM\nSIZE=1", 1).error(), size(words));
        match is_7 {
            true => {
                let answer = new("NAME=b\nTYPE=FILESYSTEM\nSIZE=1", 1).error();
                assert_eq!(answer, size("Missing PATH attribute."));
            }
            false => refused("NAME=b\nTYPE=FILESYSTEM\nSIZE=1", 1, "Unknown type "),
        }
        let (uid, alice) = front.user("alice");
        let source = "NAME=b\nTYPE=DATABLOCK\nSOURCE=/x\nFORMAT=raw\nSIZE=1";
        let answer = front.call_as(&alice, "one.image.allocate", &[source.into(), 1.into()]);
        let words = "Template includes a restricted attribute SOURCE.";
        let expected = format!("[one.image.allocate] User [{uid}] : {words}");
        assert_eq!(answer.error(), (512, expected));
    }
}
