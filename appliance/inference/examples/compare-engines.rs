//! Our engine, `candle-transformers` and llama.cpp side by side: same files, same cores, in turn, medians, ratios.
//!
//! `compare-engines [--quick] [--python FILE --script FILE] [--folder DIR] [--rounds N] [--only TEXT]`; `cargo xtask bench inference`
//! calls it. Every engine is a process of its own that stays for all rounds of a file, so that memory can be told apart and
//! no engine has another one's moment. Prints Markdown as it goes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench may stop"
)]

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

use cairn_inference::{bench, gguf::TensorType, probe::Probe, stock::Stock, synthetic};

const CONTEXT: usize = 2304;
/// Shapes and quantizations; the first ones are the quick selection.
const FILES: [(&str, TensorType); 9] = [
    ("SmolLM2-360M", TensorType::Q8_0),
    ("SmolLM2-360M", TensorType::Q4_0),
    ("Qwen2.5-0.5B", TensorType::Q4K),
    ("Llama-3.2-1B", TensorType::Q4K),
    ("Qwen2.5-0.5B", TensorType::Q8_0),
    ("Qwen3-0.6B", TensorType::Q8_0),
    ("Qwen3-0.6B", TensorType::Q5K),
    ("Llama-3.2-1B", TensorType::Q6K),
    ("Gemma-3-1B", TensorType::Q4_0),
];
const QUICK: usize = 4;
/// What is measured: command, tokens before, tokens.
const FIGURES: [(&str, usize, usize); 4] =
    [("prefill", 0, 128), ("prefill", 0, 512), ("decode", 0, 16), ("decode", 512, 16)];
/// Bytes that the measurement of the memory reads per thread.
const READ_BYTES: usize = 256 << 20;

struct Engine {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    load: f64,
    load_peak: f64,
}

impl Engine {
    fn start(name: &'static str, command: &mut Command) -> Option<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let (input, output) = (child.stdin.take()?, BufReader::new(child.stdout.take()?));
        let mut engine = Self { name, child, input, output, load: 0.0, load_peak: 0.0 };
        let line = engine.line()?;
        let mut words = line.split_whitespace().map(|word| word.parse().unwrap_or(0.0));
        (engine.load, engine.load_peak) = (words.next()?, words.next()?);
        Some(engine)
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.output.read_line(&mut line).ok()? > 0).then_some(line)
    }

    fn ask(&mut self, (command, depth, count): (&str, usize, usize)) -> Option<f64> {
        writeln!(self.input, "{command} {depth} {count}").ok()?;
        self.line()?.trim().parse().ok()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["worker", "ours", file] => ours(Path::new(file)),
        ["worker", "stock", file] => stock(Path::new(file)),
        ["worker", "busy"] => loop {
            std::hint::spin_loop();
        },
        _ => compare(&words),
    }
}

fn compare(words: &[&str]) {
    let value =
        |name: &str| words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1)).copied();
    let quick = words.contains(&"--quick");
    let folder = value("--folder").map_or_else(std::env::temp_dir, PathBuf::from);
    let rounds: usize = value("--rounds").map_or(3, |text| text.parse().expect("a number"));
    let threads = cairn_kernels::available_threads();
    let me = std::env::current_exe().unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    println!(
        "{threads} threads, kernels `{}`, medians of {rounds} rounds in turn, one of `candle-transformers` but for loads. Weights are random.\n",
        cairn_kernels::Isa::best()
    );
    println!("| file | figure | ours | llama.cpp | Candle | ours ÷ llama.cpp |\n|---|---|---|---|---|---|");
    for (shape, kind) in FILES.into_iter().take(if quick { QUICK } else { FILES.len() }) {
        let name = format!("{shape} {}", kind.name());
        if value("--only").is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let path = folder.join(format!("{shape}-{}.gguf", kind.name()));
        if !path.exists() {
            let shape = synthetic::Shape::BENCHMARKS.into_iter().find(|known| known.name == shape).unwrap();
            synthetic::write_random(&path, &shape, kind, 1).unwrap();
        }
        // Read once, so that nobody finds the file colder than the others.
        let bytes = std::io::copy(&mut std::fs::File::open(&path).unwrap(), &mut std::io::sink()).unwrap();
        let mut commands = vec![("ours", worker(&me, "ours", &path))];
        if let (Some(python), Some(script)) = (value("--python"), value("--script")) {
            let mut command = Command::new(python);
            command.arg(script).arg(&path).arg(threads.to_string());
            commands.push(("llama", command));
        }
        commands.push(("stock", worker(&me, "stock", &path)));
        let mut engines = load(&mut commands, rounds);
        file(&name, bytes, &mut engines, rounds, quick);
        if !words.contains(&"--no-busy") {
            busy(&me, &name, &mut engines, rounds);
        }
    }
}

fn worker(me: &Path, engine: &str, path: &Path) -> Command {
    let mut command = Command::new(me);
    command.args(["worker", engine]).arg(path);
    command
}

/// Starts all engines, in turn and again and again: whoever is first gets memory that the system has yet to find.
fn load(commands: &mut [(&'static str, Command)], rounds: usize) -> Vec<Engine> {
    let mut loads: Vec<Vec<f64>> = vec![Vec::new(); commands.len()];
    let mut engines = Vec::new();
    for _ in 0..rounds.max(1) {
        // Not all at once: no engine finds the memory full of another one's former self.
        engines.clear();
        for ((name, command), loads) in commands.iter_mut().zip(&mut loads) {
            let engine = Engine::start(name, command);
            assert!(engine.is_some() || *name != "ours", "our own engine did not start");
            loads.extend(engine.as_ref().map(|engine| engine.load));
            engines.extend(engine);
        }
    }
    for engine in &mut engines {
        let own = commands.iter().position(|(name, _)| *name == engine.name).unwrap();
        engine.load = median(&mut loads[own]);
    }
    engines
}

fn file(name: &str, bytes: u64, engines: &mut [Engine], rounds: usize, quick: bool) {
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    for figure @ (command, depth, count) in FIGURES {
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); engines.len()];
        for round in 0..rounds {
            for (engine, times) in engines.iter_mut().zip(&mut times) {
                let long = quick && (count > 128 || depth > 0);
                if engine.name == "stock" && (round > 0 || long) {
                    continue;
                }
                times.extend(engine.ask(figure));
            }
        }
        let what =
            if command == "prefill" { format!("prefill {count}") } else { format!("decode at {depth}") };
        let speeds: Vec<f64> = times.iter_mut().map(|times| count as f64 / median(times)).collect();
        row(name, &format!("{what}, tokens/s"), engines, &speeds);
        if command == "decode" && depth == 0 {
            let memory = memory_bandwidth();
            let share = 100.0 * speeds[0] * bytes as f64 / memory;
            println!(
                "| {name} | share of a plain read of the memory ({:.1} GB/s) | {share:.0} % | | | |",
                memory / 1e9
            );
        }
    }
    let loads: Vec<f64> = engines.iter().map(|engine| 1.0 / engine.load).collect();
    row(name, "loads per second", engines, &loads);
    let peaks: Vec<f64> = engines.iter().map(|engine| mib(engine.load_peak)).collect();
    row(name, &format!("peak while loading, MiB (file: {:.0})", mib(bytes as f64)), engines, &peaks);
    let peaks: Vec<f64> =
        engines.iter_mut().map(|engine| mib(engine.ask(("peak", 0, 0)).unwrap_or(f64::NAN))).collect();
    row(name, "peak after all, MiB", engines, &peaks);
}

/// Decoding beside a process that never rests.
fn busy(me: &Path, name: &str, engines: &mut [Engine], rounds: usize) {
    let figure = ("decode", 0, 16);
    let mut shares = Vec::new();
    for engine in engines.iter_mut() {
        if engine.name == "stock" {
            continue;
        }
        let mut free: Vec<f64> = (0..rounds).filter_map(|_| engine.ask(figure)).collect();
        let mut other = Command::new(me).args(["worker", "busy"]).spawn().unwrap();
        let mut shared: Vec<f64> = (0..rounds).filter_map(|_| engine.ask(figure)).collect();
        other.kill().unwrap();
        other.wait().unwrap();
        shares.push(100.0 * median(&mut free) / median(&mut shared));
    }
    row(name, "decode beside a busy process, % of undisturbed", engines, &shares);
}

fn row(name: &str, what: &str, engines: &[Engine], values: &[f64]) {
    let of = |name: &str| {
        engines.iter().zip(values).find(|(engine, _)| engine.name == name).map(|(_, value)| *value)
    };
    let text =
        |value: Option<f64>| value.filter(|v| v.is_finite()).map_or(String::new(), |v| format!("{v:.1}"));
    let ratio = of("ours").zip(of("llama")).map(|(ours, llama)| ours / llama);
    let ratio = ratio.filter(|r| r.is_finite()).map_or(String::new(), |r| format!("{r:.2}"));
    println!(
        "| {name} | {what} | {} | {} | {} | {ratio} |",
        text(of("ours")),
        text(of("llama")),
        text(of("stock"))
    );
    std::io::stdout().flush().unwrap();
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Bytes per second that all threads together read of memory that no cache holds.
fn memory_bandwidth() -> f64 {
    let threads = cairn_kernels::available_threads();
    let buffers: Vec<Vec<u64>> = (0..threads).map(|_| vec![1; READ_BYTES / 8]).collect();
    let pass = || {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for buffer in &buffers {
                scope.spawn(|| std::hint::black_box(buffer.iter().fold(0_u64, |a, b| a ^ b)));
            }
        });
        (threads * READ_BYTES) as f64 / started.elapsed().as_secs_f64()
    };
    let mut speeds: Vec<f64> = (0..3).map(|_| pass()).collect();
    median(&mut speeds)
}

fn tokens(vocabulary: usize) -> Vec<u32> {
    (0..CONTEXT).map(|index| ((256 + index * 7919) % (vocabulary / 2)) as u32).collect()
}

/// Answers commands until there are no more.
fn serve(load: f64, mut run: impl FnMut(&str, usize, usize) -> f64) {
    let peak = || bench::peak_memory().unwrap_or(0) as f64;
    println!("{load} {}", peak());
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let mut words = line.split_whitespace();
        let command = words.next().unwrap().to_owned();
        let mut number = || words.next().unwrap().parse::<usize>().unwrap();
        let (depth, count) = (number(), number());
        println!("{}", if command == "peak" { peak() } else { run(&command, depth, count) });
    }
}

fn ours(path: &Path) {
    let started = Instant::now();
    let mut probe = Probe::open(path, CONTEXT).unwrap();
    let load = started.elapsed().as_secs_f64();
    let tokens = tokens(probe.vocabulary());
    let mut session = probe.session().unwrap();
    serve(load, |command, depth, count| {
        if session.len() < depth {
            session.truncate(0);
            probe.read(&mut session, &tokens[..depth]).unwrap();
        }
        session.truncate(depth);
        let started = Instant::now();
        let step = if command == "prefill" { count } else { 1 };
        for tokens in tokens[depth..depth + count].chunks(step) {
            probe.read(&mut session, tokens).unwrap();
        }
        started.elapsed().as_secs_f64()
    });
}

fn stock(path: &Path) {
    let started = Instant::now();
    let mut model = Stock::open(path).unwrap();
    let load = started.elapsed().as_secs_f64();
    let vocabulary = Probe::vocabulary_of(path).unwrap();
    let tokens = tokens(vocabulary);
    serve(load, |command, depth, count| {
        model.restart();
        if depth > 0 {
            model.read(&tokens[..depth]).unwrap();
        }
        let started = Instant::now();
        let step = if command == "prefill" { count } else { 1 };
        for tokens in tokens[depth..depth + count].chunks(step) {
            model.read(tokens).unwrap();
        }
        started.elapsed().as_secs_f64()
    });
}
