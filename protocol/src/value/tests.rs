//! The interpreter and the generated codec read the same table by different ways: each checks the other.

use super::*;
use crate::codec::{Decoder, Encoder};

/// SplitMix64: small, and the same everywhere.
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[test]
fn every_message_and_version_goes_both_ways() {
    let mut next = numbers(1);
    let mut checked = 0;
    for m in messages() {
        for version in m.versions.range() {
            for _ in 0..8 {
                let value = random::random(m, version, &mut next);
                let mut out = Encoder::new();
                write::encode(m, &value, &mut out, version).expect("a random message fits its version");
                let bytes = out.into_bytes().expect("in memory");
                let mut input = Decoder::new(bytes.clone());
                let read = read::decode(m, &mut input, version)
                    .unwrap_or_else(|e| panic!("{} v{version}: {e}", m.name));
                assert_eq!(diff(&value, &read), [], "{} v{version}", m.name);
                assert_eq!(input.remaining(), 0);
                let json = json::to_json(m, &value, version);
                assert_eq!(
                    json::from_json(m, &json, version).as_ref(),
                    Ok(&value),
                    "{} v{version}: {json}",
                    m.name
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 5000, "{checked} messages");
}

#[test]
fn a_difference_is_told_by_its_path() {
    let m = message("MetadataRequest").expect("known");
    let json = serde_json::json!({"topics": [{"topicId": "AAAAAAAAAAAAAAAAAAAAAA", "name": "a"}], "allowAutoTopicCreation": true,
        "includeTopicAuthorizedOperations": false});
    let left = json::from_json(m, &json, 12).expect("well-formed");
    let mut other = json;
    other["topics"][0]["name"] = "b".into();
    let right = json::from_json(m, &other, 12).expect("well-formed");
    let found = diff(&left, &right);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path, "Topics[0].Name");
    assert_eq!(diff(&left, &left), []);
}

#[test]
fn json_of_another_shape_is_refused_with_a_path() {
    let m = message("MetadataRequest").expect("known");
    for (json, path) in [
        (serde_json::json!([]), "MetadataRequest"),
        (serde_json::json!({"topics": [{"name": 3}]}), "MetadataRequest.Topics[0].Name"),
        (serde_json::json!({"nothing": 1}), "MetadataRequest"),
        (serde_json::json!({"allowAutoTopicCreation": null}), "MetadataRequest.AllowAutoTopicCreation"),
    ] {
        assert_eq!(json::from_json(m, &json, 12).expect_err("refused").path, path);
    }
}
