//! What is known about one config name.

/// The type of a value, with Kafka's numbers in DescribeConfigs (`ConfigType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

impl Type {
    /// Kafka's name: `INT`.
    pub fn name(self) -> &'static str {
        match self {
            Type::Boolean => "BOOLEAN",
            Type::String => "STRING",
            Type::Int => "INT",
            Type::Short => "SHORT",
            Type::Long => "LONG",
            Type::Double => "DOUBLE",
            Type::List => "LIST",
            Type::Class => "CLASS",
            Type::Password => "PASSWORD",
        }
    }
}

/// How much it matters, as Kafka's documentation sorts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    High,
    Medium,
    Low,
}

/// When a server config may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only with a restart. Also said of configs that are not the server's, where it has no meaning.
    ReadOnly,
    /// While running, for one broker.
    PerBroker,
    /// While running, for one broker or for all.
    ClusterWide,
}

/// The value where none is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// There is none: the name must be set.
    Required,
    Null,
    Text(&'static str),
}

/// What a value must satisfy beyond its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Check {
    Any,
    /// Numbers, both ends included; None is open.
    Range {
        min: Option<f64>,
        max: Option<f64>,
    },
    OneOf(&'static str),
    OneOfIgnoringCase(&'static str),
    /// Every item is one of `items` (any, if empty); no item twice, none empty.
    List {
        items: &'static str,
        may_be_empty: bool,
    },
    NotEmpty,
    /// 1 to 9, or -1.
    GzipLevel,
    /// `partition:broker,...` or `*`.
    ThrottledReplicas,
    /// `id@host:port,...`
    Voters,
    /// `host:port,...`
    BootstrapServers,
    /// `earliest`, `latest`, or `by_duration:` and an ISO 8601 duration.
    OffsetReset,
}

/// One config name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Definition {
    pub name: &'static str,
    pub kind: Type,
    pub importance: Importance,
    /// Not shown to users.
    pub internal: bool,
    pub mode: Mode,
    pub default: Default,
    pub check: Check,
}

impl Definition {
    /// Whether the value must never be shown.
    pub fn is_sensitive(&self) -> bool {
        self.kind == Type::Password
    }
}
