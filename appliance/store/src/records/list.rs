//! Lists by key: every page is a range of an index, whatever stands before it, and none is sorted.

use cairn_sync::{
    Kind,
    listing::{Condition, Key, Way},
    lookup::LAST_CHARACTER,
};
use rusqlite::{Connection, ToSql};

use super::{
    access::{Eyes, delete_rule, read_rule},
    codec::kind_code,
    head::Head,
};
use crate::{
    error::Result,
    record::{ListQuery, MAX_CONDITIONS, Order, Page, Record},
    viewer::Viewer,
};

/// What a list comes to in SQL.
pub(crate) struct Plan {
    pub(crate) sql: String,
    pub(crate) params: Vec<(&'static str, Box<dyn ToSql>)>,
    tag: u8,
    limit: usize,
}

/// One page of the records that `viewer` may read.
pub(crate) fn list(connection: &Connection, viewer: &Viewer, query: &ListQuery) -> Result<Page<Record>> {
    if let (Kind::Project, Some(Some(_))) = (query.kind, query.project) {
        // No project lies in a project.
        return Ok(Page { items: Vec::new(), next: None });
    }
    let eyes = Eyes::of(connection, viewer)?;
    let plan = plan(query, eyes)?;
    let mut statement = connection.prepare_cached(&plan.sql)?;
    let bound: Vec<(&str, &dyn ToSql)> =
        plan.params.iter().map(|(name, value)| (*name, value.as_ref())).collect();
    let mut rows = statement.query(bound.as_slice())?;
    let mut keys = Vec::with_capacity(plan.limit + 1);
    while let Some(row) = rows.next()? {
        keys.push(Key { text: row.get(2)?, clock: row.get(1)?, id: super::codec::id(row, 0)? });
    }
    let more = keys.len() > plan.limit;
    keys.truncate(plan.limit);
    let next = if more { keys.last().map(|key| key.cursor(plan.tag)) } else { None };
    let mut items = Vec::with_capacity(keys.len());
    for key in keys {
        if let Some(head) = Head::find(connection, key.id)? {
            items.push(head.load(connection)?);
        }
    }
    Ok(Page { items, next })
}

/// The statement for a query.
pub(crate) fn plan(query: &ListQuery, eyes: Eyes) -> Result<Plan> {
    let way = Way::of(query)?;
    let tag = query.tag();
    let after = query.after.as_ref().map(|cursor| Key::read(cursor, tag)).transpose()?;
    let limit = query.page_len();
    let mut build = Build::new(query, eyes, limit);
    match way {
        Way::ByTime => build.by_records(after),
        Way::ByValue(conditions) => build.by_value(conditions, after),
        Way::ByPrefix { field, prefix, others } => build.by_prefix(field, prefix, others, after),
    }
    Ok(Plan { sql: build.sql, params: build.params, tag, limit })
}

struct Build<'a> {
    query: &'a ListQuery,
    sql: String,
    params: Vec<(&'static str, Box<dyn ToSql>)>,
    rule: String,
}

const NAMES: [(&str, &str, &str); MAX_CONDITIONS] =
    [(":n0", ":v0", ":x0"), (":n1", ":v1", ":x1"), (":n2", ":v2", ":x2"), (":n3", ":v3", ":x3")];

impl<'a> Build<'a> {
    fn new(query: &'a ListQuery, eyes: Eyes, limit: usize) -> Self {
        let rule = if query.deleted { delete_rule(query.kind) } else { read_rule(query.kind) };
        let params: Vec<(&'static str, Box<dyn ToSql>)> = vec![
            (":kind", Box::new(kind_code(query.kind))),
            (":viewer", Box::new(eyes.person.map(|id| *id.as_bytes()))),
            (":role", Box::new(eyes.role)),
            (":limit", Box::new(i64::try_from(limit + 1).unwrap_or(i64::MAX))),
        ];
        Self { query, sql: String::new(), params, rule }
    }

    fn bind(&mut self, name: &'static str, value: impl ToSql + 'static) {
        self.params.push((name, Box::new(value)));
    }

    /// The condition on the scope. All projects are on the hub as a whole.
    fn scope(&mut self) -> &'static str {
        match (self.query.project, self.query.kind) {
            (None, _) | (_, Kind::Project) => "1",
            (Some(None), _) => "r.scope IS NULL",
            (Some(Some(project)), _) => {
                self.bind(":scope", *project.as_bytes());
                "r.scope = :scope"
            }
        }
    }

    fn key(&mut self, after: Option<Key>) {
        if let Some(key) = after {
            self.bind(":after", key.clock);
            self.bind(":after_id", *key.id.as_bytes());
        }
    }

    fn by_records(&mut self, after: Option<Key>) {
        let (column, sense, sign) = match self.query.order {
            Order::Newest => ("created_hlc", "DESC", "<"),
            Order::Oldest => ("created_hlc", "ASC", ">"),
            Order::Changed => ("changed_hlc", "DESC", "<"),
        };
        let scope = self.scope();
        let by = if column == "created_hlc" { "newest" } else { "changed" };
        let index = if scope.starts_with('r') { format!("records_{by}_in") } else { format!("records_{by}") };
        let range = match after {
            Some(_) => format!("AND (r.{column}, r.id) {sign} (:after, :after_id)"),
            None => String::new(),
        };
        self.key(after);
        let deleted = u8::from(self.query.deleted);
        let rule = &self.rule;
        self.sql = format!(
            "SELECT r.id, r.{column}, '' FROM records r INDEXED BY {index} \
             WHERE r.kind = :kind AND r.deleted = {deleted} AND {scope} {range} AND ({rule}) \
             ORDER BY r.{column} {sense}, r.id {sense} LIMIT :limit"
        );
    }

    /// From the index of values: by the first condition, the others looked up for each.
    fn by_value(&mut self, conditions: Vec<Condition>, after: Option<Key>) {
        let (sense, sign) = if self.query.order == Order::Oldest { ("ASC", ">") } else { ("DESC", "<") };
        let range = match after {
            Some(_) => format!("AND (l.created_hlc, l.record) {sign} (:after, :after_id)"),
            None => String::new(),
        };
        self.key(after);
        let scope = self.scope();
        let mut conditions = self.bound(conditions).into_iter();
        let Some(first) = conditions.next() else { return };
        let others: String = conditions.map(|condition| condition.exists()).collect();
        let (n, v, rule, exact) = (first.names.0, first.names.1, &self.rule, first.exact());
        self.sql = format!(
            "SELECT l.record, l.created_hlc, '' FROM lookup l CROSS JOIN records r ON r.id = l.record \
             WHERE l.kind = :kind AND l.name = {n} AND l.value = {v} {range} \
             AND r.deleted = 0 AND {scope} AND ({rule}) {exact} {others} \
             ORDER BY l.created_hlc {sense}, l.record {sense} LIMIT :limit"
        );
    }

    fn by_prefix(&mut self, field: &'static str, prefix: String, others: Vec<Condition>, after: Option<Key>) {
        self.bind(":field", field);
        self.bind(":end", format!("{prefix}{LAST_CHARACTER}"));
        let start = match &after {
            Some(key) => {
                self.bind(":text", key.text.clone());
                "AND (l.value, l.created_hlc, l.record) > (:text, :after, :after_id)"
            }
            None => {
                self.bind(":text", prefix);
                "AND l.value >= :text"
            }
        };
        self.key(after);
        let scope = self.scope();
        let others: String = self.bound(others).iter().map(Bound::exists).collect();
        let rule = &self.rule;
        self.sql = format!(
            "SELECT l.record, l.created_hlc, l.value FROM lookup l CROSS JOIN records r ON r.id = l.record \
             WHERE l.kind = :kind AND l.name = :field {start} AND l.value < :end \
             AND r.deleted = 0 AND {scope} AND ({rule}) {others} \
             ORDER BY l.value, l.created_hlc, l.record LIMIT :limit"
        );
    }

    fn bound(&mut self, conditions: Vec<Condition>) -> Vec<Bound> {
        let mut bound = Vec::with_capacity(conditions.len());
        for (condition, names) in conditions.into_iter().zip(NAMES) {
            let is_line = condition.exact.is_some();
            self.bind(names.0, condition.field);
            self.bind(names.1, condition.key);
            if let Some(exact) = condition.exact {
                self.bind(names.2, exact);
            }
            bound.push(Bound { names, is_line });
        }
        bound
    }
}

/// A condition whose values are bound.
struct Bound {
    names: (&'static str, &'static str, &'static str),
    is_line: bool,
}

impl Bound {
    fn exists(&self) -> String {
        let (n, v, _) = self.names;
        format!(
            " AND EXISTS (SELECT 1 FROM lookup x WHERE x.kind = :kind AND x.name = {n} AND x.value = {v} \
             AND x.created_hlc = l.created_hlc AND x.record = l.record) {}",
            self.exact()
        )
    }

    /// The index holds lines folded and cut.
    fn exact(&self) -> String {
        let (n, _, x) = self.names;
        if !self.is_line {
            return String::new();
        }
        format!(
            " AND EXISTS (SELECT 1 FROM fields f WHERE f.record = l.record AND f.name = {n} AND f.value = {x})"
        )
    }
}

#[cfg(test)]
mod tests {
    use cairn_sync::{FieldType, RecordId, Value};

    use super::*;
    use crate::schema;

    /// Every shape of list for every kind, first page and later page, for somebody who is no keeper.
    fn queries(kind: Kind) -> Vec<ListQuery> {
        let mut queries = Vec::new();
        let of = || ListQuery::of(kind);
        for project in [None, Some(None), Some(Some(RecordId::new()))] {
            for order in [Order::Newest, Order::Oldest, Order::Changed] {
                for deleted in [false, true] {
                    queries.push(ListQuery { project, order, deleted, ..of() });
                }
                if order == Order::Changed {
                    continue;
                }
                for def in kind.def().fields {
                    let value = match def.ty {
                        FieldType::Bool => Value::Bool(true),
                        FieldType::Int | FieldType::Time | FieldType::Counter => continue,
                        FieldType::Text | FieldType::Json => continue,
                        _ => Value::from("a"),
                    };
                    let one = (def.name.to_owned(), value);
                    let equals = vec![one.clone()];
                    queries.push(ListQuery { project, order, equals, ..of() });
                    queries.push(ListQuery { project, order, equals: vec![one.clone(), one], ..of() });
                    if def.ty == FieldType::Line {
                        let text_prefix = Some((def.name.to_owned(), "a".to_owned()));
                        queries.push(ListQuery { project, text_prefix, ..of() });
                    }
                }
            }
        }
        let later = queries.iter().map(|query| {
            let key = Key { text: "b".into(), clock: [7; 16], id: RecordId::new() };
            ListQuery { after: Some(key.cursor(query.tag())), ..query.clone() }
        });
        let later: Vec<_> = later.collect();
        queries.extend(later);
        queries
    }

    #[test]
    fn no_list_reads_or_sorts_a_whole_table() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::create(&mut connection).unwrap();
        let eyes = Eyes { person: Some(RecordId::new()), role: 1 };
        let mut seen = 0;
        let in_a_project = |query: &ListQuery| matches!(query.project, Some(Some(_)));
        let asked = Kind::ALL.into_iter().flat_map(queries);
        for query in asked.filter(|query| query.kind != Kind::Project || !in_a_project(query)) {
            let plan = plan(&query, eyes).unwrap();
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", plan.sql)).unwrap();
            let bound: Vec<(&str, &dyn ToSql)> = plan.params.iter().map(|(n, v)| (*n, v.as_ref())).collect();
            let lines: Vec<String> = statement
                .query_map(bound.as_slice(), |row| row.get::<_, String>(3))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            assert!(!lines.is_empty());
            for line in &lines {
                let told = || format!("{query:?}\n{}\n{lines:#?}", plan.sql);
                assert!(!line.contains("TEMP B-TREE"), "sorts: {}", told());
                // The projects are few; that list is read whole to know which ones are open.
                let whole = line.starts_with("SCAN") && !line.starts_with("SCAN p");
                assert!(!whole, "reads all: {}", told());
            }
            // The records come by a range of an index, not by testing each.
            let main = lines.first().unwrap();
            assert!(main.contains("SEARCH") && main.contains("kind=?"), "{main}");
            seen += 1;
        }
        assert!(seen > 500, "{seen}");
    }
}
