//! A command in a process group that ends with us, however we end: nothing that a build started may go on writing
//! while the next run builds in the same place.

use std::io;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// The end of its input is our end, and then it takes its own process group with it.
const WATCH: &str = "read -r end; kill -KILL 0";

pub(super) struct Group {
    pub(super) child: Child,
    /// The command has ended by itself: what it left running, such as a compiler's server, was meant to stay.
    pub(super) ended: bool,
    /// Leads the group. Without a shell there is none, and only a SIGKILL to us leaves the command running.
    watcher: Option<Child>,
    id: Option<Pid>,
}

impl Group {
    /// Not our own group, so that a terminal's Ctrl-C reaches only us.
    pub(super) fn spawn(command: &mut Command) -> io::Result<Group> {
        let mut watcher = Command::new("/bin/sh");
        watcher.args(["-c", WATCH]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // before the command, so that there is no moment in which nobody watches over it
        let watcher = watcher.process_group(0).kill_on_drop(true).spawn().ok();
        let leader = watcher.as_ref().and_then(Child::id);
        let child = command.process_group(leader.map_or(0, u32::cast_signed)).spawn()?;
        let id = leader.or(child.id()).and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Group { child, ended: false, watcher, id })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.ended {
            // its input is still open, so that it cannot take this for our end
            if let Some(watcher) = &mut self.watcher {
                let _ = watcher.start_kill();
            }
        } else if let Some(id) = self.id {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}
