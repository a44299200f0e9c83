//! People first: the indexer waits while somebody searches or asks.

use std::time::Duration;

use tokio::sync::watch;

/// Counts the questions that are being answered right now.
#[derive(Debug)]
pub(crate) struct Courtesy {
    asking: watch::Sender<usize>,
}

/// One question in flight; ends when dropped.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    courtesy: &'a Courtesy,
}

impl Default for Courtesy {
    fn default() -> Self {
        Self { asking: watch::Sender::new(0) }
    }
}

impl Courtesy {
    /// A person's question begins.
    pub(crate) fn enter(&self) -> Asking<'_> {
        self.asking.send_modify(|asking| *asking += 1);
        Asking { courtesy: self }
    }

    /// Returns once nobody asks, or after `patience`: a hub that is asked without a pause must still get its
    /// index done.
    pub(crate) async fn quiet(&self, patience: Duration) {
        let mut asking = self.asking.subscribe();
        // An elapsed deadline is the other way to be done, and the sender lives as long as `self`.
        drop(tokio::time::timeout(patience, asking.wait_for(|asking| *asking == 0)).await);
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.courtesy.asking.send_modify(|asking| *asking = asking.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_indexer_waits_for_a_question_but_not_for_ever() {
        let courtesy = Courtesy::default();
        let start = tokio::time::Instant::now();
        courtesy.quiet(Duration::from_secs(5)).await;
        assert_eq!(start.elapsed(), Duration::ZERO, "nobody asks");
        {
            let _asking = courtesy.enter();
            courtesy.quiet(Duration::from_secs(5)).await;
            assert!(start.elapsed() >= Duration::from_secs(5), "it waited for the person");
        }
        let before = tokio::time::Instant::now();
        courtesy.quiet(Duration::from_secs(5)).await;
        assert_eq!(before.elapsed(), Duration::ZERO, "the question ended");
    }
}
