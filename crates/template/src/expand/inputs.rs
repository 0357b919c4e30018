//! The section `inputs`: what is asked for, and the value of each.

use std::collections::BTreeMap;

use super::{Expander, find_any_case, given as present};
use crate::check::names::{nearest, nearest_help};
use crate::diagnostic::{Diagnostic, Span};
use crate::inputs::{Answer, InputSpec, InputType};
use crate::keys;
use crate::spec::Origin;
use crate::yaml::compose::shorten;
use crate::yaml::{Entry, Kind, Node};

/// Most inputs of a template.
const MAX_INPUTS: usize = 1000;

/// The inputs of a template, in order.
#[derive(Default)]
pub(super) struct Inputs(Vec<Input>);

struct Input {
    spec: InputSpec,
    span: Span,
    state: State,
    used: bool,
}

enum State {
    Known(Answer),
    /// There is no value; one must be given.
    Missing,
    /// Something about it is wrong, which was said.
    Wrong,
}

impl Inputs {
    /// All inputs, and those that are used and have no value.
    pub(super) fn into_specs(self) -> (Vec<InputSpec>, Vec<InputSpec>) {
        let missing = self.0.iter().filter(|input| input.is_missed());
        let missing = missing.map(|input| input.spec.clone()).collect();
        (self.0.into_iter().map(|input| input.spec).collect(), missing)
    }
}

impl Input {
    fn is_missed(&self) -> bool {
        self.used && matches!(self.state, State::Missing)
    }
}

impl Expander<'_> {
    /// Reads the section, and finds the value of each input: the one that is given, else `value`,
    /// else `default`.
    pub(super) fn read_inputs(&mut self, entries: &[Entry], given: &BTreeMap<String, String>) {
        let section = entries.iter().find(|entry| entry.name() == "inputs");
        let items = match section.map(|entry| &entry.value) {
            Some(Node { kind: Kind::List(items), .. }) => items.as_slice(),
            Some(node) if !node.is_null() => {
                let message = format!("'inputs' takes a list, not {}", node.describe());
                self.push(
                    Diagnostic::error("wrong-shape", node.span, message)
                        .help("begin each input with '- name: '"),
                );
                return;
            }
            _ => &[],
        };
        if let Some(item) = items.get(MAX_INPUTS) {
            let message = format!("a template has at most {MAX_INPUTS} inputs");
            self.error("too-large", item.span, message);
        }
        for item in items.iter().take(MAX_INPUTS) {
            let Some(keys) = item.as_map() else {
                let message = format!(
                    "an input is a group of keys such as name and type, not {}",
                    item.describe()
                );
                self.error("wrong-shape", item.span, message);
                continue;
            };
            self.read_input(keys, item.span, given);
        }
        self.unknown_values(given, section.map(|entry| entry.key_span));
    }

    fn read_input(&mut self, keys: &[Entry], span: Span, given: &BTreeMap<String, String>) {
        let errors = self.diagnostics.iter().filter(|d| d.is_error()).count();
        for entry in keys {
            if keys::names(keys::INPUT).all(|known| known != entry.name()) {
                let message =
                    format!("unknown key '{}' in an input; it is ignored", shorten(entry.name()));
                let help = nearest_help(&entry.name().to_lowercase(), keys::names(keys::INPUT));
                self.push(Diagnostic::warning("unknown-key", entry.key_span, message).help(help));
            }
        }
        let Some(name) = self.input_name(keys, span) else { return };
        if let Some(first) = self.inputs.0.iter().find(|input| input.spec.name == name) {
            let message = format!("the input '{name}' is given twice; the first one counts");
            let related = first.span;
            self.push(
                Diagnostic::warning("duplicate", span, message)
                    .related(related, "it is first given here"),
            );
            return;
        }
        let spec = self.input_spec(name, keys, span);
        let wrong = self.diagnostics.iter().filter(|d| d.is_error()).count() > errors;
        let state = if wrong { State::Wrong } else { self.state(&spec, keys, span, given) };
        self.inputs.0.push(Input { spec, span, state, used: false });
    }

    fn input_name(&mut self, keys: &[Entry], span: Span) -> Option<String> {
        let Some(entry) = present(keys, "name") else {
            self.error("missing-key", span, "there is no name in this input");
            return None;
        };
        let text = self.one(entry)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if text.is_empty() || !text.chars().all(plain) {
            let message = format!("an input cannot be named '{}'", shorten(&text));
            self.push(
                Diagnostic::error("bad-name", entry.value.span, message)
                    .help("its name has letters, digits, '_' and '-'"),
            );
            return None;
        }
        Some(text)
    }

    fn input_spec(&mut self, name: String, keys: &[Entry], span: Span) -> InputSpec {
        let kind = self.input_type(keys);
        let mut text = |key: &str| present(keys, key).and_then(|entry| self.one(entry));
        let (description, min, max) = (text("description"), text("min_value"), text("max_value"));
        let default = self.input_text(keys, "default", kind);
        let secret = kind == InputType::Password;
        let origin = Origin {
            file: self.sources.path(span.file).to_string_lossy().into_owned(),
            line: span.line,
            column: span.column,
        };
        let spec = InputSpec {
            name,
            kind,
            description,
            default: default.map(|text| match secret {
                true => model::Secret::new(text).into(),
                false => text.into(),
            }),
            options: self.options(keys),
            min,
            max,
            mandatory: self.mandatory(keys),
            origin,
        };
        self.check_limits(&spec, keys, span);
        spec
    }

    fn input_type(&mut self, keys: &[Entry]) -> InputType {
        let Some(entry) = present(keys, "type") else { return InputType::Text };
        let Some(word) = self.one(entry) else { return InputType::Text };
        InputType::from_word(&word).unwrap_or_else(|| {
            let known = InputType::ALL.map(InputType::as_str);
            let message = format!("'{}' is no type of an input", shorten(&word));
            let at = entry.value.span;
            // 6.x took every other word for a text. A slip of the pen could be a password's.
            self.push(match nearest(&word, known) {
                Some(near) => Diagnostic::error("bad-value", at, message)
                    .help(format!("did you mean '{near}'?")),
                None => Diagnostic::warning(
                    "bad-value",
                    at,
                    format!("{message}; it is taken for a text"),
                )
                .help(format!("the types are {}", known.join(", "))),
            });
            InputType::Text
        })
    }

    /// A text, or for an array a list of them.
    fn input_text(&mut self, keys: &[Entry], key: &str, kind: InputType) -> Option<String> {
        let entry = present(keys, key)?;
        match (kind, entry.value.as_list()) {
            (InputType::Array, Some(items)) => {
                let texts = items.iter().filter_map(Node::as_scalar).map(|s| s.text.as_str());
                Some(texts.collect::<Vec<_>>().join(";"))
            }
            _ => self.one(entry),
        }
    }

    fn options(&mut self, keys: &[Entry]) -> Vec<String> {
        let Some(entry) = present(keys, "options") else { return Vec::new() };
        let items = entry.value.as_list().unwrap_or(std::slice::from_ref(&entry.value));
        let mut options = Vec::with_capacity(items.len());
        for item in items {
            match item.as_scalar() {
                Some(scalar) => options.push(scalar.text.clone()),
                None => {
                    let message = format!("an option is a single value, not {}", item.describe());
                    self.error("wrong-shape", item.span, message);
                }
            }
        }
        options
    }

    fn mandatory(&mut self, keys: &[Entry]) -> bool {
        let Some(entry) = present(keys, "mandatory") else { return true };
        let Some(word) = self.one(entry) else { return true };
        match word.to_ascii_lowercase().as_str() {
            "true" | "yes" => true,
            "false" | "no" => false,
            _ => {
                self.error("bad-value", entry.value.span, "'mandatory' takes true or false");
                true
            }
        }
    }

    fn check_limits(&mut self, spec: &InputSpec, keys: &[Entry], span: Span) {
        let range = matches!(spec.kind, InputType::Range | InputType::RangeFloat);
        for (key, limit) in [("min_value", &spec.min), ("max_value", &spec.max)] {
            let at = find_any_case(keys, key).map_or(span, |entry| entry.value.span);
            match limit {
                None if range => {
                    let message = format!(
                        "there is no {key}, which an input of type {} needs",
                        spec.kind.as_str()
                    );
                    self.error("missing-key", span, message);
                }
                Some(text) if !InputSpec::is_limit(spec.kind, text) => {
                    self.error("bad-value", at, format!("'{key}' takes a number"));
                }
                _ => {}
            }
        }
        if spec.kind == InputType::List && spec.options.is_empty() {
            self.error(
                "missing-key",
                span,
                "there are no options, which an input of type list needs",
            );
        }
        if spec.kind == InputType::Fixed && spec.default.is_none() {
            self.error(
                "missing-key",
                span,
                "there is no default, which an input of type fixed needs",
            );
        }
    }

    /// The value of an input, each that there is checked.
    fn state(
        &mut self,
        spec: &InputSpec,
        keys: &[Entry],
        span: Span,
        given: &BTreeMap<String, String>,
    ) -> State {
        let mut state = None;
        if let Some(text) = given.get(&spec.name) {
            let answer = spec.answer(text).map_err(|error| {
                let message = format!("the value given for '{}': {error}", spec.name);
                self.error("bad-input", span, message);
            });
            state = Some(answer.map_or(State::Wrong, State::Known));
        }
        for key in ["value", "default"] {
            let Some(text) = self.input_text(keys, key, spec.kind) else { continue };
            let at = find_any_case(keys, key).map_or(span, |entry| entry.value.span);
            let answer = spec.answer(&text).map_err(|error| {
                let message = format!("the {key} of the input '{}': {error}", spec.name);
                self.error("bad-input", at, message);
            });
            state.get_or_insert(answer.map_or(State::Wrong, State::Known));
        }
        state.unwrap_or_else(|| match spec.mandatory {
            true => State::Missing,
            false => State::Known(spec.nothing()),
        })
    }

    /// Reports values for inputs that the template does not have.
    fn unknown_values(&mut self, given: &BTreeMap<String, String>, section: Option<Span>) {
        if !self.complete {
            return;
        }
        for name in given.keys() {
            if self.inputs.0.iter().any(|input| input.spec.name == *name) {
                continue;
            }
            let shown = shorten(name);
            let at = section.unwrap_or_else(|| Span::whole_file(crate::FileId(0)));
            let message = format!("there is no input '{shown}', for which a value is given");
            let diagnostic = Diagnostic::error("bad-input", at, message);
            let known = self.inputs.0.iter().map(|input| input.spec.name.as_str());
            let diagnostic = match nearest(name, known) {
                Some(near) => diagnostic.help(format!("did you mean '{near}'?")),
                None => diagnostic,
            };
            // Several may stand at one place.
            self.diagnostics.push(diagnostic);
        }
    }

    /// The value of an input, and whether it is a secret; `None` if there is none, which is said.
    pub(super) fn input(&mut self, name: &str, at: Span) -> Option<(Answer, bool)> {
        let quiet = self.quiet;
        if let Some(input) = self.inputs.0.iter_mut().find(|input| input.spec.name == name) {
            input.used |= !quiet;
            return match &input.state {
                State::Known(answer) => {
                    Some((answer.clone(), input.spec.kind == InputType::Password))
                }
                State::Missing | State::Wrong => None,
            };
        }
        if self.complete {
            let shown = shorten(name);
            let known: Vec<&str> = self.inputs.0.iter().map(|i| i.spec.name.as_str()).collect();
            let help = match (nearest(name, known.iter().copied()), known.is_empty()) {
                (Some(near), _) => format!("did you mean '{near}'?"),
                (None, true) => "inputs are described under 'inputs:'".to_owned(),
                (None, false) => format!("the inputs are {}", known.join(", ")),
            };
            let message = format!("there is no input '{shown}'");
            self.push(Diagnostic::error("bad-reference", at, message).help(help));
        }
        None
    }

    /// Reports inputs that are used and have no value.
    pub(super) fn tell_missing(&mut self) {
        let missed = self.inputs.0.iter().filter(|input| input.is_missed());
        let told: Vec<Diagnostic> = missed
            .map(|input| {
                let spec = &input.spec;
                let message = format!("there is no value for the input '{}'", spec.name);
                Diagnostic::error("missing-input", input.span, message)
                    .help(format!("it must be given, or have a default; it is {}", spec.expected()))
            })
            .collect();
        self.diagnostics.extend(told);
    }

    /// The single value of a key, reported if it is something else.
    fn one(&mut self, entry: &Entry) -> Option<String> {
        let scalar = entry.value.as_scalar();
        if scalar.is_none() {
            let message =
                format!("'{}' takes a single value, not {}", entry.name(), entry.value.describe());
            self.error("wrong-shape", entry.value.span, message);
        }
        scalar.map(|scalar| scalar.text.clone())
    }
}
