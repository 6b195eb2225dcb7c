//! What the definitions of configs say: defaults, types, the broker configs that stand in for topic configs.

use metadata::configs::Values;
use metadata::{ConfigResource, ResourceType};
use protocol::Str;
use protocol::messages::create_topics_response::CreatableTopicConfigs;

use super::{Context, Refusal};

pub(super) fn broker_default(_name: &str) -> Option<Str> {
    None
}

pub(super) fn topic_default(_name: &str) -> Option<Str> {
    None
}

pub(super) fn default_of(_kind: ResourceType, _name: &str) -> Option<Str> {
    None
}

pub(super) fn synonyms(name: &str) -> Vec<&str> {
    vec![name]
}

pub(super) fn is_list(_kind: ResourceType, _name: &str) -> bool {
    false
}

pub(super) fn check(_c: &Context<'_>, _r: &ConfigResource, _v: &Values, _p: &Values) -> Result<(), Refusal> {
    Ok(())
}

pub(super) fn effective_topic_configs(_context: &Context<'_>, _own: &Values) -> Vec<CreatableTopicConfigs> {
    Vec::new()
}
