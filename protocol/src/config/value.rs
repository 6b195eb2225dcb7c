//! Values of configs: from text, checked, and back to text as Kafka prints it.

use std::fmt;

use super::definition::{Check, Default, Definition, Type};

/// A value by its type. Class and password are text; null is the absence of a value.
#[derive(Clone, PartialEq)]
pub enum Value {
    Boolean(bool),
    String(String),
    Int(i32),
    Short(i16),
    Long(i64),
    Double(f64),
    List(Vec<String>),
    Class(String),
    Password(String),
    Null,
}

/// Why a value is not accepted: one sentence, in Kafka's form, for the answer or the console.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    Invalid { name: String, value: String, reason: String },
    #[error("Configuration '{name}' {reason}")]
    List { name: String, reason: String },
    #[error("Missing required configuration \"{name}\" which has no default value.")]
    Missing { name: String },
}

/// As Kafka prints it in DescribeConfigs; a password is printed, so ask [`Definition::is_sensitive`] first.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Boolean(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Short(value) => write!(f, "{value}"),
            Value::Long(value) => write!(f, "{value}"),
            Value::Double(value) => f.write_str(&java_double(*value)),
            Value::List(items) => f.write_str(&items.join(",")),
            Value::String(text) | Value::Class(text) | Value::Password(text) => f.write_str(text),
            Value::Null => f.write_str("null"),
        }
    }
}

/// For logs and panics: never shows a password.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Password(_) => f.write_str("[hidden]"),
            Value::String(text) | Value::Class(text) => write!(f, "{text:?}"),
            other => write!(f, "{other}"),
        }
    }
}

/// A double as Java prints it: `0.5`, `1.0E10`, `NaN`, `Infinity`.
fn java_double(value: f64) -> String {
    let magnitude = value.abs();
    if value.is_infinite() {
        return if value > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    if value.is_nan() || value == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    let (digits, exponent) = text.split_once('E').expect("this format has an exponent");
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}E{exponent}")
}

impl Definition {
    /// The value that `text` gives, checked.
    ///
    /// # Errors
    /// `Invalid` and `List`.
    pub fn parse(&self, text: &str) -> Result<Value, ConfigError> {
        let value = self.typed(text)?;
        self.check(&value)?;
        Ok(value)
    }

    /// The default; None if the name must be set.
    pub fn default_value(&self) -> Option<Value> {
        match self.default {
            Default::Required => None,
            Default::Null => Some(Value::Null),
            Default::Text(text) => Some(self.typed(text).expect("a test reads every default")),
        }
    }

    fn typed(&self, text: &str) -> Result<Value, ConfigError> {
        let trimmed = text.trim();
        let number = || format!("Not a number of type {}", self.kind.name());
        let invalid = |reason: String| self.invalid(text, reason);
        Ok(match self.kind {
            Type::Boolean if trimmed.eq_ignore_ascii_case("true") => Value::Boolean(true),
            Type::Boolean if trimmed.eq_ignore_ascii_case("false") => Value::Boolean(false),
            Type::Boolean => return Err(invalid("Expected value to be either true or false".into())),
            Type::Int => Value::Int(trimmed.parse().map_err(|_| invalid(number()))?),
            Type::Short => Value::Short(trimmed.parse().map_err(|_| invalid(number()))?),
            Type::Long => Value::Long(trimmed.parse().map_err(|_| invalid(number()))?),
            Type::Double => Value::Double(parse_double(trimmed).ok_or_else(|| invalid(number()))?),
            Type::List if trimmed.is_empty() => Value::List(Vec::new()),
            Type::List => Value::List(trimmed.split(',').map(|item| item.trim().to_owned()).collect()),
            Type::String => Value::String(trimmed.to_owned()),
            Type::Class => Value::Class(trimmed.to_owned()),
            Type::Password => Value::Password(trimmed.to_owned()),
        })
    }

    fn invalid(&self, value: impl fmt::Display, reason: String) -> ConfigError {
        let value = if self.is_sensitive() { "[hidden]".to_owned() } else { value.to_string() };
        ConfigError::Invalid { name: self.name.to_owned(), value, reason }
    }

    fn check(&self, value: &Value) -> Result<(), ConfigError> {
        let invalid = |reason: String| Err(self.invalid(value, reason));
        match (self.check, value) {
            (Check::Range { min, max }, _) => self.check_range(value, min, max),
            (Check::OneOf(words), Value::String(text)) if !words.split(',').any(|word| word == text) => {
                invalid(format!("String must be one of: {}", spaced(words)))
            }
            (Check::OneOfIgnoringCase(words), Value::String(text))
                if !words.split(',').any(|word| word.eq_ignore_ascii_case(text)) =>
            {
                invalid(format!("String must be one of (case insensitive): {}", spaced(words)))
            }
            (Check::List { items, may_be_empty }, Value::List(found)) => {
                self.check_list(found, items, may_be_empty)
            }
            (Check::NotEmpty, Value::String(text)) if text.is_empty() => {
                invalid("String must be non-empty".into())
            }
            (Check::GzipLevel, Value::Int(level)) if !matches!(level, -1 | 1..=9) => {
                invalid("Value must be between 1 and 9 or equal to -1".into())
            }
            (Check::ThrottledReplicas, Value::List(found)) if !throttled_replicas(found) => {
                invalid("Expected * or a list of partition:broker".into())
            }
            (Check::Voters, Value::List(found)) if !found.iter().all(|entry| is_voter(entry)) => {
                invalid("Expected a list of id@host:port".into())
            }
            (Check::BootstrapServers, Value::List(found))
                if !found.iter().all(|entry| is_host_and_port(entry)) =>
            {
                invalid("Expected a list of host:port".into())
            }
            (Check::OffsetReset, Value::String(text)) if !is_offset_reset(text) => {
                invalid("Expected earliest, latest or by_duration:<PnDTnHnMn.nS>".into())
            }
            _ => Ok(()),
        }
    }

    fn check_range(&self, value: &Value, min: Option<f64>, max: Option<f64>) -> Result<(), ConfigError> {
        // Ends of ranges are small enough to be exact; a long that is rounded stays on its side of them.
        let number = match *value {
            Value::Int(value) => f64::from(value),
            Value::Short(value) => f64::from(value),
            Value::Long(value) => value as f64,
            Value::Double(value) => value,
            _ => return Ok(()),
        };
        match (min, max) {
            (Some(min), _) if number < min => {
                Err(self.invalid(value, format!("Value must be at least {min}")))
            }
            (_, Some(max)) if number > max => {
                Err(self.invalid(value, format!("Value must be no more than {max}")))
            }
            _ => Ok(()),
        }
    }

    fn check_list(&self, found: &[String], items: &str, may_be_empty: bool) -> Result<(), ConfigError> {
        let refused = |reason: String| Err(ConfigError::List { name: self.name.to_owned(), reason });
        if found.is_empty() && !may_be_empty {
            let valid =
                if items.is_empty() { "any non-empty value".into() } else { format!("[{}]", spaced(items)) };
            return refused(format!("must not be empty. Valid values include: {valid}"));
        }
        if (1..found.len()).any(|at| found[..at].contains(&found[at])) {
            return refused("values must not be duplicated.".into());
        }
        for item in found {
            if !items.is_empty() && !items.split(',').any(|word| word == item) {
                return Err(self.invalid(item, format!("String must be one of: {}", spaced(items))));
            }
            if item.is_empty() {
                return refused("values must not be empty.".into());
            }
        }
        Ok(())
    }
}

/// A double as Java reads it: a suffix `d` or `f` is allowed, `inf` is not.
fn parse_double(text: &str) -> Option<f64> {
    let (sign, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    match magnitude {
        "NaN" => return Some(f64::NAN),
        "Infinity" => return Some(sign * f64::INFINITY),
        _ => {}
    }
    let digits = magnitude.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(magnitude);
    digits
        .starts_with(|first: char| first.is_ascii_digit() || first == '.')
        .then(|| digits.parse().ok())?
        .map(|value: f64| sign * value)
}

fn spaced(words: &str) -> String {
    words.replace(',', ", ")
}

fn throttled_replicas(entries: &[String]) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_pair = |entry: &String| entry.split_once(':').is_some_and(|(p, b)| is_number(p) && is_number(b));
    // An empty entry is Kafka's leniency.
    entries.first().is_some_and(|first| first == "*")
        || entries.iter().all(|entry| entry.is_empty() || is_pair(entry))
}

fn is_voter(entry: &str) -> bool {
    entry.split_once('@').is_some_and(|(id, address)| id.parse::<i32>().is_ok() && is_host_and_port(address))
}

/// `host:port` or `[ipv6]:port`.
fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host_ok = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
    port.parse::<u16>().is_ok() && !host.is_empty() && host.bytes().all(host_ok)
}

fn is_offset_reset(text: &str) -> bool {
    matches!(text, "earliest" | "latest")
        || text.strip_prefix("by_duration:").is_some_and(|duration| duration_ms(duration).is_some())
}

/// The milliseconds of an ISO 8601 duration of days, hours, minutes and seconds, such as `P1DT2H` or `PT0.5S`.
fn duration_ms(text: &str) -> Option<i64> {
    let upper = text.to_ascii_uppercase();
    let (days, time) = match upper.strip_prefix('P')?.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (upper.strip_prefix('P')?, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let mut total_ms = 0.0;
    let mut rest = days;
    for (unit, factor) in [('D', 86_400_000.0), ('H', 3_600_000.0), ('M', 60_000.0), ('S', 1_000.0)] {
        if unit == 'H' {
            if !rest.is_empty() {
                return None;
            }
            rest = time;
        }
        if let Some((number, after)) = rest.split_once(unit) {
            let digits = |byte: u8| byte.is_ascii_digit() || (unit == 'S' && byte == b'.');
            let number = Some(number).filter(|number| number.bytes().all(digits))?;
            total_ms += number.parse::<f64>().ok()? * factor;
            rest = after;
        }
    }
    (rest.is_empty() && total_ms <= i64::MAX as f64).then_some(total_ms as i64)
}
