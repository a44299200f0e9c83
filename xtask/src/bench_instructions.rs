//! `cargo xtask bench instructions`: what a token costs on the boards' processors, counted under emulation, beside llama.cpp.
//!
//! `tests/instructions/README.md` says what such a count tells, and what it does not.

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    bench, cross,
    setup::{packages, python},
    step,
    workspace::{cache, root, target},
};

/// What every aarch64 processor has.
const BASELINE: &str = "armv8-a";
/// Processors, what a compiler may use on them, and the boards that have them.
const PROCESSORS: [(&str, &str, &str); 2] = [
    ("cortex-a72", BASELINE, "Pi 4; Pi 3 and Zero 2 W take the same way"),
    ("cortex-a76", "armv8.2-a+dotprod+fp16", "Pi 5"),
];
/// Shapes and quantizations.
const FILES: [(&str, &str); 3] =
    [("SmolLM2-360M", "Q8_0"), ("SmolLM2-360M", "Q4_0"), ("Qwen2.5-0.5B", "Q4_K")];
/// What is counted, in this order: the second one starts where the first one ended. Few tokens: they are
/// emulated, and a token is hundreds of millions of instructions. A prompt of 32 fills every panel.
const FIGURES: [(&str, usize, usize); 2] = [("prefill", 0, 32), ("decode", 32, 2)];
/// Versions of QEMU's plugin interface that may be asked for, oldest first.
const INTERFACES: std::ops::RangeInclusive<u32> = 1..=6;

/// Builds both engines for the boards, and counts. Gives a table.
pub(crate) fn run() -> Result<String> {
    for needed in [packages::RUN, packages::CROSS, packages::CROSS_TEST] {
        packages::install(needed)?;
    }
    let folder = target().join("instructions");
    fs::create_dir_all(&folder)?;
    let plugin = plugin(&folder)?;
    let ours = cross::example("cairn-inference", "compare-engines")?;
    let sources = python::engine_sources(&cache())?;
    let models = models()?;
    let mut table = String::from(
        "Millions of instructions a token, one thread; `prefill 32` is a token of a prompt of 32, `decode at 32` one written after it.\n\n\
         | processor | file | figure | ours | llama.cpp | ours ÷ llama.cpp |\n|---|---|---|---|---|---|\n",
    );
    for (processor, architecture, boards) in PROCESSORS {
        let llama = llama(&folder, &sources, architecture)?;
        for (name, model) in &models {
            step::say(&format!("Counting {name} in a {processor}"));
            let counted = |worker: &Path, arguments: &[&str]| {
                count(&folder, &plugin, processor, Command::new(worker).args(arguments).arg(model))
            };
            let ours = counted(&ours, &["worker", "ours"])?;
            let theirs = counted(&llama, &[])?;
            for ((command, depth, tokens), (ours, theirs)) in FIGURES.into_iter().zip(ours.iter().zip(theirs))
            {
                let what = if command == "prefill" {
                    format!("prefill {tokens}")
                } else {
                    format!("decode at {depth}")
                };
                let row = format!(
                    "| {processor} ({boards}) | {name} | {what} | {ours:.1} | {theirs:.1} | {:.2} |\n",
                    ours / theirs
                );
                print!("{row}");
                table += &row;
            }
        }
    }
    Ok(table)
}

/// The models that `bench inference` measures too, written where they are missing.
fn models() -> Result<Vec<(String, PathBuf)>> {
    let folder = cache().join("bench");
    fs::create_dir_all(&folder)?;
    let mut models = Vec::new();
    for (shape, quantization) in FILES {
        let path = folder.join(format!("{shape}-{quantization}.gguf"));
        if !path.exists() {
            let mut make = bench::built_example("cairn-inference", "make-gguf")?;
            step::quiet(&format!("Writing {}", path.display()), make.args([shape, quantization]).arg(&path))?;
        }
        models.push((format!("{shape} {quantization}"), path));
    }
    Ok(models)
}

/// The plugin, for the interface that this QEMU speaks.
fn plugin(folder: &Path) -> Result<PathBuf> {
    let plugin = folder.join("count.so");
    for interface in INTERFACES {
        let mut build = Command::new("cc");
        build.args(["-O2", "-Wall", "-shared", "-fPIC", "-o"]).arg(&plugin);
        build.arg(format!("-DINTERFACE={interface}")).arg(root().join("tests/instructions/count.c"));
        step::quiet("Compiling what counts", &mut build)?;
        // It refuses the plugin before it looks at the program.
        let tried = Command::new("qemu-aarch64").args(plugin_arguments(&plugin, folder)).arg("/").output()?;
        if !String::from_utf8_lossy(&tried.stderr).contains("plugin") {
            return Ok(plugin);
        }
    }
    bail!("this qemu-aarch64 takes no plugin, or one of an interface that count.c does not know");
}

fn plugin_arguments(plugin: &Path, folder: &Path) -> [String; 2] {
    ["-plugin".to_owned(), format!("{},sums={}", plugin.display(), sums(folder).display())]
}

/// Where the plugin writes.
fn sums(folder: &Path) -> PathBuf {
    folder.join("sums")
}

/// llama.cpp's worker for an architecture. Only what computes is built for it; the rest is the baseline's.
fn llama(folder: &Path, sources: &Path, architecture: &str) -> Result<PathBuf> {
    let build = |architecture: &str| folder.join(format!("llama-{architecture}"));
    let (own, common) = (build(architecture), build(BASELINE));
    let worker = own.join("worker");
    compile(sources, &common, BASELINE, "llama")?;
    compile(sources, &own, architecture, "ggml-cpu")?;
    let object = own.join("worker.o");
    let mut compile = Command::new("aarch64-linux-gnu-gcc");
    compile.args(["-O2", "-Wall", "-c", "-o"]).arg(&object);
    compile.arg("-I").arg(sources.join("include")).arg("-I").arg(sources.join("ggml/include"));
    compile.arg(root().join("tests/instructions/llama_worker.c"));
    step::quiet("Compiling its worker", &mut compile)?;
    let mut link = Command::new("aarch64-linux-gnu-g++");
    link.arg("-o").arg(&worker).arg(&object).arg(common.join("src/libllama.a"));
    link.arg(common.join("ggml/src/libggml.a")).arg(own.join("ggml/src/libggml-cpu.a"));
    link.arg(common.join("ggml/src/libggml-base.a")).args(["-lpthread", "-ldl", "-lm"]);
    step::quiet("Linking it", &mut link)?;
    Ok(worker)
}

/// Compiles a part of llama.cpp for an architecture.
fn compile(sources: &Path, build: &Path, architecture: &str, part: &str) -> Result<()> {
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(sources).arg("-B").arg(build).args([
        "-DCMAKE_BUILD_TYPE=Release",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        "-DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc",
        "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++",
        "-DBUILD_SHARED_LIBS=OFF",
        "-DGGML_NATIVE=OFF",
        "-DGGML_OPENMP=OFF",
        "-DLLAMA_BUILD_COMMON=OFF",
        "-DLLAMA_BUILD_EXAMPLES=OFF",
        "-DLLAMA_BUILD_TESTS=OFF",
        "-DLLAMA_BUILD_TOOLS=OFF",
        "-DLLAMA_CURL=OFF",
    ]);
    configure.arg(format!("-DGGML_CPU_ARM_ARCH={architecture}"));
    step::quiet(&format!("Configuring llama.cpp for {architecture}"), &mut configure)?;
    let mut compile = Command::new("cmake");
    compile.arg("--build").arg(build).args(["--parallel", "2", "--target", part]);
    step::quiet(&format!("Compiling {part} of llama.cpp for {architecture} (minutes)"), &mut compile)
}

/// Millions of instructions a token, for each of the figures.
fn count(folder: &Path, plugin: &Path, processor: &str, worker: &mut Command) -> Result<Vec<f64>> {
    // One thread: an engine starts as many as it may use processors.
    let mut emulated = Command::new("taskset");
    emulated.args(["--cpu-list", "0", "qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", "-cpu", processor]);
    emulated.args(plugin_arguments(plugin, folder)).arg(worker.get_program()).args(worker.get_args());
    let mut worker = Worker::start(&mut emulated)?;
    let mut before = worker.answer(folder)?;
    let mut figures = Vec::new();
    for (command, depth, tokens) in FIGURES {
        writeln!(worker.input, "{command} {depth} {tokens}")?;
        let after = worker.answer(folder)?;
        figures.push((after - before) as f64 / tokens as f64 / 1e6);
        before = after;
    }
    Ok(figures)
}

struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    fn start(command: &mut Command) -> Result<Self> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.context("taskset cannot be started")?;
        let input = child.stdin.take().context("the worker has no input")?;
        let output = BufReader::new(child.stdout.take().context("the worker has no output")?);
        Ok(Self { child, input, output })
    }

    /// Waits for a line, and gives the instructions executed until then.
    fn answer(&mut self, folder: &Path) -> Result<u64> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("the worker ended: {}", self.child.wait()?);
        }
        let sums = fs::read_to_string(sums(folder))?;
        Ok(sums.lines().last().context("nothing was counted")?.parse()?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It waits for commands that do not come any more.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
