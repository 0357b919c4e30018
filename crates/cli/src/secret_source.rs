//! Gets the secrets that a template names: from the environment, files, and commands.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use model::Secret;
use template::{SecretError, SecretReference, SecretSource};

/// Longest secret, in bytes.
const LIMIT: usize = 64 << 10;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a command has ended is looked at so often.
const PACE: Duration = Duration::from_millis(20);

/// Where secrets of this machine are.
pub struct Machine;

impl SecretSource for Machine {
    fn secret(&self, reference: &SecretReference) -> Result<Secret, SecretError> {
        let bytes = match reference {
            SecretReference::Env(name) => variable(name)?,
            SecretReference::File(path) => read(&home(path))?,
            SecretReference::Command(argv) => run(argv, PATIENCE)?,
        };
        let text = String::from_utf8(bytes).map_err(|_| told("holds something that is no text"))?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() { Err(told("holds nothing")) } else { Ok(Secret::new(text)) }
    }
}

fn told(message: impl Into<String>) -> SecretError {
    SecretError(message.into())
}

fn variable(name: &str) -> Result<Vec<u8>, SecretError> {
    use std::os::unix::ffi::OsStringExt;
    // The standard library does not take such names, and no shell can set them.
    if name.contains(['=', '\0']) {
        return Err(told("cannot have this name"));
    }
    std::env::var_os(name).map(OsStringExt::into_vec).ok_or_else(|| told("is not set"))
}

/// `~/` is the home folder, as in a shell.
pub fn home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => path.to_owned(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SecretError> {
    let file = std::fs::File::open(path).map_err(|e| told(format!("cannot be read: {e}")))?;
    bounded(file)
}

/// Reads everything, unless that is too much.
fn bounded(from: impl Read) -> Result<Vec<u8>, SecretError> {
    let mut bytes = Vec::new();
    from.take(LIMIT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| told(format!("cannot be read: {e}")))?;
    if bytes.len() > LIMIT {
        return Err(told(format!("holds more than {} KiB", LIMIT >> 10)));
    }
    Ok(bytes)
}

/// Runs a program without a shell. What it says on standard error is for the operator to see.
fn run(argv: &[String], patience: Duration) -> Result<Vec<u8>, SecretError> {
    let Some((program, arguments)) = argv.split_first() else { return Err(told("is empty")) };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| told(format!("cannot be run: {e}")))?;
    let Some(output) = child.stdout.take() else { return Err(told("has no output")) };
    let reader = std::thread::spawn(move || bounded(output));
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() < patience => std::thread::sleep(PACE),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(told(format!("did not end within {} s", patience.as_secs())));
            }
            Err(error) => return Err(told(format!("cannot be waited for: {error}"))),
        }
    };
    // A child of it that is still there may hold its output open.
    while !reader.is_finished() {
        if begun.elapsed() >= patience {
            return Err(told(format!("did not close its output within {} s", patience.as_secs())));
        }
        std::thread::sleep(PACE);
    }
    // What prints too much may fail because nobody reads on.
    let output = reader.join().unwrap_or_else(|_| Err(told("cannot be read")))?;
    if status.success() { Ok(output) } else { Err(told(format!("failed: {status}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(script: &str, patience: Duration) -> Result<Vec<u8>, SecretError> {
        run(&["sh", "-c", script].map(str::to_owned), patience)
    }

    #[test]
    fn commands_and_files_give_secrets() {
        let of = |script: &str| {
            let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
            Machine.secret(&SecretReference::Command(argv)).map(|s| s.expose().to_owned())
        };
        assert_eq!(of("printf 'a b\\n'").as_deref(), Ok("a b"));
        assert_eq!(of("printf 'a\\n\\n'").as_deref(), Ok("a\n"));
        for (script, why) in [
            ("true", "holds nothing"),
            ("exit 3", "failed: exit status: 3"),
            ("printf '\\377'", "holds something that is no text"),
            ("head -c 70000 /dev/zero", "holds more than 64 KiB"),
        ] {
            assert_eq!(of(script), Err(told(why)), "{script}");
        }
        let none = run(&["/nonexistent/x".to_owned()], PATIENCE);
        assert!(none.is_err_and(|e| e.0.starts_with("cannot be run")));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "pw\r\n").unwrap();
        let secret = Machine.secret(&SecretReference::File(file.path().to_owned()));
        assert_eq!(secret.map(|secret| secret.expose().to_owned()).as_deref(), Ok("pw"));
        assert!(Machine.secret(&SecretReference::File("/nonexistent/x".into())).is_err());
        assert!(Machine.secret(&SecretReference::File("/dev/zero".into())).is_err());
    }

    #[test]
    fn what_does_not_end_is_ended() {
        let error = command("exec sleep 600", Duration::ZERO).unwrap_err();
        assert_eq!(error.0, "did not end within 0 s");
    }

    #[test]
    fn variables_are_read() {
        let path = Machine.secret(&SecretReference::Env("PATH".to_owned()));
        assert_eq!(path.ok().map(|s| s.expose().to_owned()), std::env::var("PATH").ok());
        let none = Machine.secret(&SecretReference::Env("ONEPROVISION_NO_SUCH".to_owned()));
        assert_eq!(none.err(), Some(told("is not set")));
        assert!(Machine.secret(&SecretReference::Env("A=B".to_owned())).is_err());
    }
}
