//! Speed of the matrix kernels at the shapes of real models, beside what the memory can deliver in the same run.
//!
//! `cargo run --release -p cairn-kernels --example kernel_bench -- [--threads N] [--path NAME] [--format NAME] [--rounds N]`
//!
//! - *decode*: products with one activation row over a set of matrices larger than the caches; GB/s of weights, and that
//!   as a share of a plain read of as much memory by the same threads, measured before and after;
//! - *prefill*: products with 128 activation rows; 10^9 multiplications and additions per second;
//! - *pack*: raw bytes per second that are brought into the packed layout (GB/s), which loading waits for.
//!
//! Figures are medians; on a machine that others use too, expect them to move. With one thread, time is what the scheduler
//! says the thread ran, so that the figures then hold on a busy machine too (its memory is still shared).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench may stop with a message"
)]

use std::time::{Duration, Instant};

use cairn_kernels::synthetic::{Random, raw_tensor};
use cairn_kernels::{
    Activations, Compute, Format, Isa, PackedMatrix, Pool, PoolOptions, Product, RawTensor, Write,
    available_threads,
};

/// One layer: (rows, columns) of its matrices, and the formats that files of this model use.
struct Shape {
    model: &'static str,
    matrices: &'static [(usize, usize)],
    formats: &'static [Format],
}

const SHAPES: [Shape; 3] = [
    Shape {
        model: "SmolLM2-360M",
        matrices: &[(960, 960), (320, 960), (320, 960), (960, 960), (2560, 960), (2560, 960), (960, 2560)],
        formats: &[Format::Q8_0, Format::Q4_0],
    },
    Shape {
        model: "Qwen2.5-0.5B",
        matrices: &[(896, 896), (128, 896), (128, 896), (896, 896), (4864, 896), (4864, 896), (896, 4864)],
        formats: &[Format::Q8_0, Format::Q5_0],
    },
    Shape {
        model: "Llama-3.2-1B",
        matrices: &[
            (2048, 2048),
            (512, 2048),
            (512, 2048),
            (2048, 2048),
            (8192, 2048),
            (8192, 2048),
            (2048, 8192),
        ],
        formats: &[Format::Q4K, Format::Q5K, Format::Q6K],
    },
];

/// Weights that a decode pass reads; above what the caches of most machines hold.
const DECODE_BYTES: usize = 384 << 20;
const PREFILL_ROWS: usize = 128;

struct Args {
    threads: usize,
    path: Option<Isa>,
    format: Option<String>,
    rounds: usize,
}

fn args() -> Args {
    let mut args = Args { threads: available_threads(), path: None, format: None, rounds: 9 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic_with(&format!("{word} wants a value")));
        match word.as_str() {
            "--threads" => args.threads = value().parse().expect("--threads wants a number"),
            "--path" => args.path = Some(Isa::parse(&value()).unwrap_or_else(|e| panic_with(&e.to_string()))),
            "--format" => args.format = Some(value()),
            "--rounds" => args.rounds = value().parse().expect("--rounds wants a number"),
            other => panic_with(&format!("unknown argument {other}")),
        }
    }
    args
}

fn panic_with(message: &str) -> ! {
    eprintln!("kernel_bench: {message}");
    std::process::exit(2);
}

/// Nanoseconds that this thread has run, where the system says so.
fn ran() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// The median time of `rounds` runs of a pool, after one to warm up.
fn median(pool: &Pool, rounds: usize, mut run: impl FnMut()) -> Duration {
    run();
    let mut times: Vec<Duration> = (0..rounds.max(1))
        .map(|_| {
            let (start, start_ran) = (Instant::now(), ran());
            run();
            match (start_ran, ran()) {
                (Some(from), Some(to)) if pool.threads() == 1 => Duration::from_nanos(to - from),
                _ => start.elapsed(),
            }
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// Gigabytes per second that the threads of a pool read of the very bytes that the kernels stream.
fn read_bandwidth(pool: &Pool, layers: &[Vec<PackedMatrix>], rounds: usize) -> f64 {
    const CHUNK: usize = 1 << 18;
    let chunks: Vec<&[u8]> =
        layers.iter().flatten().flat_map(|matrix| matrix.bytes().chunks(CHUNK)).collect();
    let time = median(pool, rounds, || {
        pool.run(chunks.len(), |i| {
            let mut sums = [0u64; 32];
            for part in chunks[i].as_chunks::<256>().0 {
                for (sum, value) in sums.iter_mut().zip(part.as_chunks::<8>().0) {
                    *sum ^= u64::from_le_bytes(*value);
                }
            }
            std::hint::black_box(sums);
        });
    });
    chunks.iter().map(|chunk| chunk.len()).sum::<usize>() as f64 / time.as_secs_f64() / 1e9
}

fn main() {
    let args = args();
    let options = PoolOptions { threads: args.threads, pinned: false };
    let pool = Pool::new(options).expect("threads");
    println!("{} threads; medians of {} runs", args.threads, args.rounds);
    let paths = args.path.map_or_else(|| Isa::available().into_iter().rev().collect(), |path| vec![path]);
    println!(
        "{:<14} {:<5} {:<9} {:>12} {:>11} {:>7} {:>14} {:>10}",
        "model", "fmt", "path", "decode GB/s", "memory GB/s", "share", "prefill GOPS", "pack GB/s"
    );
    for shape in &SHAPES {
        for format in shape.formats {
            if args.format.as_ref().is_some_and(|wanted| *wanted != format.to_string()) {
                continue;
            }
            let layers = layers(&pool, shape, *format);
            for isa in &paths {
                let compute = Compute::with_isa(options, *isa).expect("path");
                // Plain Rust is there to be right, not to be fast.
                let rounds = if *isa == Isa::Portable { 1 } else { args.rounds };
                let before = read_bandwidth(&pool, &layers, args.rounds);
                let decode = decode(&compute, &layers, rounds);
                let after = read_bandwidth(&pool, &layers, args.rounds);
                let prefill = prefill(&compute, &layers[0], rounds);
                let memory = f64::max(before, after);
                let packing = packing(&pool, shape, *format, rounds);
                println!(
                    "{:<14} {format:<5} {isa:<9} {decode:>12.1} {memory:>11.1} {:>6.0}% {prefill:>14.0} {packing:>10.2}",
                    shape.model,
                    100.0 * decode / memory
                );
            }
        }
    }
}

/// As many layers as it takes to fill [`DECODE_BYTES`].
fn layers(pool: &Pool, shape: &Shape, format: Format) -> Vec<Vec<PackedMatrix>> {
    let raws = raws(shape, format);
    let bytes: usize = raws.iter().map(Vec::len).sum();
    (0..DECODE_BYTES.div_ceil(bytes))
        .map(|_| {
            let matrices = shape.matrices.iter().zip(&raws);
            matrices
                .map(|((rows, cols), raw)| {
                    let raw = RawTensor::new(format, *rows, *cols, raw).expect("a whole tensor");
                    PackedMatrix::pack(pool, &raw).expect("memory")
                })
                .collect()
        })
        .collect()
}

fn raws(shape: &Shape, format: Format) -> Vec<Vec<u8>> {
    let raw = |(rows, cols): &(usize, usize)| {
        raw_tensor(format, *rows, *cols, 0.02, &mut Random::new(*rows as u64))
    };
    shape.matrices.iter().map(raw).collect()
}

fn packing(pool: &Pool, shape: &Shape, format: Format, rounds: usize) -> f64 {
    let raws = raws(shape, format);
    let time = median(pool, rounds, || {
        for ((rows, cols), raw) in shape.matrices.iter().zip(&raws) {
            let raw = RawTensor::new(format, *rows, *cols, raw).expect("a whole tensor");
            std::hint::black_box(PackedMatrix::pack(pool, &raw).expect("memory"));
        }
    });
    raws.iter().map(Vec::len).sum::<usize>() as f64 / time.as_secs_f64() / 1e9
}

/// Quantized random activations for each matrix.
fn inputs(compute: &Compute, matrices: &[PackedMatrix], rows: usize) -> Vec<Activations> {
    let activations = |matrix: &PackedMatrix| {
        let x = Random::new(1).units(rows * matrix.cols());
        let mut activations = Activations::new();
        compute.quantize(&x, rows, matrix.cols(), &mut activations).expect("whole runs");
        activations
    };
    matrices.iter().map(activations).collect()
}

fn multiply(compute: &Compute, inputs: &[Activations], matrices: &[PackedMatrix], outs: &mut [Vec<f32>]) {
    for ((input, matrix), out) in inputs.iter().zip(matrices).zip(outs) {
        let product = Product { matrix, bias: None, write: Write::Store, out };
        compute.multiply(input, &mut [product]).expect("fitting shapes");
    }
}

fn outputs(matrices: &[PackedMatrix], rows: usize) -> Vec<Vec<f32>> {
    matrices.iter().map(|matrix| vec![0.0; rows * matrix.rows()]).collect()
}

fn decode(compute: &Compute, layers: &[Vec<PackedMatrix>], rounds: usize) -> f64 {
    let inputs = inputs(compute, &layers[0], 1);
    let mut outs = outputs(&layers[0], 1);
    let bytes: usize = layers.iter().flatten().map(|matrix| matrix.bytes().len()).sum();
    let time = median(compute.pool(), rounds, || {
        for layer in layers {
            multiply(compute, &inputs, layer, &mut outs);
        }
    });
    bytes as f64 / time.as_secs_f64() / 1e9
}

fn prefill(compute: &Compute, layer: &[PackedMatrix], rounds: usize) -> f64 {
    let inputs = inputs(compute, layer, PREFILL_ROWS);
    let mut outs = outputs(layer, PREFILL_ROWS);
    let values: usize = layer.iter().map(|matrix| matrix.rows() * matrix.cols()).sum();
    let time = median(compute.pool(), rounds, || multiply(compute, &inputs, layer, &mut outs));
    2.0 * (values * PREFILL_ROWS) as f64 / time.as_secs_f64() / 1e9
}
