//! Numbers of bytes as people write them.

/// Reads `4096`, `64kb`, `256mb`, `1g`: powers of 1024, as in Redis's `1gb`.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err("write bytes as 4096, 64kb, 256mb or 1g".into()),
    };
    let number: u64 = number.parse().map_err(|_| "write bytes as 4096, 64kb, 256mb or 1g")?;
    number.checked_mul(1 << shift).ok_or_else(|| "more bytes than 64 bits can count".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("64kb"), Ok(64 << 10));
        assert_eq!(parse("256MB"), Ok(256 << 20));
        assert_eq!(parse("1g"), Ok(1 << 30));
        assert_eq!(parse("2 GiB"), Ok(2 << 30));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "mb", "-1", "1.5g", "1x", "99999999999999999999", "18446744073709551615k"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
