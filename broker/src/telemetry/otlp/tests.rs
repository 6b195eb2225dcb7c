//! Payloads written by hand, whole and broken.

use super::*;

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A message or text in a field.
fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn double(field: u64, value: f64) -> Vec<u8> {
    [varint(field << 3 | 1), value.to_bits().to_le_bytes().to_vec()].concat()
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn key_value(field: u64, key: &str, value: &str) -> Vec<u8> {
    bytes(field, &[bytes(1, key.as_bytes()), bytes(2, &bytes(1, value.as_bytes()))].concat())
}

/// A payload of one client with these metrics.
pub(crate) fn payload(metrics: &[Vec<u8>]) -> Vec<u8> {
    let resource = bytes(1, &key_value(1, "client_rack", "r1"));
    let metrics: Vec<u8> = metrics.iter().flat_map(|metric| bytes(2, metric)).collect();
    bytes(1, &[resource, bytes(2, &metrics)].concat())
}

pub(crate) fn gauge(name: &str, attribute: (&str, &str), value: f64) -> Vec<u8> {
    let point = [key_value(7, attribute.0, attribute.1), double(4, value)].concat();
    [bytes(1, name.as_bytes()), bytes(5, &bytes(1, &point))].concat()
}

pub(crate) fn delta(name: &str, value: f64) -> Vec<u8> {
    let sum = [bytes(1, &double(4, value)), number(2, 1), number(3, 1)].concat();
    [bytes(1, name.as_bytes()), bytes(7, &sum)].concat()
}

#[test]
fn gauges_sums_and_histograms_become_points() {
    let whole = [varint(6 << 3 | 1), (-5i64).to_le_bytes().to_vec()].concat();
    let cumulative = [bytes(1, &whole), number(2, 2), number(3, 1)].concat();
    let histogram =
        [bytes(1, &[varint(4 << 3 | 1), 3u64.to_le_bytes().to_vec(), double(5, 1.5)].concat()), number(2, 1)];
    let payload = payload(&[
        gauge("g.a", ("node_id", "7"), 2.5),
        delta("d", 4.0),
        [bytes(1, b"c"), bytes(7, &cumulative)].concat(),
        [bytes(1, b"h"), bytes(9, &histogram.concat())].concat(),
        // A kind that nobody knows yet, and fields beyond the schema.
        [bytes(1, b"future"), bytes(40, b"x"), number(41, 3)].concat(),
    ]);
    let pushed = decode(&payload, 100).expect("it is whole");
    assert_eq!(pushed.resource, [("client_rack", "r1".to_owned())]);
    let told: Vec<_> = pushed.points.iter().map(|p| (p.name, p.suffix, p.value)).collect();
    assert_eq!(
        told,
        [
            ("g.a", "", Value::Gauge(2.5)),
            ("d", "", Value::Delta(4.0)),
            ("c", "", Value::Total(-5.0)),
            ("h", "_count", Value::Delta(3.0)),
            ("h", "_sum", Value::Delta(1.5)),
        ]
    );
    assert_eq!(pushed.points[0].attributes, [("node_id", "7".to_owned())]);
}

#[test]
fn every_cut_and_every_changed_byte_is_an_error_or_a_payload_and_never_a_panic() {
    let whole = payload(&[gauge("g", ("a", "b"), 1.0), delta("d", 1.0)]);
    for end in 0..whole.len() {
        drop(decode(&whole[..end], 100));
    }
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] = value;
            drop(decode(&changed, 100));
        }
    }
    assert_eq!(decode(&whole[..whole.len() - 1], 100).unwrap_err(), OtlpError::Truncated);
    assert_eq!(decode(&[0xff; 11], 100).unwrap_err(), OtlpError::Varint);
    assert_eq!(decode(&[3], 100).unwrap_err(), OtlpError::WireType(3));
    assert_eq!(decode(&number(1, 5), 100).unwrap_err(), OtlpError::Type(1));
}

#[test]
fn more_points_than_the_bound_are_refused() {
    let many: Vec<Vec<u8>> = (0..11).map(|n| delta(&format!("m{n}"), 1.0)).collect();
    assert_eq!(decode(&payload(&many), 10).unwrap_err(), OtlpError::TooMany(10));
    assert!(decode(&payload(&many), 11).is_ok());
}
