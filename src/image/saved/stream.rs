//! What comes on stdin: an archive of an image, perhaps compressed.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};

use super::{CHUNK, Found, Sought, fill, read, resolve};
use crate::error::{Error, Result};
use crate::image::{Built, Open};

/// The image of an archive that comes once, such as on stdin; gzip and zstd are taken off. Blocks.
///
/// # Errors
/// `Input` when nothing comes, or no image; `BuildOrPush` when it is damaged or cut short.
pub fn from_stdin(stdin: impl Read, open: &Open) -> Result<Built> {
    let name = "stdin";
    let mut stdin = BufReader::with_capacity(CHUNK, stdin);
    let mut head = [0; 6];
    let began = fill(&mut stdin, &mut head).map_err(|error| broken(name, error))?;
    let stream = io::Cursor::new(head[..began].to_vec()).chain(stdin);
    let stream: Box<dyn BufRead> = match &head[..began] {
        [] => {
            return Err(Error::input(format!("nothing came on {name}"))
                .hint("did `docker save` fail? `set -o pipefail` would say so; an archive of an image has to come"));
        }
        [0x1f, 0x8b, ..] => Box::new(BufReader::with_capacity(CHUNK, flate2::bufread::MultiGzDecoder::new(stream))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let raw = zstd::stream::read::Decoder::with_buffer(stream).map_err(|error| broken(name, error))?;
            Box::new(BufReader::with_capacity(CHUNK, raw))
        }
        b"\xfd7zXZ\0" | [b'B', b'Z', b'h', ..] => {
            return Err(Error::input(format!("what comes on {name} is compressed with xz or bzip2"))
                .hint("gzip and zstd are understood; take others off in the pipe, with `unxz` or `bunzip2`"));
        }
        _ => Box::new(stream),
    };
    match read(stream, name, &Sought::default(), &open.cache, open.compression, &mut |_| {})? {
        Found::All(saved) => saved.image(open.platform.as_ref(), &HashMap::new()),
        Found::Enough(_) => Err(resolve::no_image(name)),
    }
}

fn broken(name: &str, error: io::Error) -> Error {
    Error::build_or_push(format!("cannot read {name}")).cause(error)
}
