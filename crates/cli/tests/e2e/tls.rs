//! Front-ends behind HTTPS with a CA of their own, and the variables of OpenNebula's client.

use std::path::PathBuf;

use testkit::packet::FakePacket;

use crate::clouds::packet_parameters;
use crate::support::front_end::{CA, Served, behind_tls, server};
use crate::support::{Home, Invocation, template};

/// A front-end that a CA vouches for which no system knows.
struct Site {
    home: Home,
    served: Served,
    endpoint: String,
}

impl Site {
    fn new() -> Self {
        let home = Home::new();
        let served = Served::start(&home);
        let endpoint = behind_tls(&served.endpoint);
        Self { home, served, endpoint }
    }

    fn list(&self) -> Invocation {
        let tool = self.home.tool(&["--patience", "0", "list"]);
        tool.env("ONE_XMLRPC", &self.endpoint).env("ONE_AUTH", &self.served.auth)
    }

    /// A folder with the CA's certificate, and what else may lie there.
    fn certificates(&self) -> PathBuf {
        let dir = self.home.work().join("certificates");
        std::fs::create_dir_all(dir.join("old")).unwrap();
        std::fs::write(dir.join("ca.pem"), CA).unwrap();
        std::fs::write(dir.join("README"), "The CA of this site.").unwrap();
        dir
    }
}

#[test]
fn a_ca_of_the_site_is_trusted_if_one_cert_dir_names_it() {
    let site = Site::new();
    let error = site.list().run().one_error();
    assert!(error.contains("into a folder that ONE_CERT_DIR names"), "{error}");
    assert!(!error.contains("is OpenNebula running there"), "{error}");
    let listed = site.list().env("ONE_CERT_DIR", site.certificates()).run().exits(0);
    assert_eq!(listed.stderr, "");
    let ca = site.certificates().join("ca.pem");
    site.list().env("SSL_CERT_FILE", &ca).run().exits(0);

    let empty = site.home.work().join("empty");
    std::fs::create_dir(&empty).unwrap();
    for dir in [empty, PathBuf::from("/no/such"), ca] {
        let error = site.list().env("ONE_CERT_DIR", &dir).run().one_error();
        assert!(error.contains("hint: ONE_CERT_DIR names a folder"), "{error}");
    }
}

#[test]
fn a_certificate_that_is_not_checked_is_warned_of_each_time() {
    let site = Site::new();
    for _ in 0..2 {
        let unchecked = site.list().env("ONE_DISABLE_SSL_VERIFY", "true").run().exits(0);
        let warning = format!("WARNING: the certificate of {} is not checked", site.endpoint);
        unchecked.says(&warning);
    }
    for no in ["", "0", "no"] {
        site.list().env("ONE_DISABLE_SSL_VERIFY", no).run().one_error();
    }
    let plain = site.list().env("ONE_XMLRPC", &site.served.endpoint);
    let plain = plain.env("ONE_DISABLE_SSL_VERIFY", "1").env("ONE_CERT_DIR", "/no/such");
    assert_eq!(plain.run().exits(0).stderr, "", "nothing to be checked");
}

#[test]
fn a_driver_that_asks_the_front_end_itself_trusts_the_same() {
    let (site, cloud) = (Site::new(), FakePacket::start(0));
    let (home, endpoint) = (&site.home, cloud.endpoint());
    let path = home.write("t.yaml", template("packet", 1, &packet_parameters(&endpoint)));
    let create = home.tool(&["create", "--secrets-in-template"]).args(&[path]);
    let create = create.env("ONE_XMLRPC", &site.endpoint).env("ONE_AUTH", &site.served.auth);
    create.env("ONE_CERT_DIR", site.certificates()).run().exits(0);
    let pm = home.root().join("remotes/pm");
    home.tool(&["driver", "install"]).args(&[&pm]).run().exits(0);
    let poll = || {
        let poll = home.program(&pm.join("packet/poll").to_string_lossy());
        let poll = poll.env("ONE_XMLRPC", &site.endpoint).env("ONE_AUTH", &site.served.auth);
        poll.args(&[cloud.billed().remove(0).as_str(), "198.51.100.1", "0", "198.51.100.1"])
    };
    poll().run().exits(255).says("ONE_CERT_DIR");
    poll().env("ONE_CERT_DIR", site.certificates()).run().exits(0);
}

#[test]
fn one_xmlrpc_timeout_is_the_longest_time_for_a_call() {
    let home = Home::new();
    let silent = server(None);
    let auth = home.write("one_auth", "oneadmin:x\n");
    let list = |seconds: &str| {
        let list = home.tool(&["--patience", "0", "--endpoint", &silent, "list"]);
        list.env("ONE_AUTH", &auth).env("ONE_XMLRPC_TIMEOUT", seconds).run().one_error()
    };
    let error = list("1");
    assert!(error.contains("no answer within 1 s"), "{error}");
    for wrong in ["0", "-1", "1.5", "soon", "99999999999"] {
        let error = list(wrong);
        assert!(error.contains(&format!("ONE_XMLRPC_TIMEOUT is {wrong}")), "{error}");
    }
}
