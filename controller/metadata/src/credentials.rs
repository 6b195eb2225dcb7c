//! SCRAM credentials and delegation tokens: what proves who a client is.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::Str;
use protocol::messages::{DelegationTokenRecord, UserScramCredentialRecord};

use crate::Record;

/// What the server keeps of a password. `Debug` must not tell it.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramCredential {
    pub salt: Bytes,
    pub stored_key: Bytes,
    pub server_key: Bytes,
    pub iterations: i32,
}

impl std::fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ScramCredential({} iterations)", self.iterations)
    }
}

/// All SCRAM credentials, by mechanism (1: SCRAM-SHA-256, 2: SCRAM-SHA-512) and user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScramCredentials {
    users: BTreeMap<(i8, Str), ScramCredential>,
}

impl ScramCredentials {
    pub fn get(&self, mechanism: i8, user: &str) -> Option<&ScramCredential> {
        self.users.get(&(mechanism, Str::from(user)))
    }

    /// By mechanism and user.
    pub fn iter(&self) -> impl Iterator<Item = (i8, &Str, &ScramCredential)> {
        self.users.iter().map(|((mechanism, user), credential)| (*mechanism, user, credential))
    }

    pub(crate) fn insert(&mut self, record: &UserScramCredentialRecord) {
        let credential = ScramCredential {
            salt: Bytes::copy_from_slice(&record.salt),
            stored_key: Bytes::copy_from_slice(&record.stored_key),
            server_key: Bytes::copy_from_slice(&record.server_key),
            iterations: record.iterations,
        };
        self.users.insert((record.mechanism, record.name.detached()), credential);
    }

    pub(crate) fn remove(&mut self, mechanism: i8, user: &Str) {
        let removed = self.users.remove(&(mechanism, user.clone()));
        assert!(removed.is_some(), "the SCRAM credential of {user} is removed, but does not exist");
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.iter().map(|(mechanism, name, credential)| {
            Record::from(UserScramCredentialRecord {
                name: name.clone(),
                mechanism,
                salt: credential.salt.clone(),
                stored_key: credential.stored_key.clone(),
                server_key: credential.server_key.clone(),
                iterations: credential.iterations,
                ..UserScramCredentialRecord::default()
            })
        })
    }
}

/// A delegation token without its secret, which follows from the id and the cluster's key (KIP-48).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegationToken {
    pub owner: Str,
    pub requester: Str,
    pub renewers: Vec<Str>,
    pub issue_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    pub expiration_timestamp_ms: i64,
}

/// All delegation tokens by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DelegationTokens {
    tokens: BTreeMap<Str, DelegationToken>,
}

impl DelegationTokens {
    pub fn get(&self, token_id: &str) -> Option<&DelegationToken> {
        self.tokens.get(token_id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Str, &DelegationToken)> {
        self.tokens.iter()
    }

    pub(crate) fn insert(&mut self, record: &DelegationTokenRecord) {
        let token = DelegationToken {
            owner: record.owner.detached(),
            requester: record.requester.detached(),
            renewers: record.renewers.iter().map(Str::detached).collect(),
            issue_timestamp_ms: record.issue_timestamp,
            max_timestamp_ms: record.max_timestamp,
            expiration_timestamp_ms: record.expiration_timestamp,
        };
        self.tokens.insert(record.token_id.detached(), token);
    }

    pub(crate) fn remove(&mut self, token_id: &Str) {
        self.tokens.remove(token_id.as_str());
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.tokens.iter().map(|(id, token)| {
            Record::from(DelegationTokenRecord {
                owner: token.owner.clone(),
                requester: token.requester.clone(),
                renewers: token.renewers.clone(),
                issue_timestamp: token.issue_timestamp_ms,
                max_timestamp: token.max_timestamp_ms,
                expiration_timestamp: token.expiration_timestamp_ms,
                token_id: id.clone(),
                ..DelegationTokenRecord::default()
            })
        })
    }
}
