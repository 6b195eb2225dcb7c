//! The table of APIs: which keys and versions a listener serves, and by which handler. ApiVersions is derived from it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use futures_util::FutureExt;
use protocol::{ApiKey, DecodeError, Decoder, Message, Request};

use crate::answer::{Addressed, Answer, Body, Reply};
use crate::{BoxFuture, Context};

type Handle<S> =
    Box<dyn Fn(Arc<S>, Context, Decoder) -> Result<BoxFuture<'static, Answer>, DecodeError> + Send + Sync>;

/// One row: a key, the versions that are served, and what serves them.
pub struct Api<S> {
    key: ApiKey,
    versions: RangeInclusive<i16>,
    advertised: RangeInclusive<i16>,
    handle: Handle<S>,
}

impl<S: Send + Sync + 'static> Api<S> {
    /// A row for a typed handler, in all stable versions of the request.
    ///
    /// A handler is `async fn(Arc<S>, Context, R) -> Reply<R::Response>`.
    pub fn new<R, H, F>(handler: H) -> Api<S>
    where
        R: Request,
        H: Fn(Arc<S>, Context, R) -> F + Send + Sync + 'static,
        F: Future<Output = Reply<R::Response>> + Send + 'static,
    {
        let handle: Handle<S> = Box::new(move |state, context, mut body| {
            let request = R::decode(&mut body, context.version)?;
            let to = addressed(&context);
            let reply = handler(state, context, request);
            // Not an async block: that would take the handler's size twice.
            Ok(Box::pin(reply.map(move |reply| typed_answer(to, reply))))
        });
        Api::with_handle(R::KEY, handle)
    }

    /// A row whose handler takes the body as it came and returns a body: for requests that are passed on.
    ///
    /// A handler is `async fn(Arc<S>, Context, Decoder) -> Reply<Body>`.
    pub fn raw<H, F>(key: ApiKey, handler: H) -> Api<S>
    where
        H: Fn(Arc<S>, Context, Decoder) -> F + Send + Sync + 'static,
        F: Future<Output = Reply<Body>> + Send + 'static,
    {
        let handle: Handle<S> = Box::new(move |state, context, body| {
            let to = addressed(&context);
            let reply = handler(state, context, body);
            Ok(Box::pin(reply.map(move |reply| raw_answer(to, reply))))
        });
        Api::with_handle(key, handle)
    }

    fn with_handle(key: ApiKey, handle: Handle<S>) -> Api<S> {
        Api { key, versions: key.stable_versions(), advertised: key.advertised_versions(), handle }
    }

    /// Serves and advertises only these versions.
    pub fn versions(mut self, versions: RangeInclusive<i16>) -> Api<S> {
        self.advertised = versions.clone();
        self.versions = versions;
        self
    }

    pub fn key(&self) -> ApiKey {
        self.key
    }
}

impl<S> std::fmt::Debug for Api<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}-{}", self.key, self.versions.start(), self.versions.end())
    }
}

fn addressed(context: &Context) -> Addressed {
    Addressed { key: context.key, version: context.version, correlation_id: context.correlation_id }
}

fn typed_answer<T: Message>(to: Addressed, reply: Reply<T>) -> Answer {
    match reply {
        Reply::Now(message) => match to.message(&message) {
            Ok(encoded) => Answer::Now(encoded),
            // A handler filled in what the version cannot carry: a bug, but of this one answer only.
            Err(error) => Answer::Close(format!("the answer cannot be encoded: {error}")),
        },
        Reply::Later(later) => Answer::Later(Box::pin(async move { typed_answer(to, later.await) })),
        Reply::Nothing => Answer::Nothing,
        Reply::Close(reason) => Answer::Close(reason.to_owned()),
    }
}

fn raw_answer(to: Addressed, reply: Reply<Body>) -> Answer {
    match reply {
        Reply::Now(body) => Answer::Now(to.body(body)),
        Reply::Later(later) => Answer::Later(Box::pin(async move { raw_answer(to, later.await) })),
        Reply::Nothing => Answer::Nothing,
        Reply::Close(reason) => Answer::Close(reason.to_owned()),
    }
}

/// All rows of a listener.
pub struct Table<S> {
    rows: BTreeMap<ApiKey, Api<S>>,
}

impl<S: Send + Sync + 'static> Table<S> {
    /// Panics if two rows have the same key: the table is written in code.
    pub fn new(rows: impl IntoIterator<Item = Api<S>>) -> Table<S> {
        let mut table = Table { rows: BTreeMap::new() };
        for row in rows {
            let former = table.rows.insert(row.key, row);
            assert!(former.is_none(), "two rows for {}", former.map_or("", |row| row.key.name()));
        }
        table
    }

    /// What ApiVersions tells: every key with its advertised versions, in the order of the keys.
    pub fn ranges(&self) -> Vec<(ApiKey, RangeInclusive<i16>)> {
        self.rows.values().map(|row| (row.key, row.advertised.clone())).collect()
    }

    /// The table and its state as what a server serves.
    pub fn with(self: Arc<Self>, state: Arc<S>) -> Arc<dyn Service> {
        Arc::new(Bind { table: self, state })
    }
}

impl<S> std::fmt::Debug for Table<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.rows.values()).finish()
    }
}

/// What a connection needs of a table, without the type of its state.
pub trait Service: Send + Sync {
    /// The versions served of a key; None if it is unknown on this listener.
    fn versions(&self, key: ApiKey) -> Option<RangeInclusive<i16>>;

    /// Decodes the body and starts the handler. The key and the version are served ones.
    fn dispatch(&self, context: Context, body: Decoder) -> Result<BoxFuture<'static, Answer>, DecodeError>;
}

struct Bind<S> {
    table: Arc<Table<S>>,
    state: Arc<S>,
}

impl<S: Send + Sync + 'static> Service for Bind<S> {
    fn versions(&self, key: ApiKey) -> Option<RangeInclusive<i16>> {
        self.table.rows.get(&key).map(|row| row.versions.clone())
    }

    fn dispatch(&self, context: Context, body: Decoder) -> Result<BoxFuture<'static, Answer>, DecodeError> {
        let row = self.table.rows.get(&context.key).expect("its versions were asked for before");
        (row.handle)(Arc::clone(&self.state), context, body)
    }
}
