//! Pages of lists. How many rows one has is the client's to say; how many bytes, is not: a page ends
//! before the row that would bring it over [`MAX_MESSAGE_BYTES`].
//!
//! Rows are read in batches, so that a page of large rows does not read many that it has no room for:
//!
//! ```ignore
//! let mut page = Page::begin(request.page_size, PageStart::parse(&request.page_token, 1)?)?;
//! while let Some(rows) = page.wants() {
//!     let read = things::list(&mut connection, page.after(0), rows).await?;
//!     page.add(read, |thing| PageStart::of(&[&thing.name]));
//! }
//! let (things, next_page_token) = page.end();
//! ```

use prost::Message;
use rootstock_model::limits::MAX_MESSAGE_BYTES;
use rootstock_proto::Error;

use crate::queries::MAX_BATCH;

/// Rows of a page when the request names no number.
const DEFAULT_ROWS: usize = 100;
const MAX_ROWS: usize = 1000;
/// Joins the parts of a key in a token; no key holds it.
const SEPARATOR: char = '\u{1f}';

/// Where a page begins: the parts of the key of the row before it, empty for the first page.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct PageStart(Vec<String>);

impl PageStart {
    /// Reads a token of as many parts.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when it is none that was given out.
    pub(crate) fn parse(token: &str, parts: usize) -> Result<Self, Error> {
        if token.is_empty() {
            return Ok(Self(vec![String::new(); parts]));
        }
        let found: Vec<String> = token.split(SEPARATOR).map(str::to_owned).collect();
        if found.len() == parts {
            Ok(Self(found))
        } else {
            Err(unknown_token())
        }
    }

    /// After the row of this key.
    pub(crate) fn of(parts: &[&str]) -> Self {
        Self(parts.iter().map(|part| (*part).to_owned()).collect())
    }

    /// A part of the key.
    pub(crate) fn part(&self, index: usize) -> &str {
        self.0.get(index).map_or("", String::as_str)
    }

    /// The token of the page after.
    pub(crate) fn token(&self) -> String {
        self.0.join(&SEPARATOR.to_string())
    }
}

/// The refusal of a page token that is none that was given out.
pub(crate) fn unknown_token() -> Error {
    Error::invalid(
        "page_token",
        "is none that was given out; ask for the first page without one",
    )
}

/// The rows that a page may have.
///
/// # Errors
/// `INVALID_ARGUMENT` when that is negative or over 1000.
pub(crate) fn rows(page_size: i32) -> Result<usize, Error> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(DEFAULT_ROWS),
        Ok(rows @ 1..=MAX_ROWS) => Ok(rows),
        _ => {
            let problem = format!("is {page_size}; it may be 1 to {MAX_ROWS}, or 0 for {DEFAULT_ROWS}");
            Err(Error::invalid("page_size", problem))
        }
    }
}

/// A page that is being read.
#[derive(Debug)]
pub(crate) struct Page<T> {
    items: Vec<T>,
    bytes: usize,
    max_rows: usize,
    after: PageStart,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Reading,
    /// The list goes on after the page.
    Full,
    /// The list ends with the page.
    Last,
}

impl<T: Message> Page<T> {
    /// A page of at most `page_size` rows (0: the default), after `start`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when the size is negative or over 1000.
    pub(crate) fn begin(page_size: i32, start: PageStart) -> Result<Self, Error> {
        let max_rows = rows(page_size)?;
        Ok(Self {
            items: Vec::with_capacity(max_rows.min(MAX_BATCH)),
            bytes: 0,
            max_rows,
            after: start,
            state: State::Reading,
        })
    }

    /// How many rows to read next, after [`Page::after`]; `None` when the page is whole. One of them only
    /// says whether there are more.
    pub(crate) fn wants(&self) -> Option<usize> {
        (self.state == State::Reading).then(|| self.batch() + 1)
    }

    fn batch(&self) -> usize {
        (self.max_rows - self.items.len()).min(MAX_BATCH)
    }

    /// Where the next rows begin.
    pub(crate) fn after(&self) -> &PageStart {
        &self.after
    }

    /// Takes the rows that were read, in their order, as far as there is room.
    pub(crate) fn add(&mut self, rows: Vec<T>, key: impl Fn(&T) -> PageStart) {
        let rows = rows.into_iter().map(|row| (key(&row), row)).collect();
        self.add_keyed(rows);
    }

    /// The same, of rows that do not show their keys.
    pub(crate) fn add_keyed(&mut self, rows: Vec<(PageStart, T)>) {
        let batch = self.batch();
        let more = rows.len() > batch;
        for (key, row) in rows.into_iter().take(batch) {
            let bytes = message_bytes(&row);
            if !self.items.is_empty() && self.bytes + bytes > MAX_MESSAGE_BYTES {
                self.state = State::Full;
                return;
            }
            self.bytes += bytes;
            self.items.push(row);
            self.after = key;
        }
        if !more {
            self.state = State::Last;
        } else if self.items.len() == self.max_rows {
            self.state = State::Full;
        }
    }

    /// The rows, and the token of the next page; empty when there is none.
    pub(crate) fn end(self) -> (Vec<T>, String) {
        let token = match self.state {
            State::Last => String::new(),
            State::Reading | State::Full => self.after.token(),
        };
        (self.items, token)
    }
}

/// The bytes of a resource in a repeated field: its own, its length and its tag.
pub(crate) fn message_bytes(message: &impl Message) -> usize {
    prost::encoding::message::encoded_len(1, message)
}

/// Drops the rows from the first on that does not fit into `max_bytes`; the first row always does.
pub(crate) fn cut<T: Message>(rows: &mut Vec<T>, max_bytes: usize) {
    let mut bytes = 0;
    let fitting = rows.iter().position(|row| {
        bytes += message_bytes(row);
        bytes > max_bytes
    });
    rows.truncate(fitting.unwrap_or(rows.len()).max(1));
}

#[cfg(test)]
mod tests {
    use rootstock_proto::catalog::v1::Alias;

    use super::*;

    fn alias(number: usize, bytes: usize) -> Alias {
        Alias {
            name: format!("{number:04}"),
            description: "x".repeat(bytes),
            ..Alias::default()
        }
    }

    /// Reads a page of this list as services do; the names that are on it, and the next token.
    fn read(list: &[Alias], page_size: i32, token: &str) -> (Vec<String>, String) {
        let mut page = Page::begin(page_size, PageStart::parse(token, 1).unwrap()).unwrap();
        while let Some(rows) = page.wants() {
            assert!(rows <= MAX_BATCH + 1);
            let after = page.after().part(0).to_owned();
            let found = list.iter().filter(|alias| alias.name > after).take(rows);
            page.add(found.cloned().collect(), |alias| PageStart::of(&[&alias.name]));
        }
        let (aliases, token) = page.end();
        (aliases.into_iter().map(|alias| alias.name).collect(), token)
    }

    fn pages(list: &[Alias], page_size: i32) -> Vec<usize> {
        let (mut names, mut lengths, mut token) = (vec![], vec![], String::new());
        loop {
            let (found, next) = read(list, page_size, &token);
            lengths.push(found.len());
            names.extend(found);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        let all: Vec<String> = list.iter().map(|alias| alias.name.clone()).collect();
        assert_eq!(names, all, "nothing twice and nothing missing");
        lengths
    }

    #[test]
    fn a_page_ends_where_its_rows_or_its_bytes_do() {
        let small = |count| (0..count).map(|number| alias(number, 1)).collect::<Vec<_>>();
        assert_eq!(pages(&small(0), 0), [0]);
        assert_eq!(pages(&small(100), 0), [100]);
        assert_eq!(pages(&small(101), 0), [100, 1]);
        assert_eq!(pages(&small(1001), 1000), [1000, 1]);
        assert_eq!(pages(&small(250), 250), [250]);
        let large = |count, bytes| (0..count).map(|number| alias(number, bytes)).collect::<Vec<_>>();
        assert_eq!(pages(&large(40, 64 * 1024), 1000), [15, 15, 10]);
        // A row that is too large by itself is on a page of its own.
        assert_eq!(pages(&large(3, MAX_MESSAGE_BYTES), 0), [1, 1, 1]);
    }

    #[test]
    fn a_list_is_cut_after_its_first_row_at_the_earliest() {
        let mut rows: Vec<Alias> = (0..10).map(|number| alias(number, 100)).collect();
        cut(&mut rows, 350);
        assert_eq!(rows.len(), 3);
        cut(&mut rows, 1);
        assert_eq!(rows.len(), 1);
        rows.clear();
        cut(&mut rows, 1);
        assert!(rows.is_empty());
    }

    #[test]
    fn tokens_read_back_and_others_are_refused() {
        let start = PageStart::parse(&PageStart::of(&["a:b", "container"]).token(), 2).unwrap();
        assert_eq!((start.part(0), start.part(1)), ("a:b", "container"));
        assert_eq!(PageStart::parse("", 2).unwrap().part(1), "");
        assert!(PageStart::parse("nonsense", 2).is_err());
        for page_size in [-1, 1001] {
            assert!(Page::<Alias>::begin(page_size, PageStart::default()).is_err());
        }
    }
}
