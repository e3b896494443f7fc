//! Docker before 25 names a layer's folder by an id of the v1 image format: a hash that covers the layer's chain ID. So the
//! `json` that comes before a layer tells which one it is, before its bytes come.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::image::digest;

/// The chain IDs of these layers, lowest first.
pub(super) fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain = Vec::<String>::new();
    for diff_id in diff_ids {
        chain.push(match chain.last() {
            Some(below) => digest::of(format!("{below} {diff_id}").as_bytes()),
            None => diff_id.clone(),
        });
    }
    chain
}

/// Which of these layers is in the folder of this name, by the `json` beside it.
pub(super) fn position(folder: &str, json: &[u8], chain_ids: &[String]) -> Option<usize> {
    let id = format!("sha256:{folder}");
    let mut hashed: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(json).ok()?;
    hashed.remove("id");
    if let Some(parent) = hashed.remove("parent") {
        let parent: String = serde_json::from_str(parent.get()).ok()?;
        hashed.insert("parent".to_owned(), raw(&format!("sha256:{parent}"))?);
    }
    let fits = |hashed: &mut BTreeMap<String, Box<RawValue>>| {
        chain_ids.iter().position(|chain_id| {
            let Some(chain_id) = raw(chain_id) else { return false };
            hashed.insert("layer_id".to_owned(), chain_id);
            serde_json::to_vec(hashed).is_ok_and(|text| digest::of(&text) == id)
        })
    };
    // of all but the last layer the system was added after the id was made
    fits(&mut hashed).or_else(|| {
        hashed.remove("os")?;
        fits(&mut hashed)
    })
}

fn raw(text: &str) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(text).ok()
}
