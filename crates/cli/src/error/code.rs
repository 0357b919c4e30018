//! Stable codes of errors. `docs/ERRORS.md` has a page for each, and for each finding in a template;
//! `explain` prints it.

/// The manual's pages.
const PAGES: &str = include_str!("../../../../docs/ERRORS.md");

/// What kind of error it is. A code never gets another meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Authentication,
    Busy,
    Columns,
    Configuration,
    Confirmation,
    DiskFull,
    Driver,
    Failed,
    FrontEnd,
    Inputs,
    Journal,
    NotFound,
    OpenNebula,
    Refused,
    Sandbox,
    System,
    Template,
    Usage,
}

impl Code {
    /// Every code.
    #[cfg(test)]
    pub const ALL: [Self; 18] = [
        Self::Authentication,
        Self::Busy,
        Self::Columns,
        Self::Configuration,
        Self::Confirmation,
        Self::DiskFull,
        Self::Driver,
        Self::Failed,
        Self::FrontEnd,
        Self::Inputs,
        Self::Journal,
        Self::NotFound,
        Self::OpenNebula,
        Self::Refused,
        Self::Sandbox,
        Self::System,
        Self::Template,
        Self::Usage,
    ];

    /// The code as it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authentication => "OP-AUTHENTICATION",
            Self::Busy => "OP-BUSY",
            Self::Columns => "OP-COLUMNS",
            Self::Configuration => "OP-CONFIGURATION",
            Self::Confirmation => "OP-CONFIRMATION",
            Self::DiskFull => "OP-DISK-FULL",
            Self::Driver => "OP-DRIVER",
            Self::Failed => "OP-FAILED",
            Self::FrontEnd => "OP-FRONT-END",
            Self::Inputs => "OP-INPUTS",
            Self::Journal => "OP-JOURNAL",
            Self::NotFound => "OP-NOT-FOUND",
            Self::OpenNebula => "OP-OPENNEBULA",
            Self::Refused => "OP-REFUSED",
            Self::Sandbox => "OP-SANDBOX",
            Self::System => "OP-SYSTEM",
            Self::Template => "OP-TEMPLATE",
            Self::Usage => "OP-USAGE",
        }
    }

    /// The line that leads to the page.
    pub fn more(self) -> String {
        format!("  more: oneprovision explain {}", self.as_str())
    }
}

/// The page of a code; upper and lower case are the same.
pub fn page(code: &str) -> Option<String> {
    let code = code.trim();
    let (_, page) = pages().find(|(name, _)| name.eq_ignore_ascii_case(code))?;
    Some(page)
}

/// Every code that has a page.
pub fn codes() -> Vec<&'static str> {
    pages().map(|(name, _)| name).collect()
}

/// The pages: each begins with its code as a heading of the third level, and ends at the next heading.
fn pages() -> impl Iterator<Item = (&'static str, String)> {
    PAGES.split("\n### ").skip(1).map(|section| {
        let (name, text) = section.split_once('\n').unwrap_or((section, ""));
        let text = text.split("\n## ").next().unwrap_or_default();
        (name.trim(), format!("{}\n\n{}\n", name.trim(), text.trim()))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let own = Code::ALL.iter().map(|code| code.as_str());
        let templates = template::CODES.iter().map(|(code, _)| *code);
        let wanted: BTreeSet<&str> = own.chain(templates).collect();
        let have: BTreeSet<&str> = codes().into_iter().collect();
        let difference: Vec<_> = have.symmetric_difference(&wanted).collect();
        assert!(difference.is_empty(), "without a page or without a code: {difference:?}");
        assert_eq!(codes().len(), have.len(), "a code has two pages");
        for code in have {
            let text = page(&code.to_lowercase()).unwrap_or_default();
            assert!(text.len() > code.len() + 40, "{code} has an empty page: {text}");
            assert!(!text.contains("\n#"), "{text}");
        }
        assert_eq!(page("OP-NO-SUCH"), None);
    }
}
