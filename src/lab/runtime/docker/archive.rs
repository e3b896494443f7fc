//! Images as `docker load` takes them: one tar stream, made as it is sent.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};

use hyper::body::{Bytes, Frame};
use serde_json::json;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::lab::runtime::spec::{ImageSource, LayerBlob};

const CHUNK: usize = 128 << 10;
/// Chunks that wait to be sent.
const WAITING: usize = 8;

/// An image as a stream, named `name` in the engine.
pub fn stream(
    image: ImageSource,
    name: String,
) -> impl futures_util::Stream<Item = io::Result<Frame<Bytes>>> + Send + Sync {
    frames(move |out| write(&image, &name, out))
}

/// The image of the container that holds a task's network: one program that waits for ever.
pub fn pause_stream(
    architecture: String,
    name: String,
) -> impl futures_util::Stream<Item = io::Result<Frame<Bytes>>> + Send + Sync {
    frames(move |out| write_pause(&architecture, &name, out))
}

fn frames(
    make: impl FnOnce(&mut Chunks) -> io::Result<()> + Send + 'static,
) -> impl futures_util::Stream<Item = io::Result<Frame<Bytes>>> + Send + Sync {
    let (sender, receiver) = channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let mut chunks = Chunks { sender, pending: Vec::with_capacity(CHUNK) };
        let made = make(&mut chunks).and_then(|()| chunks.flush());
        if let Err(error) = made {
            let _ = chunks.sender.blocking_send(Err(error));
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver: Receiver<io::Result<Bytes>>| async move {
        Some((receiver.recv().await?.map(Frame::data), receiver))
    })
}

struct Chunks {
    sender: Sender<io::Result<Bytes>>,
    pending: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = Bytes::from(std::mem::take(&mut self.pending));
        self.sender.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

fn write(image: &ImageSource, name: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    let mut config = Vec::new();
    File::open(&image.config)?.read_to_end(&mut config)?;
    entry(&mut tar, "config.json", config.len() as u64, 0o644, config.as_slice())?;
    let path = |layer: &LayerBlob| format!("{}.tar", layer.digest.trim_start_matches("sha256:"));
    let mut written = HashSet::new();
    for layer in &image.layers {
        if written.insert(&layer.digest) {
            let (length, content) = opened(layer)?;
            entry(&mut tar, &path(layer), length, 0o644, content)?;
        }
    }
    let layers: Vec<String> = image.layers.iter().map(path).collect();
    finish(tar, name, &layers)
}

/// A layer as older engines know it, too: they do not inflate zstd.
fn opened(layer: &LayerBlob) -> io::Result<(u64, File)> {
    let file = File::open(&layer.path)?;
    if !layer.media_type.ends_with("+zstd") {
        return Ok((file.metadata()?.len(), file));
    }
    let mut plain = tempfile::tempfile()?;
    let length = io::copy(&mut zstd::Decoder::new(file)?, &mut plain)?;
    io::Seek::rewind(&mut plain)?;
    Ok((length, plain))
}

fn write_pause(architecture: &str, name: &str, out: &mut dyn Write) -> io::Result<()> {
    let program = pause_program(architecture)
        .ok_or_else(|| io::Error::other(format!("the lab has no pause program for {architecture}")))?;
    let mut layer = tar::Builder::new(Vec::new());
    entry(&mut layer, "pause", program.len() as u64, 0o755, program.as_slice())?;
    let layer = layer.into_inner()?;
    let sum = hex::encode(ring::digest::digest(&ring::digest::SHA256, &layer));
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Entrypoint": ["/pause"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{sum}")] },
    });
    let config = config.to_string();
    let mut tar = tar::Builder::new(out);
    entry(&mut tar, "config.json", config.len() as u64, 0o644, config.as_bytes())?;
    entry(&mut tar, "pause.tar", layer.len() as u64, 0o644, layer.as_slice())?;
    finish(tar, name, &["pause.tar".to_owned()])
}

fn finish(mut tar: tar::Builder<&mut dyn Write>, name: &str, layers: &[String]) -> io::Result<()> {
    let manifest = json!([{ "Config": "config.json", "RepoTags": [name], "Layers": layers }]).to_string();
    entry(&mut tar, "manifest.json", manifest.len() as u64, 0o644, manifest.as_bytes())?;
    tar.into_inner().map(drop)
}

fn entry(tar: &mut tar::Builder<impl Write>, path: &str, length: u64, mode: u32, content: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(length);
    header.set_mode(mode);
    tar.append_data(&mut header, path, content.take(length))
}

/// A static ELF program of a few instructions: `for (;;) pause();`.
fn pause_program(architecture: &str) -> Option<Vec<u8>> {
    let (machine, code): (u16, Vec<u8>) = match architecture {
        // mov eax, 34 (pause); syscall; jmp to the first
        "amd64" => (62, vec![0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7]),
        // mov x0 to x4, 0; mov x8, 73 (ppoll); svc 0; b to the first
        "arm64" => {
            let words: [u32; 8] = [
                0xd280_0000,
                0xd280_0001,
                0xd280_0002,
                0xd280_0003,
                0xd280_0004,
                0xd280_0928,
                0xd400_0001,
                0x17ff_fff9,
            ];
            (183, words.iter().flat_map(|word| word.to_le_bytes()).collect())
        }
        _ => return None,
    };
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let length = HEADERS + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    let half = |elf: &mut Vec<u8>, value: u16| elf.extend(value.to_le_bytes());
    half(&mut elf, 2);
    half(&mut elf, machine);
    elf.extend(1u32.to_le_bytes());
    for word in [BASE + HEADERS, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(0u32.to_le_bytes());
    for value in [64, 56, 1, 0, 0, 0] {
        half(&mut elf, value);
    }
    // one segment: everything, to be read and run
    elf.extend(1u32.to_le_bytes());
    elf.extend(5u32.to_le_bytes());
    for word in [0, BASE, BASE, length, length, 0x1000] {
        elf.extend(u64::to_le_bytes(word));
    }
    elf.extend(code);
    Some(elf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_each_layer_once_and_inflates_what_older_engines_cannot() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            std::fs::write(folder.path().join(name), content).unwrap();
            folder.path().join(name)
        };
        let layer = |digest: &str, kind: &str, content: &[u8]| LayerBlob {
            path: file(digest, content),
            media_type: format!("application/vnd.oci.image.layer.v1.tar{kind}"),
            digest: format!("sha256:{digest}"),
        };
        let gzip = layer("aa", "+gzip", b"as it is");
        let zstd = layer("bb", "+zstd", &zstd::encode_all(b"inflated".as_slice(), 3).unwrap());
        let image = ImageSource {
            digest: "sha256:cc".into(),
            config: file("config", b"{}"),
            layers: vec![gzip.clone(), zstd, gzip],
        };
        let mut archive = Vec::new();
        write(&image, "lab:cc", &mut archive).unwrap();
        let mut found = Vec::new();
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.push((entry.path().unwrap().display().to_string(), text));
        }
        let manifest = r#"[{"Config":"config.json","RepoTags":["lab:cc"],"Layers":["aa.tar","bb.tar","aa.tar"]}]"#;
        let expected =
            [("config.json", "{}"), ("aa.tar", "as it is"), ("bb.tar", "inflated"), ("manifest.json", manifest)];
        assert_eq!(found, expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
    }

    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    #[test]
    fn the_pause_program_runs_until_it_is_killed() {
        use std::os::unix::{fs::PermissionsExt, process::ExitStatusExt};
        let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let path = tempfile::tempdir().unwrap().keep().join("pause");
        std::fs::write(&path, pause_program(architecture).unwrap()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = loop {
            match std::process::Command::new(&path).spawn() {
                // another test forked while we wrote
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                spawned => break spawned.unwrap(),
            }
        };
        // it has run its first instructions when it sleeps in its system call
        let stat = format!("/proc/{}/stat", child.id());
        while !std::fs::read_to_string(&stat).unwrap().contains("(pause) S") {
            assert_eq!(child.try_wait().unwrap(), None, "it ended");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn there_are_pause_programs_for_both_architectures_and_no_other() {
        for (architecture, machine) in [("amd64", 62), ("arm64", 183)] {
            let program = pause_program(architecture).unwrap();
            assert_eq!((&program[..4], program[18]), (b"\x7fELF".as_slice(), machine));
        }
        assert_eq!(pause_program("s390x"), None);
    }
}
