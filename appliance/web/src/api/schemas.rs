//! Schemas of what the crates below tell as it is, records apart.

use cairn_record_api::schemas::{described, or_null, time, uuid};
use serde_json::{Map, Value, json};

/// Every schema of the hub that no route declares by itself.
pub(super) fn all() -> Map<String, Value> {
    Map::from_iter([
        ("SearchResults".to_owned(), search_results()),
        ("Passage".to_owned(), passage()),
        ("IndexProgress".to_owned(), index_progress()),
        ("Invitations".to_owned(), invitations()),
        ("Tokens".to_owned(), tokens()),
        ("Event".to_owned(), event()),
    ])
}

fn search_results() -> Value {
    json!({
        "type": "object",
        "required": ["hits", "mode", "degraded", "took_ms", "embedding_ms"],
        "properties": {
            "hits": { "type": "array", "items": {
                "type": "object",
                "required": ["passage", "document", "title", "heading", "ordinal", "location", "marked", "score"],
                "properties": {
                    "passage": { "type": "integer", "format": "int64", "description": "For `/api/v1/passages/{passage}`." },
                    "document": described(uuid(), "The document it stands in."),
                    "title": { "type": "string", "description": "The document's title." },
                    "heading": { "type": "string", "description": "The headings above it, joined by \" › \"." },
                    "ordinal": { "type": "integer", "description": "Its place among the document's passages, from 0." },
                    "location": location(),
                    "marked": { "type": "array", "description": "The passage; joined, the spans are its text.", "items": {
                        "type": "object",
                        "required": ["text", "marked"],
                        "properties": { "text": { "type": "string" }, "marked": { "type": "boolean", "description": "Whether it answers best." } },
                    } },
                    "score": { "type": "number", "description": "Only its order within one result means something." },
                },
            } },
            "mode": { "type": "string", "enum": ["hybrid", "words", "meaning"], "description": "Which part was really asked." },
            "degraded": { "type": ["object", "null"], "description": "Why that is less than was wanted." },
            "took_ms": { "type": "integer" },
            "embedding_ms": { "type": "integer" },
        },
    })
}

/// Where in its document a passage stands.
fn location() -> Value {
    json!({
        "type": "object",
        "description": "Where in the document.",
        "properties": {
            "page": { "type": "integer", "description": "The page, from 1, where the document has pages." },
            "anchor": { "type": "string", "description": "The section's anchor or the path inside an archive." },
        },
    })
}

/// One event of a stream, as the HTML standard parses it.
fn event() -> Value {
    json!({
        "type": "object",
        "properties": {
            "event": { "type": "string", "description": "Its name." },
            "id": { "type": "string", "description": "For Last-Event-ID." },
            "data": { "type": "string", "description": "JSON." },
            "retry": { "type": "integer", "description": "When to come back, in milliseconds." },
        },
    })
}

fn passage() -> Value {
    json!({
        "type": "object",
        "required": ["id", "document", "title", "heading", "text", "ordinal", "location"],
        "properties": {
            "id": { "type": "integer", "format": "int64" },
            "document": uuid(),
            "title": { "type": "string" },
            "heading": { "type": "string" },
            "text": { "type": "string" },
            "ordinal": { "type": "integer", "description": "Its place in the document, from 0." },
            "location": location(),
        },
    })
}

fn index_progress() -> Value {
    let count = |description: &str| json!({ "type": "integer", "minimum": 0, "description": description });
    json!({
        "type": "object",
        "required": ["documents", "indexed", "failed", "passages", "embedded", "state", "seconds_left"],
        "properties": {
            "documents": count("Documents with a file."),
            "indexed": count("Of these, searchable by words."),
            "failed": count("Of these, impossible to read."),
            "passages": count("Passages."),
            "embedded": count("Of these, searchable by meaning."),
            "state": { "type": "string", "description": "What the indexer does." },
            "seconds_left": { "type": ["integer", "null"], "description": "About how long until everything is searchable by meaning." },
        },
    })
}

fn invitations() -> Value {
    json!({ "type": "array", "items": {
        "type": "object",
        "required": ["id", "role", "by", "created_at_ms", "left_ms"],
        "properties": {
            "id": { "type": "integer" },
            "role": { "type": "string", "enum": ["guest", "volunteer", "keeper"] },
            "by": or_null(uuid()),
            "created_at_ms": time(),
            "left_ms": { "type": "integer", "description": "How much longer it is valid, in milliseconds." },
        },
    } })
}

fn tokens() -> Value {
    json!({ "type": "array", "items": {
        "type": "object",
        "required": ["id", "name", "created_at_ms", "left_ms"],
        "properties": {
            "id": { "type": "integer" },
            "name": { "type": "string" },
            "created_at_ms": time(),
            "left_ms": { "type": "integer", "description": "How much longer it is valid, in milliseconds." },
        },
    } })
}
