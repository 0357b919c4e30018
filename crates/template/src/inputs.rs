//! User inputs (`inputs`, OpenNebula 6.0 and later): what a template asks for, and what is an answer.
//!
//! The types and keys are those of `oneprovision` 6.x (`lib/provision/provision_config.rb`, read in
//! 6.10.5). There a value was checked only where it was typed in; here it is wherever it comes from.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Value;
use thiserror::Error;

use crate::sensitive;
use crate::spec::Origin;

/// Longest value of an input, in bytes.
pub const MAX_VALUE: usize = 1 << 20;

/// What kind of answer an input takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InputType {
    /// Several texts with `;` between them; becomes a list.
    Array,
    /// `YES` or `NO`; `true` and `false` are taken for them.
    Boolean,
    /// The default, and nothing else.
    Fixed,
    /// A whole number.
    Number,
    /// A number.
    NumberFloat,
    /// A whole number between two limits, both included.
    Range,
    /// A number between two limits, both included.
    RangeFloat,
    /// One of the options.
    List,
    /// A text that is shown and stored nowhere in clear.
    Password,
    /// A text.
    Text,
    /// A text that is put into the template in Base64.
    Text64,
}

impl InputType {
    /// All types.
    pub const ALL: [Self; 11] = [
        Self::Array,
        Self::Boolean,
        Self::Fixed,
        Self::Number,
        Self::NumberFloat,
        Self::Range,
        Self::RangeFloat,
        Self::List,
        Self::Password,
        Self::Text,
        Self::Text64,
    ];

    /// The word for it in a template.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Fixed => "fixed",
            Self::Number => "number",
            Self::NumberFloat => "number-float",
            Self::Range => "range",
            Self::RangeFloat => "range-float",
            Self::List => "list",
            Self::Password => "password",
            Self::Text => "text",
            Self::Text64 => "text64",
        }
    }

    /// The type of a word in a template. `float` is in the manuals of 6.x, and not in its code.
    pub fn from_word(word: &str) -> Option<Self> {
        if word == "float" {
            return Some(Self::NumberFloat);
        }
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Number | Self::Range)
    }
}

/// One user input of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// Its name: `x` in `${input.x}`.
    pub name: String,
    /// What kind of answer it takes.
    pub kind: InputType,
    /// What it is for, in the words of the template.
    pub description: Option<String>,
    /// What counts if no value is given; of a password a secret.
    pub default: Option<Value>,
    /// What a [`InputType::List`] can be, in order.
    pub options: Vec<String>,
    /// Least number, as it is written.
    pub min: Option<String>,
    /// Greatest number, as it is written.
    pub max: Option<String>,
    /// Whether there must be a value. One that need not be there is an empty text, or an empty
    /// list, if it is not given.
    pub mandatory: bool,
    /// Where the template describes it.
    pub origin: Origin,
}

/// An answer in the form in which it goes into the template.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A text.
    One(String),
    /// A list of texts.
    Many(Vec<String>),
}

/// Why a text is no answer to an input. Never holds the text of a password.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InputError {
    /// It is not of the input's type.
    #[error("{given} is not {expected}")]
    Type {
        /// The text, in quotes; for a password a word in its place.
        given: String,
        /// What would be.
        expected: String,
    },
    /// It is longer than [`MAX_VALUE`].
    #[error("a value has at most {} KiB", MAX_VALUE >> 10)]
    TooLong,
    /// It looks like a reference, and would be read as one.
    #[error("a value cannot hold '<%'")]
    Reference,
}

impl InputSpec {
    /// Whether a text is an answer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, text: &str) -> Result<(), InputError> {
        self.answer(text).map(drop)
    }

    /// Whether an answer may be a secret: it is a password, or its name sounds like one. Only a
    /// password is treated as a secret wherever it is used.
    pub fn may_be_secret(&self) -> bool {
        self.kind == InputType::Password || sensitive::is_secret_name(&self.name)
    }

    /// What an answer must be, in words: `a whole number from 1 to 100`.
    pub fn expected(&self) -> String {
        let number = if self.kind.is_whole() { "a whole number" } else { "a number" };
        match self.kind {
            InputType::Array => "a list with ';' between its entries".to_owned(),
            InputType::Boolean => "YES or NO".to_owned(),
            InputType::Fixed => match &self.default {
                Some(Value::Text(text)) => format!("'{text}', which is fixed"),
                _ => "the fixed value".to_owned(),
            },
            InputType::Number
            | InputType::NumberFloat
            | InputType::Range
            | InputType::RangeFloat => match (&self.min, &self.max) {
                (Some(min), Some(max)) => format!("{number} from {min} to {max}"),
                (Some(min), None) => format!("{number} from {min} on"),
                (None, Some(max)) => format!("{number} up to {max}"),
                (None, None) => number.to_owned(),
            },
            InputType::List => format!("one of {}", self.options.join(", ")),
            InputType::Password => "a password".to_owned(),
            InputType::Text | InputType::Text64 => "a text".to_owned(),
        }
    }

    /// The answer that a text is.
    pub(crate) fn answer(&self, text: &str) -> Result<Answer, InputError> {
        if text.len() > MAX_VALUE {
            return Err(InputError::TooLong);
        }
        if text.is_empty() && !self.mandatory {
            return Ok(self.nothing());
        }
        let one = match self.kind {
            InputType::Array => {
                let entries = text.split(';').map(str::trim).filter(|entry| !entry.is_empty());
                let entries: Vec<_> = entries.map(str::to_owned).collect();
                if entries.is_empty() {
                    return Err(self.mismatch(text));
                }
                plain(text)?;
                return Ok(Answer::Many(entries));
            }
            InputType::Boolean => match text.trim().to_ascii_lowercase().as_str() {
                "yes" | "true" => Some("YES".to_owned()),
                "no" | "false" => Some("NO".to_owned()),
                _ => None,
            },
            InputType::Fixed => {
                let fixed = self.default.as_ref().and_then(Value::expose);
                fixed.is_none_or(|fixed| fixed == text).then(|| text.to_owned())
            }
            InputType::Number | InputType::Range => {
                let limit = |limit: &Option<String>| limit.as_deref().map(whole);
                let value = whole(text);
                within(value, limit(&self.min), limit(&self.max)).then(|| text.trim().to_owned())
            }
            InputType::NumberFloat | InputType::RangeFloat => {
                let limit = |limit: &Option<String>| limit.as_deref().map(float);
                let value = float(text);
                within(value, limit(&self.min), limit(&self.max)).then(|| text.trim().to_owned())
            }
            InputType::List => {
                self.options.iter().any(|option| option == text).then(|| text.to_owned())
            }
            InputType::Password | InputType::Text => Some(text.to_owned()),
            InputType::Text64 => return Ok(Answer::One(STANDARD.encode(text))),
        };
        let one = one.ok_or_else(|| self.mismatch(text))?;
        plain(&one)?;
        Ok(Answer::One(one))
    }

    /// What stands for an input without a value that need not have one.
    pub(crate) fn nothing(&self) -> Answer {
        match self.kind {
            InputType::Array => Answer::Many(Vec::new()),
            _ => Answer::One(String::new()),
        }
    }

    /// Whether a text can be one of its limits.
    pub(crate) fn is_limit(kind: InputType, text: &str) -> bool {
        if kind.is_whole() { whole(text).is_some() } else { float(text).is_some() }
    }

    fn mismatch(&self, text: &str) -> InputError {
        let given = match text {
            "" => "nothing".to_owned(),
            _ if self.may_be_secret() => "this".to_owned(),
            _ => format!("'{}'", crate::yaml::compose::shorten(text)),
        };
        InputError::Type { given, expected: self.expected() }
    }
}

/// References of 5.x are looked for only when a value is used, so it must not look like one.
fn plain(text: &str) -> Result<(), InputError> {
    if text.contains("<%") { Err(InputError::Reference) } else { Ok(()) }
}

fn whole(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

fn float(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

/// Whether there is a number and it lies between the limits. A limit that is no number is reported
/// where it stands, and limits nothing.
fn within<N: PartialOrd>(value: Option<N>, min: Option<Option<N>>, max: Option<Option<N>>) -> bool {
    let Some(value) = value else { return false };
    min.flatten().is_none_or(|min| value >= min) && max.flatten().is_none_or(|max| value <= max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn input(kind: InputType) -> InputSpec {
        let bounded = matches!(kind, InputType::Range | InputType::RangeFloat);
        InputSpec {
            name: "x".into(),
            kind,
            description: None,
            default: (kind == InputType::Fixed).then(|| "fix".into()),
            options: vec!["a".into(), "b c".into()],
            min: bounded.then(|| "1".into()),
            max: bounded.then(|| "10".into()),
            mandatory: true,
            origin: Origin { file: "t".into(), line: 1, column: 1 },
        }
    }

    fn one(kind: InputType, text: &str) -> Option<String> {
        match input(kind).answer(text) {
            Ok(Answer::One(text)) => Some(text),
            Ok(Answer::Many(texts)) => Some(format!("{texts:?}")),
            Err(_) => None,
        }
    }

    #[test]
    fn every_type_takes_what_it_should() {
        for (kind, text, expected) in [
            (InputType::Array, "h1; h2;;h3 ", Some(r#"["h1", "h2", "h3"]"#)),
            (InputType::Array, " ; ", None),
            (InputType::Boolean, "YES", Some("YES")),
            (InputType::Boolean, "false", Some("NO")),
            (InputType::Boolean, "1", None),
            (InputType::Fixed, "fix", Some("fix")),
            (InputType::Fixed, "other", None),
            (InputType::Number, " -12 ", Some("-12")),
            (InputType::Number, "1.5", None),
            (InputType::Number, "99999999999999999999", None),
            (InputType::NumberFloat, "1.5e3", Some("1.5e3")),
            (InputType::NumberFloat, "nan", None),
            (InputType::NumberFloat, "inf", None),
            (InputType::Range, "1", Some("1")),
            (InputType::Range, "10", Some("10")),
            (InputType::Range, "11", None),
            (InputType::RangeFloat, "9.99", Some("9.99")),
            (InputType::RangeFloat, "0.99", None),
            (InputType::List, "b c", Some("b c")),
            (InputType::List, "c", None),
            (InputType::Password, "p;w=,\"", Some("p;w=,\"")),
            (InputType::Text, "", Some("")),
            (InputType::Text, "<%= @id %>", None),
            (InputType::Text64, "<%= é %>", Some("PCU9IMOpICU+")),
        ] {
            assert_eq!(one(kind, text).as_deref(), expected, "{kind:?} {text:?}");
        }
    }

    #[test]
    fn nothing_is_an_answer_where_none_is_needed() {
        for kind in InputType::ALL {
            let optional = InputSpec { mandatory: false, ..input(kind) };
            assert!(optional.answer("") == Ok(optional.nothing()), "{kind:?}");
            assert_eq!(InputType::from_word(kind.as_str()), Some(kind));
        }
    }

    #[test]
    fn an_error_says_what_is_expected_and_shows_no_password() {
        let error = input(InputType::Range).check("x").unwrap_err();
        assert_eq!(error.to_string(), "'x' is not a whole number from 1 to 10");
        let error = input(InputType::List).check("x").unwrap_err();
        assert_eq!(error.to_string(), "'x' is not one of a, b c");
        let error = input(InputType::Password).check("s3cret <%= x %>").unwrap_err();
        assert_eq!(error, InputError::Reference);
        let token = InputSpec { name: "api_token".into(), ..input(InputType::Number) };
        assert_eq!(token.check("s3cret").unwrap_err().to_string(), "this is not a whole number");
        let long = "x".repeat(MAX_VALUE + 1);
        assert_eq!(input(InputType::Text).check(&long), Err(InputError::TooLong));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_ranges_hold(text in ".*", number in -20_i64..20) {
            for kind in InputType::ALL {
                let _ = input(kind).answer(&text);
            }
            let inside = (1..=10).contains(&number);
            prop_assert_eq!(one(InputType::Range, &number.to_string()).is_some(), inside);
            prop_assert_eq!(one(InputType::RangeFloat, &number.to_string()).is_some(), inside);
        }
    }
}
