//! What a command shows: aligned columns for people, JSON for programs.
//!
//! A command builds one `Output`; `-o` decides how it is written. JSON has stable names, so that scripts do not parse
//! columns: an array of objects, or, where something is told of the whole, an object of that with the array in it.

use std::io::Write;

use serde_json::{Map, Value};

/// `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns.
    Table,
    /// JSON.
    Json,
}

/// Rows under named columns, and what is told beside them.
#[derive(Debug)]
pub struct Output {
    /// Of the whole, above the rows.
    facts: Vec<(&'static str, Value)>,
    /// What the rows are called in JSON, where there are facts.
    rows_name: &'static str,
    columns: Vec<&'static str>,
    /// So many columns, from the end, are too wide for a table.
    only_json: usize,
    rows: Vec<Vec<Value>>,
    notes: Vec<String>,
    failures: Vec<String>,
}

impl Output {
    pub fn new(columns: &[&'static str]) -> Output {
        Output {
            facts: Vec::new(),
            rows_name: "rows",
            columns: columns.to_vec(),
            only_json: 0,
            rows: Vec::new(),
            notes: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// With facts above the rows, which JSON calls `rows_name`.
    pub fn about(
        rows_name: &'static str,
        facts: Vec<(&'static str, Value)>,
        columns: &[&'static str],
    ) -> Output {
        Output { facts, rows_name, ..Output::new(columns) }
    }

    /// Keeps the last `count` columns out of tables.
    pub fn only_in_json(mut self, count: usize) -> Output {
        self.only_json = count;
        self
    }

    /// Adds a row; it has one value per column.
    pub fn row(&mut self, values: Vec<Value>) {
        assert_eq!(values.len(), self.columns.len(), "a row has a value per column");
        self.rows.push(values);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A word beside the rows, on standard error.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// One thing of several could not be done: the others are shown, and the command fails.
    pub fn failure(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.failures.contains(&text) {
            self.failures.push(text);
        }
    }

    /// All failures, if there are any.
    pub fn failed(&self) -> Result<(), String> {
        if self.failures.is_empty() { Ok(()) } else { Err(self.failures.join("\nweir: ")) }
    }

    pub fn write(&self, format: Format, out: &mut dyn Write) -> std::io::Result<()> {
        match format {
            Format::Table => self.write_table(out),
            Format::Json => self.write_json(out),
        }
    }

    fn write_json(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let object = |row: &Vec<Value>| -> Value {
            let fields = self.columns.iter().zip(row).map(|(c, v)| (c.to_string(), v.clone()));
            Value::Object(fields.collect::<Map<_, _>>())
        };
        let mut all = Value::Array(self.rows.iter().map(object).collect());
        if !self.facts.is_empty() {
            let facts = self.facts.iter().map(|(name, value)| (name.to_string(), value.clone()));
            let rows = [(self.rows_name.to_owned(), all)];
            all = Value::Object(facts.chain(rows).collect());
        }
        serde_json::to_writer_pretty(&mut *out, &all)?;
        writeln!(out)
    }

    fn write_table(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let facts = self.facts.iter().map(|(name, value)| vec![heading(name), text(value)]);
        write_aligned(&facts.collect::<Vec<_>>(), out)?;
        if !self.facts.is_empty() && !self.rows.is_empty() {
            writeln!(out)?;
        }
        // Whoever asked for facts has no use for a head without a body.
        if !self.facts.is_empty() && self.rows.is_empty() {
            return Ok(());
        }
        let shown = self.columns.len() - self.only_json;
        let head = self.columns[..shown].iter().map(|c| heading(c)).collect();
        let body = self.rows.iter().map(|r| r[..shown].iter().map(text).collect());
        write_aligned(&std::iter::once(head).chain(body).collect::<Vec<_>>(), out)
    }
}

fn heading(name: &str) -> String {
    name.replace('_', "-").to_uppercase()
}

/// Lines of cells, each column as wide as its widest cell.
fn write_aligned(lines: &[Vec<String>], out: &mut dyn Write) -> std::io::Result<()> {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |i: usize| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for cells in lines {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        // A line feed within a cell would break the table.
        Value::String(s) => s.replace('\n', "\\n"),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Output {
        let mut o = Output::new(&["topic", "partition_count"]);
        o.row(vec!["a".into(), 3.into()]);
        o.row(vec!["longer".into(), Value::Null]);
        o
    }

    fn written(output: &Output, format: Format) -> String {
        let mut out = Vec::new();
        output.write(format, &mut out).expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(written(&sample(), Format::Table), "TOPIC   PARTITION-COUNT\na       3\nlonger  -\n");
    }

    #[test]
    fn json_has_the_names_of_the_columns() {
        let value: Value = serde_json::from_str(&written(&sample(), Format::Json)).expect("JSON");
        assert_eq!(value[0]["partition_count"], 3);
        assert_eq!(value[1]["partition_count"], Value::Null);
    }

    #[test]
    fn facts_stand_above_the_rows_and_wide_columns_only_in_json() {
        let facts = vec![("cluster_id", "x".into()), ("leader", 1.into())];
        let mut output = Output::about("nodes", facts, &["id", "wide"]).only_in_json(1);
        output.row(vec![1.into(), "very".into()]);
        assert_eq!(written(&output, Format::Table), "CLUSTER-ID  x\nLEADER      1\n\nID\n1\n");
        let value: Value = serde_json::from_str(&written(&output, Format::Json)).expect("JSON");
        assert_eq!((&value["leader"], &value["nodes"][0]["wide"]), (&1.into(), &"very".into()));
    }

    #[test]
    fn failures_are_told_together() {
        let mut output = sample();
        assert_eq!(output.failed(), Ok(()));
        output.failure("one");
        output.failure("two");
        output.failure("one");
        assert_eq!(output.failed(), Err("one\nweir: two".to_owned()));
    }
}
