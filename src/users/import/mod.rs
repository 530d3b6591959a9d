//! Lists of users from elsewhere: the lines of an htpasswd file, and CSV with a name and a hash.
//!
//! Pure: bytes in, rows and complaints out, all of them at once. A row that comes out can be stored as it is: its name is a
//! user's name and its hash verifies. What to do when some rows are wrong is for the caller to decide. No complaint repeats
//! anything of a line, since what looks like a name may be a password in the wrong column.

use std::collections::HashMap;
use std::fmt;

use csv::ByteRecord;

use crate::oauth::subject::{Subject, SubjectError};
use crate::users::password::{PasswordHash, PasswordHashError};

/// The largest list, in bytes.
pub const MAX_IMPORT_BYTES: usize = 64 * 1024 * 1024;

/// The longest hash of any format that is read is far shorter.
const MAX_HASH_BYTES: usize = 512;

/// One user to be stored.
#[derive(Clone, PartialEq, Eq)]
pub struct ImportedUser {
    /// The line it begins on, counted from 1.
    pub line: usize,
    /// The name.
    pub name: Subject,
    /// The hash, as [`PasswordHash::parse`] reads it.
    pub hash: String,
}

impl fmt::Debug for ImportedUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, name, hash: _ } = self;
        write!(f, "ImportedUser(line {line}, {name})")
    }
}

/// A line that cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ImportProblem {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: ImportError,
}

/// What a list holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Import {
    /// The users, in the order of the list.
    pub users: Vec<ImportedUser>,
    /// What is wrong, in the order of the list.
    pub problems: Vec<ImportProblem>,
}

/// Reads `name:hash` lines, as `htpasswd -B` writes them. Empty lines, and lines that begin with `#`, say nothing.
#[must_use]
pub fn htpasswd(bytes: &[u8]) -> Import {
    let mut reading = Reading::default();
    let Some(bytes) = reading.bounded(bytes) else { return reading.import };
    for (line, bytes) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let blank = bytes.trim_ascii_start();
        if blank.is_empty() || blank.starts_with(b"#") {
            continue;
        }
        let mut fields = bytes.splitn(2, |byte| *byte == b':');
        match (fields.next(), fields.next()) {
            (Some(name), Some(hash)) => reading.add(line, name, hash),
            _ => reading.complain(line, ImportError::Line),
        }
    }
    reading.import
}

/// Reads CSV (RFC 4180). The first line must name the columns: `name`, and `hash` or `password`, in either order. It is
/// required so that it can never be taken for a user, nor a user for it; any other column is refused rather than left out,
/// because it could be the one that says who is locked.
#[must_use]
pub fn csv(bytes: &[u8]) -> Import {
    let mut reading = Reading::default();
    let Some(bytes) = reading.bounded(bytes) else { return reading.import };
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut record = ByteRecord::new();
    let mut columns = None;
    while reader.read_byte_record(&mut record).unwrap_or(false) {
        let line = line_of(&record, bytes);
        let Some((name, hash)) = columns else {
            columns = columns_of(&record);
            if columns.is_none() {
                reading.complain(line, ImportError::Header);
                return reading.import;
            }
            continue;
        };
        match (record.get(name), record.get(hash), record.len()) {
            (Some(name), Some(hash), 2) => reading.add(line, name, hash),
            _ => reading.complain(line, ImportError::Columns),
        }
    }
    if columns.is_none() {
        reading.complain(1, ImportError::Header);
    }
    reading.import
}

/// Where the name and the hash stand.
fn columns_of(header: &ByteRecord) -> Option<(usize, usize)> {
    let is_hash = |field: &[u8]| {
        field.eq_ignore_ascii_case(b"hash") || field.eq_ignore_ascii_case(b"password")
    };
    let is_name = |field: &[u8]| field.eq_ignore_ascii_case(b"name");
    match (header.get(0), header.get(1), header.len()) {
        (Some(name), Some(hash), 2) if is_name(name) && is_hash(hash) => Some((0, 1)),
        (Some(hash), Some(name), 2) if is_name(name) && is_hash(hash) => Some((1, 0)),
        _ => None,
    }
}

/// The line that a record begins on. The reader counts from before the empty lines that it left out.
fn line_of(record: &ByteRecord, bytes: &[u8]) -> usize {
    let Some(position) = record.position() else { return 1 };
    let start = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let rest = bytes.get(start..).unwrap_or_default();
    let left_out = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    let lines = left_out.filter(|byte| **byte == b'\n').count();
    usize::try_from(position.line()).unwrap_or(usize::MAX).saturating_add(lines)
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    import: Import,
    lines: HashMap<Subject, usize>,
}

impl Reading {
    /// The bytes without the mark that some programs begin a file with.
    fn bounded<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        if bytes.len() > MAX_IMPORT_BYTES {
            self.complain(1, ImportError::Size);
            return None;
        }
        Some(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))
    }

    fn complain(&mut self, line: usize, reason: ImportError) {
        self.import.problems.push(ImportProblem { line, reason });
    }

    fn add(&mut self, line: usize, name: &[u8], hash: &[u8]) {
        match user(line, name, hash) {
            Ok(user) => match self.lines.get(&user.name) {
                Some(first) => self.complain(line, ImportError::Repeated(*first)),
                None => {
                    self.lines.insert(user.name.clone(), line);
                    self.import.users.push(user);
                }
            },
            Err(reason) => self.complain(line, reason),
        }
    }
}

fn user(line: usize, name: &[u8], hash: &[u8]) -> Result<ImportedUser, ImportError> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| ImportError::Encoding);
    let (name, hash) = (Subject::user(text(name)?)?, text(hash)?);
    if hash.len() > MAX_HASH_BYTES {
        return Err(ImportError::Hash(PasswordHashError::Unknown));
    }
    match PasswordHash::parse(hash) {
        Ok(_) => Ok(ImportedUser { line, name, hash: hash.to_owned() }),
        Err(PasswordHashError::Unknown) => Err(ImportError::Unread(Foreign::of(hash))),
        Err(error) => Err(ImportError::Hash(error)),
    }
}

/// Formats that are told apart only to say that they are not read: each is too weak, or no hash at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// `$apr1$` or `$1$`.
    Md5,
    /// `{SHA}`, `{SSHA}` and the other schemes of LDAP.
    Ldap,
    /// `$5$`.
    Sha256Crypt,
    /// The 13 characters of the old crypt(3), which also cuts passwords at 8.
    Des,
    /// Anything else, which is most likely the password itself.
    Plain,
}

impl Foreign {
    fn of(hash: &str) -> Self {
        let des = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/');
        if hash.starts_with("$apr1$") || hash.starts_with("$1$") {
            Self::Md5
        } else if hash.starts_with('{') {
            Self::Ldap
        } else if hash.starts_with("$5$") {
            Self::Sha256Crypt
        } else if hash.len() == 13 && hash.bytes().all(des) {
            Self::Des
        } else {
            Self::Plain
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "a hash of MD5 (`$apr1$`, `$1$`) is not imported",
            Self::Ldap => "a hash of an LDAP scheme (`{SHA}` and others) is not imported",
            Self::Sha256Crypt => "a hash of sha256-crypt (`$5$`) is not imported",
            Self::Des => "a hash of the old crypt(3) is not imported",
            Self::Plain => "this is no hash that is known, or a password in the clear",
        })
    }
}

/// Why a line is no user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The whole is too large.
    #[error("a list has at most {MAX_IMPORT_BYTES} bytes")]
    Size,
    /// No name and hash.
    #[error("a line is `name:hash`")]
    Line,
    /// No header.
    #[error("the first line must name the columns: `name,hash`, and no others")]
    Header,
    /// Another number of columns than the header.
    #[error(
        "there must be a name and a hash, and nothing else (a hash with commas stands in quotes)"
    )]
    Columns,
    /// Not UTF-8.
    #[error("this is not UTF-8")]
    Encoding,
    /// Not a user's name.
    #[error(transparent)]
    Name(#[from] SubjectError),
    /// A hash that cannot be taken.
    #[error(transparent)]
    Hash(PasswordHashError),
    /// A format that is not read.
    #[error("{0}; {why}", why = PasswordHashError::Unknown)]
    Unread(Foreign),
    /// A second user of one name.
    #[error("this name is on line {0} already")]
    Repeated(usize),
}

#[cfg(test)]
mod tests;
