//! What happens right now: changes of records, and who looks at what. Nothing here is data: a listener that
//! missed something reads the records again and has lost nothing.

mod feed;
mod presence;
mod stream;

pub(crate) use feed::Feed;
pub(crate) use presence::{Doing, Here, Place, Presence};
pub(crate) use stream::{StreamPlace, event, live, sse};
