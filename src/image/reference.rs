//! Image references: `registry/repository[:tag][@digest]`, strictly.

use std::fmt;
use std::str::FromStr;

use super::digest;
use super::ecr_host::{self, EcrHost};
use crate::error::{Error, Result};

/// A reference to an image in a registry, by the grammar of Docker and of the OCI distribution spec.
///
/// Short names are Docker Hub's, as everywhere: `nginx` is `docker.io/library/nginx`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Host, with a port if it was given one.
    pub registry: String,
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<String>,
}

const HUB: &str = "docker.io";

/// What tutorials leave for the reader to fill in, compared in upper case without separators.
const PLACEHOLDERS: [&str; 12] = [
    "YOURREPOSITORYURI",
    "YOURREPOSITORY",
    "YOURREPO",
    "YOURIMAGE",
    "YOURACCOUNTID",
    "YOURACCOUNT",
    "YOURREGION",
    "REPOSITORYURI",
    "ACCOUNTID",
    "AWSACCOUNTID",
    "MYSERVICENUMBER",
    "CHANGEME",
];

impl Reference {
    /// A repository of a registry, both as references name them.
    pub fn of(registry: &str, repository: &str) -> Self {
        Reference { registry: registry.to_owned(), repository: repository.to_owned(), tag: None, digest: None }
    }

    /// Account and region, when this is in a private ECR registry.
    pub fn ecr(&self) -> Option<EcrHost> {
        EcrHost::parse(&self.registry)
    }

    /// Whether this is in ECR's public gallery.
    pub fn is_public_ecr(&self) -> bool {
        ecr_host::is_public(&self.registry)
    }

    /// Whether the registry is this machine; such registries speak plain HTTP.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.registry)
    }

    /// `registry/repository`: what ECR calls the repository's URI.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Where the registry's API answers. Loopback registries speak plain HTTP, all others HTTPS.
    pub fn base_url(&self) -> String {
        match self.registry.as_str() {
            HUB => "https://registry-1.docker.io".to_owned(),
            registry if is_loopback(registry) => format!("http://{registry}"),
            registry => format!("https://{registry}"),
        }
    }

    /// What to ask the registry for: the digest if there is one, else the tag, else `latest`.
    pub fn tag_or_digest(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }

    /// The same image by its digest alone.
    ///
    /// # Errors
    /// `Input` when `digest` is not `sha256:` and 64 hexadecimal digits.
    pub fn with_digest(&self, digest: &str) -> Result<Reference> {
        check_digest(digest)?;
        Ok(Reference { tag: None, digest: Some(digest.to_owned()), ..self.clone() })
    }

    /// The same repository under another tag.
    ///
    /// # Errors
    /// `Input` when `tag` is not a tag.
    pub fn with_tag(&self, tag: &str) -> Result<Reference> {
        check_tag(tag)?;
        Ok(Reference { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        check_text(text)?;
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        if let Some(digest) = digest {
            check_digest(digest)?;
        }
        // A colon after the last slash begins the tag; one before it, a port.
        let slash = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name[slash..].find(':') {
            Some(colon) => (&name[..slash + colon], Some(&name[slash + colon + 1..])),
            None => (name, None),
        };
        let (registry, repository) = split_registry(name);
        if let Some(registry) = registry {
            check_host(registry)?;
        } else if !name.contains('/') && ecr_host::mistake(name).is_some() || EcrHost::parse(name).is_some() {
            return Err(Error::input(format!("`{text}` names a registry, but no repository in it"))
                .hint(format!("add the repository: `{name}/REPOSITORY`")));
        }
        if let Some(tag) = tag {
            check_tag(tag)?;
        }
        check_repository(repository)?;
        let (registry, repository) = match registry {
            None | Some("docker.io" | "index.docker.io" | "registry-1.docker.io") if !repository.contains('/') => {
                (HUB, format!("library/{repository}"))
            }
            None | Some("index.docker.io" | "registry-1.docker.io") => (HUB, repository.to_owned()),
            Some(registry) => (registry, repository.to_owned()),
        };
        if registry.len() + 1 + repository.len() > 255 {
            return Err(Error::input("the name of an image has at most 255 characters")
                .hint(format!("`{registry}/{repository}` has {}", registry.len() + 1 + repository.len())));
        }
        Ok(Reference {
            registry: registry.to_owned(),
            repository,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }
}

/// A registry's host, where nothing else is wanted, such as in `steady login`.
///
/// # Errors
/// `Input` with a suggestion, also when a repository's path follows the host.
pub fn registry_host(text: &str) -> Result<String> {
    check_text(text)?;
    if let Some((host, path)) = text.split_once('/') {
        let error = Error::input(format!("`{text}` is a repository, where a registry is wanted"));
        let is_host = path.is_empty() || split_registry(text).0.is_some();
        return Err(if is_host { error.hint(format!("did you mean `{host}`?")) } else { error });
    }
    check_host(text)?;
    Ok(text.to_owned())
}

/// Whether a host, with or without a port, is this machine.
pub fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => registry.rsplit_once(':').map_or(registry, |(host, _)| host),
    };
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The first component is a registry when nothing else could look like it.
fn split_registry(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':', '['])
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

/// Mistakes that are best seen in the text as a whole.
fn check_text(text: &str) -> Result<()> {
    let wrong = || Error::input(format!("`{}` is not an image reference", text.escape_debug()));
    if text.is_empty() {
        return Err(Error::input("an image reference is empty").hint("write `registry/repository:tag`"));
    }
    let bare: String = text.chars().filter(|c| !c.is_whitespace() && !is_stray(*c)).collect();
    if bare != text {
        return Err(wrong().hint(format!("it holds quotes, spaces or invisible characters: did you mean `{bare}`?")));
    }
    if let Some(at) = text.find("://") {
        return Err(wrong().hint(format!("a reference has no `{}`: write `{}`", &text[..at + 3], &text[at + 3..])));
    }
    if let Some(placeholder) = placeholder_in(text) {
        return Err(Error::input(format!("`{placeholder}` in `{text}` is a placeholder that was never replaced"))
            .hint("put your own value there; in a template, `{{image}}` is the image that was pushed"));
    }
    Ok(())
}

/// Quotes (straight and typographic), byte order marks, zero-width and other control characters.
fn is_stray(c: char) -> bool {
    c.is_control()
        || matches!(c, '"' | '\'' | '`' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2018}'..='\u{201f}' | '\u{202a}'..='\u{202e}' | '\u{2060}')
}

fn placeholder_in(text: &str) -> Option<&str> {
    let bracketed = [("<", ">"), ("${", "}"), ("{{", "}}"), ("{", "}")];
    for (open, close) in bracketed {
        if let Some(start) = text.find(open)
            && let Some(end) = text[start..].find(close)
        {
            return Some(&text[start..start + end + close.len()]);
        }
    }
    // Lower-case words such as `changeme` are legal names; in capitals they only ever stand for something.
    let shouted = text.split(|c: char| !c.is_ascii_uppercase() && !matches!(c, '-' | '_'));
    shouted.map(|word| word.trim_matches(['-', '_'])).find(|word| {
        let squeezed: String = word.chars().filter(char::is_ascii_uppercase).collect();
        PLACEHOLDERS.iter().any(|placeholder| squeezed.contains(placeholder))
    })
}

fn check_host(host: &str) -> Result<()> {
    if let Some(mistake) = ecr_host::mistake(host) {
        return Err(mistake);
    }
    let wrong = || Error::input(format!("`{host}` is not the host of a registry"));
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
                (None, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(wrong)?) })
            }
            _ => return Err(wrong().hint("an IPv6 address goes in brackets: `[::1]:5000`")),
        },
        None => match host.split_once(':') {
            Some((name, port)) => (Some(name), Some(port)),
            None => (Some(host), None),
        },
    };
    if let Some(port) = port
        && (port.is_empty()
            || port.len() > 5
            || !port.bytes().all(|b| b.is_ascii_digit())
            || port.parse::<u16>().is_err())
    {
        return Err(wrong().hint(format!("`{port}` is not a port; if it is to be a tag, tags have no `/` in them")));
    }
    let label_fits = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match name {
        Some(name) if !name.split('.').all(label_fits) => {
            Err(wrong().hint("a host has letters, digits, `-` and `.`, such as `registry.example.com:5000`"))
        }
        _ => Ok(()),
    }
}

fn check_repository(repository: &str) -> Result<()> {
    let wrong = || Error::input(format!("`{repository}` is not the name of a repository"));
    let lower = repository.to_lowercase();
    let component_fits = |component: &str| {
        let separators_fit = component
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'));
        let ends = [component.chars().next(), component.chars().last()];
        separators_fit && ends.iter().all(|end| end.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit()))
    };
    if repository.split('/').all(component_fits) {
        Ok(())
    } else if lower != repository && lower.split('/').all(component_fits) {
        Err(wrong().hint(format!("repositories are in lower case: did you mean `{lower}`?")))
    } else if let Some(component) = repository.split('/').find(|component| !component_fits(component)) {
        Err(wrong().hint(if component.is_empty() {
            "it has an empty part: look for `//`, or a `/` at an end".to_owned()
        } else {
            format!("`{component}`: only lower-case letters and digits, with `.`, `_`, `__` or `-` between them")
        }))
    } else {
        Err(wrong())
    }
}

/// Checks a tag on its own, such as one that a template rendered.
///
/// # Errors
/// `Input` with a suggestion.
pub fn check_tag(tag: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !tag.is_empty() && tag.len() <= 128 && tag.chars().all(fits) && !tag.starts_with(['.', '-']) {
        return Ok(());
    }
    let error = Error::input(format!("`{}` is not a tag", tag.escape_debug()));
    let mended: String = tag.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    let mended = mended.trim_start_matches(['.', '-']);
    Err(if tag.is_empty() {
        error.hint("leave the `:` out, or write a tag after it")
    } else if tag.len() > 128 {
        error.hint("a tag has at most 128 characters")
    } else if mended.is_empty() {
        error.hint("a tag has letters, digits, `_`, `.` and `-`, and begins with a letter, a digit or `_`")
    } else {
        error.hint(format!("a tag has letters, digits, `_`, `.` and `-`: did you mean `{mended}`?"))
    })
}

fn check_digest(text: &str) -> Result<()> {
    if digest::is_valid(text) {
        return Ok(());
    }
    let error = Error::input(format!("`{}` is not a digest", text.escape_debug()));
    let lower = text.to_lowercase();
    Err(if digest::is_valid(&lower) {
        error.hint(format!("digests are in lower case: did you mean `{lower}`?"))
    } else if digest::is_valid(&format!("sha256:{text}")) {
        error.hint(format!("did you mean `sha256:{text}`?"))
    } else {
        error.hint("a digest is `sha256:` and 64 hexadecimal digits")
    })
}
