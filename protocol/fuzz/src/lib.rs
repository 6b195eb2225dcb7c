//! What the fuzz targets share: every message behind a function pointer, and what must hold for any bytes.
//!
//! **Invariant** for every message, version and input: nothing panics, the generated codec and the interpreter agree on what is a
//! message, and what was read can be written and read again with the same result.

use bytes::Bytes;
use protocol::schema::Message;
use protocol::{DecodeError, Decoder, Encoder, value};

/// Reads a message, writes it, and reads that again; returns what was written.
fn through<M: protocol::Message>(bytes: Bytes, version: i16) -> Result<Bytes, DecodeError> {
    let mut input = Decoder::new(bytes);
    let message = M::decode(&mut input, version)?;
    input.finish()?;
    let mut out = Encoder::new();
    message.encode(&mut out, version).expect("what was read can be written");
    let written = out.into_bytes().expect("all in memory");
    let again = M::decode(&mut Decoder::new(written.clone()), version).expect("what was written can be read");
    let mut out = Encoder::new();
    again.encode(&mut out, version).expect("what was read can be written");
    // Not the values are compared: NaN differs from itself.
    assert_eq!(out.into_bytes().expect("all in memory"), written, "{} v{version}", M::NAME);
    Ok(written)
}

type Through = fn(Bytes, i16) -> Result<Bytes, DecodeError>;

macro_rules! table {
    ($($name:ident)*) => {
        /// Every message, in the order of the schema.
        const MESSAGES: &[(&str, Through)] = &[$((stringify!($name), through::<protocol::messages::$name>)),*];
    };
}
protocol::each_message!(table);

/// Feeds a body to both codecs.
pub fn message(m: &'static Message, version: i16, body: Bytes) {
    let typed = MESSAGES.iter().find(|(name, _)| *name == m.name).expect("both come from one table").1;
    let mut input = Decoder::new(body.clone());
    let interpreted = value::decode(m, &mut input, version).and_then(|value| input.finish().map(|()| value));
    match (typed(body, version), interpreted) {
        (Err(DecodeError::TooMuchMemory), _) | (_, Err(DecodeError::TooMuchMemory)) | (Err(_), Err(_)) => {}
        (Ok(written), Ok(value)) => {
            // Internal records keep the tags that nobody knows; the interpreter does not.
            if matches!(m.category.as_str(), "request" | "response" | "header") {
                let mut out = Encoder::new();
                value::encode(m, &value, &mut out, version).expect("what was read can be written");
                assert_eq!(out.into_bytes().expect("all in memory"), written, "{} v{version}", m.name);
            }
            let json = value::to_json(m, &value, version);
            assert!(json.is_object());
        }
        (a, b) => panic!("{} v{version}: generated {a:?}, interpreted {b:?}", m.name),
    }
}

/// Two bytes of the input choose the message (of those that `wanted` takes) and the version; the rest is the body.
pub fn chosen(data: &[u8], wanted: impl Fn(&Message) -> bool) {
    let [which, version, body @ ..] = data else { return };
    let candidates: Vec<&'static Message> =
        value::messages().iter().filter(|m| !m.versions.is_empty() && wanted(m)).collect();
    let m = candidates[usize::from(*which) % candidates.len()];
    let count = i16::from(*version) % (m.versions.last - m.versions.first + 1);
    message(m, m.versions.first + count, Bytes::copy_from_slice(body));
}
