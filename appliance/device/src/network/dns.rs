//! Name answers for the hub's own Wi-Fi (RFC 1035): its own name and the hosts of [`super::captive`] have its address;
//! every other question is refused, which is the truth: nobody here knows.
//!
//! One datagram in, at most one out, no state. An answer is at most a few bytes longer than its question, so that
//! nobody can use it to multiply traffic.

use std::net::Ipv4Addr;

use super::captive;

/// Longest question that is looked at: plain DNS over UDP.
pub const MAX_DATAGRAM: usize = 512;
/// How long an answer is believed, seconds: a phone that walks away must soon find the true one.
const LIFE_S: u32 = 10;

const HEADER: usize = 12;
const MAX_NAME: usize = 255;
const TYPE_A: u16 = 1;
const TYPE_ANY: u16 = 255;
const CLASS_IN: u16 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    NoError = 0,
    FormatError = 1,
    NotImplemented = 4,
    Refused = 5,
}

/// What is answered for.
#[derive(Debug, Clone)]
pub struct Zone {
    /// The hub's name, without `.local`.
    pub name: String,
    /// Its address on this network.
    pub address: Ipv4Addr,
}

impl Zone {
    fn has(&self, name: &str) -> bool {
        let bare = name.strip_suffix(".local").unwrap_or(name);
        bare.eq_ignore_ascii_case(&self.name) || captive::is_probe(name)
    }

    /// The answer to a datagram; none to what is no question.
    #[must_use]
    pub fn answer(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let header = datagram.get(..HEADER)?;
        let word = |at: usize| Some(u16::from_be_bytes([*header.get(at)?, *header.get(at + 1)?]));
        let (id, flags, questions) = (word(0)?, word(2)?, word(4)?);
        // An answer is never answered, or two servers could talk for ever.
        if flags & 0x8000 != 0 || datagram.len() > MAX_DATAGRAM {
            return None;
        }
        if flags & 0x7800 != 0 {
            return Some(reply(id, flags, Code::NotImplemented, &[], None));
        }
        let question = (questions == 1).then(|| question(datagram.get(HEADER..)?)).flatten();
        let Some(question) = question else { return Some(reply(id, flags, Code::FormatError, &[], None)) };
        if question.class != CLASS_IN || !self.has(&question.name) {
            return Some(reply(id, flags, Code::Refused, question.bytes, None));
        }
        // A name that exists without an address of the kind asked for: no error, no record.
        let address = matches!(question.kind, TYPE_A | TYPE_ANY).then_some(self.address);
        Some(reply(id, flags, Code::NoError, question.bytes, address))
    }
}

struct Question<'d> {
    name: String,
    kind: u16,
    class: u16,
    bytes: &'d [u8],
}

/// The first question; no name in it can point elsewhere, so nothing is followed.
fn question(bytes: &[u8]) -> Option<Question<'_>> {
    let mut name = String::new();
    let mut at = 0;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        if length > 63 || at + length > MAX_NAME {
            return None;
        }
        let label = bytes.get(at..at + length)?;
        at += length;
        if !name.is_empty() {
            name.push('.');
        }
        // What is not ASCII is no name of ours, and a dot within a label must not look like two labels.
        name.extend(
            label.iter().map(|b| if b.is_ascii_graphic() && *b != b'.' { char::from(*b) } else { '?' }),
        );
    }
    let &[k0, k1, c0, c1] = bytes.get(at..at + 4)? else { return None };
    let (kind, class) = (u16::from_be_bytes([k0, k1]), u16::from_be_bytes([c0, c1]));
    Some(Question { name, kind, class, bytes: bytes.get(..at + 4)? })
}

fn reply(id: u16, asked: u16, code: Code, question: &[u8], address: Option<Ipv4Addr>) -> Vec<u8> {
    // Answer, authoritative where it answers, recursion as asked for but not offered.
    let authoritative = if code == Code::NoError { 0x0400 } else { 0 };
    let flags = 0x8000 | (asked & 0x7900) | authoritative | code as u16;
    let mut out = Vec::with_capacity(HEADER + question.len() + 16);
    let counts = [u16::from(!question.is_empty()), u16::from(address.is_some()), 0, 0];
    for word in [id, flags].into_iter().chain(counts) {
        out.extend(word.to_be_bytes());
    }
    out.extend(question);
    if let Some(address) = address {
        // The name: a pointer to the question's.
        out.extend([0xc0, HEADER as u8]);
        out.extend(TYPE_A.to_be_bytes());
        out.extend(CLASS_IN.to_be_bytes());
        out.extend(LIFE_S.to_be_bytes());
        out.extend(4_u16.to_be_bytes());
        out.extend(address.octets());
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zone() -> Zone {
        Zone { name: "spring".into(), address: Ipv4Addr::new(192, 168, 73, 1) }
    }

    fn ask(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.bytes());
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(CLASS_IN.to_be_bytes());
        bytes
    }

    fn code(answer: &[u8]) -> u8 {
        answer[3] & 0xf
    }

    #[test]
    fn our_names_and_the_probes_have_our_address() {
        for name in
            ["spring", "spring.local", "SPRING.local", "captive.apple.com", "Connectivitycheck.gstatic.com"]
        {
            let question = ask(name, TYPE_A);
            let answer = zone().answer(&question).unwrap();
            assert_eq!(answer[..2], question[..2]);
            assert_eq!((answer[2] & 0x80, code(&answer)), (0x80, 0), "{name}");
            assert_eq!(answer[6..8], [0, 1]);
            assert_eq!(answer[answer.len() - 4..], [192, 168, 73, 1]);
            assert!(answer.len() <= question.len() + 16);
        }
    }

    #[test]
    fn an_address_of_another_kind_is_absent_and_everything_else_refused() {
        let answer = zone().answer(&ask("spring.local", 28)).unwrap();
        assert_eq!((code(&answer), &answer[6..8]), (0, &[0, 0][..]));
        for name in ["example.org", "spring.example", "evil.captive.apple.com", "local"] {
            assert_eq!(code(&zone().answer(&ask(name, TYPE_A)).unwrap()), 5, "{name}");
        }
    }

    #[test]
    fn what_is_no_question_gets_no_answer_or_an_error() {
        let mut answer = ask("spring", TYPE_A);
        answer[2] |= 0x80;
        assert_eq!(zone().answer(&answer), None, "an answer is never answered");
        assert_eq!(zone().answer(b"short"), None);
        let mut notify = ask("spring", TYPE_A);
        notify[2] |= 0x20;
        assert_eq!(code(&zone().answer(&notify).unwrap()), 4);
        let mut two = ask("spring", TYPE_A);
        two[5] = 2;
        assert_eq!(code(&zone().answer(&two).unwrap()), 1);
        let mut pointer = ask("spring", TYPE_A);
        pointer[12] = 0xc0;
        assert_eq!(code(&zone().answer(&pointer).unwrap()), 1);
    }

    proptest! {
        #[test]
        fn no_datagram_stops_it_or_gets_much_more_than_it_brought(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some(answer) = zone().answer(&bytes) {
                prop_assert!(answer.len() <= bytes.len() + 16);
                prop_assert!(answer[2] & 0x80 != 0);
            }
        }
    }
}
