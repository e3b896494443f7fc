//! `facts/scenario.md` as a person walks it: the real binary, the real examples, a lab of its own each time, and what came
//! of it asked of the lab's API.

mod attach;
mod mistakes;
mod platforms;
pub mod recorder;
mod samples;
mod surroundings;
mod templates;
mod walk;

use std::os::unix::fs::PermissionsExt;

use crate::lab_runtime::image::tool_path;
use crate::ports::free_port;
use crate::rehearsal::Rehearsal;

/// A lab, and `examples/ecs-demo` in the folder `ecs-demo`: what cargo would build is the test program, and the listener
/// has a port that any user may bind.
fn ecs_demo() -> (Rehearsal, u16) {
    let rehearsal = Rehearsal::start();
    let port = demo_project(&rehearsal);
    (rehearsal, port)
}

fn demo_project(rehearsal: &Rehearsal) -> u16 {
    rehearsal.copy("examples/ecs-demo", "ecs-demo");
    program(rehearsal, "ecs-demo/program");
    let port = free_port();
    let run = "run: cargo build --release --manifest-path ../hello/Cargo.toml --config ../hello/.cargo/config.toml";
    rehearsal.replace(
        "ecs-demo/steady.yaml",
        &[
            (run, "run: touch ran"),
            ("../hello/target/release/hello", "program"),
            ("entrypoint: [/hello]", "entrypoint: [/hello, http, \"0.0.0.0:80\", /public/index.html]"),
            ("listener: { port: 80 }", &format!("listener: {{ port: {port} }}")),
        ],
    );
    port
}

/// The static test program as a file of the project's.
pub fn program(rehearsal: &Rehearsal, path: &str) {
    std::fs::create_dir_all(rehearsal.path(path).parent().unwrap()).unwrap();
    std::fs::copy(tool_path(), rehearsal.path(path)).unwrap();
    std::fs::set_permissions(rehearsal.path(path), std::fs::Permissions::from_mode(0o755)).unwrap();
}
