//! Stickiness: the cookies by which a client comes back to the target, or to the target group, that it had.

use hyper::header::{self, HeaderMap, HeaderValue};
use ring::digest::{SHA256, digest};

use super::connections::TargetKey;
use crate::lab::elbv2::TargetGroup;

/// Which target of a group a client goes to.
pub(super) struct OfTarget {
    seconds: u64,
    /// The application's cookie that it depends on; without one it is the balancer's own.
    application: Option<String>,
}

impl OfTarget {
    /// `None` when the group's targets are not sticky.
    pub(super) fn of(group: &TargetGroup) -> Option<OfTarget> {
        let is = |key: &str| group.attributes.get(key).map_or("", String::as_str);
        if is("stickiness.enabled") != "true" {
            return None;
        }
        let kind = is("stickiness.type");
        let seconds = is(&format!("stickiness.{kind}.duration_seconds")).parse().unwrap_or(86_400);
        let application = (kind == "app_cookie").then(|| is("stickiness.app_cookie.cookie_name").to_owned());
        matches!(kind, "lb_cookie" | "app_cookie").then_some(OfTarget { seconds, application })
    }

    fn name(&self) -> &'static str {
        if self.application.is_some() { "AWSALBAPP-0" } else { "AWSALB" }
    }

    /// The target that a request's cookie names, if it is one of these.
    pub(super) fn target(&self, headers: &HeaderMap, group: &TargetGroup, now: i64) -> Option<(String, u16)> {
        let sealed = cookie(headers, self.name())?;
        // The balancer's is of no use without the application's.
        if let Some(application) = &self.application {
            cookie(headers, application)?;
        }
        let found = group.targets.iter().find(|target| opens(sealed, &mark(&group.arn, &target.id, target.port), now));
        found.map(|target| (target.id.clone(), target.port))
    }

    /// Has the client come back to where it was.
    pub(super) fn bind(&self, response: &mut HeaderMap, key: &TargetKey, now: i64) {
        let mark = mark(&key.group, &key.target, key.port);
        match &self.application {
            None => set(response, "AWSALB", &mark, self.seconds, now),
            Some(application) => {
                let begins = format!("{application}=");
                let all = response.get_all(header::SET_COOKIE).into_iter().filter_map(|value| value.to_str().ok());
                if { all }.any(|cookie| cookie.starts_with(&begins)) {
                    let sealed = seal(&mark, now + self.seconds as i64 * 1000);
                    append(response, &format!("AWSALBAPP-0={sealed}; Expires={}; Path=/", date(now, self.seconds)));
                }
            }
        }
    }
}

/// The group that a request's cookie names, if it is one of these and gets any traffic.
pub(super) fn group<'g>(headers: &HeaderMap, groups: &'g [(String, u32)], now: i64) -> Option<&'g str> {
    let sealed = cookie(headers, "AWSALBTG")?;
    let mut all = groups.iter().filter(|(_, weight)| *weight > 0);
    all.find(|(group, _)| opens(sealed, group, now)).map(|(group, _)| group.as_str())
}

pub(super) fn bind_group(response: &mut HeaderMap, group: &str, seconds: u64, now: i64) {
    set(response, "AWSALBTG", group, seconds, now);
}

fn mark(group: &str, target: &str, port: u16) -> String {
    format!("{group}\0{target}\0{port}")
}

/// Says nothing to the client, and is the same in the lab's next life.
fn seal(mark: &str, until: i64) -> String {
    let sum = digest(&SHA256, format!("{mark}\0{until}").as_bytes());
    format!("{until:x}.{}", hex::encode(&sum.as_ref()[..16]))
}

fn opens(sealed: &str, mark: &str, now: i64) -> bool {
    let until = sealed.split_once('.').and_then(|(until, _)| i64::from_str_radix(until, 16).ok());
    until.is_some_and(|until| now < until && seal(mark, until) == sealed)
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// The cookie, and the one for requests of other sites' pages.
fn set(response: &mut HeaderMap, name: &str, mark: &str, seconds: u64, now: i64) {
    let (sealed, expires) = (seal(mark, now + seconds as i64 * 1000), date(now, seconds));
    append(response, &format!("{name}={sealed}; Expires={expires}; Path=/"));
    append(response, &format!("{name}CORS={sealed}; Expires={expires}; Path=/; SameSite=None"));
}

fn append(response: &mut HeaderMap, cookie: &str) {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.append(header::SET_COOKIE, cookie);
    }
}

fn date(now: i64, seconds: u64) -> String {
    let at = jiff::Timestamp::from_millisecond(now + seconds as i64 * 1000).unwrap_or_default();
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
