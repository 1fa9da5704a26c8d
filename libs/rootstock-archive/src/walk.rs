//! An archive's entries, one after the other.
//!
//! A walk of our own over the `tar` crate's headers, because that crate's walk takes a long name or an
//! extended header into memory as a whole, as long as the archive says it is.

use std::io::{self, Read};

use tar::{EntryType, Header};

use crate::{ArchiveError, error::shown};

const BLOCK_BYTES: u64 = 512;
/// An extended header holds more than a name: times, owners, attributes of a file system.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;

/// An entry whose content is about to follow.
pub(crate) struct Entry {
    /// As the archive has it.
    pub(crate) name: Vec<u8>,
    pub(crate) entry_type: EntryType,
    pub(crate) size_bytes: u64,
}

/// What is to be known of an archive's reading.
pub(crate) struct Walk<R> {
    reader: R,
    /// Content of the last entry that was not read, with what fills its last block.
    unread_bytes: u64,
    read_bytes: u64,
    max_bytes: u64,
    entries: u64,
    max_entries: u64,
}

/// What extended headers say of the entry after them.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    size_bytes: Option<u64>,
}

impl<R: Read> Walk<R> {
    pub(crate) fn new(reader: R, max_bytes: u64, max_entries: u64) -> Self {
        Self {
            reader,
            unread_bytes: 0,
            read_bytes: 0,
            max_bytes,
            entries: 0,
            max_entries,
        }
    }

    /// The next entry; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut extension = Extension::default();
        loop {
            self.skip(self.unread_bytes)?;
            self.unread_bytes = 0;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            self.entries += 1;
            if self.entries > self.max_entries {
                return Err(ArchiveError::TooLarge {
                    what: "a number of entries",
                    limit: self.max_entries,
                });
            }
            let stored_bytes = header
                .entry_size()
                .map_err(|_| ArchiveError::Malformed("an entry's size is no number"))?;
            match header.entry_type() {
                EntryType::GNULongName => {
                    let mut name = self.extension_bytes(stored_bytes)?;
                    while name.pop_if(|last| *last == 0).is_some() {}
                    extension.name = Some(name);
                }
                EntryType::GNULongLink | EntryType::XGlobalHeader => {
                    self.extension_bytes(stored_bytes)?;
                }
                EntryType::XHeader => {
                    let records = self.extension_bytes(stored_bytes)?;
                    extension.take_records(&records)?;
                }
                entry_type => {
                    if let Some(gnu) = header.as_gnu().filter(|_| entry_type == EntryType::GNUSparse)
                        && gnu.is_extended()
                    {
                        self.skip_sparse_maps()?;
                    }
                    // Of what is no file the size says nothing about what follows.
                    let stored_bytes = match entry_type {
                        EntryType::Directory
                        | EntryType::Symlink
                        | EntryType::Link
                        | EntryType::Char
                        | EntryType::Block
                        | EntryType::Fifo => 0,
                        _ => extension.size_bytes.unwrap_or(stored_bytes),
                    };
                    self.unread_bytes = padded(stored_bytes)?;
                    return Ok(Some(Entry {
                        name: extension.name.unwrap_or_else(|| header.path_bytes().into_owned()),
                        entry_type,
                        size_bytes: stored_bytes,
                    }));
                }
            }
        }
    }

    /// The content of the entry that came last.
    pub(crate) fn content(&mut self, entry: &Entry, max_bytes: u64) -> Result<Vec<u8>, ArchiveError> {
        if entry.size_bytes > max_bytes {
            return Err(ArchiveError::TooLarge {
                what: "a metadata.yaml with a number of bytes",
                limit: max_bytes,
            });
        }
        let content = self.take(entry.size_bytes)?;
        self.unread_bytes -= entry.size_bytes;
        Ok(content)
    }

    /// A header that is not empty; `None` at the end, which two empty blocks mark, or nothing at all.
    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        match self.reader.read(&mut block[..1])? {
            0 => return Ok(None),
            _ => self.reader.read_exact(&mut block[1..]).map_err(cut)?,
        }
        self.count(BLOCK_BYTES)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| u32::from(if (148..156).contains(&at) { b' ' } else { *byte }))
            .sum();
        match header.cksum() {
            Ok(said) if said == sum => Ok(Some(header)),
            _ => Err(ArchiveError::Malformed("a header's checksum is wrong")),
        }
    }

    fn extension_bytes(&mut self, size_bytes: u64) -> Result<Vec<u8>, ArchiveError> {
        if size_bytes > MAX_EXTENSION_BYTES {
            return Err(ArchiveError::TooLarge {
                what: "an extended header with a number of bytes",
                limit: MAX_EXTENSION_BYTES,
            });
        }
        let bytes = self.take(size_bytes)?;
        self.skip(padded(size_bytes)? - size_bytes)?;
        Ok(bytes)
    }

    fn skip_sparse_maps(&mut self) -> Result<(), ArchiveError> {
        loop {
            let map = self.take(BLOCK_BYTES)?;
            // The byte after 21 places of 24 bytes says whether another map follows.
            if map.get(504).is_none_or(|more| *more == 0) {
                return Ok(());
            }
        }
    }

    fn take(&mut self, size_bytes: u64) -> Result<Vec<u8>, ArchiveError> {
        self.count(size_bytes)?;
        let mut bytes = Vec::new();
        self.reader.by_ref().take(size_bytes).read_to_end(&mut bytes)?;
        match bytes.len() as u64 == size_bytes {
            true => Ok(bytes),
            false => Err(cut(io::ErrorKind::UnexpectedEof.into()).into()),
        }
    }

    fn skip(&mut self, size_bytes: u64) -> Result<(), ArchiveError> {
        self.count(size_bytes)?;
        let skipped = io::copy(&mut self.reader.by_ref().take(size_bytes), &mut io::sink())?;
        match skipped == size_bytes {
            true => Ok(()),
            false => Err(cut(io::ErrorKind::UnexpectedEof.into()).into()),
        }
    }

    /// Before it is read: what lies beyond the limit is not unpacked.
    fn count(&mut self, size_bytes: u64) -> Result<(), ArchiveError> {
        self.read_bytes = self.read_bytes.saturating_add(size_bytes);
        match self.read_bytes > self.max_bytes {
            true => Err(ArchiveError::TooLarge {
                what: "an unpacked number of bytes",
                limit: self.max_bytes,
            }),
            false => Ok(()),
        }
    }
}

impl Extension {
    fn take_records(&mut self, records: &[u8]) -> Result<(), ArchiveError> {
        for record in tar::PaxExtensions::new(records) {
            let record = record.map_err(|_| ArchiveError::Malformed("an extended header is damaged"))?;
            match record.key_bytes() {
                b"path" => self.name = Some(record.value_bytes().to_vec()),
                b"size" => {
                    let size = record.value().ok().and_then(|text| text.parse().ok());
                    self.size_bytes =
                        Some(size.ok_or(ArchiveError::Malformed("an entry's size is no number"))?);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// With what fills the last block.
fn padded(size_bytes: u64) -> Result<u64, ArchiveError> {
    size_bytes
        .checked_next_multiple_of(BLOCK_BYTES)
        .ok_or(ArchiveError::Malformed("an entry's size is no number"))
}

fn cut(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "it ends in the middle of an entry"),
        _ => error,
    }
}

/// The parts of a name that stays within the archive, `.` left out.
pub(crate) fn parts(name: &[u8], limits: &crate::Limits) -> Result<Vec<Vec<u8>>, ArchiveError> {
    let escapes = || ArchiveError::Escapes { name: shown(name) };
    if name.len() > limits.name_bytes {
        return Err(ArchiveError::TooLarge {
            what: "a name with a number of bytes",
            limit: limits.name_bytes as u64,
        });
    }
    if name.starts_with(b"/") || name.contains(&0) {
        return Err(escapes());
    }
    let mut parts = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(escapes()),
            part => parts.push(part.to_vec()),
        }
    }
    match parts.len() > limits.depth {
        true => Err(ArchiveError::TooLarge {
            what: "a depth of directories",
            limit: limits.depth as u64,
        }),
        false => Ok(parts),
    }
}
