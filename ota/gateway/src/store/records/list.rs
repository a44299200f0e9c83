//! Lists by key: every page is a range of an index.

use cairn_sync::{
    Kind,
    access::Action,
    listing::{Condition, Key, Way},
    lookup::LAST_CHARACTER,
    shown::{ListQuery, Order, Page, Record},
};
use sqlx_core::{query::Query, row::Row};
use sqlx_postgres::{PgArguments, Postgres};

use super::{COLUMNS, Eyes, NAMES, NO_PROJECT, RecordError, Records, codec::Stored, derive::exact, dynamic};
use crate::{
    db::{DbError, uuid},
    store::scope_column,
};

impl Records {
    /// One page of a list.
    ///
    /// # Errors
    /// [`RecordError`] for a condition that no index serves or a cursor of another list.
    pub async fn list(&self, query: &ListQuery) -> Result<Page<Record>, RecordError> {
        if let (Kind::Project, Some(Some(_))) = (query.kind, query.project) {
            // No project lies in a project.
            return Ok(Page { items: Vec::new(), next: None });
        }
        let way = Way::of(query)?;
        let tag = query.tag();
        let after = query.after.as_ref().map(|cursor| Key::read(cursor, tag)).transpose()?;
        let limit = query.page_len();
        let mut tx = self.db.moment(self.asker.community).await?;
        let eyes = Eyes::of(&mut tx, self.asker).await?;
        let statement = statement(query, way, after, limit, &eyes);
        let rows = statement.fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let last = rows.get(limit.wrapping_sub(1)).filter(|_| rows.len() > limit);
        let next = last.map(key).transpose()?.map(|key| key.cursor(tag));
        let items = rows.iter().take(limit).map(|row| Stored::of(row).map(|stored| stored.record()));
        Ok(Page { items: items.collect::<Result<_, DbError>>()?, next })
    }
}

fn key(row: &sqlx_postgres::PgRow) -> Result<Key, DbError> {
    let clock: Vec<u8> = row.try_get("clock")?;
    let id: uuid::Uuid = row.try_get("id")?;
    Ok(Key {
        text: row.try_get("found")?,
        clock: super::codec::clock(&clock)?.to_bytes(),
        id: cairn_sync::RecordId::from_bytes(*id.as_bytes()),
    })
}

/// A value to be bound, in the order of the parameters.
enum Bound {
    Bytes(Vec<u8>),
    Id(uuid::Uuid),
    Text(String),
}

/// The text of a statement and what it binds from `$6` on.
struct Build {
    bound: Vec<Bound>,
}

impl Build {
    fn add(&mut self, value: Bound) -> String {
        self.bound.push(value);
        format!("${}", self.bound.len() + 5)
    }

    fn text(&mut self, text: impl Into<String>) -> String {
        self.add(Bound::Text(text.into()))
    }

    /// A condition on the alias `l` or `x`.
    fn condition(&mut self, alias: &str, condition: &Condition) -> String {
        let (name, value) = (self.text(condition.field), self.text(condition.key.clone()));
        let exact = match &condition.exact {
            Some(line) => {
                let hash = self.add(Bound::Bytes(exact(line)));
                format!(" AND {alias}.exact = {hash}")
            }
            None => String::new(),
        };
        format!("{alias}.name = {name} AND {alias}.value = {value}{exact}")
    }

    fn others(&mut self, conditions: impl Iterator<Item = Condition>) -> String {
        let exists = conditions.map(|condition| {
            let condition = self.condition("x", &condition);
            format!(
                " AND EXISTS (SELECT 1 FROM cairn.lookup x WHERE x.community_id = $1 AND x.kind = $4 AND {condition} \
                 AND x.created_hlc = l.created_hlc AND x.record_id = l.record_id)"
            )
        });
        exists.collect()
    }

    fn key(&mut self, after: &Key) -> (String, String) {
        (self.add(Bound::Bytes(after.clock.to_vec())), self.add(Bound::Id(uuid(after.id.as_bytes()))))
    }
}

fn statement(
    query: &ListQuery,
    way: Way,
    after: Option<Key>,
    limit: usize,
    eyes: &Eyes,
) -> Query<'static, Postgres, PgArguments> {
    let mut build = Build { bound: Vec::new() };
    let action = if query.deleted { Action::Delete } else { Action::Read };
    let rule = NAMES.rule(query.kind, action, query.deleted);
    let base = base(query, &mut build);
    let (sense, sign) = if query.order == Order::Oldest { ("ASC", ">") } else { ("DESC", "<") };
    let what = "SELECT r.state, r.created_hlc, r.created_by, r.changed_hlc, r.changed_by, r.id";
    let by_value = |range: String, condition: String, others: String, order: String, found: &str| {
        format!(
            "{what}, l.created_hlc AS clock, {found} AS found FROM cairn.lookup l JOIN {base} ON r.id = l.record_id \
             WHERE l.community_id = $1 AND l.kind = $4 AND {condition}{range} AND ({rule}){others} \
             ORDER BY {order} LIMIT $5"
        )
    };
    let text = match way {
        Way::ByTime => {
            let column = if query.order == Order::Changed { "changed_hlc" } else { "created_hlc" };
            let range = after.map_or_else(String::new, |key| {
                let (clock, id) = build.key(&key);
                format!(" AND (r.{column}, r.id) {sign} ({clock}, {id})")
            });
            format!(
                "{what}, r.{column} AS clock, '' AS found FROM {base} WHERE ({rule}){range} \
                 ORDER BY r.{column} {sense}, r.id {sense} LIMIT $5"
            )
        }
        Way::ByValue(conditions) => {
            let mut conditions = conditions.into_iter();
            let first = conditions.next().map_or_else(String::new, |first| build.condition("l", &first));
            let range = after.map_or_else(String::new, |key| {
                let (clock, id) = build.key(&key);
                format!(" AND (l.created_hlc, l.record_id) {sign} ({clock}, {id})")
            });
            let others = build.others(conditions);
            by_value(range, first, others, format!("l.created_hlc {sense}, l.record_id {sense}"), "''")
        }
        Way::ByPrefix { field, prefix, others } => {
            let name = build.text(field);
            let end = build.text(format!("{prefix}{LAST_CHARACTER}"));
            let range = match after {
                Some(key) => {
                    let text = build.text(key.text.clone());
                    let (clock, id) = build.key(&key);
                    format!(" AND (l.value, l.created_hlc, l.record_id) > ({text}, {clock}, {id})")
                }
                None => format!(" AND l.value >= {}", build.text(prefix)),
            };
            let others = build.others(others.into_iter());
            let condition = format!("l.name = {name} AND l.value < {end}");
            by_value(range, condition, others, "l.value, l.created_hlc, l.record_id".to_owned(), "l.value")
        }
    };
    let mut statement = dynamic(text)
        .bind(uuid(eyes.community.as_bytes()))
        .bind(eyes.viewer())
        .bind(eyes.role)
        .bind(query.kind.name())
        .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
    for value in build.bound {
        statement = match value {
            Bound::Bytes(bytes) => statement.bind(bytes),
            Bound::Id(id) => statement.bind(id),
            Bound::Text(text) => statement.bind(text),
        };
    }
    statement
}

/// The records of the kind, wherever or in one place, as the rule wants to see them.
fn base(query: &ListQuery, build: &mut Build) -> String {
    let scope = scope_of(query.kind);
    let place = match (query.project, query.kind) {
        (None, _) | (_, Kind::Project) => String::new(),
        (Some(project), _) => {
            let column = build.add(Bound::Id(scope_column(project.into())));
            format!(" AND scope = {column}")
        }
    };
    let deleted = query.deleted;
    format!(
        "(SELECT record_id AS id, {scope} AS scope, {COLUMNS} FROM cairn.record \
         WHERE community_id = $1 AND kind = $4 AND deleted = {deleted}{place}) r"
    )
}

/// The project that records of a kind lie in, or NULL; a project lies in itself.
pub(super) fn scope_of(kind: Kind) -> String {
    if kind == Kind::Project { "record_id".to_owned() } else { format!("nullif(scope, {NO_PROJECT})") }
}
