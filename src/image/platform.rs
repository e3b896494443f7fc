//! Which machine an image is for.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, nearest};

/// `os/architecture[/variant]` with Go's names, as OCI spells it. `arm64/v8` is `arm64`: it is the only one there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

const ARCHITECTURES: [&str; 10] =
    ["amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64", "mips64le", "loong64", "wasm"];
const SYSTEMS: [&str; 4] = ["linux", "windows", "darwin", "freebsd"];

impl Platform {
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let variant = variant.filter(|variant| !matches!((architecture, *variant), (_, "") | ("arm64", "v8")));
        Platform { os: os.to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }

    /// What ECS runs a task on that does not say: `LINUX` on `X86_64`.
    pub fn linux_amd64() -> Self {
        Platform::new("linux", "amd64", None)
    }

    /// Linux on this machine's architecture: what a build on it makes, unless told otherwise.
    pub fn linux_here() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Platform::new("linux", architecture, None)
    }

    /// From a task definition's `runtimePlatform`; either member may be missing.
    pub fn from_ecs(operating_system_family: Option<&str>, cpu_architecture: Option<&str>) -> Self {
        let os = match operating_system_family {
            Some(family) if family.starts_with("WINDOWS") => "windows",
            _ => "linux",
        };
        let architecture = if cpu_architecture == Some("ARM64") { "arm64" } else { "amd64" };
        Platform::new(os, architecture, None)
    }

    /// Whether an image for `self` runs where `wanted` is asked for: a variant matters only when both name one.
    pub fn matches(&self, wanted: &Platform) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (self.variant.is_none() || wanted.variant.is_none() || self.variant == wanted.variant)
    }

    /// The platform that buildx gives to attestation manifests, which are no images.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::input(format!("`{text}` is not a platform"));
        let example = "a platform is `os/architecture`, such as `linux/amd64` or `linux/arm64`";
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            [word] => {
                let suggestion = gos_name(word).or_else(|| nearest(word, ARCHITECTURES));
                return Err(match suggestion {
                    Some(architecture) => wrong().hint(format!("did you mean `linux/{architecture}`?")),
                    None => wrong().hint(example),
                });
            }
            _ => return Err(wrong().hint(example)),
        };
        if !SYSTEMS.contains(&os) {
            return Err(match nearest(os, SYSTEMS) {
                Some(os) => wrong().hint(format!("did you mean `{os}/{architecture}`?")),
                None => wrong().hint(example),
            });
        }
        if !ARCHITECTURES.contains(&architecture) {
            return Err(match gos_name(architecture).or_else(|| nearest(architecture, ARCHITECTURES)) {
                Some(architecture) => wrong().hint(format!("did you mean `{os}/{architecture}`?")),
                None => wrong().hint(example),
            });
        }
        if variant.is_some_and(|variant| variant.is_empty() || !variant.bytes().all(|b| b.is_ascii_alphanumeric())) {
            return Err(wrong().hint(example));
        }
        Ok(Platform::new(os, architecture, variant))
    }
}

/// Go's name for an architecture that someone spelt as uname or ECS does.
fn gos_name(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "x86_64" | "x86-64" | "x64" => Some("amd64"),
        "aarch64" | "armv8" => Some("arm64"),
        "i386" | "i686" | "x86" => Some("386"),
        _ => None,
    }
}
