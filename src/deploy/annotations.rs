//! What an image says of where it is from, in OCI's words: of git and of `SOURCE_DATE_EPOCH`, never of the clock, so that
//! the same commit gives the same digest.

use std::collections::BTreeMap;

use crate::config::Plan;
use crate::error::{Error, Result};

const SOURCE: &str = "org.opencontainers.image.source";
const REVISION: &str = "org.opencontainers.image.revision";
const CREATED: &str = "org.opencontainers.image.created";

/// The variable of reproducible-builds.org, in seconds since 1970.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Where an image is from, and from when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// What `SOURCE_DATE_EPOCH` says.
    pub epoch: Option<i64>,
    /// The time that the image has: the epoch, else its commit's.
    pub created: Option<i64>,
    pub annotations: BTreeMap<String, String>,
}

impl Origin {
    /// With `wanted` off, only `SOURCE_DATE_EPOCH` counts.
    ///
    /// # Errors
    /// `Input` when the variable is no number of seconds.
    pub fn of(plan: &Plan, wanted: bool) -> Result<Origin> {
        Origin::from(&plan.git, plan.env.get(EPOCH).map(String::as_str), wanted)
    }

    /// # Errors
    /// As [`Origin::of`].
    pub fn from(git: &BTreeMap<String, String>, epoch: Option<&str>, wanted: bool) -> Result<Origin> {
        let epoch = epoch.filter(|text| !text.is_empty()).map(time).transpose()?;
        let seconds = |time: jiff::Timestamp| time.as_second();
        let mut origin =
            Origin { epoch: epoch.map(seconds), created: epoch.map(seconds), annotations: BTreeMap::new() };
        if !wanted {
            return Ok(origin);
        }
        // What differs from the commit was not made when it was.
        let dirty = git.get("dirty").is_some_and(|dirty| dirty == "true");
        let committed = git.get("commit_time").filter(|_| !dirty).and_then(|text| time(text).ok());
        if let Some(created) = epoch.or(committed) {
            origin.created = Some(created.as_second());
            origin.annotations.insert(CREATED.to_owned(), created.to_string());
        }
        if let Some(sha) = git.get("sha") {
            let revision = if dirty { format!("{sha}-dirty") } else { sha.clone() };
            origin.annotations.insert(REVISION.to_owned(), revision);
            origin.annotations.extend(git.get("source").map(|source| (SOURCE.to_owned(), source.clone())));
        }
        Ok(origin)
    }

    /// Without what a Dockerfile says itself: on the command line it would win over the file.
    pub fn without_those_in(mut self, dockerfile: &str) -> Origin {
        self.annotations.retain(|name, _| !dockerfile.contains(name.as_str()));
        self
    }

    /// The labels of the image: the user's go over these.
    pub fn labels(&self, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut all = self.annotations.clone();
        all.extend(labels.clone());
        all
    }

    /// The annotations of its manifest, which say what the labels say.
    pub fn annotations(&self, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let said = |(name, value): (&String, &String)| (name.clone(), labels.get(name).unwrap_or(value).clone());
        self.annotations.iter().map(said).collect()
    }
}

fn time(text: &str) -> Result<jiff::Timestamp> {
    let time = text.parse().ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.ok_or_else(|| {
        Error::input(format!("{EPOCH} is not a time: `{}`", text.escape_debug()))
            .hint(format!("it is in seconds since 1970: `{EPOCH}=$(git log -1 --format=%ct)`; or unset it"))
    })
}
