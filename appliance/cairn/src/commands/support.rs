//! `cairn support-bundle`

use std::path::Path;

use crate::{
    console::{self, Request, Step},
    data::{Folder, write_durably},
    outcome::{Failure, while_doing},
};

/// Largest bundle, bytes.
const MAX_BUNDLE: usize = 16 << 20;

pub(super) async fn run(folder: &Folder, path: &Path) -> Result<(), Failure> {
    let hub = console::connect(folder)?;
    hub.ask(Request::Support, None).await?;
    let mut text = String::new();
    loop {
        match hub.next().await? {
            Step::Support(piece) if text.len() + piece.len() <= MAX_BUNDLE => text.push_str(&piece),
            Step::Done(_) => break,
            _ => {}
        }
    }
    // Indented, so that a person can read what they are about to give away.
    let bundle: serde_json::Value =
        serde_json::from_str(&text).map_err(while_doing("reading the hub's answer"))?;
    let text = serde_json::to_vec_pretty(&bundle).map_err(while_doing("writing JSON"))?;
    let path = std::path::absolute(path).map_err(while_doing("finding the file"))?;
    write_durably(&path, &text, 0o600).map_err(while_doing(format!("writing {}", path.display())))?;
    println!(
        "{} holds the hub's state and its last log lines; no secrets and nobody's words.",
        path.display()
    );
    Ok(())
}
