//! Writes a frame value by value, and reads its body so: numbers, texts, lists.
//!
//! What the values stand for, and in which order they come, the other files know.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use super::{HEADER, LARGEST_BODY, MAGIC, Malformed, VERSION};

/// Appends values to a frame. Numbers are little-endian but for i32, whose order is the machine's.
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn frame() -> Self {
        Self::frame_of(256)
    }

    /// One that is made without moving it as long as it is no larger than this, in bytes.
    pub(super) fn frame_of(room: usize) -> Self {
        let mut bytes = Vec::with_capacity(room);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        Self(bytes)
    }

    pub(super) fn finish(mut self) -> Result<Vec<u8>, Malformed> {
        let length = self.0.len() - HEADER;
        if length > LARGEST_BODY {
            return Err(Malformed::TooLarge(length));
        }
        self.0[HEADER - 4..HEADER].copy_from_slice(&(length as u32).to_le_bytes());
        Ok(self.0)
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.0.extend(value.to_ne_bytes());
    }

    pub(super) fn duration(&mut self, value: Duration) {
        self.u64(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.u64(value.len() as u64);
        self.0.extend(value);
    }

    pub(super) fn list<T>(&mut self, values: &[T], mut one: impl FnMut(&mut Self, &T)) {
        self.u64(values.len() as u64);
        for value in values {
            one(self, value);
        }
    }

    pub(super) fn option<T>(&mut self, value: Option<T>, one: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            one(self, value);
        }
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn os_string(&mut self, value: &OsString) {
        self.bytes(value.as_bytes());
    }
}

/// Takes values from the front of a body.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (value, rest) = self.0.split_first_chunk().ok_or(Malformed::Body)?;
        self.0 = rest;
        Ok(*value)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Body),
        }
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_ne_bytes)
    }

    pub(super) fn duration(&mut self) -> Result<Duration, Malformed> {
        self.u64().map(Duration::from_nanos)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.u64()?).map_err(|_| Malformed::Body)?;
        let (value, rest) = self.0.split_at_checked(length).ok_or(Malformed::Body)?;
        self.0 = rest;
        Ok(value)
    }

    pub(super) fn os_string(&mut self) -> Result<OsString, Malformed> {
        self.bytes().map(|bytes| OsString::from_vec(bytes.to_vec()))
    }

    pub(super) fn string(&mut self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Malformed::Body)
    }

    pub(super) fn list<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.u64()?;
        // The number has not been checked, and gets no room but for a usual one.
        let mut values = Vec::with_capacity(count.min(128) as usize);
        for _ in 0..count {
            values.push(one(self)?);
        }
        Ok(values)
    }

    pub(super) fn option<T>(
        &mut self,
        one: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.bool()? { one(self).map(Some) } else { Ok(None) }
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn signal(&mut self) -> Result<i32, Malformed> {
        match self.u8()? {
            number @ 1..=64 => Ok(number.into()),
            _ => Err(Malformed::Body),
        }
    }

    /// The value, if nothing is left over.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Malformed> {
        if self.0.is_empty() { Ok(value) } else { Err(Malformed::Body) }
    }
}
