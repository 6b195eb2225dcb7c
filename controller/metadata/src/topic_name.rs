//! What a topic may be called: what makes a directory's name on every system (Kafka's `Topic.validate`).

const NAME_CHARS_MAX: usize = 249;

/// # Errors
/// What is wrong with the name, in Kafka's words.
pub fn check(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fault = match name {
        "" => "the empty string is not allowed".into(),
        "." => "'.' is not allowed".into(),
        ".." => "'..' is not allowed".into(),
        long if long.encode_utf16().count() > NAME_CHARS_MAX => {
            format!("the length of '{long}' is longer than the max allowed length {NAME_CHARS_MAX}")
        }
        other if !other.chars().all(legal) => {
            format!(
                "'{other}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
            )
        }
        _ => return Ok(()),
    };
    Err(format!("Topic name is invalid: {fault}"))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn names_make_directories_on_every_system() {
        let long = "a".repeat(249);
        for name in ["a", "A.b_c-9", "...", long.as_str()] {
            assert_eq!(check(name), Ok(()));
        }
        let longer = "a".repeat(250);
        for name in ["", ".", "..", "a b", "a/b", "é", "a\0", longer.as_str()] {
            assert!(check(name).is_err_and(|why| why.starts_with("Topic name is invalid: ")), "{name:?}");
        }
    }
}
