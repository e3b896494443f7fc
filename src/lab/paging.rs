//! A listing in pages, whose tokens say where the next one begins.

/// One page of at most `most`, and the token of the next; `None` when `token` is not one of ours.
pub fn page<T>(items: Vec<T>, token: Option<&str>, most: usize) -> Option<(Vec<T>, Option<String>)> {
    let start = match token {
        None => 0,
        Some(token) => token.parse().ok().filter(|start| *start <= items.len())?,
    };
    let next = (start + most < items.len()).then(|| (start + most).to_string());
    Some((items.into_iter().skip(start).take(most).collect(), next))
}
