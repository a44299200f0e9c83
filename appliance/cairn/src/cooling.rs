//! A hot board computes with fewer threads, before its firmware slows everything down, the page too.

use std::time::Duration;

use cairn_inference::InferenceClient;
use cairn_supervisor::TreeStatus;
use tokio::sync::watch;

/// From here on one thread after the other rests: a few degrees below where the boards' firmware slows the processor down
/// (80 °C), degrees Celsius.
const HOT_C: f32 = 77.0;
/// From here down one after the other works again; the gap keeps them from coming and going with every answer.
const COOL_C: f32 = 70.0;
/// Long enough for a thread more or less to show in the temperature before the next look.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How many threads rest after a look, given how many rested before it and how many may. Without a thermometer none does.
fn resting(before: u32, most: u32, celsius: Option<f32>) -> u32 {
    match celsius {
        None => 0,
        Some(degrees) if degrees >= HOT_C => (before + 1).min(most),
        Some(degrees) if degrees <= COOL_C => before.saturating_sub(1),
        Some(_) => before,
    }
}

/// Looks at the board's temperature until the hub ends.
pub(crate) async fn follow(tree: watch::Receiver<Option<TreeStatus>>, inference: InferenceClient) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    // One thread always works.
    let most = std::thread::available_parallelism().map_or(0, |cores| cores.get() as u32 - 1);
    let mut rest = 0;
    loop {
        look.tick().await;
        let celsius = tree.borrow().as_ref().and_then(|tree| tree.board.temperature_c);
        let before = rest;
        rest = resting(before, most, celsius);
        if (before == 0) != (rest == 0) {
            tracing::info!(celsius, resting = rest, "threads of inference follow the board's temperature");
        }
        // Said at every look while some rest: a process that was started again has all its threads.
        if (rest, before) != (0, 0)
            && let Err(error) = inference.rest_threads(rest).await
        {
            tracing::debug!(%error, "the threads of inference stay as they are");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_rest_one_by_one_while_it_is_hot_and_come_back_one_by_one() {
        let course = [60.0, 77.0, 79.0, 81.0, 76.0, 71.0, 70.0, 69.0, 60.0];
        let mut rest = 0;
        let seen: Vec<u32> = course
            .map(|celsius| {
                rest = resting(rest, 2, Some(celsius));
                rest
            })
            .to_vec();
        assert_eq!(seen, [0, 1, 2, 2, 2, 2, 1, 0, 0]);
        assert_eq!(resting(3, 3, None), 0, "without a thermometer nothing rests");
    }
}
