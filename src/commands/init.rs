use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::context::Context;
use crate::deploy::event::{Event, Events};
use crate::error::{Error, Result};

/// Write the files of a first project; never over files that are there
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to start from
    #[arg(long, value_enum, default_value_t, value_name = "TEMPLATE")]
    template: Choice,
    /// The service's name [default: the folder's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Choice {
    /// A service on Fargate behind an application load balancer
    #[default]
    Fargate,
    /// A service on EC2 instances behind a network load balancer
    Ec2,
    /// A service from an Elastic Beanstalk dockerrun and a Dockerfile
    Dockerrun,
}

/// The files of one template: their names and their texts.
pub struct Template {
    pub name: &'static str,
    pub files: &'static [(&'static str, &'static str)],
}

macro_rules! template {
    ($name:literal: $($file:literal),+; $($written:literal = $shared:literal),+) => {
        Template {
            name: $name,
            files: &[
                $(($file, include_str!(concat!("../../templates/", $name, "/", $file)))),+,
                $(($written, include_str!(concat!("../../templates/", $shared)))),+
            ],
        }
    };
}

pub const TEMPLATES: [Template; 3] = [
    template!("fargate": "steady.yaml", "task-definition.json.hbs";
        "app/main.rs" = "web/main.rs", "public/index.html" = "web/index.html"),
    template!("ec2": "steady.yaml", "task-definition.json.hbs";
        "app/main.rs" = "web/main.rs", "public/index.html" = "web/index.html"),
    template!("dockerrun": "steady.yaml", "Dockerrun.aws.json", "Dockerfile"; "public/index.html" = "web/index.html"),
];

/// What stands for the service's name in templates.
const NAME: &str = "my-service";

impl Args {
    pub fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let folder = &context.global.directory.clone().unwrap_or_default();
        let template = match self.template {
            Choice::Fargate => &TEMPLATES[0],
            Choice::Ec2 => &TEMPLATES[1],
            Choice::Dockerrun => &TEMPLATES[2],
        };
        let name = match self.name {
            Some(name) if is_name(&name) => name,
            Some(name) => {
                return Err(Error::input(format!("--name {name}: this cannot name both a service and a repository"))
                    .hint(format!("lower-case letters, digits and inner hyphens, at most 27: {}", name_from(&name))));
            }
            None => name_from(&folder_name(folder)),
        };
        write(template, folder, &name)?;
        let flags = context.global.again();
        let needs = match self.template {
            Choice::Fargate | Choice::Ec2 => "rustc builds it, no Docker is needed",
            Choice::Dockerrun => "docker builds its Dockerfile",
        };
        let next = format!("`steady deploy --lab{flags}` rehearses it on this machine; {needs}");
        events.emit(Event::Notice { message: next });
        Ok(Some(json!({
            "template": template.name,
            "name": name,
            "files": template.files.iter().map(|(file, _)| folder.join(file)).collect::<Vec<_>>(),
        })))
    }
}

fn write(template: &Template, folder: &Path, name: &str) -> Result<()> {
    let failed = |file: &Path, error| Error::other(format!("cannot write {}", file.display())).cause(error);
    let there: Vec<String> = template
        .files
        .iter()
        .map(|(file, _)| folder.join(file))
        .filter(|file| file.symlink_metadata().is_ok())
        .map(|file| file.display().to_string())
        .collect();
    if !there.is_empty() {
        return Err(Error::input(format!("{} is there already", there.join(", ")))
            .hint("`steady init` writes over nothing: move it away, or choose another folder with -C"));
    }
    for (file, text) in template.files {
        let path = folder.join(file);
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        }
        // again without overwriting: another process may have been faster
        let opened = OpenOptions::new().write(true).create_new(true).open(&path);
        opened
            .and_then(|mut opened| opened.write_all(text.replace(NAME, name).as_bytes()))
            .map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// What ECS services, ECR repositories and load balancers can all be named, with room for `-prod` in the 32 characters of
/// a load balancer.
fn is_name(name: &str) -> bool {
    (2..=27).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && !name.contains("--")
}

fn folder_name(folder: &Path) -> String {
    let absolute = std::path::absolute(folder.join(".")).unwrap_or_default();
    absolute.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn name_from(text: &str) -> String {
    let words: Vec<String> = text
        .to_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let name: String = words.join("-").trim_start_matches(|c: char| !c.is_ascii_lowercase()).chars().take(27).collect();
    let name = name.trim_end_matches('-').to_owned();
    if is_name(&name) { name } else { NAME.to_owned() }
}
