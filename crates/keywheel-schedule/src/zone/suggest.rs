/// No zone has a longer name; whatever is longer is not a typing error.
const LONGEST: usize = 40;

/// Returns the names that `given` is most probably meant to be, at most three, nearest first.
pub(super) fn near<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let given = given.trim().replace(' ', "_").to_ascii_lowercase();
    if given.is_empty() || given.len() > LONGEST {
        return Vec::new();
    }
    let allowed = given.len() / 4;
    let mut near: Vec<_> = names
        .map(|name| (unlike(&given, name), name))
        .filter(|(unlike, _)| *unlike <= allowed)
        .collect();
    near.sort_unstable();
    let nearest = near.first().map_or(0, |(unlike, _)| *unlike);
    near.into_iter()
        .take_while(|(unlike, _)| *unlike == nearest)
        .map(|(_, name)| name)
        .take(3)
        .collect()
}

/// Counts the edits between `given` and the name, or its last part, whichever are fewer.
fn unlike(given: &str, name: &str) -> usize {
    let name = name.to_ascii_lowercase();
    let place = name.rsplit('/').next().unwrap_or_default();
    edits(given, &name).min(edits(given, place))
}

/// The Levenshtein distance, in bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, count) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("berln", "berlin", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edits(a, b), count, "{a} {b}");
            assert_eq!(edits(b, a), count, "{b} {a}");
        }
    }
}
