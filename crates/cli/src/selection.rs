//! Which objects an argument means: `3`, `3..7`, `3,5,9`, or names.

use crate::error::CliError;

/// Ids that one range may have; more is a slip of the finger.
const MOST: i64 = 100_000;

/// One part of an argument.
enum Part<'a> {
    Ids(std::ops::RangeInclusive<i32>),
    Name(&'a str),
}

/// The ids that the arguments name among `there`, the ids and names of what there is; each once, in
/// the order of the arguments. `one` is what one of them is called, such as `host`.
///
/// What is a number is an id, also where an object has such a name.
///
/// # Errors
/// What is not there, all of it, or a name that several objects have.
pub fn select(
    arguments: &[String],
    there: &[(i32, &str)],
    one: &str,
) -> Result<Vec<i32>, CliError> {
    let mut ids = Vec::new();
    let mut missing = Vec::new();
    for argument in arguments {
        // A name may have a comma in it.
        let whole = there.iter().any(|(_, name)| name == argument);
        let parts = if whole { vec![argument.as_str()] } else { argument.split(',').collect() };
        for part in parts {
            match parse(part, one)? {
                Part::Ids(range) => {
                    for id in range {
                        match there.iter().any(|(known, _)| *known == id) {
                            true if ids.contains(&id) => {}
                            true => ids.push(id),
                            false => missing.push(id.to_string()),
                        }
                    }
                }
                Part::Name(name) => {
                    let found: Vec<i32> =
                        there.iter().filter(|(_, n)| *n == name).map(|(id, _)| *id).collect();
                    match found.as_slice() {
                        [] => missing.push(name.to_owned()),
                        [id] if ids.contains(id) => {}
                        [id] => ids.push(*id),
                        several => {
                            let ids: Vec<String> = several.iter().map(i32::to_string).collect();
                            return Err(CliError::new(format!(
                                "several {one}s are named {name:?}: {}",
                                ids.join(", ")
                            ))
                            .hint("say which one by its id"));
                        }
                    }
                }
            }
        }
    }
    match missing.is_empty() {
        true => Ok(ids),
        false => Err(CliError::new(format!(
            "there is no {one} {} that belongs to a provision",
            shortened(&missing)
        ))
        .hint(format!("`oneprovision {} list` shows them", one.replace(' ', "")))),
    }
}

fn parse<'a>(part: &'a str, one: &str) -> Result<Part<'a>, CliError> {
    let part = part.trim();
    let bad = || {
        CliError::new(format!("{part:?} is no {one}"))
            .hint(format!("{one}s are given as 3, as a range 3..7, as a list 3,5,9, or by name"))
    };
    let numbers = match part.split_once("..") {
        Some((first, last)) => first.trim().parse::<i32>().ok().zip(last.trim().parse().ok()),
        None => part.parse::<i32>().ok().map(|id| (id, id)),
    };
    let Some((first, last)) = numbers else {
        return if part.is_empty() { Err(bad()) } else { Ok(Part::Name(part)) };
    };
    let sensible = first >= 0 && last >= first && i64::from(last) - i64::from(first) < MOST;
    if sensible { Ok(Part::Ids(first..=last)) } else { Err(bad()) }
}

/// The first of many; a range may name thousands.
fn shortened(missing: &[String]) -> String {
    const SHOWN: usize = 10;
    let first: Vec<&str> = missing.iter().take(SHOWN).map(String::as_str).collect();
    let more =
        if missing.len() > SHOWN { format!(" … ({})", missing.len()) } else { String::new() };
    first.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: [(i32, &str); 6] =
        [(3, "a"), (5, "b"), (6, "c,d"), (7, "3"), (9, "twin"), (10, "twin")];

    fn ids(arguments: &[&str]) -> Result<Vec<i32>, String> {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        select(&arguments, &THERE, "host").map_err(|error| error.render())
    }

    #[test]
    fn ids_are_single_ranges_lists_and_names() {
        assert_eq!(ids(&["3", "5..7,9", "6"]), Ok(vec![3, 5, 6, 7, 9]));
        assert_eq!(ids(&["b,a", "c,d", "5"]), Ok(vec![5, 3, 6]));
        assert_eq!(ids(&["9"]), Ok(vec![9]));
    }

    #[test]
    fn what_cannot_be_meant_is_an_error() {
        for bad in ["", "-1", "7..5", "0..2000000000", "3,,5"] {
            assert!(ids(&[bad]).unwrap_err().contains("is no host"), "{bad}");
        }
        let error = ids(&["3..6", "x", "1.."]).unwrap_err();
        assert!(
            error.contains("there is no host 4, x, 1.. that belongs to a provision"),
            "{error}"
        );
        assert!(ids(&["0..99"]).unwrap_err().contains("… (94)"));
        assert!(ids(&["twin"]).unwrap_err().contains("9, 10"));
    }
}
