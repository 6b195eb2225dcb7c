//! What a command shows: aligned columns for people, JSON for programs.
//!
//! A command builds one `Output`; `-o` decides how it is written. JSON is one array of objects under stable names, so
//! that scripts do not parse columns.

use std::io::Write;

use serde_json::{Map, Value};

/// `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns.
    Table,
    /// One JSON array.
    Json,
}

/// Rows under named columns.
#[derive(Debug)]
pub struct Output {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
}

impl Output {
    pub fn new(columns: &[&'static str]) -> Output {
        Output { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; it has one value per column.
    pub fn row(&mut self, values: Vec<Value>) {
        assert_eq!(values.len(), self.columns.len(), "a row has a value per column");
        self.rows.push(values);
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
        let all = Value::Array(self.rows.iter().map(object).collect());
        serde_json::to_writer_pretty(&mut *out, &all)?;
        writeln!(out)
    }

    fn write_table(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let head: Vec<String> = self.columns.iter().map(|c| c.replace('_', "-").to_uppercase()).collect();
        let body: Vec<Vec<String>> = self.rows.iter().map(|r| r.iter().map(text).collect()).collect();
        let width =
            |i: usize| body.iter().map(|r| r[i].chars().count()).chain([head[i].len()]).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        for row in std::iter::once(&head).chain(&body) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(s) => s.clone(),
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

    #[test]
    fn columns_are_aligned() {
        let mut out = Vec::new();
        sample().write(Format::Table, &mut out).expect("written");
        assert_eq!(String::from_utf8_lossy(&out), "TOPIC   PARTITION-COUNT\na       3\nlonger  -\n");
    }

    #[test]
    fn json_has_the_names_of_the_columns() {
        let mut out = Vec::new();
        sample().write(Format::Json, &mut out).expect("written");
        let value: Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(value[0]["partition_count"], 3);
        assert_eq!(value[1]["partition_count"], Value::Null);
    }
}
