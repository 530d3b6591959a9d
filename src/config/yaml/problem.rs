//! What is wrong with a configuration, and where: one line that an editor can jump to.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// One thing that is wrong, or worth a warning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, as it was named on the command line or in the configuration.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// The value's place in the file, such as `routes[2] (orders-read).scopes`; empty for the file as a whole.
    pub place: String,
    /// What is wrong. Never holds a secret, a password hash or the content of a key file.
    pub message: String,
    /// What to do about it, where that can be said.
    pub hint: Option<String>,
}

impl Problem {
    /// The file itself cannot be read.
    pub(in crate::config) fn of_file(file: &Path, error: &io::Error) -> Self {
        let message = format!("the file cannot be read: {error}");
        Self {
            file: file.to_owned(),
            line: 1,
            column: 1,
            place: String::new(),
            message,
            hint: None,
        }
    }
}

impl fmt::Display for Problem {
    /// `file:line:col: where: what (hint)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file.display(), self.line, self.column)?;
        if !self.place.is_empty() {
            write!(f, "{}: ", in_line(&self.place))?;
        }
        f.write_str(&in_line(&self.message))?;
        match &self.hint {
            Some(hint) => write!(f, " ({})", in_line(hint)),
            None => Ok(()),
        }
    }
}

/// The candidate that a mistyped word was most likely meant to be.
pub(in crate::config) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let folded = word.to_ascii_lowercase();
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&folded, &name.to_ascii_lowercase()), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// `did you mean …`, or else the words there are, when they are few enough to read.
pub(in crate::config) fn suggestion<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(name) = nearest(word, candidates.iter().copied()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let few = !candidates.is_empty() && candidates.len() <= 16;
    few.then(|| format!("there is: {}", candidates.join(", ")))
}

/// Without what would end the line, or speak to a terminal: keys of the file stand in places and messages as they are.
fn in_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), "\u{fffd}")
}

/// A text of the file as it may stand in a message: quoted, shortened, without control characters.
pub(in crate::config) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("`{}`", in_line(&shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_a_line_break_in_it_does_not_break_the_line() {
        let problem = Problem {
            file: PathBuf::from("portcullis.yaml"),
            line: 1,
            column: 1,
            place: "upstreams.a\nb".to_owned(),
            message: "unknown key `up\r\u{1b}[2J`".to_owned(),
            hint: Some("there is: \u{7}".to_owned()),
        };
        let shown = problem.to_string();
        assert!(!shown.contains(|c: char| c.is_control()), "{shown:?}");
    }

    #[test]
    fn a_problem_is_one_line_an_editor_can_jump_to() {
        let mut problem = Problem {
            file: PathBuf::from("portcullis.yaml"),
            line: 3,
            column: 7,
            place: "routes[0] (home).upstream".to_owned(),
            message: "there is no upstream `shpo`".to_owned(),
            hint: Some("did you mean `shop`?".to_owned()),
        };
        assert_eq!(
            problem.to_string(),
            "portcullis.yaml:3:7: routes[0] (home).upstream: there is no upstream `shpo` (did you mean `shop`?)"
        );
        problem.place.clear();
        problem.hint = None;
        assert_eq!(problem.to_string(), "portcullis.yaml:3:7: there is no upstream `shpo`");
    }

    #[test]
    fn only_near_words_are_suggested() {
        let words = ["routes", "listeners", "tokens"];
        assert_eq!(nearest("rotues", words), Some("routes"));
        assert_eq!(nearest("Routes", words), Some("routes"));
        assert_eq!(nearest("metrics", words), None);
        assert_eq!(suggestion("x", []), None);
    }

    #[test]
    fn a_quoted_text_cannot_forge_a_second_line() {
        assert_eq!(quoted("a\nportcullis.yaml:1:1: fine"), "`a\u{fffd}portcullis.yaml:1:1: fine`");
        assert!(quoted(&"x".repeat(500)).chars().count() < 70);
    }
}
