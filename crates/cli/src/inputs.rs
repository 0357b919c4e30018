//! User inputs of a template: from options, from a file, and asked for on a terminal.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use model::Secret;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use template::{
    FileReader, InputSpec, InputType, Loaded, Options, Provider, Providers, SecretSource, Severity,
};

use crate::args::{Global, InputArgs};
use crate::context::{Folders, FrontEnd};
use crate::driver_source::{Drivers, undescribed};
use crate::error::{CliError, Code};
use crate::log::one_line;
use crate::secret_source::Machine;

/// What Ctrl-C sends while a password is typed.
const INTERRUPT: u8 = 3;

/// What a template is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To see whether it is right.
    Check,
    /// To do what it says, for which the secrets are needed that it names.
    Use,
    /// To ask drivers with its parameters, secrets included, and to buy nothing by it.
    Ask,
}

/// Reads a template with the values that the options give; what they do not give is asked for if
/// there is somebody to ask. Every mistake is told, one diagnostic each, on standard error.
///
/// `provider` is the named provider that was chosen apart from the template. The front-end is asked
/// only if there is one, or the template names one.
pub async fn load(
    path: &Path,
    args: &InputArgs,
    provider: Option<&str>,
    global: &Global,
    purpose: Purpose,
) -> Result<Loaded, CliError> {
    let secrets = (purpose != Purpose::Check).then(|| Arc::new(Machine) as Arc<dyn SecretSource>);
    let drivers = Arc::new(Drivers::new(&Folders::of(global)?, None, false));
    let mut options = Options {
        inputs: given(args)?,
        secrets,
        drivers: Some(Arc::clone(&drivers) as _),
        provider: provider.map(str::to_owned),
        ..Options::default()
    };
    let mut loaded = template::load(path, &FileReader, &options);
    if !loaded.providers.is_empty() {
        options.providers = known_providers(global, &loaded.providers).await?;
        loaded = template::load(path, &FileReader, &options);
    }
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if loaded.lacks_inputs_only() && terminal && !global.batch {
        for input in &loaded.missing_inputs {
            let answer = ask(input, &mut std::io::stderr(), &mut || read(input.kind))?;
            options.inputs.insert(input.name.clone(), answer);
        }
        loaded = template::load(path, &FileReader, &options);
    }
    let problems = drivers.problems();
    if purpose == Purpose::Use && !problems.is_empty() {
        return Err(undescribed(&problems));
    }
    for problem in problems {
        tell(&format!(
            "{problem}\nwarning: without its description nothing of this driver is checked"
        ))?;
    }
    for diagnostic in &loaded.diagnostics {
        let mut told = diagnostic.clone();
        if purpose == Purpose::Check && told.code == "missing-input" {
            // It is nothing that is wrong with the template.
            told.severity = Severity::Warning;
        }
        tell(&template::render(&told, &loaded.sources))?;
    }
    if !loaded.missing_inputs.is_empty() {
        let names: Vec<_> = loaded.missing_inputs.iter().map(|i| i.name.as_str()).collect();
        let example = names.iter().map(|name| format!("{name}=…")).collect::<Vec<_>>().join(",");
        tell(&format!("help: --user-inputs {example} gives them, or --inputs-file FILE\n"))?;
    }
    Ok(loaded)
}

/// The providers of the front-end, those of these names with their values.
async fn known_providers(global: &Global, names: &[String]) -> Result<Providers, CliError> {
    let folders = Folders::of(global)?;
    let front_end = match FrontEnd::open(global, &folders, false).await {
        Ok(front_end) => front_end,
        Err(error) => return Ok(Providers::Unreadable(one_line(&error))),
    };
    let read = async {
        let mut known = Vec::new();
        for entry in engine::providers::all(&front_end.client).await? {
            known.push(match names.contains(&entry.name) {
                true => engine::providers::read(&front_end.client, entry.id).await?,
                // Its name helps who misspelt one.
                false => Provider {
                    id: entry.id.into(),
                    name: entry.name,
                    driver: entry.driver,
                    description: entry.description,
                    values: Vec::new(),
                },
            });
        }
        Ok::<_, engine::EngineError>(known)
    };
    Ok(match read.await {
        Ok(known) => Providers::Known(known),
        Err(error) => Providers::Unreadable(one_line(&error)),
    })
}

/// The values of `--inputs-file` and, over these, of `--user-inputs`.
pub fn given(args: &InputArgs) -> Result<BTreeMap<String, String>, CliError> {
    let mut values = BTreeMap::new();
    if let Some(path) = &args.inputs_file {
        let file = template::load_inputs(path, &FileReader, &Options::default());
        for diagnostic in &file.diagnostics {
            tell(&template::render(diagnostic, &file.sources))?;
        }
        if file.diagnostics.iter().any(template::Diagnostic::is_error) {
            let shown = path.display();
            return Err(
                CliError::new(format!("{shown} gives no values of inputs")).code(Code::Inputs)
            );
        }
        values = file.values;
    }
    for text in &args.user_inputs {
        for (name, value) in pairs(text)? {
            values.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(values)
}

/// `a=1,b=2`. A comma ends a value only if a name and `=` follow, so that a value may hold commas.
fn pairs(text: &str) -> Result<Vec<(&str, &str)>, CliError> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    let mut rest = text;
    loop {
        let Some((name, behind)) = pair_start(rest) else {
            // Its value may be a password, so the text itself is not shown.
            return Err(CliError::new(
                "--user-inputs takes NAME=VALUE, several with ',' between them",
            ));
        };
        let mut commas = behind.match_indices(',').map(|(at, _)| at);
        let end = commas.find(|at| behind.get(at + 1..).and_then(pair_start).is_some());
        match end {
            Some(end) => {
                pairs.push((name, behind.get(..end).unwrap_or_default()));
                rest = behind.get(end + 1..).unwrap_or_default();
            }
            None => {
                pairs.push((name, behind));
                return Ok(pairs);
            }
        }
    }
}

/// A name, and what stands behind its `=`.
fn pair_start(text: &str) -> Option<(&str, &str)> {
    let (name, behind) = text.split_once('=')?;
    let name = name.trim_start();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (!name.is_empty() && name.chars().all(plain)).then_some((name, behind))
}

/// Asks for a value until there is one that the input takes.
fn ask(
    input: &InputSpec,
    out: &mut impl Write,
    read: &mut impl FnMut() -> Option<String>,
) -> Result<String, CliError> {
    let broken = |e| CliError::caused("standard error cannot be written", e);
    let description = input.description.as_deref().unwrap_or_default();
    if !description.is_empty() {
        writeln!(out, "{}", clean(description)).map_err(broken)?;
    }
    if input.kind == InputType::List {
        for option in &input.options {
            writeln!(out, "    - {}", clean(option)).map_err(broken)?;
        }
    }
    loop {
        write!(out, "{} ({}): ", input.name, clean(&input.expected())).map_err(broken)?;
        out.flush().map_err(broken)?;
        let Some(answer) = read() else {
            writeln!(out).map_err(broken)?;
            return Err(CliError::new(format!("there is no value for the input '{}'", input.name))
                .code(Code::Inputs));
        };
        if input.kind == InputType::Password {
            writeln!(out).map_err(broken)?;
        }
        match input.check(&answer) {
            Ok(()) => return Ok(answer),
            Err(error) => writeln!(out, "{error}").map_err(broken)?,
        }
    }
}

/// A secret that is not to stand on the command line: a line of standard input, which is not shown
/// if it is a terminal.
pub fn ask_secret(name: &str, global: &Global) -> Result<Secret, CliError> {
    if std::io::stdin().is_terminal() {
        if global.batch {
            return Err(CliError::new(format!("there is nobody to ask for {name}")));
        }
        tell_unended(&format!("{name}: "))?;
        let line = read(InputType::Password);
        tell_unended("\n")?;
        return secret_of(name, line);
    }
    secret_of(name, line_of(&mut std::io::stdin().lock()))
}

fn secret_of(name: &str, line: Option<String>) -> Result<Secret, CliError> {
    match line {
        Some(line) if !line.is_empty() => Ok(Secret::new(line)),
        _ => Err(CliError::new(format!("there is no value for {name} on standard input"))),
    }
}

fn tell_unended(text: &str) -> Result<(), CliError> {
    let mut stderr = std::io::stderr().lock();
    stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush())
        .map_err(|e| CliError::caused("standard error cannot be written", e))
}

/// One line of the terminal; `None` at its end. A password is not shown.
fn read(kind: InputType) -> Option<String> {
    let hidden = (kind == InputType::Password).then(Hidden::begin);
    let line = line_of(&mut std::io::stdin().lock());
    drop(hidden);
    line
}

/// One line without its end; `None` at the end of the input, or if it was interrupted.
fn line_of(input: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    loop {
        let bytes = input.fill_buf().ok()?;
        let end = bytes.iter().position(|byte| matches!(*byte, b'\n' | INTERRUPT));
        let (taken, last) = match end {
            Some(end) => (end + 1, bytes.get(end).copied()),
            None => (bytes.len(), None),
        };
        line.extend(bytes.get(..end.unwrap_or(taken)).unwrap_or_default());
        input.consume(taken);
        match last {
            Some(INTERRUPT) => return None,
            Some(_) => break,
            None if taken == 0 && line.is_empty() => return None,
            None if taken == 0 || line.len() > template::inputs::MAX_VALUE => break,
            None => {}
        }
    }
    let line = String::from_utf8(line).ok()?;
    Some(line.trim_end_matches('\r').to_owned())
}

/// A terminal that does not show what is typed. Ctrl-C is read as a character meanwhile, so that
/// the terminal is never left like this.
struct Hidden(Option<Termios>);

impl Hidden {
    fn begin() -> Self {
        let stdin = std::io::stdin();
        let Ok(before) = tcgetattr(&stdin) else { return Self(None) };
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO | LocalModes::ISIG;
        hidden.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        match tcsetattr(&stdin, OptionalActions::Flush, &hidden) {
            Ok(()) => Self(Some(before)),
            Err(_) => Self(None),
        }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // There is nobody to tell of a terminal that is gone.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// A template's text, without what would steer the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

pub fn tell(text: &str) -> Result<(), CliError> {
    writeln!(std::io::stderr().lock(), "{}", text.trim_end())
        .map_err(|e| CliError::caused("standard error cannot be written", e))
}

#[cfg(test)]
mod tests {
    use template::spec::Origin;

    use super::*;

    #[test]
    fn values_may_hold_commas_and_equal_signs() {
        for (text, expected) in [
            ("a=1", &[("a", "1")][..]),
            ("a=1,b=2", &[("a", "1"), ("b", "2")]),
            ("dns=1.1.1.1,8.8.8.8,n=2", &[("dns", "1.1.1.1,8.8.8.8"), ("n", "2")]),
            ("a=x=y,b=", &[("a", "x=y"), ("b", "")]),
            ("a=1, b=2", &[("a", "1"), ("b", "2")]),
            ("a=,,b=é", &[("a", ","), ("b", "é")]),
            ("a=1,http://x?y=z", &[("a", "1,http://x?y=z")]),
        ] {
            assert_eq!(pairs(text).unwrap(), expected, "{text}");
        }
        for text in ["", "a", "=1", "a b=1", ",a=1", "é=1"] {
            assert!(pairs(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_line_ends_where_it_should() {
        let line = |text: &str| line_of(&mut std::io::BufReader::with_capacity(2, text.as_bytes()));
        assert_eq!(line("password\r\nmore"), Some("password".into()));
        assert_eq!(line("\n"), Some(String::new()));
        assert_eq!(line("no end"), Some("no end".into()));
        assert_eq!(line("pass\u{3}word\n"), None);
        assert_eq!(line(""), None);
        assert_eq!(line_of(&mut &b"\xff\n"[..]), None);
    }

    #[test]
    fn it_asks_until_there_is_an_answer() {
        let input = InputSpec {
            name: "n".into(),
            kind: InputType::Range,
            description: Some("How \u{1b}many".into()),
            default: None,
            options: Vec::new(),
            min: Some("1".into()),
            max: Some("3".into()),
            mandatory: true,
            origin: Origin { file: "t".into(), line: 1, column: 1 },
        };
        let mut lines = ["", "4", "3"].into_iter().map(str::to_owned);
        let mut out = Vec::new();
        assert_eq!(ask(&input, &mut out, &mut || lines.next()).unwrap(), "3");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "How  many\nn (a whole number from 1 to 3): nothing is not a whole number from 1 to 3\n\
             n (a whole number from 1 to 3): '4' is not a whole number from 1 to 3\n\
             n (a whole number from 1 to 3): "
        );
        assert!(ask(&input, &mut Vec::new(), &mut || None).is_err());
    }
}
