//! Kernel paths: which exist, which this processor can run, which one is used.

use std::fmt;

use crate::KernelError;

/// Environment variable that selects a kernel path by name, for tests and benchmarks.
pub const PATH_VARIABLE: &str = "CAIRN_KERNEL_PATH";

/// A set of kernels for one set of instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, on every processor.
    Portable,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX2, FMA, F16C and AVX-VNNI.
    AvxVnni,
    /// x86-64 with AVX-512 F, BW, VL and VNNI.
    Avx512,
    /// aarch64 baseline: Cortex-A53 (Pi 3, Zero 2 W), Cortex-A72 (Pi 4).
    Neon,
    /// aarch64 with the dot product instructions: Cortex-A76 (Pi 5).
    NeonDot,
    /// aarch64 with the dot product and the 8-bit matrix instructions.
    NeonMatrix,
}

impl Isa {
    /// Every path, from the slowest to the fastest of each architecture.
    pub const ALL: [Isa; 7] =
        [Isa::Portable, Isa::Avx2, Isa::AvxVnni, Isa::Avx512, Isa::Neon, Isa::NeonDot, Isa::NeonMatrix];

    /// The name that [`PATH_VARIABLE`] and [`Isa::parse`] take.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
            Self::NeonDot => "dotprod",
            Self::NeonMatrix => "i8mm",
        }
    }

    /// Whether this processor, as the operating system presents it, can run the path.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => has_avx2(),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => has_avx2() && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                has_avx2()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => Self::Neon.is_available() && std::arch::is_aarch64_feature_detected!("dotprod"),
            #[cfg(target_arch = "aarch64")]
            Self::NeonMatrix => {
                Self::NeonDot.is_available() && std::arch::is_aarch64_feature_detected!("i8mm")
            }
            #[allow(unreachable_patterns, reason = "which paths are left depends on the architecture")]
            _ => false,
        }
    }

    /// The paths that this processor can run, slowest first.
    pub fn available() -> Vec<Isa> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The fastest path that this processor can run.
    pub fn best() -> Isa {
        Self::available().last().copied().unwrap_or(Isa::Portable)
    }

    /// The path of this name.
    ///
    /// # Errors
    /// [`KernelError::UnknownPath`] when there is none or this processor cannot run it.
    pub fn parse(name: &str) -> Result<Isa, KernelError> {
        Self::available().into_iter().find(|isa| isa.name() == name).ok_or_else(|| KernelError::UnknownPath {
            path: name.to_owned(),
            available: Self::available().iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The path that [`PATH_VARIABLE`] names, or the best one when it is not set.
    ///
    /// # Errors
    /// [`KernelError::UnknownPath`] when it names one that cannot be had.
    pub fn from_environment() -> Result<Isa, KernelError> {
        match std::env::var(PATH_VARIABLE) {
            Ok(name) if !name.is_empty() => Self::parse(&name),
            _ => Ok(Self::best()),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        for isa in Isa::available() {
            assert_eq!(Isa::parse(isa.name()), Ok(isa));
        }
        assert!(matches!(Isa::parse("sse9"), Err(KernelError::UnknownPath { .. })));
    }

    /// A run under an emulated processor says which paths it must find (`CAIRN_EXPECT_PATHS=portable,neon` for a Cortex-A53),
    /// so that a test on the wrong path cannot pass unnoticed.
    #[test]
    fn the_paths_are_those_that_the_environment_expects() {
        if let Ok(expected) = std::env::var("CAIRN_EXPECT_PATHS") {
            let found: Vec<_> = Isa::available().iter().map(|isa| isa.name()).collect();
            assert_eq!(found.join(","), expected);
        }
    }

    #[test]
    fn a_path_of_another_architecture_is_refused() {
        let foreign = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
        assert!(Isa::parse(foreign).is_err());
    }
}
