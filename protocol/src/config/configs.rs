//! A set of values with typed access, and the defaults of topics and groups, which follow the server's.

use std::collections::BTreeMap;
use std::fmt;

use super::table::{Definitions, group, group_synonym, server, topic, topic_synonyms};
use super::value::{ConfigError, Value};

/// Values of one kind of resource: what was set, over the defaults.
///
/// Access is by name and type; a name that does not exist, or that has another type, is a mistake in the code and panics.
#[derive(Clone)]
pub struct Configs {
    definitions: &'static Definitions,
    set: BTreeMap<&'static str, Value>,
    unknown: Vec<String>,
}

/// What was set; passwords are hidden.
impl fmt::Debug for Configs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.set).finish()
    }
}

impl Configs {
    /// Nothing set: the defaults.
    pub fn new(definitions: &'static Definitions) -> Configs {
        Configs { definitions, set: BTreeMap::new(), unknown: Vec::new() }
    }

    /// Parses and checks pairs of name and text; a later one replaces a former one of the same name. Names without a
    /// definition are gathered in [`Configs::unknown`].
    ///
    /// # Errors
    /// The first value that is not valid.
    pub fn parse<N: AsRef<str>, T: AsRef<str>>(
        definitions: &'static Definitions,
        pairs: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Configs, ConfigError> {
        let mut configs = Configs::new(definitions);
        for (name, text) in pairs {
            configs.set(name.as_ref(), text.as_ref())?;
        }
        Ok(configs)
    }

    /// Sets one value from text; an unknown name is remembered.
    ///
    /// # Errors
    /// `Invalid` and `List`; the former value stays.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        match self.definitions.get(name) {
            Some(definition) => drop(self.set.insert(definition.name, definition.parse(text)?)),
            None => self.unknown.push(name.to_owned()),
        }
        Ok(())
    }

    /// Names that were given and have no definition.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    pub fn definitions(&self) -> &'static Definitions {
        self.definitions
    }

    /// Whether a value was given for `name`.
    pub fn is_set(&self, name: &str) -> bool {
        self.set.contains_key(name)
    }

    /// What was set, by name.
    pub fn set_values(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.set.iter().map(|(name, value)| (*name, value))
    }

    /// # Errors
    /// `Missing` for the first name that has neither value nor default.
    pub fn check_required(&self) -> Result<(), ConfigError> {
        match self.definitions.iter().find(|definition| self.find(definition.name).is_none()) {
            Some(missing) => Err(ConfigError::Missing { name: missing.name.to_owned() }),
            None => Ok(()),
        }
    }

    /// The value, or the default; None if there is neither.
    ///
    /// # Panics
    /// When the name has no definition.
    pub fn find(&self, name: &str) -> Option<Value> {
        let definition = self.definitions.get(name);
        let definition = definition.unwrap_or_else(|| panic!("there is no config {name}"));
        self.set.get(name).cloned().or_else(|| definition.default_value())
    }

    /// The value or the default.
    ///
    /// # Panics
    /// When the name has no definition, or neither value nor default.
    pub fn value(&self, name: &str) -> Value {
        self.find(name).unwrap_or_else(|| panic!("config {name} is required and was not set"))
    }

    /// # Panics
    /// As [`Configs::value`], and when it is not a boolean.
    pub fn bool(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Boolean(value) => value,
            other => wrong_type(name, &other),
        }
    }

    /// An int or a short.
    ///
    /// # Panics
    /// As [`Configs::value`], and when it is neither.
    pub fn int(&self, name: &str) -> i32 {
        match self.value(name) {
            Value::Int(value) => value,
            Value::Short(value) => i32::from(value),
            other => wrong_type(name, &other),
        }
    }

    /// An int, a short or a long.
    ///
    /// # Panics
    /// As [`Configs::value`], and when it is none of them.
    pub fn long(&self, name: &str) -> i64 {
        self.opt_long(name).unwrap_or_else(|| wrong_type(name, &Value::Null))
    }

    /// An int, a short or a long that may be null.
    ///
    /// # Panics
    /// As [`Configs::value`], and when it is none of them.
    pub fn opt_long(&self, name: &str) -> Option<i64> {
        match self.value(name) {
            Value::Null => None,
            Value::Long(value) => Some(value),
            Value::Int(value) => Some(i64::from(value)),
            Value::Short(value) => Some(i64::from(value)),
            other => wrong_type(name, &other),
        }
    }

    /// # Panics
    /// As [`Configs::value`], and when it is not a double.
    pub fn double(&self, name: &str) -> f64 {
        match self.value(name) {
            Value::Double(value) => value,
            other => wrong_type(name, &other),
        }
    }

    /// A string, class or password.
    ///
    /// # Panics
    /// As [`Configs::value`], and when it is none of them.
    pub fn string(&self, name: &str) -> String {
        self.opt_string(name).unwrap_or_else(|| wrong_type(name, &Value::Null))
    }

    /// A string, class or password that may be null.
    ///
    /// # Panics
    /// As [`Configs::value`], and when it is none of them.
    pub fn opt_string(&self, name: &str) -> Option<String> {
        match self.value(name) {
            Value::Null => None,
            Value::String(text) | Value::Class(text) | Value::Password(text) => Some(text),
            other => wrong_type(name, &other),
        }
    }

    /// A list; null is empty.
    ///
    /// # Panics
    /// As [`Configs::value`], and when it is not a list.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Value::Null => Vec::new(),
            Value::List(items) => items,
            other => wrong_type(name, &other),
        }
    }
}

fn wrong_type(name: &str, value: &Value) -> ! {
    panic!("config {name} was asked for by another type than it has: {value:?}")
}

/// The value of a topic config where the topic does not set it: that of the first server config in
/// [`topic_synonyms`] that is not null, else the definition's default.
///
/// # Panics
/// When the name is not a topic config, or `configs` are not the server's.
pub fn topic_default(configs: &Configs, name: &str) -> Value {
    assert!(std::ptr::eq(configs.definitions, server()), "topic configs follow the server's");
    let definition = topic().get(name).unwrap_or_else(|| panic!("there is no topic config {name}"));
    let found = topic_synonyms(name).iter().map(|synonym| (configs.value(synonym.name), synonym.factor));
    match found.into_iter().find(|(value, _)| *value != Value::Null) {
        None => definition.default_value().unwrap_or(Value::Null),
        Some((value, 1)) => value,
        Some((value, factor)) => {
            let number = match value {
                Value::Int(value) => i64::from(value),
                Value::Long(value) => value,
                other => wrong_type(name, &other),
            };
            // "Unlimited" is -1 whatever the unit.
            Value::Long(if number < 0 { -1 } else { number * factor })
        }
    }
}

/// The value of a group config where the group does not set it.
///
/// # Panics
/// When the name is not a group config, or `configs` are not the server's.
pub fn group_default(configs: &Configs, name: &str) -> Value {
    assert!(std::ptr::eq(configs.definitions, server()), "group configs follow the server's");
    match group_synonym(name) {
        Some(synonym) => configs.value(synonym),
        None => Configs::new(group()).value(name),
    }
}
