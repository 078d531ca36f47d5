#![doc = include_str!("../README.md")]

use std::fmt;

/// A vector instruction set for which kernels are compiled. The order is from the least to the most capable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstructionSet {
    /// What the compiler targets: on aarch64 NEON.
    Scalar,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX-512 with its BF16 extension, which only kernels on bf16 use.
    Avx512Bf16,
}

impl InstructionSet {
    /// All of them, the least capable first.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Avx512Bf16];

    /// The best one of this processor, or the lower one that the environment variable `CLSA_KERNELS` asks for (`avx512`,
    /// without its BF16 extension, `avx2` or `scalar`).
    ///
    /// # Errors
    /// `CLSA_KERNELS` has another value, or names what this processor lacks.
    pub fn chosen() -> Result<Self, UnavailableInstructionSet> {
        let available = Self::available();
        match std::env::var_os("CLSA_KERNELS") {
            Some(value) if !value.is_empty() => Self::among(&available, &value.to_string_lossy()),
            _ => Ok(available.last().copied().unwrap_or(Self::Scalar)),
        }
    }

    /// The one of `available` that a value of `CLSA_KERNELS` names.
    fn among(available: &[Self], value: &str) -> Result<Self, UnavailableInstructionSet> {
        let named = match value {
            "avx512" => Some(Self::Avx512),
            "avx2" => Some(Self::Avx2),
            "scalar" => Some(Self::Scalar),
            _ => None,
        };
        let unavailable = || UnavailableInstructionSet { value: value.to_owned() };
        named.filter(|set| available.contains(set)).ok_or_else(unavailable)
    }

    /// Those of this processor, the least capable first.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|set| set.is_available()).collect()
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = || {
                avx2()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            };
            match self {
                Self::Scalar => true,
                Self::Avx2 => avx2(),
                Self::Avx512 => avx512(),
                Self::Avx512Bf16 => avx512() && is_x86_feature_detected!("avx512bf16"),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Scalar
        }
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512 with bf16",
        })
    }
}

/// `CLSA_KERNELS` names no instruction set of this processor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CLSA_KERNELS is `{value}`: use avx512, avx2 or scalar, as far as this processor has it, or leave it unset")]
#[non_exhaustive]
pub struct UnavailableInstructionSet {
    /// The value of the environment variable.
    pub value: String,
}

#[cfg(test)]
mod tests {
    use super::InstructionSet::{self, *};
    use std::process::Command;

    #[test]
    fn every_processor_has_the_scalar_set_and_the_sets_below_its_best() {
        let available = InstructionSet::available();
        assert_eq!(available, InstructionSet::ALL[..available.len()]);
        assert!(available.contains(&Scalar));
    }

    #[test]
    fn a_name_is_accepted_where_the_processor_has_the_set() {
        let all = InstructionSet::ALL;
        for (name, set) in [("avx512", Avx512), ("avx2", Avx2), ("scalar", Scalar)] {
            assert_eq!(InstructionSet::among(&all, name), Ok(set));
        }
        for (available, lacking) in [(&all[..1], "avx2"), (&all[..2], "avx512"), (&all[..], "sse9")] {
            let error = InstructionSet::among(available, lacking).unwrap_err();
            assert_eq!(error.value, lacking);
            assert!(error.to_string().contains("avx512, avx2 or scalar"), "{error}");
        }
    }

    /// In processes of its own: the environment of this one is that of other tests, too.
    #[test]
    fn clsa_kernels_chooses_a_set_and_the_best_one_where_it_is_empty() {
        let chosen = InstructionSet::chosen();
        match std::env::var("CLSA_KERNELS").as_deref() {
            Ok("scalar") => assert_eq!(chosen, Ok(Scalar)),
            Ok("") => assert_eq!(chosen.ok(), InstructionSet::available().last().copied()),
            Ok("neon") => assert_eq!(chosen.unwrap_err().value, "neon"),
            _ => {
                for value in ["scalar", "", "neon"] {
                    let own = "tests::clsa_kernels_chooses_a_set_and_the_best_one_where_it_is_empty";
                    let mut child = Command::new(std::env::current_exe().unwrap());
                    let output = child.args(["--exact", own]).env("CLSA_KERNELS", value).output().unwrap();
                    let text = String::from_utf8_lossy(&output.stdout).into_owned();
                    assert!(output.status.success() && text.contains("1 passed"), "{value}: {text}");
                }
            }
        }
    }
}
