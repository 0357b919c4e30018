//! Where the front-end is and who speaks to it.
//!
//! Pure: the caller hands in the environment variables that it has read and a closure that reads a
//! file. The order of the places is that of OpenNebula's own tools
//! (`src/oca/ruby/opennebula/client.rb`, releases 5.12 to 7.4).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use model::Secret;
use thiserror::Error;

/// Endpoint of a front-end on this machine, taken if nothing names another.
pub const DEFAULT_ENDPOINT: &str = "http://localhost:2633/RPC2";

/// Where `oneadmin` has its credentials on a front-end.
pub const SYSTEM_AUTH: &str = "/var/lib/one/.one/one_auth";

/// The checked address of a front-end: `http` or `https`, a host, no credentials in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    text: String,
    https: bool,
    loopback: bool,
}

impl Endpoint {
    /// Checks an address.
    ///
    /// # Errors
    /// [`EndpointError`] with the reason; the address is quoted only when it holds no credentials.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        let wrong = |reason| EndpointError::Malformed { endpoint: text.to_owned(), reason };
        if text.is_empty() {
            return Err(EndpointError::Empty);
        }
        // Anywhere: a password may have a '/' in it, and no front-end's path has an '@'.
        if text.contains('@') {
            return Err(EndpointError::Credentials);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(EndpointError::Malformed {
                endpoint: text.escape_debug().to_string(),
                reason: "it has white space or control characters in it",
            });
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong("it has to begin with http:// or https://"));
        };
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("it has to begin with http:// or https://")),
        };
        if rest.contains('#') {
            return Err(wrong("it has a '#' in it"));
        }
        // A URL reader would take the first part of the path for the host.
        if rest.is_empty() || rest.starts_with(['/', '\\', '?']) {
            return Err(wrong("it names no host"));
        }
        let url = reqwest::Url::parse(text).map_err(|_| wrong("it is not a URL"))?;
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| wrong("it names no host"))?;
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        let loopback = host.eq_ignore_ascii_case("localhost")
            || host.to_ascii_lowercase().ends_with(".localhost")
            || address.is_ok_and(|ip| ip.to_canonical().is_loopback());
        Ok(Self { text: url.to_string(), https, loopback })
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is reached over TLS.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Whether two addresses lead to the same place, as far as their spelling tells: `localhost` is `127.0.0.1`,
    /// and a slash at the end says nothing. What is no address is the same as itself only.
    pub fn are_same(one: &str, other: &str) -> bool {
        let place = |text: &str| {
            let endpoint = Self::parse(text).ok()?;
            let url = reqwest::Url::parse(&endpoint.text).ok()?;
            let host = if endpoint.loopback { "localhost" } else { url.host_str()? };
            let host = host.to_ascii_lowercase();
            Some((host, url.port_or_known_default(), url.path().trim_end_matches('/').to_owned()))
        };
        one == other || place(one).is_some_and(|one| Some(one) == place(other))
    }

    /// Whether it is this machine by its name or number.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is not the address of a front-end.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EndpointError {
    /// Nothing there.
    #[error("the endpoint is empty; it looks like {DEFAULT_ENDPOINT}")]
    Empty,
    /// `user:password@` in the address, which would end up in messages and logs.
    #[error("the endpoint has a user or password in it; give these by ONE_AUTH or --user")]
    Credentials,
    /// Anything else.
    #[error("the endpoint {endpoint:?} cannot be used: {reason}; it looks like {DEFAULT_ENDPOINT}")]
    Malformed {
        /// As given.
        endpoint: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A user's name and password (or login token): the session string `user:password`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    session: Secret,
    user: String,
}

impl Credentials {
    /// Credentials from their two parts.
    ///
    /// # Errors
    /// An empty part, a `:` in the user's name, or a control character in either.
    pub fn new(user: &str, password: &Secret) -> Result<Self, AuthFormat> {
        Self::parse(&Secret::new(format!("{user}:{}", password.expose()))).and_then(|parsed| {
            if parsed.user == user { Ok(parsed) } else { Err(AuthFormat::UserColon) }
        })
    }

    /// Credentials from `user:password`, as a file holds it: the first `:` divides, white space
    /// round the whole is not part of it, only the first line counts.
    ///
    /// # Errors
    /// [`AuthFormat`], which never shows the text.
    pub fn parse(text: &Secret) -> Result<Self, AuthFormat> {
        let line = text.expose().trim_start_matches('\u{FEFF}').trim();
        let line = line.lines().next().unwrap_or_default().trim();
        if line.is_empty() {
            return Err(AuthFormat::Empty);
        }
        let (user, password) = line.split_once(':').ok_or(AuthFormat::NoColon)?;
        if user.is_empty() {
            return Err(AuthFormat::NoUser);
        }
        if password.is_empty() {
            return Err(AuthFormat::NoPassword);
        }
        if line.chars().any(char::is_control) {
            return Err(AuthFormat::Control);
        }
        Ok(Self { user: user.to_owned(), session: Secret::new(line) })
    }

    /// The user's name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The session string, first parameter of every call.
    pub fn session(&self) -> &Secret {
        &self.session
    }

    /// The password alone, for finding it in texts.
    pub(crate) fn password(&self) -> &str {
        self.session.expose().split_once(':').map_or("", |(_, password)| password)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}:{})", self.user, self.session)
    }
}

/// What is wrong with a session string.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum AuthFormat {
    /// Nothing there.
    #[error("it is empty; it must hold user:password")]
    Empty,
    /// No `:` in it.
    #[error("it must hold user:password, but has no ':'")]
    NoColon,
    /// Nothing before the `:`.
    #[error("it must hold user:password, but the user is empty")]
    NoUser,
    /// Nothing after the `:`.
    #[error("it must hold user:password, but the password is empty")]
    NoPassword,
    /// A `:` in the user's name.
    #[error("a user's name cannot have ':' in it")]
    UserColon,
    /// A control character in it.
    #[error("it has a control character in it")]
    Control,
}

/// A file as the caller read it.
#[derive(Clone, Debug)]
pub struct FileRead {
    /// What is in it.
    pub content: Secret,
    /// Permission bits such as `0o600`, if the system has them.
    pub mode: Option<u32>,
}

/// What the caller found, already read.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--endpoint`.
    pub endpoint: Option<String>,
    /// `--user`.
    pub user: Option<String>,
    /// `--password`.
    pub password: Option<Secret>,
    /// Environment variable `ONE_XMLRPC`.
    pub one_xmlrpc: Option<String>,
    /// Environment variable `ONE_AUTH`: path of a file.
    pub one_auth: Option<PathBuf>,
    /// The user's home folder.
    pub home: Option<PathBuf>,
}

/// Everything needed to speak to a front-end.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Where the endpoint was found, for messages: `ONE_XMLRPC`, a path, `default` …
    pub endpoint_from: String,
    /// Who speaks.
    pub credentials: Credentials,
    /// The file that has the credentials, unless they were given.
    pub credentials_file: Option<PathBuf>,
    /// What the operator should know, such as a file that others can read, or one that is not there.
    pub warnings: Vec<String>,
}

/// Why it is not known where the front-end is or who speaks.
#[derive(Debug, Error)]
pub enum DiscoverError {
    /// The endpoint cannot be used.
    #[error("endpoint from {from}")]
    Endpoint {
        /// Where it was found.
        from: String,
        /// What is wrong.
        #[source]
        source: EndpointError,
    },
    /// The credentials cannot be used.
    #[error("credentials from {from}")]
    Credentials {
        /// Where they were found.
        from: String,
        /// What is wrong; never shows them.
        #[source]
        source: AuthFormat,
    },
    /// A file that must be read cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// `--user` without `--password`, or the other way round.
    #[error("--user and --password are given together or not at all")]
    HalfLogin,
    /// No place has credentials.
    #[error("no credentials found: set ONE_AUTH to a file with user:password (looked at {})", looked.join(", "))]
    Nowhere {
        /// The places.
        looked: Vec<String>,
    },
}

/// Finds endpoint and credentials.
///
/// Endpoint: `--endpoint`, `ONE_XMLRPC`, `~/.one/one_endpoint`, [`DEFAULT_ENDPOINT`]. Credentials:
/// `--user` and `--password`, the file that `ONE_AUTH` names, `~/.one/one_auth`, [`SYSTEM_AUTH`]. A
/// variable that is set and empty counts as not set. A file that is missing is passed over, with a
/// warning if it was named. `read` is called with each path that is needed, in order.
///
/// # Errors
/// [`DiscoverError`]; none shows the content of a file.
pub fn discover(
    sources: &Sources,
    read: impl Fn(&Path) -> io::Result<FileRead>,
) -> Result<Discovered, DiscoverError> {
    let (text, endpoint_from) = find_endpoint(sources, &read)?;
    let endpoint = Endpoint::parse(&text)
        .map_err(|source| DiscoverError::Endpoint { from: endpoint_from.clone(), source })?;
    let mut warnings = Vec::new();
    let (credentials, credentials_file) = find_credentials(sources, &read, &mut warnings)?;
    if !endpoint.is_https() && !endpoint.is_loopback() {
        warnings.push(format!("credentials are sent to {endpoint} unencrypted"));
    }
    Ok(Discovered { endpoint, endpoint_from, credentials, credentials_file, warnings })
}

type Read<'a> = &'a dyn Fn(&Path) -> io::Result<FileRead>;

fn find_endpoint(sources: &Sources, read: Read<'_>) -> Result<(String, String), DiscoverError> {
    if let Some(endpoint) = &sources.endpoint {
        return Ok((endpoint.clone(), "--endpoint".to_owned()));
    }
    if let Some(endpoint) = sources.one_xmlrpc.as_ref().filter(|text| !text.trim().is_empty()) {
        return Ok((endpoint.clone(), "ONE_XMLRPC".to_owned()));
    }
    if let Some(home) = &sources.home {
        let path = home.join(".one/one_endpoint");
        if let Some(file) = optional(&path, read)? {
            let line = file.content.expose().trim();
            let line = line.lines().next().unwrap_or_default().to_owned();
            return Ok((line, path.display().to_string()));
        }
    }
    Ok((DEFAULT_ENDPOINT.to_owned(), "the default".to_owned()))
}

fn find_credentials(
    sources: &Sources,
    read: Read<'_>,
    warnings: &mut Vec<String>,
) -> Result<(Credentials, Option<PathBuf>), DiscoverError> {
    let wrong = |from: &str| {
        let from = from.to_owned();
        |source| DiscoverError::Credentials { from, source }
    };
    match (&sources.user, &sources.password) {
        (Some(user), Some(password)) => {
            let given = Credentials::new(user, password);
            return Ok((given.map_err(wrong("--user and --password"))?, None));
        }
        (None, None) => {}
        _ => return Err(DiscoverError::HalfLogin),
    }
    let (path, file) = find_auth(sources, read, warnings)?;
    let shown = path.display().to_string();
    if let Some(mode) = file.mode.filter(|mode| mode & 0o077 != 0) {
        warnings.push(format!(
            "{shown} holds a password and others may read it (mode {:04o}); chmod 600 it",
            mode & 0o7777
        ));
    }
    let credentials = Credentials::parse(&file.content).map_err(wrong(&shown))?;
    Ok((credentials, Some(path)))
}

fn find_auth(
    sources: &Sources,
    read: Read<'_>,
    warnings: &mut Vec<String>,
) -> Result<(PathBuf, FileRead), DiscoverError> {
    let named = sources.one_auth.as_ref().filter(|path| !path.as_os_str().is_empty());
    let own = sources.home.as_ref().map(|home| home.join(".one/one_auth"));
    let defaults = own.into_iter().chain([PathBuf::from(SYSTEM_AUTH)]);
    let mut looked = Vec::new();
    for path in named.cloned().into_iter().chain(defaults.filter(|path| Some(path) != named)) {
        let is_named = Some(&path) == named;
        match optional(&path, read) {
            Ok(Some(file)) => {
                if let Some(named) = named.filter(|_| !is_named) {
                    let (named, taken) = (named.display(), path.display());
                    warnings.push(format!(
                        "ONE_AUTH names {named}, which is no file; {taken} is taken"
                    ));
                }
                return Ok((path, file));
            }
            Ok(None) if is_named => looked.push(format!("{} (ONE_AUTH)", path.display())),
            Ok(None) => looked.push(path.display().to_string()),
            // Others may not look into the front-end's own folder; that is no error of theirs.
            Err(_) if !is_named && path == Path::new(SYSTEM_AUTH) => {
                looked.push(format!("{} (no permission)", path.display()));
            }
            Err(error) => return Err(error),
        }
    }
    Err(DiscoverError::Nowhere { looked })
}

fn optional(path: &Path, read: Read<'_>) -> Result<Option<FileRead>, DiscoverError> {
    match read(path) {
        Ok(file) => Ok(Some(file)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::IsADirectory
            ) =>
        {
            Ok(None)
        }
        Err(source) => Err(DiscoverError::Unreadable { path: path.to_owned(), source }),
    }
}
