//! Endpoint and credentials from every place that OpenNebula's tools know.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use model::Secret;
use opennebula::discover::{
    AuthFormat, DiscoverError, Discovered, Endpoint, EndpointError, FileRead, SYSTEM_AUTH, Sources,
    discover,
};
use opennebula::{Credentials, discover::DEFAULT_ENDPOINT};

#[derive(Default)]
struct Disk(HashMap<PathBuf, Result<(&'static str, u32), io::ErrorKind>>);

impl Disk {
    fn file(mut self, path: &str, content: &'static str) -> Self {
        self.0.insert(path.into(), Ok((content, 0o100_600)));
        self
    }

    fn open_file(mut self, path: &str, content: &'static str, mode: u32) -> Self {
        self.0.insert(path.into(), Ok((content, mode)));
        self
    }

    fn denied(mut self, path: &str) -> Self {
        self.0.insert(path.into(), Err(io::ErrorKind::PermissionDenied));
        self
    }

    fn read(&self, path: &Path) -> io::Result<FileRead> {
        match self.0.get(path) {
            Some(Ok((content, mode))) => {
                Ok(FileRead { content: Secret::new(*content), mode: Some(*mode) })
            }
            Some(Err(kind)) => Err((*kind).into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn look(&self, sources: &Sources) -> Result<Discovered, DiscoverError> {
        discover(sources, |path| self.read(path))
    }
}

fn home() -> Sources {
    Sources { home: Some("/home/u".into()), ..Sources::default() }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

#[test]
fn the_first_place_that_has_something_wins() {
    let disk = Disk::default()
        .file("/home/u/.one/one_auth", "own:p1\n")
        .file("/home/u/.one/one_endpoint", "http://own:2633/RPC2\n")
        .file("/etc/auth", "named:p2:with:colons\n")
        .file(SYSTEM_AUTH, "oneadmin:p3\n");
    let mut sources = home();

    let found = disk.look(&Sources::default()).unwrap();
    assert_eq!((found.endpoint.as_str(), found.credentials.user()), (DEFAULT_ENDPOINT, "oneadmin"));
    assert_eq!(found.credentials_file.as_deref(), Some(Path::new(SYSTEM_AUTH)));

    let found = disk.look(&sources).unwrap();
    assert_eq!(
        (found.endpoint.as_str(), found.credentials.user()),
        ("http://own:2633/RPC2", "own")
    );
    assert_eq!(found.endpoint_from, "/home/u/.one/one_endpoint");

    sources.one_xmlrpc = Some(" https://env:8443/RPC2 ".to_owned());
    sources.one_auth = Some("/etc/auth".into());
    let found = disk.look(&sources).unwrap();
    assert_eq!(found.endpoint.as_str(), "https://env:8443/RPC2");
    assert_eq!(found.credentials.session().expose(), "named:p2:with:colons");
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);

    sources.endpoint = Some("http://127.0.0.1:1/RPC2".to_owned());
    sources.user = Some("me".to_owned());
    sources.password = Some(Secret::new("a:b"));
    let found = disk.look(&sources).unwrap();
    assert_eq!(found.endpoint.as_str(), "http://127.0.0.1:1/RPC2");
    assert_eq!(found.credentials.session().expose(), "me:a:b");
    assert_eq!(found.credentials_file, None);
    assert!(!format!("{found:?}").contains("a:b"), "{found:?}");

    // Set and empty is not set.
    let empty =
        Sources { one_xmlrpc: Some(String::new()), one_auth: Some(PathBuf::new()), ..home() };
    assert_eq!(disk.look(&empty).unwrap().credentials.user(), "own");
}

#[test]
fn a_file_that_others_read_and_a_line_that_others_hear_are_warned_of() {
    let disk = Disk::default().open_file("/home/u/.one/one_auth", "u:s3cret", 0o100_644);
    let sources = Sources { endpoint: Some("http://far:2633/RPC2".to_owned()), ..home() };
    let found = disk.look(&sources).unwrap();
    assert_eq!(
        found.warnings,
        [
            "/home/u/.one/one_auth holds a password and others may read it (mode 0644); chmod 600 it",
            "credentials are sent to http://far:2633/RPC2 unencrypted",
        ]
    );
}

#[test]
fn what_is_wrong_is_said_without_showing_it() {
    for (content, words) in [
        ("", "it is empty"),
        (" \n\n", "it is empty"),
        ("s3cret", "has no ':'"),
        (":s3cret", "the user is empty"),
        ("s3cret:", "the password is empty"),
        ("s3\u{1}cret:x", "control character"),
    ] {
        let disk = Disk::default().file("/home/u/.one/one_auth", content);
        let error = disk.look(&home()).unwrap_err();
        let shown = chain(&error);
        assert!(shown.contains("/home/u/.one/one_auth") && shown.contains(words), "{shown}");
        assert!(!format!("{shown}{error:?}").contains("cret"), "{shown}");
    }

    let error = Disk::default().denied("/home/u/.one/one_auth").look(&home()).unwrap_err();
    assert!(chain(&error).starts_with("/home/u/.one/one_auth cannot be read: "), "{error:?}");

    let disk = Disk::default().denied("/etc/auth").file("/home/u/.one/one_auth", "u:p");
    let denied = Sources { one_auth: Some("/etc/auth".into()), ..home() };
    assert!(matches!(disk.look(&denied), Err(DiscoverError::Unreadable { .. })));

    let error = Disk::default().denied(SYSTEM_AUTH).look(&home()).unwrap_err();
    let shown = chain(&error);
    assert!(
        shown.contains("/home/u/.one/one_auth, /var/lib/one/.one/one_auth (no permission)"),
        "{shown}"
    );

    let half = Sources { user: Some("u".to_owned()), ..home() };
    assert!(matches!(disk.look(&half), Err(DiscoverError::HalfLogin)));
    let colon =
        Sources { user: Some("a:b".to_owned()), password: Some(Secret::new("p")), ..home() };
    assert!(matches!(
        disk.look(&colon),
        Err(DiscoverError::Credentials { source: AuthFormat::UserColon, .. })
    ));
}

#[test]
fn a_file_of_one_auth_that_is_not_there_is_passed_over_with_a_warning() {
    for kind in [io::ErrorKind::NotFound, io::ErrorKind::IsADirectory] {
        let mut disk = Disk::default();
        disk.0.insert("/etc/auth".into(), Err(kind));
        let named = Sources { one_auth: Some("/etc/auth".into()), ..home() };
        let nowhere = disk.look(&named).unwrap_err();
        assert_eq!(
            nowhere.to_string(),
            "no credentials found: set ONE_AUTH to a file with user:password (looked at \
             /etc/auth (ONE_AUTH), /home/u/.one/one_auth, /var/lib/one/.one/one_auth)"
        );
        let found = disk.file("/home/u/.one/one_auth", "own:p").look(&named).unwrap();
        assert_eq!(found.credentials.user(), "own");
        assert_eq!(found.credentials_file.as_deref(), Some(Path::new("/home/u/.one/one_auth")));
        assert_eq!(
            found.warnings,
            ["ONE_AUTH names /etc/auth, which is no file; /home/u/.one/one_auth is taken"]
        );
    }
}

#[test]
fn an_endpoint_is_an_http_url_without_credentials() {
    for (text, https, loopback) in [
        ("http://localhost:2633/RPC2", false, true),
        ("https://[::1]/RPC2", true, true),
        ("HTTP://127.8.8.8/", false, true),
        ("http://[::ffff:127.0.0.1]:2633/RPC2", false, true),
        ("https://one.example.org/rpc?x=ab", true, false),
        ("http://10.0.0.1:2633/RPC2\n", false, false),
    ] {
        let endpoint = Endpoint::parse(text).unwrap();
        assert_eq!((endpoint.is_https(), endpoint.is_loopback()), (https, loopback), "{text}");
    }
    for text in [
        "localhost:2633",
        "ftp://h/",
        "http://",
        "http:///RPC2",
        "http://h:99999/",
        "http://a b/",
        "//h",
    ] {
        let error = Endpoint::parse(text).unwrap_err();
        assert!(matches!(error, EndpointError::Malformed { .. }), "{text}: {error:?}");
        assert!(error.to_string().ends_with("it looks like http://localhost:2633/RPC2"), "{error}");
    }
    assert_eq!(Endpoint::parse(" "), Err(EndpointError::Empty));
    for text in ["http://u:s3cret@h/RPC2", "u:s3cret@h", "http://u:s3cret@h b/"] {
        let error = Endpoint::parse(text).unwrap_err();
        assert_eq!(error, EndpointError::Credentials, "{text}");
    }
    // A password with a '/' in it, which ends the host part.
    let error = Endpoint::parse("http://u:s3/cret@h/RPC2").unwrap_err();
    assert!(!error.to_string().contains("cret"), "{error}");
}

#[test]
fn credentials_do_not_print_themselves() {
    let credentials = Credentials::parse(&Secret::new("u:s3cret\nsecond line")).unwrap();
    assert_eq!(credentials.session().expose(), "u:s3cret");
    assert_eq!(format!("{credentials:?}"), "Credentials(u:*****)");
}

#[test]
fn an_address_may_be_spelt_in_several_ways() {
    let same = Endpoint::are_same;
    assert!(same("http://127.0.0.1:2633/RPC2", "http://localhost:2633/RPC2/"));
    assert!(same("http://[::1]:2633/RPC2", "http://LOCALHOST:2633/RPC2"));
    assert!(same("https://One.example/RPC2", "https://one.example:443/RPC2"));
    assert!(same("sandbox", "sandbox"));
    for other in ["http://one.example/RPC2", "https://one.example/", "sandbox", ""] {
        assert!(!same("https://one.example/RPC2", other), "{other}");
    }
}
