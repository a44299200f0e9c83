//! Whether a request comes from the one hub that it says, or from a copy of its card.
//!
//! Every reply carries a ticket that the next request must show. A hub writes a request down before it sends
//! it and repeats the very same one until it is answered, so a ticket that was used already can only come with
//! the request that used it; with any other request there are two parties under one identity.

use serde::{Deserialize, Serialize};

use crate::wire::{Request, RequestId};

/// What the gateway remembers of a hub.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// The ticket given in the last reply; 0 before the first.
    pub ticket: u64,
    /// The last request, and the ticket that it showed.
    pub last: Option<(RequestId, u64)>,
}

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The next one.
    Next,
    /// The last one again: its answer got lost.
    Again,
    /// Somebody else's: the sender has to take an identity of its own.
    Copy,
}

impl Seat {
    /// Judges a request.
    #[must_use]
    pub fn admit(&self, request: &Request) -> Admission {
        if self.last.is_some_and(|(last, ticket)| last == request.request && ticket == request.ticket) {
            Admission::Again
        } else if request.ticket == self.ticket {
            Admission::Next
        } else {
            Admission::Copy
        }
    }

    /// The seat after a request was served. `ticket` is fresh and random; a repeated request keeps its own.
    #[must_use]
    pub fn served(self, request: &Request, ticket: u64) -> Self {
        match self.admit(request) {
            Admission::Next => Self { ticket: ticket.max(1), last: Some((request.request, request.ticket)) },
            Admission::Again | Admission::Copy => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::HubId;

    fn request(id: u8, ticket: u64) -> Request {
        Request {
            protocol: 1,
            hub: HubId::from_bytes([1; 16]),
            request: RequestId::from_random([id; 16]),
            ticket,
            changes: Vec::new(),
            cursors: BTreeMap::new(),
            floor: 0,
            limit: 1,
        }
    }

    #[test]
    fn a_lost_answer_is_no_copy() {
        let seat = Seat::default().served(&request(1, 0), 77);
        assert_eq!(seat.admit(&request(1, 0)), Admission::Again);
        assert_eq!(seat.served(&request(1, 0), 88).ticket, 77);
        assert_eq!(seat.admit(&request(2, 77)), Admission::Next);
    }

    #[test]
    fn the_second_of_two_copies_is_noticed_whichever_comes_first() {
        let before = Seat::default().served(&request(1, 0), 77);
        let first = before.served(&request(2, 77), 99);
        assert_eq!(first.admit(&request(3, 77)), Admission::Copy);
        assert_eq!(first.admit(&request(4, 99)), Admission::Next);
    }
}
