//! The metrics that clients push: OpenTelemetry's `MetricsData`, in protobuf.
//!
//! ```text
//!   MetricsData 1: ResourceMetrics   1: Resource 1: attributes
//!                                    2: ScopeMetrics 2: Metric   1: name, 5: Gauge, 7: Sum, 9: Histogram, 11: Summary
//!                                                                      1: data points: attributes, value
//! ```
//! Only what becomes a series is read; unknown fields are skipped, as protobuf wants it. Values borrow from the payload, and
//! the depth of the walk is that of the schema, not that of the payload.

/// What is wrong with a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OtlpError {
    #[error("a field ends beyond its message")]
    Truncated,
    #[error("a number has more than 64 bits")]
    Varint,
    #[error("wire type {0} does not exist")]
    WireType(u8),
    #[error("field {0} has another type than in OpenTelemetry's schema")]
    Type(u64),
    #[error("a name is not text")]
    Text,
    #[error("more than {0} data points")]
    TooMany(usize),
}

/// A value of protobuf, as the wire tells it.
#[derive(Clone, Copy, Debug)]
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

impl<'a> Wire<'a> {
    fn bytes(self, field: u64) -> Result<&'a [u8], OtlpError> {
        if let Wire::Bytes(bytes) = self { Ok(bytes) } else { Err(OtlpError::Type(field)) }
    }

    fn text(self, field: u64) -> Result<&'a str, OtlpError> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| OtlpError::Text)
    }

    fn varint(self, field: u64) -> Result<u64, OtlpError> {
        if let Wire::Varint(value) = self { Ok(value) } else { Err(OtlpError::Type(field)) }
    }

    fn fixed64(self, field: u64) -> Result<u64, OtlpError> {
        if let Wire::Fixed64(value) = self { Ok(value) } else { Err(OtlpError::Type(field)) }
    }

    fn double(self, field: u64) -> Result<f64, OtlpError> {
        self.fixed64(field).map(f64::from_bits)
    }
}

/// The fields of a message, in the order of the wire.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<u64, OtlpError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first().ok_or(OtlpError::Truncated)?;
            self.0 = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(OtlpError::Varint)
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], OtlpError> {
        let count = usize::try_from(count).map_err(|_| OtlpError::Truncated)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(OtlpError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn next(&mut self) -> Result<Option<(u64, Wire<'a>)>, OtlpError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => {
                let bytes = self.take(8)?;
                Wire::Fixed64(u64::from_le_bytes(bytes.try_into().expect("eight were taken")))
            }
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Wire::Fixed32
            }
            other => return Err(OtlpError::WireType(other as u8)),
        };
        Ok(Some((tag >> 3, value)))
    }
}

/// What becomes of a data point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    /// The value now.
    Gauge(f64),
    /// The sum since the client began; it only grows.
    Total(f64),
    /// What is to be added to the sum of what was told before.
    Delta(f64),
}

/// An attribute; numbers are text already.
pub(crate) type Attributes<'a> = Vec<(&'a str, String)>;

/// One series of a payload. A histogram becomes two: `_count` and `_sum`.
#[derive(Debug)]
pub(crate) struct Point<'a> {
    pub(crate) name: &'a str,
    pub(crate) suffix: &'static str,
    pub(crate) attributes: Attributes<'a>,
    pub(crate) value: Value,
}

/// What a payload tells.
#[derive(Debug, Default)]
pub(crate) struct Pushed<'a> {
    /// Of the client as a whole.
    pub(crate) resource: Attributes<'a>,
    pub(crate) points: Vec<Point<'a>>,
}

/// Reads a payload of at most `points_max` series.
pub(crate) fn decode(payload: &[u8], points_max: usize) -> Result<Pushed<'_>, OtlpError> {
    let mut pushed = Pushed::default();
    let mut data = Fields(payload);
    while let Some((field, value)) = data.next()? {
        if field == 1 {
            read_resource_metrics(value.bytes(field)?, &mut pushed, points_max)?;
        }
    }
    Ok(pushed)
}

fn read_resource_metrics<'a>(
    bytes: &'a [u8],
    pushed: &mut Pushed<'a>,
    points_max: usize,
) -> Result<(), OtlpError> {
    let mut fields = Fields(bytes);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => {
                let mut resource = Fields(value.bytes(field)?);
                while let Some((field, value)) = resource.next()? {
                    if field == 1 {
                        pushed.resource.extend(attribute(value.bytes(field)?)?);
                    }
                }
            }
            2 => {
                let mut scope = Fields(value.bytes(field)?);
                while let Some((field, value)) = scope.next()? {
                    if field == 2 {
                        read_metric(value.bytes(field)?, pushed, points_max)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A key and its value; None for one that has no place in a label (lists, maps, bytes).
fn attribute(bytes: &[u8]) -> Result<Option<(&str, String)>, OtlpError> {
    let (mut key, mut text) = ("", None);
    let mut fields = Fields(bytes);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => key = value.text(field)?,
            2 => {
                let mut any = Fields(value.bytes(field)?);
                while let Some((field, value)) = any.next()? {
                    text = match field {
                        1 => Some(value.text(field)?.to_owned()),
                        2 => Some((value.varint(field)? != 0).to_string()),
                        3 => Some((value.varint(field)? as i64).to_string()),
                        4 => Some(value.double(field)?.to_string()),
                        _ => None,
                    };
                }
            }
            _ => {}
        }
    }
    Ok(text.map(|text| (key, text)))
}

/// Kinds of metrics by their field in `Metric`.
const GAUGE: u64 = 5;
const SUM: u64 = 7;
const HISTOGRAM: u64 = 9;
const EXPONENTIAL_HISTOGRAM: u64 = 10;
const SUMMARY: u64 = 11;

fn read_metric<'a>(bytes: &'a [u8], pushed: &mut Pushed<'a>, points_max: usize) -> Result<(), OtlpError> {
    let (mut name, mut found) = ("", None);
    let mut fields = Fields(bytes);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => name = value.text(field)?,
            GAUGE | SUM | HISTOGRAM | EXPONENTIAL_HISTOGRAM | SUMMARY => {
                found = Some((field, value.bytes(field)?));
            }
            _ => {}
        }
    }
    let Some((kind, data)) = found else { return Ok(()) };
    // The temporality may stand behind the points that it is about.
    let (mut points, mut temporality, mut is_monotonic) = (Vec::new(), 0, false);
    let mut fields = Fields(data);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => points.push(value.bytes(field)?),
            2 => temporality = value.varint(field)?,
            3 => is_monotonic = value.varint(field)? != 0,
            _ => {}
        }
    }
    const DELTA: u64 = 1;
    let total = |value: f64| if temporality == DELTA { Value::Delta(value) } else { Value::Total(value) };
    for point in points {
        let read = match kind {
            GAUGE | SUM => number_point(point)?.map(|(attributes, value)| {
                let value = if kind == SUM && is_monotonic { total(value) } else { Value::Gauge(value) };
                vec![Point { name, suffix: "", attributes, value }]
            }),
            kind => {
                let (attributes, count, sum) = distribution_point(point, kind == HISTOGRAM)?;
                let mut both = vec![Point {
                    name,
                    suffix: "_count",
                    attributes: attributes.clone(),
                    value: total(count),
                }];
                both.extend(sum.map(|sum| Point { name, suffix: "_sum", attributes, value: total(sum) }));
                Some(both)
            }
        };
        pushed.points.extend(read.into_iter().flatten());
        if pushed.points.len() > points_max {
            return Err(OtlpError::TooMany(points_max));
        }
    }
    Ok(())
}

fn number_point(bytes: &[u8]) -> Result<Option<(Attributes<'_>, f64)>, OtlpError> {
    let (mut attributes, mut number) = (Vec::new(), None);
    let mut fields = Fields(bytes);
    while let Some((field, value)) = fields.next()? {
        match field {
            4 => number = Some(value.double(field)?),
            6 => number = Some(value.fixed64(field)? as i64 as f64),
            7 => attributes.extend(attribute(value.bytes(field)?)?),
            _ => {}
        }
    }
    Ok(number.map(|number| (attributes, number)))
}

/// Count and sum of a histogram or a summary: both have them in fields 4 and 5, the attributes lie apart.
fn distribution_point(
    bytes: &[u8],
    is_histogram: bool,
) -> Result<(Attributes<'_>, f64, Option<f64>), OtlpError> {
    let attributes_field = if is_histogram { 9 } else { 7 };
    let (mut attributes, mut count, mut sum) = (Vec::new(), 0.0, None);
    let mut fields = Fields(bytes);
    while let Some((field, value)) = fields.next()? {
        match field {
            4 => count = value.fixed64(field)? as f64,
            5 => sum = Some(value.double(field)?),
            field if field == attributes_field => attributes.extend(attribute(value.bytes(field)?)?),
            _ => {}
        }
    }
    Ok((attributes, count, sum))
}

#[cfg(test)]
pub(crate) mod tests;
