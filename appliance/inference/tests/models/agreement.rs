//! Every family in every quantization against llama.cpp: tokens, templates, logits, likeliest next tokens.

use crate::reference::Reference;
use base64::Engine;
use cairn_inference::{
    ChatMessage, ChatRole, Family,
    gguf::TensorType,
    probe::Probe,
    synthetic::{self, Shape},
};
use serde::{Deserialize, Serialize};

/// Quantizations that are in use for small models, and the one without any.
const QUANTIZATIONS: [TensorType; 7] = [
    TensorType::F16,
    TensorType::Q8_0,
    TensorType::Q6K,
    TensorType::Q5K,
    TensorType::Q5_0,
    TensorType::Q4K,
    TensorType::Q4_0,
];
/// Tokens of the prompt; longer than the small Gemma's window, so that it slides.
const PROMPT: usize = 48;
const STEPS: usize = 24;
/// How far our logits may be from the reference's, in standard deviations of the logits.
struct Tolerance {
    /// The worst logit of a position, the median over all positions.
    worst: f32,
    /// The root of the mean square over all of them.
    mean: f32,
    /// Where the reference's best two logits are closer than this, either may be the likeliest token.
    tie: f32,
}

/// Without quantization only the order of sums and the cache's halves differ (0.006 and 0.001 were seen).
const EXACT: Tolerance = Tolerance { worst: 0.02, mean: 0.003, tie: 0.03 };
/// With it both engines round activations to 8 bits, each in its own way, and a model with random weights passes every
/// rounding on undamped, now and then far (0.1 and 0.036 were seen; the worst logit of all was off by 0.86). A block read
/// wrongly would put every position off by whole standard deviations.
const ROUNDED: Tolerance = Tolerance { worst: 0.2, mean: 0.06, tie: 0.25 };

const TEXTS: [&str; 12] = [
    "Boil the water for one minute before you drink it.",
    "  two spaces,\ttab,\n\nnew lines  \n",
    "It's 12:45, isn't it? We'LL pay $1,234.56!",
    "Hierva el agua durante un minuto: ¿dónde está el refugio?",
    "L'abri est dans l'école, il ouvre à huit heures.",
    "اغلِ الماء لمدة دقيقة قبل شربه.",
    "水を一分間沸騰させてください。请把水烧开。",
    "Кипятите воду одну минуту. पानी उबालें।",
    "🚰👩‍⚕️ e\u{301}\u{200b}x",
    "def f(x):\n    return x**2  # square\n",
    "<|im_start|>user\nhello<|im_end|> <start_of_turn> <|user|>\n</s><|eot_id|>",
    "a",
];

#[derive(Serialize)]
struct Job<'a> {
    model: &'a str,
    texts: &'a [&'a str],
    messages: Vec<Message<'a>>,
    prompt: &'a [u32],
    steps: usize,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    special: Vec<Vec<u32>>,
    plain: Vec<Vec<u32>>,
    begun: Vec<Vec<u32>>,
    rendered: String,
    appended: Vec<u32>,
    logits: String,
}

impl Answer {
    fn rows(&self, vocabulary: usize) -> Vec<Vec<f32>> {
        let bytes = base64::engine::general_purpose::STANDARD.decode(&self.logits).unwrap();
        let floats: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        floats.chunks_exact(vocabulary).map(<[f32]>::to_vec).collect()
    }
}

fn conversation() -> Vec<ChatMessage> {
    vec![
        ChatMessage::new(ChatRole::User, "Where is water?\n"),
        ChatMessage::new(ChatRole::Assistant, "Behind the school."),
        ChatMessage::new(ChatRole::User, " Is it clean? "),
    ]
}

fn deviation(row: &[f32]) -> f32 {
    let mean = row.iter().sum::<f32>() / row.len() as f32;
    (row.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / row.len() as f32).sqrt()
}

/// Best token and its lead over the second.
fn best(row: &[f32]) -> (u32, f32) {
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
    (order[0] as u32, row[order[0]] - row[order[1]])
}

fn agree(family: Family) {
    let folder = tempfile::tempdir().unwrap();
    let mut reference = Reference::start("generation_reference.py");
    for quantization in QUANTIZATIONS {
        let what = format!("{family} {}", quantization.name());
        let tolerance = if quantization == TensorType::F16 { EXACT } else { ROUNDED };
        let path = folder.path().join("model.gguf");
        synthetic::write_random(&path, &Shape::small(family), quantization, 7).unwrap();
        let mut probe = Probe::open(&path, 1024).unwrap();
        let prompt: Vec<u32> = (0..PROMPT as u32).map(|index| 20 + index * 37 % 400).collect();
        let messages = conversation();
        let job = Job {
            model: path.to_str().unwrap(),
            texts: &TEXTS,
            messages: messages
                .iter()
                .map(|message| Message { role: message.role.as_str(), content: &message.content })
                .collect(),
            prompt: &prompt,
            steps: STEPS,
        };
        let answer: Answer = reference.ask(&job);
        for (index, text) in TEXTS.iter().enumerate() {
            let ours = |special, begin| probe.tokenize(text, special, begin).unwrap();
            assert_eq!(ours(true, false), answer.special[index], "{what}: tokens of {text:?}");
            assert_eq!(
                ours(false, false),
                answer.plain[index],
                "{what}: tokens of {text:?}, control tokens as text"
            );
            assert_eq!(
                ours(true, true),
                answer.begun[index],
                "{what}: tokens of {text:?} with its beginning"
            );
        }
        assert_eq!(probe.render(&messages).unwrap(), answer.rendered, "{what}: rendered conversation");

        // All positions at once, along the reference's own way.
        let vocabulary = probe.vocabulary();
        let theirs = answer.rows(vocabulary);
        let mut tokens = prompt.clone();
        tokens.extend(&answer.appended[..STEPS - 1]);
        assert_eq!(theirs.len(), tokens.len());
        let mut session = probe.session().unwrap();
        let ours = probe.read_all(&mut session, &tokens).unwrap();
        let (mut worst_of_rows, mut squares) = (Vec::new(), 0.0_f64);
        for (ours, theirs) in ours.chunks_exact(vocabulary).zip(&theirs) {
            let scale = deviation(theirs);
            let mut worst = 0.0_f32;
            for (a, b) in ours.iter().zip(theirs) {
                let distance = (a - b).abs() / scale;
                worst = worst.max(distance);
                squares += f64::from(distance * distance);
            }
            worst_of_rows.push(worst);
            let ((our_best, _), (their_best, lead)) = (best(ours), best(theirs));
            assert!(
                our_best == their_best || lead < tolerance.tie * scale,
                "{what}: another likeliest token"
            );
        }
        let mean = (squares / (theirs.len() * vocabulary) as f64).sqrt() as f32;
        worst_of_rows.sort_by(f32::total_cmp);
        let (worst, most) = (worst_of_rows[worst_of_rows.len() / 2], worst_of_rows[worst_of_rows.len() - 1]);
        println!(
            "{what}: logits differ by {worst:.4} (worst of a position), {most:.4} (of all), {mean:.5} (on average)"
        );
        assert!(
            worst < tolerance.worst && mean < tolerance.mean,
            "{what}: {worst} at most, {mean} on average"
        );

        // Token by token on our own way, up to where the reference itself is undecided.
        let greedy = probe.greedy(&prompt, STEPS).unwrap();
        let certain = theirs[PROMPT - 1..]
            .iter()
            .position(|row| best(row).1 < tolerance.tie * deviation(row))
            .unwrap_or(STEPS);
        assert_eq!(greedy[..certain], answer.appended[..certain], "{what}: likeliest next tokens");
    }
}

#[test]
fn llama_agrees() {
    agree(Family::Llama);
}

#[test]
fn qwen2_agrees() {
    agree(Family::Qwen2);
}

#[test]
fn qwen3_agrees() {
    agree(Family::Qwen3);
}

#[test]
fn gemma3_agrees() {
    agree(Family::Gemma3);
}

#[test]
fn phi3_agrees() {
    agree(Family::Phi3);
}

/// The model that quotes its prompt does so in the other engine, too.
#[test]
fn the_copying_model_quotes_in_both_engines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copying.gguf");
    synthetic::write_copying(&path).unwrap();
    let mut probe = Probe::open(&path, 1024).unwrap();
    let text = "Keep the water in a clean container with a lid. Where is the nearest shelter? Keep the";
    let prompt = probe.tokenize(text, false, false).unwrap();
    let ours = probe.greedy(&prompt, 12).unwrap();
    let answer: Answer = Reference::start("generation_reference.py").ask(&Job {
        model: path.to_str().unwrap(),
        texts: &[],
        messages: vec![Message { role: "user", content: "x" }],
        prompt: &prompt,
        steps: 12,
    });
    assert_eq!(ours, answer.appended);
    let quoted = probe.detokenize(&ours);
    assert!(text.contains(&quoted), "{quoted:?}");
}
