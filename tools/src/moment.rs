//! Times and durations as people write them, and as Kafka's tools take them.
//!
//!     2026-11-24T10:00:00.000Z   2026-11-24T10:00+01:00   2026-11-24   @1795514400000     UTC unless it says otherwise
//!     P7D   PT1H30M   90m   36h   7d                                                      ISO 8601, or a number and a unit

const MS_PER_DAY: i64 = 86_400_000;

/// Milliseconds since 1970, or why the text is none.
pub fn time_ms(text: &str) -> Result<i64, String> {
    let wrong = || {
        format!(
            "{text:?} is no time; 2026-11-24T10:00:00Z, 2026-11-24T10:00:00.500+01:00 and @1795514400000 (ms) are"
        )
    };
    if let Some(ms) = text.strip_prefix('@') {
        return ms.parse().map_err(|_| wrong());
    }
    parse_time(text).ok_or_else(wrong)
}

fn parse_time(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00Z"));
    let [year, month, day] = numbers(date, '-')?;
    let is_day = (1..=12).contains(&month) && (1..=days_of_month(year, month)).contains(&day);
    if !is_day || !(0..=9999).contains(&year) {
        return None;
    }
    let (clock, zone_ms) = split_zone(time)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = match clock.matches(':').count() {
        1 => numbers(&format!("{clock}:00"), ':')?,
        _ => numbers(clock, ':')?,
    };
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..60).contains(&second) {
        return None;
    }
    let is_fraction = (1..=9).contains(&fraction.len()) && fraction.bytes().all(|b| b.is_ascii_digit());
    let ms: i64 = if is_fraction { format!("{fraction:0<3}")[..3].parse().ok()? } else { return None };
    let seconds = hour * 3600 + minute * 60 + second;
    Some(days_since_1970(year, month, day) * MS_PER_DAY + seconds * 1000 + ms - zone_ms)
}

/// The time of day, and how far its zone is ahead of UTC.
fn split_zone(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let (clock, zone) = time.split_at(at);
    let digits = zone[1..].replace(':', "");
    let (hours, minutes) = match digits.len() {
        2 => (digits.parse::<i64>().ok()?, 0),
        4 => (digits[..2].parse::<i64>().ok()?, digits[2..].parse::<i64>().ok()?),
        _ => return None,
    };
    let ms = (hours * 60 + minutes) * 60_000;
    (hours <= 18 && minutes < 60).then_some((clock, if zone.starts_with('-') { -ms } else { ms }))
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator).map(|part| {
        let is_number = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if is_number { part.parse::<i64>().ok() } else { None }
    });
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// By the Gregorian calendar; years begin with March here, so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let (era, month) = (year.div_euclid(400), (month + 9) % 12);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// A length of time in ms, or why the text is none.
pub fn duration_ms(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no duration; P7D, PT1H30M and 90m are");
    let upper = text.to_ascii_uppercase();
    let (negative, rest) = match upper.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, upper.as_str()),
    };
    let parsed = match rest.strip_prefix('P') {
        Some(iso) => {
            let (days, time) = iso.split_once('T').map_or((iso, None), |(days, time)| (days, Some(time)));
            let of_time = match time {
                Some("") => None,
                Some(time) => units(time, &[('H', 3_600_000), ('M', 60_000), ('S', 1000)]),
                None if days.is_empty() => None,
                None => Some(0),
            };
            units(days, &[('W', 7 * MS_PER_DAY), ('D', MS_PER_DAY)]).zip(of_time).map(|(a, b)| a + b)
        }
        None if rest.is_empty() => None,
        None => units(rest, &[('D', MS_PER_DAY), ('H', 3_600_000), ('M', 60_000), ('S', 1000)]),
    };
    parsed.map(|ms| if negative { -ms } else { ms }).ok_or_else(wrong)
}

/// Numbers, each with its unit, in the order of `known`. Only the last may have a fraction.
fn units(mut text: &str, known: &[(char, i64)]) -> Option<i64> {
    let (mut sum, mut left) = (0i64, known);
    while !text.is_empty() {
        let end = text.find(|c: char| c.is_ascii_alphabetic())?;
        let unit = text[end..].chars().next()?;
        let at = left.iter().position(|(name, _)| *name == unit)?;
        let (whole, fraction) = text[..end].split_once('.').unwrap_or((&text[..end], "0"));
        let is_number = |t: &str| (1..=15).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return None;
        }
        let part: f64 = format!("0.{fraction}").parse().ok()?;
        sum = sum.checked_add(whole.parse::<i64>().ok()?.checked_mul(left[at].1)?)?;
        sum = sum.checked_add((part * left[at].1 as f64).round() as i64)?;
        left = &left[at + 1..];
        text = &text[end + 1..];
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        for (text, ms) in [
            ("1970-01-01", 0),
            ("1970-01-01T00:00:00.001Z", 1),
            ("2000-02-29T12:00:00Z", 951_825_600_000),
            ("2026-11-24T10:00:00.500+01:00", 1_795_510_800_500),
            ("2026-11-24T09:00:00.5Z", 1_795_510_800_500),
            ("2026-11-24T09:00:00.500", 1_795_510_800_500),
            ("2026-11-24T03:30-0530", 1_795_510_800_000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("@1795510800500", 1_795_510_800_500),
        ] {
            assert_eq!(time_ms(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn durations_are_read_in_every_form() {
        for (text, ms) in [
            ("P7D", 7 * MS_PER_DAY),
            ("PT1H30M", 5_400_000),
            ("P1DT0.5S", MS_PER_DAY + 500),
            ("90m", 5_400_000),
            ("1h30m", 5_400_000),
            ("-PT1S", -1000),
        ] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-02-29",
            "2026-11-24T25:00:00Z",
            "2026-11-24T10",
            "@x",
            "1-2",
        ] {
            assert!(time_ms(text).is_err(), "{text}");
        }
        for text in ["", "P", "PT", "5", "PT5", "P1H", "M5", "1m1h", "PT99999999999999999S"] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
    }
}
