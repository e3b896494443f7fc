//! The cluster query language: which container instances an expression such as
//! `attribute:ecs.instance-type in [t3.medium, t3.large] and not(task:group == database)` means.

use std::collections::BTreeMap;

use regex::Regex;

/// What is known of a container instance.
#[derive(Debug, Default)]
pub struct Subject<'a> {
    pub attributes: BTreeMap<String, Option<String>>,
    pub ec2_instance_id: &'a str,
    pub agent_version: &'a str,
    /// Epoch milliseconds.
    pub registered_at: i64,
    pub running_tasks: i64,
    pub task_groups: Vec<&'a str>,
}

#[derive(Debug)]
pub enum Expression {
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Test { subject: String, operator: Operator, arguments: Vec<String>, pattern: Option<Regex> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Equals,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Exists,
    In,
    Matches,
}

/// Every spelling of an operator, and whether it is turned round.
const OPERATORS: [(&str, Operator, bool); 21] = [
    ("==", Operator::Equals, false),
    ("equals", Operator::Equals, false),
    ("!=", Operator::Equals, true),
    ("not_equals", Operator::Equals, true),
    (">", Operator::Greater, false),
    ("greater_than", Operator::Greater, false),
    (">=", Operator::GreaterOrEqual, false),
    ("greater_than_equal", Operator::GreaterOrEqual, false),
    ("<", Operator::Less, false),
    ("less_than", Operator::Less, false),
    ("<=", Operator::LessOrEqual, false),
    ("less_than_equal", Operator::LessOrEqual, false),
    ("exists", Operator::Exists, false),
    ("!exists", Operator::Exists, true),
    ("not_exists", Operator::Exists, true),
    ("in", Operator::In, false),
    ("!in", Operator::In, true),
    ("not_in", Operator::In, true),
    ("=~", Operator::Matches, false),
    ("matches", Operator::Matches, false),
    ("!~", Operator::Matches, true),
];
/// Deeper ones are refused rather than followed.
const DEEPEST: usize = 32;

/// `None` when it is not an expression.
pub fn parse(text: &str) -> Option<Expression> {
    let mut parser = Parser { tokens: tokens(text)?.into_iter().peekable(), depth: 0 };
    let expression = parser.any()?;
    parser.tokens.next().is_none().then_some(expression)
}

fn tokens(text: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(&first) = characters.peek() {
        let mut token = String::new();
        match first {
            _ if first.is_whitespace() => {
                characters.next();
                continue;
            }
            '(' | ')' | '[' | ']' | ',' => token.extend(characters.next()),
            '\'' | '"' => {
                characters.next();
                loop {
                    match characters.next()? {
                        end if end == first => break,
                        character => token.push(character),
                    }
                }
                // a word, whatever is in it
                token.insert(0, '\'');
            }
            '=' | '!' | '<' | '>' | '&' | '|' => {
                while let Some(symbol) = characters.next_if(|next| "=!<>&|~".contains(*next)) {
                    token.push(symbol);
                }
                // `!in`, `!exists`
                if token == "!" {
                    while let Some(letter) = characters.next_if(char::is_ascii_alphabetic) {
                        token.push(letter);
                    }
                }
            }
            _ => {
                let ends = |next: &char| !next.is_whitespace() && !"()[],=!<>&|'\"".contains(*next);
                while let Some(character) = characters.next_if(ends) {
                    token.push(character);
                }
            }
        }
        tokens.push(token);
    }
    Some(tokens)
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<String>>,
    depth: usize,
}

impl Parser {
    fn takes(&mut self, wanted: &[&str]) -> bool {
        self.tokens.next_if(|next| wanted.contains(&next.as_str())).is_some()
    }

    fn any(&mut self) -> Option<Expression> {
        let mut left = self.all()?;
        while self.takes(&["or", "||"]) {
            left = Expression::Or(Box::new(left), Box::new(self.all()?));
        }
        Some(left)
    }

    fn all(&mut self) -> Option<Expression> {
        let mut left = self.one()?;
        while self.takes(&["and", "&&"]) {
            left = Expression::And(Box::new(left), Box::new(self.one()?));
        }
        Some(left)
    }

    fn one(&mut self) -> Option<Expression> {
        self.depth += 1;
        let expression = self.inner();
        self.depth -= 1;
        expression
    }

    fn inner(&mut self) -> Option<Expression> {
        if self.depth > DEEPEST {
            return None;
        }
        if self.takes(&["not", "!", "!not"]) {
            return Some(Expression::Not(Box::new(self.one()?)));
        }
        if self.takes(&["("]) {
            let inner = self.any()?;
            return self.takes(&[")"]).then_some(inner);
        }
        self.test()
    }

    fn test(&mut self) -> Option<Expression> {
        const SUBJECTS: [&str; 6] =
            ["agentConnected", "agentVersion", "ec2InstanceId", "registeredAt", "runningTasksCount", "task:group"];
        let subject = self.tokens.next()?;
        if !SUBJECTS.contains(&subject.as_str()) && subject.strip_prefix("attribute:").is_none_or(str::is_empty) {
            return None;
        }
        let spelling = self.tokens.next()?;
        let &(_, operator, turned) = OPERATORS.iter().find(|(known, ..)| *known == spelling).or_else(|| {
            OPERATORS
                .iter()
                .find(|(_, operator, turned)| spelling == "not_matches" && *operator == Operator::Matches && *turned)
        })?;
        let arguments = match operator {
            Operator::Exists => Vec::new(),
            Operator::In => self.list()?,
            _ => vec![self.word()?],
        };
        let pattern = match operator {
            Operator::Matches => Some(Regex::new(&format!("^(?:{})$", arguments[0])).ok()?),
            _ => None,
        };
        let test = Expression::Test { subject, operator, arguments, pattern };
        Some(if turned { Expression::Not(Box::new(test)) } else { test })
    }

    fn list(&mut self) -> Option<Vec<String>> {
        if !self.takes(&["["]) {
            return None;
        }
        let mut words = vec![self.word()?];
        while self.takes(&[","]) {
            words.push(self.word()?);
        }
        self.takes(&["]"]).then_some(words)
    }

    fn word(&mut self) -> Option<String> {
        let token = self.tokens.next_if(|next| !["(", ")", "[", "]", ","].contains(&next.as_str()))?;
        Some(token.strip_prefix('\'').map(str::to_owned).unwrap_or(token))
    }
}

impl Expression {
    pub fn holds(&self, of: &Subject) -> bool {
        match self {
            Expression::And(left, right) => left.holds(of) && right.holds(of),
            Expression::Or(left, right) => left.holds(of) || right.holds(of),
            Expression::Not(inner) => !inner.holds(of),
            Expression::Test { subject, operator, arguments, pattern } => {
                if let Some(name) = subject.strip_prefix("attribute:") {
                    let value = of.attributes.get(name);
                    return match (value, operator) {
                        (value, Operator::Exists) => value.is_some(),
                        (None, _) => false,
                        (Some(value), _) => {
                            compare(value.as_deref().unwrap_or_default(), *operator, arguments, pattern.as_ref())
                        }
                    };
                }
                let test = |value: &str| compare(value, *operator, arguments, pattern.as_ref());
                match subject.as_str() {
                    "agentConnected" => test("true"),
                    "agentVersion" => test(of.agent_version),
                    "ec2InstanceId" => test(of.ec2_instance_id),
                    "registeredAt" => match arguments.first().and_then(|date| instant(date)) {
                        Some(at) => ordered(of.registered_at.cmp(&at), *operator),
                        None => false,
                    },
                    "runningTasksCount" => test(&of.running_tasks.to_string()),
                    // one task of such a group is enough
                    _ => of.task_groups.iter().any(|group| test(group)),
                }
            }
        }
    }
}

fn compare(value: &str, operator: Operator, arguments: &[String], pattern: Option<&Regex>) -> bool {
    match operator {
        Operator::Exists => true,
        Operator::In => arguments.iter().any(|argument| argument == value),
        Operator::Matches => pattern.is_some_and(|pattern| pattern.is_match(value)),
        Operator::Equals => arguments.first().is_some_and(|argument| argument == value),
        _ => arguments.first().is_some_and(|argument| ordered(versions(value).cmp(&versions(argument)), operator)),
    }
}

fn ordered(order: std::cmp::Ordering, operator: Operator) -> bool {
    match operator {
        Operator::Equals => order.is_eq(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Exists | Operator::In | Operator::Matches => false,
    }
}

/// `1.91.0` as its numbers; a plain number has one.
fn versions(text: &str) -> Vec<u64> {
    text.split('.').map(|part| part.parse().unwrap_or_default()).collect()
}

/// `2018-06-18T22:28:28+00:00`, with or without its zone or its time.
fn instant(text: &str) -> Option<i64> {
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    };
    whole.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject<'static> {
        let attributes = [("ecs.instance-type", Some("t3.medium")), ("stack", Some("prod")), ("gpu", None)];
        Subject {
            attributes: attributes.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).into(),
            ec2_instance_id: "i-1",
            agent_version: "1.91.0",
            registered_at: 1_700_000_000_000,
            running_tasks: 2,
            task_groups: vec!["service:web", "database"],
        }
    }

    #[test]
    fn expressions_hold_or_do_not() {
        let table = [
            ("attribute:stack == prod", true),
            ("attribute:stack==prod", true),
            ("attribute:stack != prod", false),
            ("attribute:none != prod", true),
            ("attribute:gpu exists", true),
            ("attribute:gpu !exists", false),
            ("attribute:none not_exists", true),
            ("attribute:ecs.instance-type in [t2.small, t3.medium]", true),
            ("attribute:ecs.instance-type in ['t2.small', \"t3.large\"]", false),
            ("attribute:ecs.instance-type !in [t2.small]", true),
            ("attribute:ecs.instance-type =~ t3.*", true),
            ("attribute:ecs.instance-type =~ t3", false),
            ("attribute:ecs.instance-type !~ t2.*", true),
            ("attribute:ecs.instance-type not_matches t3.*", false),
            ("attribute:stack == test or attribute:gpu exists", true),
            ("attribute:stack == test || attribute:none exists", false),
            ("attribute:stack == prod and not(task:group == database)", false),
            ("attribute:stack == prod && !(task:group == cache)", true),
            ("task:group == service:web", true),
            ("not(runningTasksCount==1)", true),
            ("runningTasksCount < 3", true),
            ("runningTasksCount >= 3", false),
            ("agentVersion >= 1.9.0", true),
            ("agentVersion < 1.100.0", true),
            ("agentConnected == true", true),
            ("ec2InstanceId in ['i-1', 'i-2']", true),
            ("registeredAt > 2018-06-18", true),
            ("registeredAt < 2018-06-18T22:28:28+00:00", false),
            ("attribute:stack == prod or attribute:stack == test and attribute:none exists", true),
        ];
        for (text, expected) in table {
            let expression = parse(text).unwrap_or_else(|| panic!("{text} is an expression"));
            assert_eq!(expression.holds(&subject()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_expression() {
        let deep = "(".repeat(5000);
        for text in [
            "",
            "attribute:",
            "stack == prod",
            "attribute:stack",
            "attribute:stack ==",
            "attribute:stack === a",
            "attribute:stack == a b",
            "attribute:stack in a",
            "attribute:stack in [a",
            "attribute:stack =~ [",
            "not",
            "(attribute:stack == a",
            "attribute:stack == 'a",
            "and",
            &deep,
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
