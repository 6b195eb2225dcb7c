//! Error codes, version ranges, listeners and header versions, held against what `import/Tables.java` recorded from Kafka 4.3.1.

use protocol::header::{request_header_version, response_header_version};
use protocol::{ApiKey, ErrorCode};

const RECORDED: &str = include_str!("../golden/tables-4.3.1.txt");

fn rows(kind: &str) -> Vec<Vec<&'static str>> {
    RECORDED.lines().map(|l| l.split(' ').collect::<Vec<_>>()).filter(|words| words[0] == kind).collect()
}

#[test]
fn error_codes_are_those_of_kafka() {
    let rows = rows("error");
    assert_eq!(rows.len(), 135);
    for row in &rows {
        let code: i16 = row[1].parse().unwrap();
        let error = ErrorCode::from_code(code);
        assert_eq!((error.code(), error.name(), error.is_retriable()), (code, row[2], row[3] == "true"));
    }
}

#[test]
fn requests_are_those_of_kafka() {
    let rows = rows("api");
    let keys: Vec<i16> = rows.iter().map(|row| row[1].parse().unwrap()).collect();
    assert_eq!(ApiKey::all().map(ApiKey::code).collect::<Vec<_>>(), keys);
    for row in &rows {
        let key = ApiKey::from_code(row[1].parse().unwrap()).unwrap();
        assert_eq!(key.name(), row[2]);
        let [first, last, stable] = [3, 4, 5].map(|i| row[i].parse::<i16>().unwrap());
        if first > last {
            assert!(key.known_versions().is_empty(), "{key}");
            continue;
        }
        assert_eq!((key.known_versions(), key.stable_versions()), (first..=last, first..=stable), "{key}");
        let on = |listener| row[6].split(',').any(|l| l == listener);
        assert_eq!(
            (key.is_on_broker_listener(), key.is_on_controller_listener()),
            (on("broker"), on("controller")),
            "{key}"
        );
        let headers: Vec<String> = (first..=last)
            .map(|v| format!("{}/{}", request_header_version(key, v), response_header_version(key, v)))
            .collect();
        assert_eq!(headers.join(","), row[7], "{key}");
    }
}
