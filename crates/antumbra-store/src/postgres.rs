//! The engine behind a PostgreSQL server, or any other that speaks its protocol and keeps its promises.
//!
//! Each table is one SQL table, `key bytea primary key, value bytea not null`, and every statement goes by the key. The
//! SQL is what such engines have in common: no advisory locks, no sequences, no notifications. Transactions are
//! SERIALIZABLE, so the server finds the conflicts. A statement is one round trip: `BEGIN` travels with the first one,
//! and at the commit all writes and `COMMIT` travel together, one upsert and one deletion for each table.

mod tls;

use crate::{
    OpenError, PostgresConfig, StoreError, StoreStats,
    overlay::{Overlay, Row},
    scan::{Order, Span},
};
use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, MaybeDone, join, maybe_done},
};
use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    future::poll_fn,
    ops::Bound,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};
use tokio::time::error::Elapsed;
use tokio_postgres::{
    Error,
    error::SqlState,
    types::{ToSql, Type},
};

const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE";
/// How long it may take to reach the server.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How much longer than a statement may take we wait for its answer before we give the connection up.
const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// How often the making of the tables is tried, because others may be making them at the same moment.
const CREATE_TRIES: usize = 5;

/// The engine: a bounded pool of connections.
pub(crate) struct Postgres {
    pool: Pool,
    tables: HashSet<&'static str>,
    answer_max: Duration,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    conflicts: AtomicU64,
    overloads: AtomicU64,
    commits: AtomicU64,
    rows: AtomicU64,
    commit_micros: AtomicU64,
}

impl Postgres {
    /// Connects and makes the tables that are not there yet.
    pub(crate) async fn open(config: &PostgresConfig, names: &[&'static str]) -> Result<Arc<Postgres>, OpenError> {
        let failed = |doing| {
            move |source: StoreError| OpenError::Engine {
                doing,
                source: source.into(),
            }
        };
        let pool = pool(config)?;
        let tables = names.iter().copied().collect();
        let answer_max = config.statement_max + ANSWER_GRACE;
        let engine = Arc::new(Postgres {
            pool,
            tables,
            answer_max,
            counters: Counters::default(),
        });
        let client = engine
            .client()
            .await
            .map_err(|source| OpenError::Unreachable { source })?;
        let mut outcome = create_tables(&client, names).await;
        for _ in 1..CREATE_TRIES {
            if outcome.is_ok() {
                break;
            }
            outcome = create_tables(&client, names).await;
        }
        outcome.map_err(|error| failed("making the tables")(refusal("making the tables", &error)))?;
        drop(client);
        // Statements follow `BEGIN` without waiting for its answer, so a server that refuses it must be found out now.
        for begin in [BEGIN_READ, BEGIN_WRITE] {
            let mut session = engine
                .begin(begin)
                .await
                .map_err(failed("connecting to the database"))?;
            session
                .query("SELECT 1", &[], &[])
                .await
                .map_err(failed("beginning a transaction"))?;
        }
        Ok(engine)
    }

    pub(crate) async fn begin_read(self: &Arc<Self>) -> Result<Session, StoreError> {
        self.begin(BEGIN_READ).await
    }

    pub(crate) async fn begin_write(self: &Arc<Self>) -> Result<Session, StoreError> {
        self.begin(BEGIN_WRITE).await
    }

    async fn begin(self: &Arc<Self>, begin: &'static str) -> Result<Session, StoreError> {
        let client = self.client().await?;
        Ok(Session {
            engine: self.clone(),
            client: Some(client),
            progress: Progress::Unbegun(begin),
        })
    }

    /// A connection, or [`StoreError::Overloaded`] if none becomes free in time.
    async fn client(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => {
                self.counters.overloads.fetch_add(1, Ordering::Relaxed);
                StoreError::Overloaded
            }
            PoolError::Backend(error) => refusal("connecting", &error),
            error => StoreError::Unavailable {
                doing: "connecting",
                source: error.into(),
            },
        })
    }

    pub(crate) fn close(&self) {
        self.pool.close();
    }

    pub(crate) fn stats(&self) -> StoreStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreStats {
            conflicts: read(&self.counters.conflicts),
            overloads: read(&self.counters.overloads),
            commits: read(&self.counters.commits),
            transactions: read(&self.counters.commits),
            rows: read(&self.counters.rows),
            commit_micros: read(&self.counters.commit_micros),
            ..StoreStats::default()
        }
    }

    fn known(&self, table: &'static str) -> Result<&'static str, StoreError> {
        let problem = "it was not named when the store was opened";
        self.tables
            .get(table)
            .copied()
            .ok_or(StoreError::Misused { table, problem })
    }
}

fn pool(config: &PostgresConfig) -> Result<Pool, OpenError> {
    // The parser's own message could quote a part of the address, and with it the password.
    let refused = |because: &'static str| OpenError::Engine {
        doing: "reading the address of the database",
        source: because.into(),
    };
    let asked = tls::Asked::read(&config.url, config.ca_file.as_deref()).map_err(refused)?;
    let of_no_form = |_| refused("it is not of the form postgres://user:password@host:port/database");
    let mut server: tokio_postgres::Config = asked.url.parse().map_err(of_no_form)?;
    server.ssl_mode(asked.ssl_mode());
    if server.get_application_name().is_none() {
        server.application_name("antumbra");
    }
    server
        .connect_timeout(CONNECT_MAX)
        .tcp_user_timeout(config.statement_max);
    let settings = format!(
        "SET statement_timeout = {0}; SET idle_in_transaction_session_timeout = {0}",
        config.statement_max.as_millis()
    );
    let prepare_session = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
        let settings = settings.clone();
        Box::pin(async move {
            client.batch_execute(&settings).await.map_err(HookError::Backend)?;
            // Every statement goes by the key. Where a small table is read whole instead, transactions that have
            // nothing to do with each other conflict. An engine without this setting may refuse it.
            let _ = client.batch_execute("SET enable_seqscan = off").await;
            Ok(())
        })
    });
    let manager = Manager::from_config(
        server,
        asked.connector()?,
        ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        },
    );
    Pool::builder(manager)
        .max_size(config.connections_max)
        .wait_timeout(Some(config.wait_max))
        .create_timeout(Some(CONNECT_MAX))
        .runtime(Runtime::Tokio1)
        .post_create(prepare_session)
        .build()
        .map_err(|source| OpenError::Engine {
            doing: "making the pool of connections",
            source: source.into(),
        })
}

async fn create_tables(client: &Object, names: &[&'static str]) -> Result<(), Error> {
    let present = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()";
    let present = client.query(present, &[]).await?;
    let present: HashSet<String> = present.iter().map(|row| row.get(0)).collect();
    let mut sql = String::new();
    for name in names.iter().filter(|name| !present.contains(**name)) {
        sql += &format!("CREATE TABLE IF NOT EXISTS \"{name}\" (key bytea PRIMARY KEY, value bytea NOT NULL);\n");
    }
    client.batch_execute(&sql).await
}

/// One transaction on one connection. Dropped before its end, it is rolled back.
pub(crate) struct Session {
    engine: Arc<Postgres>,
    /// None once it was given up because an answer did not come in time.
    client: Option<Object>,
    progress: Progress,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing has been sent; this statement begins the transaction.
    Unbegun(&'static str),
    Begun,
    Ended,
}

impl Session {
    pub(crate) async fn get(&mut self, table: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.engine.known(table)?;
        let sql = format!("SELECT value FROM \"{table}\" WHERE key = $1");
        let rows = self.query(&sql, &[Type::BYTEA], &[&key]).await?;
        rows.first().map(|row| column(row, 0).map(<[u8]>::to_vec)).transpose()
    }

    pub(crate) async fn get_many(
        &mut self,
        table: &'static str,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let table = self.engine.known(table)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT key, value FROM \"{table}\" WHERE key = ANY($1)");
        let rows = self.query(&sql, &[Type::BYTEA_ARRAY], &[&keys]).await?;
        let pairs = rows.iter().map(|row| Ok((column(row, 0)?, column(row, 1)?)));
        let found = pairs.collect::<Result<HashMap<&[u8], &[u8]>, StoreError>>()?;
        Ok(keys
            .iter()
            .map(|key| found.get(key.as_slice()).map(|value| value.to_vec()))
            .collect())
    }

    pub(crate) async fn scan(&mut self, table: &'static str, span: Span) -> Result<Vec<Row>, StoreError> {
        let table = self.engine.known(table)?;
        if span.is_empty() || span.limit == 0 {
            return Ok(Vec::new());
        }
        let limit = i64::try_from(span.limit).unwrap_or(i64::MAX);
        let mut sql = format!("SELECT key, value FROM \"{table}\" WHERE $1::bigint > 0");
        let mut types = vec![Type::INT8];
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&limit];
        for (bound, inclusive, exclusive) in [(&span.from, ">=", ">"), (&span.to, "<=", "<")] {
            let (operator, key) = match bound {
                Bound::Included(key) => (inclusive, key),
                Bound::Excluded(key) => (exclusive, key),
                Bound::Unbounded => continue,
            };
            types.push(Type::BYTEA);
            values.push(key);
            let _ = write!(sql, " AND key {operator} ${}", values.len());
        }
        sql += match span.order {
            Order::Ascending => " ORDER BY key",
            Order::Descending => " ORDER BY key DESC",
        };
        sql += " LIMIT $1";
        let rows = self.query(&sql, &types, &values).await?;
        rows.iter()
            .map(|row| Ok((column(row, 0)?.to_vec(), column(row, 1)?.to_vec())))
            .collect()
    }

    /// Sends the writes and the commit together, and waits until the server has made them durable.
    pub(crate) async fn commit(mut self, overlay: Overlay) -> Result<(), StoreError> {
        if overlay.is_empty() && matches!(self.progress, Progress::Unbegun(_)) {
            return Ok(());
        }
        let began = Instant::now();
        let writes = self.writes(overlay)?;
        let rows = writes.iter().map(|write| write.keys.len() as u64).sum();
        let (client, begin, answer_max) = self.ready("committing")?;
        let outcome = tokio::time::timeout(answer_max, send_commit(client, begin, &writes)).await;
        self.settle("committing", outcome)?;
        self.progress = Progress::Ended;
        let counters = &self.engine.counters;
        counters.commits.fetch_add(1, Ordering::Relaxed);
        counters.rows.fetch_add(rows, Ordering::Relaxed);
        counters
            .commit_micros
            .fetch_add(began.elapsed().as_micros() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// One upsert and one deletion for each table, tables and keys in order, so that transactions which write the same
    /// rows wait for each other and do not lock each other out.
    fn writes(&self, overlay: Overlay) -> Result<Vec<WriteStatement>, StoreError> {
        let mut statements = Vec::new();
        for (table, rows) in overlay.into_tables() {
            let table = self.engine.known(table)?;
            let (mut keys, mut values, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
            for (key, value) in rows {
                match value {
                    Some(value) => {
                        keys.push(key);
                        values.push(value);
                    }
                    None => deleted.push(key),
                }
            }
            if !keys.is_empty() {
                let sql = format!(
                    "INSERT INTO \"{table}\" (key, value) SELECT * FROM UNNEST($1, $2) \
                     ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value"
                );
                statements.push(WriteStatement {
                    sql,
                    keys,
                    values: Some(values),
                });
            }
            if !deleted.is_empty() {
                let sql = format!("DELETE FROM \"{table}\" WHERE key = ANY($1)");
                statements.push(WriteStatement {
                    sql,
                    keys: deleted,
                    values: None,
                });
            }
        }
        Ok(statements)
    }

    async fn query(
        &mut self,
        sql: &str,
        types: &[Type],
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let (client, begin, answer_max) = self.ready("reading")?;
        let outcome = tokio::time::timeout(answer_max, async {
            let statement = client.prepare_typed_cached(sql, types).await?;
            match begin {
                // `BEGIN` is sent first and its answer is not waited for.
                Some(begin) => {
                    let (begun, rows) = join(client.batch_execute(begin), client.query(&statement, values)).await;
                    begun.and(rows)
                }
                None => client.query(&statement, values).await,
            }
        });
        let outcome = outcome.await;
        self.settle("reading", outcome)
    }

    /// The connection, the statement that begins the transaction if it has not begun, and how long to wait.
    fn ready(&mut self, doing: &'static str) -> Result<(&Object, Option<&'static str>, Duration), StoreError> {
        let begin = match self.progress {
            Progress::Unbegun(begin) => Some(begin),
            Progress::Begun => None,
            Progress::Ended => {
                return Err(StoreError::Unavailable {
                    doing,
                    source: "the transaction is over".into(),
                });
            }
        };
        let Some(client) = &self.client else {
            return Err(StoreError::Unavailable {
                doing,
                source: "the connection was given up".into(),
            });
        };
        // From here on the server may have begun, whatever becomes of this task.
        self.progress = Progress::Begun;
        Ok((client, begin, self.engine.answer_max))
    }

    fn settle<T>(&mut self, doing: &'static str, outcome: Result<Result<T, Error>, Elapsed>) -> Result<T, StoreError> {
        match outcome {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                let refusal = refusal(doing, &error);
                if matches!(refusal, StoreError::Conflict) {
                    self.engine.counters.conflicts.fetch_add(1, Ordering::Relaxed);
                }
                if matches!(refusal, StoreError::Unavailable { .. }) {
                    // Its end may not have been noticed yet, and it must not be lent to the next transaction.
                    drop(self.client.take().map(Object::take));
                }
                Err(refusal)
            }
            Err(_) => {
                // An answer may still come, and must not meet the next transaction.
                drop(self.client.take().map(Object::take));
                Err(StoreError::Unavailable {
                    doing,
                    source: "the database did not answer in time".into(),
                })
            }
        }
    }
}

/// Sends everything that is left of a transaction in one go.
async fn send_commit(client: &Object, begin: Option<&str>, writes: &[WriteStatement]) -> Result<(), Error> {
    // Prepared beforehand, so that nothing but the statements themselves is between `BEGIN` and `COMMIT`.
    let mut statements = Vec::new();
    for write in writes {
        statements.push(client.prepare_typed_cached(&write.sql, write.types()).await?);
    }
    let mut requests: Vec<BoxFuture<'_, Result<(), Error>>> = Vec::new();
    if let Some(begin) = begin {
        requests.push(client.batch_execute(begin).boxed());
    }
    for (write, statement) in writes.iter().zip(&statements) {
        requests.push(async move { client.execute(statement, &write.parameters()).await.map(drop) }.boxed());
    }
    requests.push(client.batch_execute("COMMIT").boxed());
    // After a failed statement the server turns `COMMIT` into a rollback and says nothing: the first failure is the
    // outcome.
    all_in_order(requests).await.into_iter().collect()
}

impl Drop for Session {
    fn drop(&mut self) {
        if let (Some(client), Progress::Begun) = (&self.client, self.progress) {
            // Sent at once; its answer is read by the connection's own task. The next user's statements come after it.
            let _ = client.batch_execute("ROLLBACK").now_or_never();
        }
    }
}

/// All the upserts or all the deletions of one table.
struct WriteStatement {
    sql: String,
    keys: Vec<Vec<u8>>,
    values: Option<Vec<Vec<u8>>>,
}

impl WriteStatement {
    fn types(&self) -> &'static [Type] {
        match self.values {
            Some(_) => &[Type::BYTEA_ARRAY, Type::BYTEA_ARRAY],
            None => &[Type::BYTEA_ARRAY],
        }
    }

    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let keys: &(dyn ToSql + Sync) = &self.keys;
        self.values.iter().fold(vec![keys], |mut all, values| {
            all.push(values);
            all
        })
    }
}

/// Looks at every request in order before it waits for any, and goes on so: each is sent when it is first looked at,
/// so they reach the server in this order and in one go.
async fn all_in_order<T>(requests: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut requests: Vec<MaybeDone<BoxFuture<'_, T>>> = requests.into_iter().map(maybe_done).collect();
    poll_fn(|context| {
        let mut outcome = Poll::Ready(());
        for request in &mut requests {
            if request.poll_unpin(context).is_pending() {
                outcome = Poll::Pending;
            }
        }
        outcome
    })
    .await;
    requests
        .iter_mut()
        .filter_map(|request| Pin::new(request).take_output())
        .collect()
}

/// A column of a row; an error if somebody has made the table with other columns.
fn column(row: &tokio_postgres::Row, place: usize) -> Result<&[u8], StoreError> {
    row.try_get(place).map_err(|error| refusal("reading", &error))
}

/// What the server's refusal means for the transaction. The message is cut down to what cannot quote a row.
fn refusal(doing: &'static str, error: &Error) -> StoreError {
    let Some(refused) = error.as_db_error() else {
        let because = if error.is_closed() {
            "the connection is closed"
        } else {
            "the connection failed"
        };
        // What the driver says of a connection quotes no statement and no row.
        let cause = std::error::Error::source(error);
        let source = cause.map_or_else(|| because.to_owned(), |cause| format!("{because}: {cause}"));
        return StoreError::Unavailable {
            doing,
            source: source.into(),
        };
    };
    match *refused.code() {
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => StoreError::Conflict,
        SqlState::TOO_MANY_CONNECTIONS => StoreError::Overloaded,
        _ => {
            let source = format!("{} (SQLSTATE {})", refused.message(), refused.code().code());
            StoreError::Unavailable {
                doing,
                source: source.into(),
            }
        }
    }
}
