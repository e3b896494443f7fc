use std::collections::BTreeSet;

use crate::lab_front::TestLab;

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Headers, and whether the page and whether all the rest is answered.
type Asked<'t> = (&'t [(&'t str, &'t str)], bool, bool);

/// What stands between these marks, each time.
fn between<'t>(text: &'t str, open: &str, close: char) -> Vec<&'t str> {
    text.split(open).skip(1).filter_map(|rest| rest.split(close).next()).collect()
}

/// All files that the page asks for, from itself on.
async fn files(lab: &TestLab) -> Vec<(String, String, String)> {
    let mut wanted: BTreeSet<String> = BTreeSet::from([String::new()]);
    let mut found: Vec<(String, String, String)> = Vec::new();
    while let Some(name) = wanted.pop_first() {
        let answer = lab.console(&name).await;
        assert_eq!(answer.status, 200, "{name}");
        let text = answer.text();
        let more = [between(&text, "href=\"", '"'), between(&text, "src=\"", '"'), between(&text, "from './", '\'')];
        for one in more.into_iter().flatten().filter(|one| !one.starts_with('#')) {
            if found.iter().all(|(of, ..)| of != one) && one != name {
                wanted.insert(one.to_owned());
            }
        }
        found.push((name, answer.header("content-type").to_owned(), text));
    }
    found
}

#[tokio::test]
async fn the_page_is_whole_and_asks_nobody_else() {
    let lab = TestLab::start().await;
    let files = files(&lab).await;
    let kind = |name: &str| match name.rsplit('.').next() {
        Some("js") => SCRIPT,
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    };
    let names: Vec<&str> = files.iter().map(|(name, ..)| name.as_str()).collect();
    for needed in ["", "console.css", "icon.svg", "main.js", "timeline.js", "service.js", "logs.js"] {
        assert!(names.contains(&needed), "{needed}: {names:?}");
    }
    for (name, found, text) in &files {
        assert_eq!(found, kind(name), "{name}");
        let lines = text.lines().count();
        assert!((1..=400).contains(&lines), "{name} has {lines} lines");
        let elsewhere = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("//www") && !elsewhere.contains("https:"), "{name} names another host");
        // Text that becomes markup or code.
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "Function("]
        {
            assert!(!text.contains(way), "{name}: {way}");
        }
    }
    let page = &files[0].2;
    assert_eq!(page.matches("<script").count(), 1);
    assert!(page.contains("<script type=\"module\" src=\"main.js\"></script>"), "{page}");
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" onclick="), "{page}");
    for unknown in ["main.ts", "page/main.js", "../console/main.js", "%6dain.js", "index.html"] {
        assert_eq!(lab.console(unknown).await.status, 404, "{unknown}");
    }
    lab.end().await;
}

#[tokio::test]
async fn every_answer_has_the_policy() {
    let lab = TestLab::start().await;
    for path in ["", "main.js", "data/clusters", "data/nonsense", "nonsense"] {
        let answer = lab.console(path).await;
        let policy: BTreeSet<&str> = answer.header("content-security-policy").split("; ").collect();
        for directive in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(directive), "{path}: {policy:?}");
        }
        assert!(!answer.header("content-security-policy").contains("unsafe"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin", "{path}");
    }
    assert_eq!(lab.console("data/clusters").await.header("content-type"), "application/json");
    let moved = lab.send("GET", "/console", &[], "").await;
    assert_eq!((moved.status.as_u16(), moved.header("location")), (308, "/console/"));
    lab.end().await;
}

#[tokio::test]
async fn other_pages_read_nothing_of_it() {
    let lab = TestLab::start().await;
    let port = lab.host.rsplit(':').next().unwrap().to_owned();
    let (own, rebound) = (format!("http://{}", lab.host), format!("evil.example:{port}"));
    let link = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    let table: [Asked; 9] = [
        (&[], true, true),
        (&[("origin", &own), ("sec-fetch-site", "same-origin")], true, true),
        (&[("sec-fetch-site", "none"), link[0], link[1]], true, true),
        (&[("sec-fetch-site", "cross-site"), link[0], link[1]], true, false),
        (
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "script")],
            false,
            false,
        ),
        (
            &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
            false,
            false,
        ),
        (&[("sec-fetch-site", "same-site")], false, false),
        (&[("host", &rebound)], false, false),
        (&[("origin", "http://127.0.0.1:1")], false, false),
    ];
    for (headers, page, rest) in table {
        for path in ["", "main.js", "data/clusters"] {
            let status = lab.send("GET", &format!("/console/{path}"), headers, "").await.status.as_u16();
            let wanted = if if path.is_empty() { page } else { rest } { 200 } else { 403 };
            assert_eq!(status, wanted, "/console/{path} {headers:?}");
        }
    }
    let foreign = [("origin", "https://evil.example")];
    assert_eq!(lab.send("GET", "/console/live/clusters", &foreign, "").await.status, 403);
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        for path in ["/console/", "/console/data/clusters", "/console/live/clusters"] {
            let answer = lab.send(method, path, &[], "{}").await;
            assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "GET, HEAD"), "{method} {path}");
        }
    }
    lab.end().await;
}
