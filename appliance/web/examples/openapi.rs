//! Prints the API's OpenAPI document, for validators and generators of clients:
//! `cargo run -q -p cairn-web --example openapi > openapi.json`.

fn main() -> std::io::Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{:#}", cairn_web::openapi())
}
