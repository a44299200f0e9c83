//! Schemas of records, made from the table of kinds, and the words that other schemas are made of.

use cairn_sync::{
    FieldDef, FieldType, Kind, Scope,
    value::{MAX_SET_ITEM, MAX_SET_LEN},
};
use serde_json::{Map, Value, json};

use crate::records::{EQUALS, STARTS, is_findable};

/// Every character but control characters, as [`FieldDef::check`] wants them.
const LINE_PATTERN: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";
/// The same with line ends and tabs.
const TEXT_PATTERN: &str = "^[^\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f]*$";
/// The characters of a line, and something else than white space.
const NEEDED_LINE_PATTERN: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\s\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$";

/// The name of a kind's record in the document: `Notice`.
pub(crate) fn type_name(kind: Kind) -> String {
    let mut letters = kind.name().chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Every schema of records that no route declares by itself.
pub(crate) fn all() -> Map<String, Value> {
    let mut schemas = Map::new();
    for kind in Kind::ALL {
        let name = type_name(kind);
        schemas.insert(format!("{name}Fields"), fields(kind, Use::Read));
        schemas.insert(format!("New{name}"), new(kind));
        schemas.insert(format!("{name}Change"), change(kind));
        schemas.insert(format!("{name}Page"), page(&format!("#/components/schemas/{name}")));
        schemas.insert(name, record(kind));
    }
    schemas.extend([
        ("HistoryEntry".to_owned(), history_entry()),
        ("HistoryPage".to_owned(), page("#/components/schemas/HistoryEntry")),
    ]);
    schemas
}

/// What a list of this kind can be asked for.
pub(crate) fn list_parameters(kind: Kind) -> Vec<Value> {
    let query = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema });
    let mut parameters = vec![
        query("after", "Where the page before ended: its `next`.", json!({ "type": "string" })),
        query(
            "limit",
            "How many, at most 200; 0 stands for 50.",
            json!({ "type": "integer", "minimum": 0, "maximum": 200 }),
        ),
        query(
            "order",
            "In which order.",
            json!({ "type": "string", "enum": ["newest", "oldest", "changed"] }),
        ),
        query(
            "deleted",
            "Deleted ones that can be brought back, instead of living ones.",
            json!({ "type": "boolean" }),
        ),
    ];
    if kind.def().scope != Scope::Hub {
        let place = json!({ "oneOf": [{ "type": "string", "format": "uuid" }, { "const": "none" }] });
        parameters.push(query(
            "project",
            "Only in this project, or with `none` on the hub as a whole.",
            place,
        ));
    }
    for field in kind.def().fields.iter().filter(|field| is_findable(field.ty)) {
        let schema = match field.ty {
            FieldType::Set => json!({ "type": "string", "maxLength": MAX_SET_ITEM }),
            _ => of_type(field, false),
        };
        let what = if field.ty == FieldType::Set { "contains" } else { "is" };
        parameters.push(query(
            &format!("{EQUALS}{}", field.name),
            &format!("Only where `{}` {what} this.", field.name),
            schema,
        ));
        if field.ty == FieldType::Line {
            let description = format!("Only where `{}` starts so, in alphabetical order.", field.name);
            parameters.push(query(
                &format!("{STARTS}{}", field.name),
                &description,
                json!({ "type": "string" }),
            ));
        }
    }
    parameters
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Read,
    Create,
    Change,
}

fn record(kind: Kind) -> Value {
    let name = type_name(kind);
    json!({
        "type": "object",
        "description": kind.def().doc,
        "required": ["id", "kind", "project", "fields", "version", "created_by", "created_at_ms", "changed_by",
            "changed_at_ms", "sync", "gateway_version", "deleted"],
        "properties": {
            "id": described(uuid(), "Its identity on every hub."),
            "kind": { "const": kind.name() },
            "project": described(or_null(uuid()), "The project it belongs to; null: the hub as a whole."),
            "fields": { "$ref": format!("#/components/schemas/{name}Fields") },
            "version": { "type": "integer", "format": "int64", "minimum": 1, "description": "Grows with every change, by the server that was asked." },
            "created_by": described(or_null(uuid()), "The person who created it."),
            "created_at_ms": described(time(), "When it was created."),
            "changed_by": described(or_null(uuid()), "The person who changed it last."),
            "changed_at_ms": described(time(), "When it was changed last."),
            "sync": { "type": "string", "enum": ["synced", "pending", "conflict"], "description": "Where it stands with the gateway." },
            "gateway_version": { "type": ["integer", "null"], "format": "int64", "description": "The version that the gateway confirmed last." },
            "deleted": { "type": "boolean", "description": "Whether it is a tombstone." },
        },
    })
}

fn new(kind: Kind) -> Value {
    let project = match kind.def().scope {
        Scope::Hub => {
            described(json!({ "type": "null" }), "Records of this kind belong to the hub as a whole.")
        }
        Scope::Project => described(uuid(), "The project it belongs to."),
        Scope::Either => described(or_null(uuid()), "The project it belongs to; null: the hub as a whole."),
    };
    let required: &[&str] =
        if kind.def().scope == Scope::Project { &["project", "fields"] } else { &["fields"] };
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": { "project": project, "fields": fields(kind, Use::Create) },
    })
}

fn change(kind: Kind) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["fields"],
        "properties": { "fields": fields(kind, Use::Change) },
    })
}

fn fields(kind: Kind, wanted: Use) -> Value {
    let required: Vec<&str> = match wanted {
        Use::Create => {
            kind.def().fields.iter().filter(|field| field.required).map(|field| field.name).collect()
        }
        Use::Read | Use::Change => Vec::new(),
    };
    let properties: Map<String, Value> = kind
        .def()
        .fields
        .iter()
        .map(|field| {
            let nullable = wanted != Use::Read && !field.required;
            let mut description = field.doc.to_owned();
            if field.keeper_only {
                description.push_str(" Only keepers may set it.");
            }
            (field.name.to_owned(), described(of_type(field, nullable), &description))
        })
        .collect();
    let mut schema = json!({ "type": "object", "properties": properties, "required": required });
    if let (Use::Create | Use::Change, Some(schema)) = (wanted, schema.as_object_mut()) {
        schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    schema
}

fn of_type(field: &FieldDef, nullable: bool) -> Value {
    let schema = match field.ty {
        FieldType::Bool => json!({ "type": "boolean" }),
        FieldType::Int | FieldType::Counter => json!({ "type": "integer", "format": "int64" }),
        FieldType::Time => time(),
        FieldType::Line => {
            let pattern = if field.required { NEEDED_LINE_PATTERN } else { LINE_PATTERN };
            json!({ "type": "string", "maxLength": field.limit, "pattern": pattern })
        }
        FieldType::Text => {
            let least = u8::from(field.required);
            json!({ "type": "string", "minLength": least, "maxLength": field.limit, "pattern": TEXT_PATTERN })
        }
        FieldType::Choice(choices) => json!({ "type": "string", "enum": choices }),
        FieldType::Ref(kind) => json!({ "type": "string", "format": "uuid", "x-record": kind.name() }),
        FieldType::Blob => json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }),
        FieldType::Set => json!({
            "type": "array", "uniqueItems": true, "maxItems": MAX_SET_LEN,
            "items": { "type": "string", "maxLength": MAX_SET_ITEM },
        }),
        FieldType::Json => json!({ "type": ["array", "object"] }),
    };
    if nullable { or_null(schema) } else { schema }
}

/// An identity.
#[must_use]
pub fn uuid() -> Value {
    json!({ "type": "string", "format": "uuid" })
}

/// A moment.
#[must_use]
pub fn time() -> Value {
    json!({ "type": "integer", "format": "int64", "description": "Milliseconds since 1970, UTC." })
}

/// The same with words for people.
#[must_use]
pub fn described(mut schema: Value, description: &str) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), Value::String(description.to_owned()));
    }
    schema
}

/// The same or null.
#[must_use]
pub fn or_null(mut schema: Value) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        let ty = schema.get("type").cloned().unwrap_or_default();
        let mut types = ty.as_array().cloned().unwrap_or_else(|| vec![ty]);
        types.push(json!("null"));
        schema.insert("type".to_owned(), Value::Array(types));
        if let Some(Value::Array(choices)) = schema.get_mut("enum") {
            choices.push(Value::Null);
        }
    }
    schema
}

fn page(item: &str) -> Value {
    json!({
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": { "type": "array", "items": { "$ref": item } },
            "next": { "type": ["string", "null"], "description": "Where the next page starts, for `after`; null on the last one." },
        },
    })
}

fn history_entry() -> Value {
    json!({
        "type": "object",
        "required": ["version", "change", "at_ms", "by", "kind", "changes"],
        "properties": {
            "version": { "type": "integer", "format": "int64", "description": "The version that the change made." },
            "change": described(uuid(), "The change's identity."),
            "at_ms": time(),
            "by": described(or_null(uuid()), "The person who made it."),
            "kind": { "type": "string", "enum": ["created", "changed", "deleted", "restored"] },
            "changes": { "type": "array", "items": {
                "type": "object",
                "required": ["field", "before", "after"],
                "properties": { "field": { "type": "string" }, "before": {}, "after": {} },
            } },
        },
    })
}
