//! Names near one that was not found.

/// Most names suggested.
const SUGGESTIONS_MAX: usize = 3;
/// Longest name compared, in bytes: the work grows with the square of it.
const COMPARED_BYTES_MAX: usize = 128;

/// The names nearest to `wanted`, the nearest first: within a third of its length in changed letters.
pub(super) fn near<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    if wanted.len() > COMPARED_BYTES_MAX {
        return Vec::new();
    }
    let allowed = (wanted.len() / 3).max(1);
    let mut found: Vec<(usize, &str)> = names
        .filter(|name| name.len().abs_diff(wanted.len()) <= allowed)
        .map(|name| (distance(wanted.as_bytes(), name.as_bytes()), name))
        .filter(|(distance, _)| *distance <= allowed)
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(SUGGESTIONS_MAX).map(|(_, name)| name.to_owned()).collect()
}

/// How many letters must be put in, left out or replaced to make one of the other (Levenshtein), case aside.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, byte) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(!byte.eq_ignore_ascii_case(other));
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood_and_another_name_is_not() {
        let names = ["acme-cam", "acme-lock", "thermo"];
        for (wanted, expected) in [
            ("acme-can", vec!["acme-cam"]),
            ("Acme-Cam", vec!["acme-cam"]),
            ("termo", vec!["thermo"]),
            ("doorbell", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(near(wanted, names.into_iter()), expected, "{wanted}");
        }
    }
}
