//! The text that Prometheus reads, page by page.
//!
//! ```text
//!   # HELP name help      once for each family, and all of its series behind it
//!   # TYPE name gauge
//!   name{label="value"} 17
//! ```
//! A node of 10,000 partitions tells 150,000 lines. They are made into pages of `bounds::METRICS_PAGE_BYTES` which wait for
//! whoever reads them: the memory of an answer is a few pages, and between two pages other tasks run.

use std::fmt::Write;

use bytes::Bytes;
use protocol::bounds;
use tokio::sync::mpsc;

use super::names::{Kind, Name};

/// The reader has gone away: nobody wants the rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReaderGone;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pages {
    text: String,
    family: String,
    out: mpsc::Sender<Bytes>,
}

impl Pages {
    pub(crate) fn new(out: mpsc::Sender<Bytes>) -> Pages {
        Pages { text: String::with_capacity(bounds::METRICS_PAGE_BYTES), family: String::new(), out }
    }

    /// Begins a family: the samples that follow are its.
    pub(crate) fn family(&mut self, name: &Name) {
        let kind = match name.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.named_family(name.name, kind, name.help);
    }

    /// A family whose name a client has chosen; it must be a legal one.
    pub(crate) fn named_family(&mut self, name: &str, kind: &str, help: &str) {
        self.family.clear();
        self.family.push_str(name);
        let written = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        written.expect("a String takes everything");
    }

    /// A series of the family. Values of labels may be any text.
    pub(crate) fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(&self.family);
        for (at, (label, value)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            escape(&mut self.text, value);
            self.text.push('"');
        }
        self.text.push_str(if labels.is_empty() { " " } else { "} " });
        // Rust's `inf` is not Prometheus' `+Inf`.
        let written = match value {
            value if value.is_nan() => write!(self.text, "NaN"),
            value if value.is_infinite() => write!(self.text, "{}Inf", if value > 0.0 { '+' } else { '-' }),
            value => write!(self.text, "{value}"),
        };
        written.expect("a String takes everything");
        self.text.push('\n');
    }

    /// A family of one series without labels.
    pub(crate) fn single(&mut self, name: &Name, value: f64) {
        self.family(name);
        self.sample(&[], value);
    }

    /// Hands a full page over, and waits until the reader has taken an earlier one. To be called between samples, at least
    /// every hundred or so.
    ///
    /// Cancellation is safe: the answer as a whole is given up.
    pub(crate) async fn turn(&mut self) -> Result<(), ReaderGone> {
        if self.text.len() < bounds::METRICS_PAGE_BYTES - bounds::METRICS_PAGE_BYTES / 8 {
            return Ok(());
        }
        self.hand_over().await?;
        // The channel may have had room for it: others run all the same.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Lets other tasks run, in work that makes no text.
    pub(crate) async fn pause(&self) {
        tokio::task::yield_now().await;
    }

    /// Hands the last page over.
    pub(crate) async fn end(mut self) -> Result<(), ReaderGone> {
        self.hand_over().await
    }

    async fn hand_over(&mut self) -> Result<(), ReaderGone> {
        let page = std::mem::replace(&mut self.text, String::with_capacity(bounds::METRICS_PAGE_BYTES));
        self.out.send(Bytes::from(page)).await.map_err(|_| ReaderGone)
    }
}

fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}
