//! Image ids: 20 characters, xid style, as AMS users know them (`btavtegj1qm58qg7ru50`).

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// A 96-bit id that sorts by the second of its making: 4 bytes of time, 5 random bytes, 3 bytes of
/// a counter; written as 20 characters of lower-case base32hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id([u8; 12]);

/// The text was not 20 characters of `0-9a-v` that make 96 bits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id is 20 characters of 0-9 and a-v")]
pub struct InvalidId;

impl Id {
    /// Makes a new id. Unique by its random part, and within a process by its counter.
    pub fn generate() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let mut bytes = [0; 12];
        // 32 bits of seconds last until 2106.
        bytes[..4].copy_from_slice(&(seconds as u32).to_be_bytes());
        bytes[4..9].copy_from_slice(&rand::random::<[u8; 5]>());
        bytes[9..].copy_from_slice(&COUNTER.fetch_add(1, Ordering::Relaxed).to_be_bytes()[1..]);
        Self(bytes)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self
            .0
            .iter()
            .fold(0u128, |value, byte| value << 8 | u128::from(*byte))
            << 4;
        for index in (0..20).rev() {
            write!(
                f,
                "{}",
                char::from(ALPHABET[(value >> (index * 5)) as usize & 31])
            )?;
        }
        Ok(())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.len() != 20 {
            return Err(InvalidId);
        }
        let mut value = 0u128;
        for byte in text.bytes() {
            let digit = ALPHABET
                .iter()
                .position(|known| *known == byte)
                .ok_or(InvalidId)?;
            value = value << 5 | digit as u128;
        }
        if value & 0xf != 0 {
            return Err(InvalidId);
        }
        let mut bytes = [0; 12];
        bytes.copy_from_slice(&(value >> 4).to_be_bytes()[4..]);
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_differ() {
        let ids: std::collections::BTreeSet<_> = (0..1000).map(|_| Id::generate()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!(
            "btavtegj1qm58qg7ru50".parse::<Id>().unwrap().to_string(),
            "btavtegj1qm58qg7ru50"
        );
        for text in [
            "",
            "btavtegj1qm58qg7ru5",
            "btavtegj1qm58qg7ru5z",
            "btavtegj1qm58qg7ru51",
        ] {
            assert!(text.parse::<Id>().is_err(), "{text}");
        }
    }
}
