//! A repository of thousands of images, a page at a time, and images deleted a hundred at a time.

use serde_json::{Value, json};
use steadystate::deploy::repository::images::{Wanted, chosen, delete, shown};
use steadystate::deploy::repository::repositories::{Place, all};

use crate::aws::server::{Reply, Server};

const URI: &str = "012345678901.dkr.ecr.us-west-2.amazonaws.com/web";

fn digest(number: usize) -> String {
    format!("sha256:{number:064x}")
}

/// 2500 images, pushed one a second, in pages of a thousand; every hundredth has a tag.
async fn many() -> Server {
    Server::start(|request, _| {
        let input = request.json();
        match request.operation.as_str() {
            "DescribeRepositories" => {
                let repository = |name: String| json!({ "repositoryName": name, "repositoryUri": URI });
                if input["repositoryNames"].is_array() {
                    return Reply::Json(json!({ "repositories": [repository("web".into())] }));
                }
                let page: usize = input["nextToken"].as_str().map_or(0, |token| token.parse().unwrap());
                let next = (page < 2).then(|| (page + 1).to_string());
                let found: Vec<Value> = (0..1000).map(|at| repository(format!("r{:04}", page * 1000 + at))).collect();
                Reply::Json(json!({ "repositories": found, "nextToken": next }))
            }
            "DescribeImages" => {
                assert_eq!(input["maxResults"], 1000);
                let page: usize = input["nextToken"].as_str().map_or(0, |token| token.parse().unwrap());
                let image = |number: usize| {
                    let tags: Vec<String> = if number.is_multiple_of(100) { vec![format!("v{number}")] } else { vec![] };
                    json!({
                        "imageDigest": digest(number),
                        "imageTags": tags,
                        "imageSizeInBytes": number,
                        "imagePushedAt": 1_800_000_000 + number,
                        "imageManifestMediaType": "application/vnd.oci.image.manifest.v1+json",
                    })
                };
                let details: Vec<Value> = (page * 1000..(page * 1000 + 1000).min(2500)).map(image).collect();
                let next = (page < 2).then(|| (page + 1).to_string());
                Reply::Json(json!({ "imageDetails": details, "nextToken": next }))
            }
            "BatchDeleteImage" => {
                let (gone, kept): (Vec<Value>, Vec<Value>) = input["imageIds"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .cloned()
                    .partition(|id| id["imageDigest"] != digest(7).as_str());
                let why = "Requested image referenced by manifest list";
                let failure = |id: &Value| json!({ "imageId": id, "failureCode": "ImageReferencedByManifestList", "failureReason": why });
                Reply::Json(json!({ "imageIds": gone, "failures": kept.iter().map(failure).collect::<Vec<_>>() }))
            }
            _ => Reply::Error(400, "UnknownOperationException", "no such operation"),
        }
    })
    .await
}

#[tokio::test]
async fn every_page_is_read_and_the_last_pushed_come_first() {
    let server = many().await;
    let clients = server.clients().await;
    assert_eq!(all(&clients).await.unwrap().len(), 3000);
    let place = Place::of("web", &clients).unwrap();
    let wanted = Wanted { limit: 3, ..Wanted::default() };
    let rows = shown(&place, &wanted).await.unwrap();
    let sizes: Vec<&Value> = rows.iter().map(|row| &row["size"]).collect();
    assert_eq!(sizes, [2499, 2498, 2497]);
    assert_eq!(server.count("DescribeImages"), 3);
    let mut tags = globset::GlobSetBuilder::new();
    tags.add(globset::Glob::new("v1?00").unwrap());
    let wanted = Wanted { limit: 100, tags: Some(tags.build().unwrap()), ..Wanted::default() };
    let rows = shown(&place, &wanted).await.unwrap();
    assert_eq!((rows.len(), &rows[0]["tags"]), (10, &json!(["v1900"])));
}

#[tokio::test]
async fn what_ecr_keeps_is_told_with_its_reason() {
    let server = many().await;
    let clients = server.clients().await;
    let place = Place::of("web", &clients).unwrap();
    let untagged = chosen(&place, &[], true).await.unwrap();
    assert_eq!(untagged.len(), 2500);
    let outcome = delete(&place, &untagged).await.unwrap();
    assert_eq!(server.count("BatchDeleteImage"), 25);
    assert_eq!(outcome["deleted"].as_array().unwrap().len(), 2499);
    assert_eq!(
        (&outcome["kept"][0]["image"], &outcome["kept"][0]["code"]),
        (&json!(digest(7)), &json!("ImageReferencedByManifestList"))
    );
}

/// A whole address names account and region, and is asked there.
#[tokio::test]
async fn an_address_is_asked_where_it_is() {
    let server = many().await;
    let clients = server.clients().await;
    let place = Place::of("999999999999.dkr.ecr.eu-west-1.amazonaws.com/team/web", &clients).unwrap();
    shown(&place, &Wanted { limit: 1, ..Wanted::default() }).await.unwrap();
    for asked in server.requests() {
        assert_eq!(asked.json()["registryId"], "999999999999");
        assert!(asked.header("authorization").contains("/eu-west-1/ecr/"), "{}", asked.operation);
    }
    for (name, hint) in [(format!("{URI}:v1"), "did you mean"), ("ghcr.io/a/b".into(), "private repositories only")] {
        let error = Place::of(&name, &clients).err().unwrap();
        assert_eq!(error.kind().exit_code(), 2);
        assert!(error.hints()[0].contains(hint), "{:?}", error.hints());
    }
}
