//! Figures with their goals, as a table and as JSON.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::failure::{Because as _, Result};

/// What a figure is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// This or less.
    AtMost(f64),
    /// Less than this.
    Below(f64),
    /// Nothing was promised: for information.
    None,
}

/// One measured figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The benchmark.
    pub benchmark: &'static str,
    /// What was done, and how large it was.
    pub case: String,
    /// What was measured.
    pub figure: &'static str,
    /// The value.
    pub value: f64,
    /// Its unit; `x` is a ratio.
    pub unit: &'static str,
    /// What it is to be.
    pub goal: Goal,
}

impl Figure {
    /// Whether the goal is met; `None` where there is none.
    fn is_met(&self) -> Option<bool> {
        match self.goal {
            Goal::AtMost(goal) => Some(self.value <= goal),
            Goal::Below(goal) => Some(self.value < goal),
            Goal::None => None,
        }
    }

    fn row(&self) -> [String; 6] {
        let goal = match self.goal {
            Goal::AtMost(goal) => format!("<= {} {}", number(goal), self.unit),
            Goal::Below(goal) => format!("< {} {}", number(goal), self.unit),
            Goal::None => "-".to_owned(),
        };
        let verdict = match self.is_met() {
            Some(true) => "ok",
            Some(false) => "MISSED",
            None => "",
        };
        [
            self.benchmark.to_owned(),
            self.case.clone(),
            self.figure.to_owned(),
            format!("{} {}", number(self.value), self.unit),
            goal,
            verdict.to_owned(),
        ]
    }

    fn json(&self) -> Value {
        let goal = match self.goal {
            Goal::AtMost(goal) => json!({"relation": "<=", "value": goal}),
            Goal::Below(goal) => json!({"relation": "<", "value": goal}),
            Goal::None => Value::Null,
        };
        json!({
            "benchmark": self.benchmark, "case": self.case, "figure": self.figure,
            "value": self.value, "unit": self.unit, "goal": goal, "met": self.is_met(),
        })
    }
}

/// Three digits that count; whole numbers as they are.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 || value.fract() == 0.0 => 0,
        middle if middle >= 10.0 => 1,
        small if small >= 0.1 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// All figures of a run.
#[derive(Debug, Default)]
pub struct Report(Vec<Figure>);

impl Report {
    /// Adds a figure, and tells it on standard error at once.
    pub fn add(
        &mut self,
        benchmark: &'static str,
        case: impl Into<String>,
        figure: &'static str,
        (value, unit): (f64, &'static str),
        goal: Goal,
    ) {
        let figure = Figure { benchmark, case: case.into(), figure, value, unit, goal };
        say(&format!("   {}", figure.row().join("  ")));
        self.0.push(figure);
    }

    /// Writes the table to standard output.
    ///
    /// # Errors
    /// If nobody takes it.
    pub fn print(&self) -> Result<()> {
        let head = ["benchmark", "case", "figure", "measured", "goal", ""].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(head).chain(self.0.iter().map(Figure::row)).collect();
        let mut widths = [0; 6];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        for row in &rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                line += &format!("{cell:<width$}  ");
            }
            text += line.trim_end();
            text.push('\n');
        }
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).because("standard output")
    }

    /// Writes the figures, with what they were measured on.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_json(&self, path: &Path, machine: &Value) -> Result<()> {
        let figures: Vec<Value> = self.0.iter().map(Figure::json).collect();
        let all = json!({"machine": machine, "figures": figures});
        let text = serde_json::to_string_pretty(&all).because("the figures as JSON")?;
        std::fs::write(path, text + "\n").because(path.display())
    }
}

/// Tells something on standard error.
pub fn say(text: &str) {
    // Nobody there to be told is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The middle one; of an even number the mean of the two in the middle; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |n: usize| sorted.get(n).copied().unwrap_or_default();
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => at(count / 2),
        count => f64::midpoint(at(count / 2 - 1), at(count / 2)),
    }
}

/// The median of times, in seconds.
pub fn median_of(times: &[Duration]) -> f64 {
    median(&times.iter().map(Duration::as_secs_f64).collect::<Vec<_>>())
}

/// A number for a calculation; what is counted here is far from 2^52.
#[allow(clippy::cast_precision_loss)]
pub fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn numbers_have_the_digits_that_count() {
        assert_eq!(
            [1234.5, 0.0, 64.0, 12.34, 1.234].map(number),
            ["1234", "0", "64", "12.3", "1.23"]
        );
        assert_eq!(number(0.01234), "0.012");
    }

    #[test]
    fn a_goal_is_met_or_missed_or_not_there() {
        let figure = |value, goal| Figure {
            benchmark: "b",
            case: "c".into(),
            figure: "f",
            value,
            unit: "x",
            goal,
        };
        assert_eq!(figure(1.25, Goal::AtMost(1.25)).is_met(), Some(true));
        assert_eq!(figure(10.0, Goal::Below(10.0)).is_met(), Some(false));
        assert_eq!(figure(10.0, Goal::None).is_met(), None);
    }
}
