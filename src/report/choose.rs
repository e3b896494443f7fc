//! How to show what: a function of flags and of the facts of this terminal.

/// `--output`: what stdout gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    #[default]
    Text,
    /// One documented JSON object.
    Json,
}

/// `--progress`: what stderr gets while something is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Progress {
    /// Bars on a terminal, lines in CI and in pipes
    #[default]
    Auto,
    /// A bar for each layer and a spinner for each step
    Bars,
    /// Plain lines
    Lines,
    /// One JSON object for each event
    Json,
    /// Nothing but warnings and errors
    None,
}

/// Facts about where output goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terminal {
    pub stdout_tty: bool,
    pub stderr_tty: bool,
    /// Columns, when there is a terminal.
    pub width: Option<usize>,
    /// Rows, when there is a terminal.
    pub height: Option<usize>,
    /// `CI` is set to anything but the empty string, `0` or `false`.
    pub ci: bool,
    /// `TERM=dumb`, or no TERM at all.
    pub dumb: bool,
    /// NO_COLOR is set and not empty.
    pub no_color: bool,
    /// CLICOLOR_FORCE is set and not `0`.
    pub force_color: bool,
    /// The locale's encoding is UTF-8.
    pub utf8: bool,
}

impl Terminal {
    /// From environment variables, and whether each stream is a terminal.
    pub fn new(variable: impl Fn(&str) -> Option<String>, stdout_tty: bool, stderr_tty: bool) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| set(name)).unwrap_or_default();
        Terminal {
            stdout_tty,
            stderr_tty,
            width: None,
            height: None,
            ci: set("CI").is_some_and(|value| value != "0" && value != "false"),
            dumb: set("TERM").is_none_or(|term| term == "dumb"),
            no_color: set("NO_COLOR").is_some(),
            force_color: set("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
            utf8: locale.to_lowercase().replace('-', "").contains("utf8"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    Bars,
    Lines,
    Json,
    None,
}

/// How one stream is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    pub color: bool,
    pub unicode: bool,
    /// Columns to wrap at; `None` never wraps.
    pub width: Option<usize>,
}

/// What is shown while it goes on.
pub fn progress(asked: Progress, terminal: &Terminal) -> Show {
    let drawable = terminal.stderr_tty && !terminal.dumb;
    match asked {
        Progress::Auto if drawable && !terminal.ci => Show::Bars,
        // bars on what cannot draw them would be nothing at all
        Progress::Bars if drawable => Show::Bars,
        Progress::Auto | Progress::Bars | Progress::Lines => Show::Lines,
        Progress::Json => Show::Json,
        Progress::None => Show::None,
    }
}

/// How a stream is written to that is a terminal or is not.
pub fn style(tty: bool, terminal: &Terminal) -> Style {
    Style {
        color: !terminal.no_color && (terminal.force_color || (tty && !terminal.dumb)),
        unicode: terminal.utf8 && !(tty && terminal.dumb),
        width: terminal.width.filter(|_| tty),
    }
}
