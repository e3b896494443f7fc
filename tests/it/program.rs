//! Programs that containers of the tests run, compiled once for a version of their source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ring::digest::{SHA256, digest};

/// The statically linked program of `tests/fixtures/<source>`.
pub fn compiled(source: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(source);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let name = source.file_stem().unwrap().to_str().unwrap();
    let version = hex::encode(&digest(&SHA256, &fs::read(&source).unwrap()).as_ref()[..8]);
    let program = folder.join(format!("program-{name}-{version}"));
    if !program.exists() {
        fs::create_dir_all(folder).unwrap();
        let new = tempfile::tempdir_in(folder).unwrap();
        let compiled = new.path().join(name);
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let status = Command::new(rustc)
            .args(["--edition=2024", "-Cpanic=abort", "-Copt-level=1", "-Cstrip=symbols"])
            .args(["-Ctarget-feature=+crt-static", "-o"])
            .args([&compiled, &source])
            .status()
            .unwrap();
        assert!(status.success(), "{} does not compile", source.display());
        fs::rename(compiled, &program).unwrap();
    }
    program
}
