//! Resource limits, as `docker run --ulimit` sets them.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use crate::lab::runtime::launch::Limit;

/// As long as there is the privilege to raise them.
pub fn set(limits: &[Limit]) -> Result<(), String> {
    for limit in limits {
        let name = &limit.name;
        let resource = resource(name).ok_or_else(|| format!("invalid ulimit type: {name}"))?;
        let number = |limit: Option<u64>| limit.unwrap_or(RLIM_INFINITY);
        setrlimit(resource, number(limit.soft), number(limit.hard)).map_err(|error| {
            let most = getrlimit(resource).map_or(0, |(_, hard)| hard);
            format!("error setting ulimit {name}: {error} (the lab may raise it to {most})")
        })?;
    }
    Ok(())
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "core" => Resource::RLIMIT_CORE,
        "cpu" => Resource::RLIMIT_CPU,
        "data" => Resource::RLIMIT_DATA,
        "fsize" => Resource::RLIMIT_FSIZE,
        "locks" => Resource::RLIMIT_LOCKS,
        "memlock" => Resource::RLIMIT_MEMLOCK,
        "msgqueue" => Resource::RLIMIT_MSGQUEUE,
        "nice" => Resource::RLIMIT_NICE,
        "nofile" => Resource::RLIMIT_NOFILE,
        "nproc" => Resource::RLIMIT_NPROC,
        "rss" => Resource::RLIMIT_RSS,
        "rtprio" => Resource::RLIMIT_RTPRIO,
        "rttime" => Resource::RLIMIT_RTTIME,
        "sigpending" => Resource::RLIMIT_SIGPENDING,
        "stack" => Resource::RLIMIT_STACK,
        _ => return None,
    })
}
