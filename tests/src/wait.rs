//! Waiting for a condition with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// Looks at `condition` until it gives a value, for at most `within`.
///
/// # Errors
/// When the deadline passes; the error names what was waited for.
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = condition().await {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("waited {} s in vain until {what}", within.as_secs());
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
