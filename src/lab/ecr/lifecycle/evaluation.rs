//! Which images a policy's rules expire.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Marked;
use super::policy::{Limit, Rule};
use crate::lab::ecr::{Image, Repository};

const DAY_MS: i64 = 24 * 3_600_000;

/// The images to expire or to archive, oldest first; `rules` are in the order of their priority, `now` is in epoch
/// milliseconds.
///
/// Every rule looks at all images that it selects, also at those that another rule marks, but may mark only those that
/// no rule of higher precedence selects. What an index lists stays with it, and what is about another image with that.
pub fn marked(repository: &Repository, rules: &[Rule], now: i64) -> Vec<Marked> {
    let listed: BTreeSet<&String> = repository.images.values().flat_map(|image| &image.refers_to).collect();
    let is_bound = |digest: &String, image: &Image| {
        listed.contains(digest) || image.subject.as_ref().is_some_and(|subject| repository.images.contains_key(subject))
    };
    let mut tags: BTreeMap<&String, Vec<&str>> = BTreeMap::new();
    for (tag, digest) in &repository.tags {
        tags.entry(digest).or_default().push(tag);
    }
    let with_tags = |(digest, image)| (digest, image, tags.remove(digest).unwrap_or_default());
    let mut images: Vec<(&String, &Image, Vec<&str>)> = repository.images.iter().map(with_tags).collect();
    images.sort_by_key(|(digest, image, _)| (Reverse(image.as_if_pushed_at()), *digest));
    let mut claimed: BTreeSet<&String> = BTreeSet::new();
    let mut marked = Vec::new();
    for rule in rules {
        let is_of_class = |image: &Image| match rule.is_of_archive() {
            true => image.storage.is_archived(),
            false => image.storage.is_active(),
        };
        let selected: Vec<_> =
            images.iter().filter(|(_, image, tags)| is_of_class(image) && rule.selects(tags)).collect();
        for (at, (digest, image, tags)) in selected.iter().enumerate() {
            let is_over = is_over(rule.limit, at as u64, image, now);
            if is_over && !is_bound(digest, image) && !claimed.contains(digest) {
                marked.push(Marked {
                    digest: (*digest).clone(),
                    tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
                    pushed_at: image.pushed_at,
                    priority: rule.priority,
                    action: rule.action,
                    of_archive: rule.is_of_archive(),
                });
            }
        }
        claimed.extend(selected.iter().map(|(digest, ..)| *digest));
    }
    marked.sort_by(|a, b| (a.pushed_at, &a.digest).cmp(&(b.pushed_at, &b.digest)));
    marked
}

/// `at` is the image's place among those that the rule selects, the newest first.
fn is_over(limit: Limit, at: u64, image: &Image, now: i64) -> bool {
    let pushed_at = image.as_if_pushed_at();
    let (since, days) = match limit {
        Limit::Count(most) => return at >= most,
        Limit::Pushed(days) => (pushed_at, days),
        Limit::Pulled(days) => (image.pulled_at.map_or(pushed_at, |pulled_at| pulled_at.max(pushed_at)), days),
        Limit::Archived(days) => (image.storage.archived_at.unwrap_or(now), days),
    };
    now - since > DAY_MS.saturating_mul(i64::try_from(days).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::policy::parse;
    use super::*;
    use serde_json::{Value, json};

    /// Images by name: how many days ago each was pushed, and its tags.
    fn repository(images: &[(&str, i64, &[&str])], now: i64) -> Repository {
        let mut repository = Repository::default();
        for (name, days, tags) in images {
            let image = Image { pushed_at: now - days * DAY_MS - 1, ..Image::default() };
            repository.images.insert((*name).to_owned(), image);
            repository.tags.extend(tags.iter().map(|tag| ((*tag).to_owned(), (*name).to_owned())));
        }
        repository
    }

    fn rule(priority: i64, selection: Value) -> Value {
        json!({ "rulePriority": priority, "selection": selection, "action": { "type": "expire" } })
    }

    fn tagged(list: &str, tags: &[&str], most: u64) -> Value {
        json!({ "tagStatus": "tagged", list: tags, "countType": "imageCountMoreThan", "countNumber": most })
    }

    fn days(status: &str, days: u64) -> Value {
        json!({ "tagStatus": status, "countType": "sinceImagePushed", "countUnit": "days", "countNumber": days })
    }

    fn count(status: &str, most: u64) -> Value {
        json!({ "tagStatus": status, "countType": "imageCountMoreThan", "countNumber": most })
    }

    #[test]
    fn rules_expire_what_awss_examples_say() {
        let now = 1_800_000_000_000;
        let both: &[(&str, i64, &[&str])] =
            &[("a", 10, &["beta-1", "prod-1"]), ("b", 9, &["beta-2", "prod-2"]), ("c", 8, &["beta-3"])];
        let plain: &[(&str, i64, &[&str])] = &[
            ("a", 12, &["alpha-1"]),
            ("b", 11, &[]),
            ("c", 10, &["alpha-2", "beta-1"]),
            ("d", 9, &[]),
            ("e", 1, &["v1"]),
        ];
        let prefix = "tagPrefixList";
        let pattern = "tagPatternList";
        let table = [
            // of two rules that see the same images the first one has its way
            (both, vec![rule(1, tagged(prefix, &["prod"], 1)), rule(2, tagged(prefix, &["beta"], 1))], vec![("a", 1)]),
            (
                both,
                vec![rule(1, tagged(prefix, &["beta"], 1)), rule(2, tagged(prefix, &["prod"], 1))],
                vec![("a", 1), ("b", 1)],
            ),
            (both, vec![rule(5, tagged(prefix, &["beta", "prod"], 1))], vec![("a", 5)]),
            (plain, vec![rule(1, days("untagged", 10))], vec![("b", 1)]),
            (plain, vec![rule(1, count("untagged", 1))], vec![("b", 1)]),
            (plain, vec![rule(1, days("any", 11))], vec![("a", 1), ("b", 1)]),
            (plain, vec![rule(1, count("any", 4))], vec![("a", 1)]),
            (plain, vec![rule(1, tagged(prefix, &["alpha"], 9)), rule(2, count("any", 1))], vec![("b", 2), ("d", 2)]),
            (plain, vec![rule(1, tagged(pattern, &["*a-*"], 1))], vec![("a", 1)]),
            (plain, vec![rule(1, tagged(pattern, &["alpha"], 1))], vec![]),
            (plain, vec![rule(1, tagged(pattern, &["alpha*", "*1"], 1))], vec![("a", 1)]),
            (plain, vec![rule(1, days("any", 99))], vec![]),
        ];
        for (images, rules, expired) in table {
            let text = json!({ "rules": rules }).to_string();
            let marked = marked(&repository(images, now), &parse(&text).unwrap(), now);
            let found: Vec<(&str, i64)> = marked.iter().map(|one| (one.digest.as_str(), one.priority)).collect();
            assert_eq!(found, expired, "{text}");
        }
    }

    /// Who is archived or expired, of images that were pulled, archived and restored.
    #[test]
    fn the_archive_has_rules_of_its_own() {
        let now = 1_800_000_000_000;
        let mut repository =
            repository(&[("a", 200, &["v1"]), ("b", 190, &["v2"]), ("c", 180, &["v3"]), ("d", 5, &["v4"])], now);
        let mut image = |name: &str, change: &dyn Fn(&mut Image)| change(repository.images.get_mut(name).unwrap());
        image("a", &|image| image.storage.archive(now - 100 * DAY_MS));
        image("b", &|image| image.pulled_at = Some(now - 20 * DAY_MS));
        image("c", &|image| {
            image.storage.archive(now - 50 * DAY_MS);
            image.storage.activate(now - 40 * DAY_MS);
        });
        let rule = |priority: i64, kind: &str, days: u64, more: Value, action: Value| {
            let mut selection =
                json!({ "tagStatus": "any", "countType": kind, "countUnit": "days", "countNumber": days });
            selection.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({ "rulePriority": priority, "selection": selection, "action": action })
        };
        let archive = json!({ "type": "transition", "targetStorageClass": "archive" });
        let expire = json!({ "type": "expire" });
        let of_archive = json!({ "storageClass": "archive" });
        let pulled = |days| rule(1, "sinceImagePulled", days, json!({}), archive.clone());
        let pushed = |days| rule(1, "sinceImagePushed", days, json!({}), archive.clone());
        let transitioned = |days| rule(2, "sinceImageTransitioned", days, of_archive.clone(), expire.clone());
        let table = [
            (vec![pulled(10)], vec!["b", "c"]),
            (vec![pulled(30)], vec!["c"]),
            (vec![pushed(30)], vec!["b", "c"]),
            (vec![pushed(60)], vec!["b"]),
            (vec![transitioned(90)], vec!["a"]),
            (vec![transitioned(120)], vec![]),
            (vec![pulled(30), transitioned(90)], vec!["a", "c"]),
        ];
        for (rules, expected) in table {
            let text = json!({ "rules": rules }).to_string();
            let marked = marked(&repository, &parse(&text).unwrap(), now);
            assert_eq!(marked.iter().map(|one| one.digest.as_str()).collect::<Vec<_>>(), expected, "{text}");
            assert!(marked.iter().all(|one| (one.action == super::super::policy::Action::Expire) == one.of_archive));
        }
    }

    #[test]
    fn what_others_need_stays() {
        let now = 1_800_000_000_000;
        let mut repository =
            repository(&[("child", 3, &[]), ("list", 2, &["v1"]), ("about", 1, &[]), ("lost", 1, &[])], now);
        repository.images.get_mut("list").unwrap().refers_to = vec!["child".to_owned()];
        repository.images.get_mut("about").unwrap().subject = Some("list".to_owned());
        repository.images.get_mut("lost").unwrap().subject = Some("gone".to_owned());
        let rules = parse(&json!({ "rules": [rule(1, days("untagged", 1))] }).to_string()).unwrap();
        let marked = marked(&repository, &rules, now);
        assert_eq!(marked.iter().map(|one| one.digest.as_str()).collect::<Vec<_>>(), ["lost"]);
    }
}
