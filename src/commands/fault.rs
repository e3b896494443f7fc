//! `steady lab fault`, and the file of faults that a lab starts with.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::decode::{Fields, Reader, parse_duration};
use crate::config::{files, node};
use crate::error::{Error, Result, SourceText, nearest};
use crate::lab::faults::{Fault, Kind, Mistake};
use crate::lab::lifecycle::{self, Options};

#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Make trouble in the lab that runs
    Add(Add),
    /// Show what goes wrong on demand, and how often each fault struck
    List,
    /// End the faults of these ids, or all of them
    Clear {
        #[arg(value_name = "ID")]
        ids: Vec<u64>,
    },
}

#[derive(Debug, clap::Args)]
pub struct Add {
    /// throttle, error, delay, stall, drop-before, drop-after, expire-token, wrong-digest, lose-capacity,
    /// interrupt-spot, fail-placement, slow-pull or flapping-health
    #[arg(value_name = "KIND", value_parser = kind)]
    kind: Kind,
    /// What it is about: ecs:UpdateService, ecr:*, registry:PutManifest, ... [default: all that the kind can be about]
    #[arg(long, value_name = "SERVICE:OPERATION")]
    on: Option<String>,
    /// How long a request waits, a pull takes, capacity is gone, or a target stays in one state
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    lasts: Option<Duration>,
    /// The code of an error [default: the service's own for its failures]
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// The message of an error
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// The HTTP status of an error [default: the code's, else 500]
    #[arg(long, value_name = "STATUS")]
    status: Option<u16>,
    /// Strike so often, then no more
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Let so many pass at first
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    after: u64,
    /// Strike each with this probability, between 0 and 1
    #[arg(long, value_name = "P")]
    probability: Option<f64>,
    /// Where the course of a probability begins: the same seed gives the same course [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

fn kind(word: &str) -> std::result::Result<Kind, String> {
    let known = Kind::ALL.into_iter().find(|(name, _)| *name == word);
    known.map(|(_, kind)| kind).ok_or_else(|| match nearest(word, Kind::ALL.iter().map(|(name, _)| *name)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("it is one of {}", Kind::ALL.map(|(name, _)| name).join(", ")),
    })
}

impl Verb {
    pub async fn run(self, options: &Options) -> Result<Value> {
        match self {
            Verb::Add(add) => {
                let fault = add.fault();
                fault.check().map_err(refusal)?;
                lifecycle::add_fault(options, &fault).await
            }
            Verb::List => lifecycle::list_faults(options).await,
            Verb::Clear { ids } => Ok(json!({ "cleared": lifecycle::clear_faults(options, &ids).await? })),
        }
    }
}

impl Add {
    fn fault(self) -> Fault {
        Fault {
            lasts: self.lasts,
            code: self.code,
            message: self.message,
            status: self.status,
            count: self.count,
            after: self.after,
            probability: self.probability,
            seed: self.seed,
            ..Fault::new(self.kind, self.on)
        }
    }
}

fn refusal(mistake: Mistake) -> Error {
    mistake.hint.into_iter().fold(Error::input(mistake.message), Error::hint)
}

/// Reads a file of faults: a map with a list `faults`, each with the members that `steady lab fault add` has as flags.
pub fn read(path: &Path) -> Result<Vec<Fault>> {
    let name = path.display().to_string();
    let text = files::content(path).map_err(|why| Error::input(format!("cannot read `{name}`: {why}")))?;
    let source = SourceText::new(&name, text);
    let root = node::parse(&source)?;
    let reader = Reader::new(source, path.parent().map(Path::to_owned).unwrap_or_default());
    let mut faults = Vec::new();
    let start = root.span.clone();
    if let Some(mut fields) = reader.fields("", &root, &start) {
        for item in fields.list("faults").unwrap_or_default() {
            if let Some(mut fields) = reader.fields("faults", item, &item.span) {
                faults.extend(one(&mut fields));
                fields.finish();
            }
        }
        fields.finish();
    }
    reader.finish()?;
    Ok(faults)
}

fn one(fields: &mut Fields<'_>) -> Option<Fault> {
    let kind = fields.word("kind", &Kind::ALL);
    let on = fields.text("on");
    let lasts = fields.duration("for");
    let (code, message) = (fields.text("code"), fields.text("message"));
    let status = fields.integer("status", 400..=599).map(|status| status as u16);
    let count = fields.integer("count", 1..=i64::MAX).map(|count| count as u64);
    let after = fields.integer("after", 0..=i64::MAX).unwrap_or(0) as u64;
    let probability = fields.fraction("probability");
    let seed = fields.integer("seed", 0..=i64::MAX).map(|seed| seed as u64);
    if fields.node("kind").is_none() {
        fields.missing("kind", "say what is to go wrong, such as `kind: throttle`");
    }
    let fault = Fault { lasts, code, message, status, count, after, probability, seed, ..Fault::new(kind?, on) };
    if let Err(mistake) = fault.check() {
        let span = fields.node(mistake.member).map_or(fields.span, |node| &node.span);
        fields.reader.note(span, None, refusal(mistake));
    }
    Some(fault)
}
