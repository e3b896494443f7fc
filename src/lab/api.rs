//! What every operation of every API shares: its error, and ids as AWS makes them.

use ring::rand::{SecureRandom, SystemRandom};

/// An error as a service declares it in its model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    pub code: String,
    pub message: String,
    pub status: u16,
    /// Further members that the service declares for this error, such as the id of what exists already.
    pub members: Vec<(&'static str, serde_json::Value)>,
}

impl ApiError {
    /// HTTP 400, as nearly all of AWS's errors are.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        ApiError { code: code.into(), message: message.into(), status: 400, members: Vec::new() }
    }

    /// Adds a member beside code and message.
    pub fn member(mut self, name: &'static str, value: impl Into<serde_json::Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }

    pub fn unknown_operation(operation: &str) -> Self {
        ApiError::new("UnknownOperationException", format!("the lab does not know the operation {operation}"))
    }
}

pub type ApiResult = Result<serde_json::Value, ApiError>;

/// `digits` random lower-case hexadecimal digits (task ids have 32, target groups 16).
pub fn random_hex(digits: usize) -> String {
    let mut bytes = vec![0; digits.div_ceil(2)];
    SystemRandom::new().fill(&mut bytes).expect("the system's random source answers");
    let mut id = hex::encode(bytes);
    id.truncate(digits);
    id
}

/// `digits` random decimal digits (deployment ids are `ecs-svc/` and 19 of them).
pub fn random_digits(digits: usize) -> String {
    let mut bytes = vec![0; digits];
    SystemRandom::new().fill(&mut bytes).expect("the system's random source answers");
    bytes
        .iter()
        .enumerate()
        .map(|(at, byte)| char::from(b'0' + if at == 0 { 1 + byte % 9 } else { byte % 10 }))
        .collect()
}

/// `count` random letters and digits (a secret's ARN ends with 6).
pub fn random_letters(count: usize) -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut bytes = vec![0; count];
    SystemRandom::new().fill(&mut bytes).expect("the system's random source answers");
    bytes.into_iter().map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()])).collect()
}
