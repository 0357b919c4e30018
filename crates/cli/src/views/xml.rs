//! XML with two blanks per level, as 5.12 printed it.

use std::fmt::Write;

/// An element with text or with child elements.
pub enum Element {
    Text(&'static str, String),
    Parent(&'static str, Vec<Element>),
}

impl Element {
    pub fn text(name: &'static str, text: impl ToString) -> Self {
        Self::Text(name, text.to_string())
    }

    /// The element and what is below it, each on a line of its own.
    pub fn render(&self) -> String {
        let mut out = String::new();
        self.write(0, &mut out);
        out
    }

    fn write(&self, level: usize, out: &mut String) {
        let indent = "  ".repeat(level);
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Text(name, text) => writeln!(out, "{indent}<{name}>{}</{name}>", escape(text)),
            Self::Parent(name, children) if children.is_empty() => {
                writeln!(out, "{indent}<{name}/>")
            }
            Self::Parent(name, children) => {
                let _ = writeln!(out, "{indent}<{name}>");
                for child in children {
                    child.write(level + 1, out);
                }
                writeln!(out, "{indent}</{name}>")
            }
        };
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#13;"),
            // XML 1.0 has no way to write these.
            c if c < ' ' && !matches!(c, '\t' | '\n') => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_nest_and_escape() {
        let tree = Element::Parent(
            "PROVISION",
            vec![Element::text("NAME", "a <&> b\u{1}"), Element::Parent("HOSTS", vec![])],
        );
        assert_eq!(
            tree.render(),
            "<PROVISION>\n  <NAME>a &lt;&amp;&gt; b\u{FFFD}</NAME>\n  <HOSTS/>\n</PROVISION>\n"
        );
    }
}
