//! `driver test`: what was promised, what was seen, what to do.

use driver::conformance::{Finding, Report, Verdict};
use serde_json::{Value, json};

use super::table::{self, Column};
use super::xml::Element;
use crate::args::FormatArgs;
use crate::error::CliError;

/// The page that the references lead to.
const PAGE: &str = "docs/DRIVER_PROTOCOL.md";

const COLUMNS: [Column; 4] = [
    Column::left("CHECK", 14),
    Column::left("VERDICT", 9),
    Column::left("PROMISED", 20),
    Column::left("SEEN", 0),
];

/// What was found out in one way of calling the driver.
pub struct Examined<'a> {
    pub way: &'a str,
    pub report: Report,
}

/// In the format that was asked for.
pub fn render(name: &str, all: &[Examined<'_>], format: FormatArgs) -> Result<String, CliError> {
    if format.xml {
        return Ok(element(name, all).render());
    }
    if format.json || format.yaml {
        let reports: Vec<Value> = all.iter().map(value).collect();
        let value = json!({ "DRIVER_TEST": { "DRIVER": name, "REPORT": reports } });
        return if format.json { Ok(super::json(&value)) } else { super::yaml(&value) };
    }
    let mut text = String::new();
    for (n, examined) in all.iter().enumerate() {
        if n > 0 {
            text.push('\n');
        }
        text += &format!("DRIVER {name}, {}\n", examined.way);
        let rows: Vec<Vec<String>> = examined.report.findings.iter().map(row).collect();
        text += &table::plain(&COLUMNS, &rows);
        for verdict in [Verdict::Broken, Verdict::Warning] {
            for finding in examined.report.with(verdict) {
                text += &advice(finding);
            }
        }
    }
    Ok(text)
}

fn row(finding: &Finding) -> Vec<String> {
    vec![
        finding.check.name().to_owned(),
        finding.verdict.as_str().to_owned(),
        finding.check.promised().to_owned(),
        finding.seen.clone(),
    ]
}

fn advice(finding: &Finding) -> String {
    format!(
        "\n{} {}\n  promised: {} ({})\n  seen:     {}\n  to do:    {}\n",
        finding.verdict.as_str(),
        finding.check.name(),
        finding.check.promised(),
        reference(finding),
        finding.seen.replace(char::is_control, " "),
        finding.check.advice(),
    )
}

fn reference(finding: &Finding) -> String {
    format!("{PAGE}#{}", finding.check.section())
}

/// What is to be done of it; nothing if the promise is kept.
fn to_do(finding: &Finding) -> &'static str {
    match finding.verdict {
        Verdict::Broken | Verdict::Warning => finding.check.advice(),
        Verdict::Kept | Verdict::NotTried => "",
    }
}

fn value(examined: &Examined<'_>) -> Value {
    let report = &examined.report;
    let check = |finding: &Finding| {
        json!({
            "CHECK": finding.check.name(),
            "VERDICT": finding.verdict.as_str().to_ascii_lowercase(),
            "PROMISED": finding.check.promised(),
            "REFERENCE": reference(finding),
            "SEEN": finding.seen,
            "TO_DO": to_do(finding),
        })
    };
    let left = report.left.iter().map(|left| {
        json!({
            "DEPLOY_ID": left.id, "KEY": left.key, "NAME": left.host, "WHY": left.why,
        })
    });
    json!({
        "CALLED": examined.way,
        "CHECKS": report.findings.iter().map(check).collect::<Vec<_>>(),
        "MACHINES": report.made,
        "LEFT": left.collect::<Vec<_>>(),
        "INTERRUPTED": report.stopped,
    })
}

fn element(name: &str, all: &[Examined<'_>]) -> Element {
    let check = |finding: &Finding| {
        Element::Parent(
            "CHECK",
            vec![
                Element::text("NAME", finding.check.name()),
                Element::text("VERDICT", finding.verdict.as_str().to_ascii_lowercase()),
                Element::text("PROMISED", finding.check.promised()),
                Element::text("REFERENCE", reference(finding)),
                Element::text("SEEN", &finding.seen),
                Element::text("TO_DO", to_do(finding)),
            ],
        )
    };
    let report = |examined: &Examined<'_>| {
        let mut children = vec![
            Element::text("CALLED", examined.way),
            Element::text("MACHINES", examined.report.made.to_string()),
        ];
        children.extend(examined.report.findings.iter().map(check));
        children.extend(examined.report.left.iter().map(|left| {
            let id = left.id.as_ref().map(ToString::to_string).unwrap_or_default();
            let marks = vec![
                Element::text("DEPLOY_ID", id),
                Element::text("KEY", &left.key),
                Element::text("NAME", &left.host),
                Element::text("WHY", &left.why),
            ];
            Element::Parent("LEFT", marks)
        }));
        Element::Parent("REPORT", children)
    };
    let mut children = vec![Element::text("DRIVER", name)];
    children.extend(all.iter().map(report));
    Element::Parent("DRIVER_TEST", children)
}
