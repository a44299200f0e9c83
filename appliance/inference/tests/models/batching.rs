//! How tokens are grouped into steps must not change what comes out.

use cairn_inference::{
    Family,
    gguf::TensorType,
    probe::Probe,
    synthetic::{self, Shape},
};

const FAMILIES: [Family; 5] = [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma3, Family::Phi3];

fn open(family: Family) -> (tempfile::TempDir, Probe) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    synthetic::write_random(&path, &Shape::small(family), TensorType::Q8_0, 3).unwrap();
    let probe = Probe::open(&path, 512).unwrap();
    (folder, probe)
}

fn prompt(seed: u32, length: u32) -> Vec<u32> {
    (0..length).map(|index| (seed * 101 + index * 37) % 600).collect()
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3 * (1.0 + a.abs()))
}

#[test]
fn reading_in_slices_equals_reading_at_once() {
    for family in FAMILIES {
        let (_folder, mut probe) = open(family);
        let tokens = prompt(1, 70);
        let mut whole = probe.session().unwrap();
        let expected = probe.read(&mut whole, &tokens).unwrap().to_vec();
        let mut sliced = probe.session().unwrap();
        let mut last = Vec::new();
        for slice in [&tokens[..1], &tokens[1..34], &tokens[34..69], &tokens[69..]] {
            last = probe.read(&mut sliced, slice).unwrap().to_vec();
        }
        assert!(close(&expected, &last), "{family}");
    }
}

#[test]
fn conversations_in_one_step_equal_those_alone() {
    for family in FAMILIES {
        let (_folder, mut probe) = open(family);
        let mut sessions = Vec::new();
        let mut expected = Vec::new();
        for seed in 0..3 {
            let mut session = probe.session().unwrap();
            probe.read(&mut session, &prompt(seed, 20 + seed * 15)).unwrap();
            let length = session.len();
            expected.extend_from_slice(probe.read(&mut session, &[seed + 5]).unwrap());
            session.truncate(length);
            sessions.push(session);
        }
        let together = probe.step(&mut sessions, &[5, 6, 7]).unwrap();
        assert!(close(&expected, &together), "{family}");
    }
}

#[test]
fn going_back_and_on_again_equals_going_straight() {
    let (_folder, mut probe) = open(Family::Gemma3);
    let tokens = prompt(2, 60);
    let mut session = probe.session().unwrap();
    let expected = probe.read(&mut session, &tokens).unwrap().to_vec();
    session.truncate(25);
    probe.read(&mut session, &prompt(9, 30)).unwrap();
    session.truncate(25);
    let again = probe.read(&mut session, &tokens[25..]).unwrap();
    assert!(close(&expected, again));
}

#[test]
fn tokens_that_do_not_fit_or_do_not_exist_are_errors() {
    let (_folder, mut probe) = open(Family::Llama);
    let mut session = probe.session().unwrap();
    assert!(probe.read(&mut session, &[1_000_000]).is_err());
    assert!(session.is_empty());
    assert!(probe.read(&mut session, &prompt(1, 10)).is_ok());
    assert!(probe.read(&mut session, &prompt(1, 510)).is_err());
    assert_eq!(session.len(), 10);
    assert!(probe.read(&mut session, &prompt(1, 502)).is_ok());
    assert!(probe.read(&mut session, &[1]).is_err());
}
