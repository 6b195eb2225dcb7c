//! DeleteTopics, by name and by id.

use std::collections::BTreeMap;

use metadata::Record;
use protocol::messages::delete_topics_response::DeletableTopicResult;
use protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, RemoveTopicRecord};
use protocol::{ErrorCode, Str, Uuid};

use super::{Context, Decision, Refusal};

/// How a request names a topic: by one of both, and not by both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    Name(Str),
    Id(Uuid),
}

/// What a requester may do with a topic. Who may not even see a topic must not learn whether it exists.
pub struct TopicAccess<'a> {
    pub may_describe: &'a dyn Fn(&str) -> bool,
    pub may_delete: &'a dyn Fn(&str) -> bool,
}

/// DeleteTopics: each topic is deleted, or refused with a reason of its own.
pub fn delete_topics(
    context: &Context<'_>,
    request: &DeleteTopicsRequest,
    access: &TopicAccess<'_>,
) -> Result<Decision<DeleteTopicsResponse>, Refusal> {
    let mut records = Vec::new();
    let mut responses = Vec::new();
    let mut times: BTreeMap<Named, usize> = BTreeMap::new();
    for named in names_of(request) {
        match named {
            Ok(named) => *times.entry(named).or_default() += 1,
            Err((name, topic_id, refusal)) => responses.push(result(name, topic_id, Err(refusal))),
        }
    }
    let by_name: Vec<Str> = times
        .keys()
        .filter_map(|named| if let Named::Name(name) = named { Some(name.clone()) } else { None })
        .collect();
    let by_id: Vec<Uuid> =
        times.keys().filter_map(|named| if let Named::Id(id) = named { Some(*id) } else { None }).collect();
    for (named, times) in times {
        let topic = match &named {
            Named::Name(name) => context.image.topics.by_name(name),
            Named::Id(id) => context.image.topics.by_id(*id),
        };
        let is_named_too = topic.is_some_and(|topic| by_name.contains(&topic.name));
        if times == 1 && matches!(named, Named::Id(_)) && is_named_too {
            // Told under its name.
            continue;
        }
        let (name, id) = match (&named, topic.filter(|_| times == 1)) {
            (_, Some(topic)) if (access.may_describe)(&topic.name) => (Some(topic.name.clone()), topic.id),
            (Named::Name(name), _) => (Some(name.clone()), Uuid::ZERO),
            (Named::Id(id), _) => (None, *id),
        };
        let is_twice = topic.is_some_and(|topic| by_id.contains(&topic.id));
        let outcome = check(&named, times, topic.map(|t| &*t.name), is_twice, access);
        if outcome.is_ok() {
            records.push(Record::from(RemoveTopicRecord { topic_id: id, ..Default::default() }));
        }
        responses.push(result(name, id, outcome));
    }
    Ok(Decision { records, answer: DeleteTopicsResponse { responses, ..Default::default() } })
}

fn result(name: Option<Str>, topic_id: Uuid, outcome: Result<(), Refusal>) -> DeletableTopicResult {
    let (error_code, error_message) = super::code_and_message(&outcome);
    DeletableTopicResult { name, topic_id, error_code, error_message }
}

type Unnamed = (Option<Str>, Uuid, Refusal);

/// The topics of a request of any version.
fn names_of(request: &DeleteTopicsRequest) -> Vec<Result<Named, Unnamed>> {
    let invalid = |message| Refusal::new(ErrorCode::InvalidRequest, message);
    let old = request.topic_names.iter().map(|name| Ok(Named::Name(name.clone())));
    let new = request.topics.iter().map(|state| match (&state.name, state.topic_id) {
        (Some(name), Uuid::ZERO) => Ok(Named::Name(name.clone())),
        (Some(name), id) => {
            Err((Some(name.clone()), id, invalid("You may not specify both topic name and topic id.")))
        }
        (None, Uuid::ZERO) => Err((None, Uuid::ZERO, invalid("Neither topic name nor id were specified."))),
        (None, id) => Ok(Named::Id(id)),
    });
    old.chain(new).collect()
}

/// `topic`: the name of the topic that is meant, if it exists; `is_twice`: its id is given too.
fn check(
    named: &Named,
    times: usize,
    topic: Option<&str>,
    is_twice: bool,
    access: &TopicAccess<'_>,
) -> Result<(), Refusal> {
    let refuse = |code, message: &str| Err(Refusal::new(code, message));
    let invalid = |message| refuse(ErrorCode::InvalidRequest, message);
    let unknown = || match named {
        Named::Id(_) => refuse(ErrorCode::UnknownTopicId, "This server does not host this topic ID."),
        Named::Name(_) => {
            refuse(ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition.")
        }
    };
    match (named, topic) {
        (Named::Name(_), _) if times > 1 => invalid("Duplicate topic name."),
        (Named::Id(_), _) if times > 1 => invalid("Duplicate topic id."),
        (Named::Id(_), Some(name)) if !(access.may_describe)(name) => {
            refuse(ErrorCode::TopicAuthorizationFailed, "Topic authorization failed.")
        }
        (Named::Name(name), None) if !(access.may_describe)(name) => {
            refuse(ErrorCode::TopicAuthorizationFailed, "Topic authorization failed.")
        }
        (_, None) => unknown(),
        (_, Some(name)) if !(access.may_delete)(name) => {
            refuse(ErrorCode::TopicAuthorizationFailed, "Topic authorization failed.")
        }
        (Named::Name(_), Some(_)) if is_twice => {
            invalid("The provided topic name maps to an ID that was already supplied.")
        }
        _ => Ok(()),
    }
}
