//! Element-by-element work between the products: norms, gates, rotary positions, softmax.
//!
//! The bodies are plain Rust without branches, always inlined into functions compiled for each path, so that the compiler
//! turns them into the path's vector instructions.
#![allow(clippy::indexing_slicing, reason = "indices are below constant array lengths")]

use crate::simd::Simd;

/// Independent partial sums and maxima, so that reductions vectorise.
const LANES: usize = 16;
/// Below this, `e^x` is taken as zero; it is where single precision leaves the normal range.
const EXP_LOWEST: f32 = -87.0;
const EXP_HIGHEST: f32 = 88.0;

/// `x, weight, bias, epsilon, out`
type LayerNorm = unsafe fn(&[f32], &[f32], &[f32], f32, &mut [f32]);

/// The elementwise kernels of one path.
///
/// # Safety
/// The processor has the path's instructions; slices of one call have equal lengths unless said otherwise.
pub(crate) struct Elementwise {
    /// `x, weight, epsilon, out`
    pub(crate) rms_norm: unsafe fn(&[f32], &[f32], f32, &mut [f32]),
    /// `x, weight, bias, epsilon, out`
    pub(crate) layer_norm: LayerNorm,
    /// `gate ← silu(gate) × up`
    pub(crate) silu_mul: unsafe fn(&mut [f32], &[f32]),
    /// `gate ← gelu(gate) × up`, tanh approximation
    pub(crate) gelu_tanh_mul: unsafe fn(&mut [f32], &[f32]),
    /// GELU by the error function, in place
    pub(crate) gelu: unsafe fn(&mut [f32]),
    /// Softmax in place
    pub(crate) softmax: unsafe fn(&mut [f32]),
    /// `x ← cap × tanh(x / cap)`
    pub(crate) soft_cap: unsafe fn(&mut [f32], f32),
    /// Largest value; −∞ for none
    pub(crate) max: unsafe fn(&[f32]) -> f32,
    /// `x ← e^(x − shift)`, returns the sum
    pub(crate) exp_sum: unsafe fn(&mut [f32], f32) -> f32,
    /// `x ← x × factor`
    pub(crate) scale: unsafe fn(&mut [f32], f32),
    /// Rotates the pairs (i, i + half): `x` of 2 × half, `cos`, `sin` of half
    pub(crate) rope_halves: unsafe fn(&mut [f32], &[f32], &[f32]),
    /// Rotates the pairs (2i, 2i + 1)
    pub(crate) rope_pairs: unsafe fn(&mut [f32], &[f32], &[f32]),
    /// f32 to f16, `count` a multiple of 16
    pub(crate) to_halves: unsafe fn(*const f32, *mut u8, usize),
}

/// Makes the functions of [`Elementwise`] for the target features given (none: the target's own).
macro_rules! elementwise_functions {
    ($($features:literal)?) => {
        $crate::elementwise::elementwise_functions!(@ [$($features)?]
            rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]);
            layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]);
            silu_mul(gate: &mut [f32], up: &[f32]);
            gelu_tanh_mul(gate: &mut [f32], up: &[f32]);
            gelu(x: &mut [f32]);
            softmax(x: &mut [f32]);
            soft_cap(x: &mut [f32], cap: f32);
            max(x: &[f32]) -> f32;
            exp_sum(x: &mut [f32], shift: f32) -> f32;
            scale(x: &mut [f32], factor: f32);
            rope_halves(x: &mut [f32], cos: &[f32], sin: &[f32]);
            rope_pairs(x: &mut [f32], cos: &[f32], sin: &[f32]);
        );

        $(#[target_feature(enable = $features)])?
        unsafe fn to_halves(from: *const f32, to: *mut u8, count: usize) {
            // SAFETY: the contract is the one of `to_halves`; the features of this function are the path's.
            unsafe { ew::to_halves::<Path>(from, to, count) }
        }

        const ELEMENTWISE: Elementwise = Elementwise {
            rms_norm, layer_norm, silu_mul, gelu_tanh_mul, gelu, softmax, soft_cap, max, exp_sum, scale, rope_halves,
            rope_pairs, to_halves,
        };
    };
    (@ $features:tt $($name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        $($crate::elementwise::elementwise_functions!(% $features $name($($arg: $type),*) $(-> $result)?);)*
    };
    (% [$($features:literal)?] $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?) => {
        $(#[target_feature(enable = $features)])?
        unsafe fn $name($($arg: $type),*) $(-> $result)? {
            ew::$name($($arg),*)
        }
    };
}
pub(crate) use elementwise_functions;

/// `e^x` to about 2 units in the last place; 0 below [`EXP_LOWEST`].
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUNDER: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let bounded = if x < EXP_HIGHEST { x } else { EXP_HIGHEST };
    let bounded = if bounded > EXP_LOWEST { bounded } else { EXP_LOWEST };
    let rounded = bounded * std::f32::consts::LOG2_E + ROUNDER;
    let whole = rounded - ROUNDER;
    let r = bounded - whole * LN2_HIGH - whole * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    let power = f32::from_bits(((rounded.to_bits() as i32 - ROUNDER.to_bits() as i32 + 127) << 23) as u32);
    let result = p * power;
    let result = if x > EXP_LOWEST { result } else { 0.0 };
    if x.is_nan() { x } else { result }
}

#[inline(always)]
fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// The error function, within 2e-7 (Abramowitz and Stegun, 7.1.26).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let size = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let p = t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
    (1.0 - p * exp(-size * size)).copysign(x)
}

/// Sum of `f(x)` over a slice, in [`LANES`] partial sums.
#[inline(always)]
fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut partial = [0.0f32; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for lanes in whole {
        for l in 0..LANES {
            partial[l] += f(lanes[l]);
        }
    }
    partial.iter().sum::<f32>() + rest.iter().map(|x| f(*x)).sum::<f32>()
}

#[inline(always)]
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let mean = sum(x, |x| x * x) / x.len() as f32;
    let factor = 1.0 / (mean + epsilon).sqrt();
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * factor * weight;
    }
}

#[inline(always)]
pub(crate) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]) {
    let mean = sum(x, |x| x) / x.len() as f32;
    let variance = sum(x, |x| (x - mean) * (x - mean)) / x.len() as f32;
    let factor = 1.0 / (variance + epsilon).sqrt();
    for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        *out = (x - mean) * factor * weight + bias;
    }
}

#[inline(always)]
pub(crate) fn silu_mul(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
}

#[inline(always)]
pub(crate) fn gelu_tanh_mul(gate: &mut [f32], up: &[f32]) {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    for (gate, up) in gate.iter_mut().zip(up) {
        let x = *gate;
        let inner = SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x);
        *gate = 0.5 * x * (1.0 + tanh(inner)) * up;
    }
}

#[inline(always)]
pub(crate) fn gelu(x: &mut [f32]) {
    for x in x {
        *x = 0.5 * *x * (1.0 + erf(*x * std::f32::consts::FRAC_1_SQRT_2));
    }
}

#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut partial = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for lanes in whole {
        for l in 0..LANES {
            partial[l] = if lanes[l] > partial[l] { lanes[l] } else { partial[l] };
        }
    }
    partial.iter().chain(rest).fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a })
}

#[inline(always)]
pub(crate) fn exp_sum(x: &mut [f32], shift: f32) -> f32 {
    for x in x.iter_mut() {
        *x = exp(*x - shift);
    }
    sum(x, |x| x)
}

#[inline(always)]
pub(crate) fn softmax(x: &mut [f32]) {
    let total = exp_sum(x, max(x));
    scale(x, 1.0 / total);
}

#[inline(always)]
pub(crate) fn soft_cap(x: &mut [f32], cap: f32) {
    for x in x {
        *x = cap * tanh(*x / cap);
    }
}

#[inline(always)]
pub(crate) fn scale(x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
    }
}

#[inline(always)]
pub(crate) fn rope_halves(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (first, second) = x.split_at_mut(cos.len());
    for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
    }
}

#[inline(always)]
pub(crate) fn rope_pairs(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    for (([a, b], cos), sin) in x.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
    }
}

/// Writes `count` f16 from as many f32.
///
/// # Safety
/// Both pointers are valid for `count` elements, a multiple of 16; the processor has the path's instructions.
#[inline(always)]
pub(crate) unsafe fn to_halves<S: Simd>(from: *const f32, to: *mut u8, count: usize) {
    let mut i = 0;
    while i < count {
        // SAFETY: `i + LANES` is at most `count`, which is a multiple of `LANES`.
        unsafe { S::store_halves(to.add(2 * i), S::load_floats(from.add(i))) };
        i += S::LANES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_is_close_over_its_range() {
        for i in -86_999..88_000 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 3e-7, "e^{x}: relative error {error}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert!(exp(f32::INFINITY) > 1e38);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn error_function_is_close() {
        // Values from the table in Abramowitz and Stegun, 7.1.
        for (x, y) in
            [(0.0, 0.0), (0.5, 0.520_499_9), (1.0, 0.842_700_8), (2.0, 0.995_322_3), (-1.0, -0.842_700_8)]
        {
            assert!((erf(x) - y).abs() < 5e-7, "erf({x}) = {}", erf(x));
        }
    }

    #[test]
    fn hyperbolic_tangent_is_close() {
        for i in -2000..2000 {
            let x = i as f32 / 100.0;
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 3e-7, "tanh({x})");
        }
    }
}
