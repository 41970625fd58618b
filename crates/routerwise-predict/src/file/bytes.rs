//! Numbers to bytes and back; every length is checked before it is used.

use super::Unreadable;
use crate::calibrate::{Calibration, Calibrator};

#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn floats<'a>(&mut self, values: impl IntoIterator<Item = &'a f32>) {
        for value in values {
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    pub(crate) fn hashes(&mut self, hashes: &[u64]) {
        self.0.extend_from_slice(&(hashes.len() as u64).to_le_bytes());
        for hash in hashes {
            self.0.extend_from_slice(&hash.to_le_bytes());
        }
    }

    pub(crate) fn number(&mut self, number: usize) {
        self.0.extend_from_slice(&(number as u64).to_le_bytes());
    }

    pub(crate) fn calibrator(&mut self, calibrator: &Calibrator) {
        for map in &calibrator.maps {
            self.floats(&[map.offset, map.slope]);
        }
        self.floats(&calibrator.usual);
        self.floats(&[calibrator.believed]);
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (first, rest) = self.0.split_first_chunk().ok_or_else(short)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Unreadable> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Unreadable> {
        self.take().map(u64::from_le_bytes)
    }

    pub(crate) fn hashes(&mut self) -> Result<Vec<u64>, Unreadable> {
        let n = self.u64()?;
        let n = usize::try_from(n).map_err(|_| short())?;
        let bytes = n
            .checked_mul(8)
            .and_then(|n| self.0.split_at_checked(n))
            .ok_or_else(short)?;
        self.0 = bytes.1;
        let chunks = bytes.0.as_chunks::<8>().0;
        Ok(chunks.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect())
    }

    /// A count of at most `most`.
    pub(crate) fn number(&mut self, most: usize) -> Result<usize, Unreadable> {
        let number = usize::try_from(self.u64()?).unwrap_or(usize::MAX);
        if number <= most {
            Ok(number)
        } else {
            Err(Unreadable::Inconsistent(format!(
                "it counts {number} where {most} is the most"
            )))
        }
    }

    /// Finite numbers.
    pub(crate) fn floats(&mut self, n: usize) -> Result<Vec<f32>, Unreadable> {
        let bytes = n
            .checked_mul(4)
            .and_then(|n| self.0.split_at_checked(n))
            .ok_or_else(short)?;
        self.0 = bytes.1;
        let values = bytes
            .0
            .as_chunks::<4>()
            .0
            .iter()
            .map(|chunk| f32::from_le_bytes(*chunk));
        let values: Vec<f32> = values.collect();
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(Unreadable::Inconsistent("it holds numbers that are not finite".into()))
        }
    }

    /// Rows of `N` finite numbers.
    pub(crate) fn rows<const N: usize>(&mut self, n: usize) -> Result<Vec<[f32; N]>, Unreadable> {
        let flat = self.floats(n.checked_mul(N).ok_or_else(short)?)?;
        Ok(flat.as_chunks::<N>().0.to_vec())
    }

    pub(crate) fn calibrator(&mut self, n_models: usize) -> Result<Calibrator, Unreadable> {
        let maps = self
            .rows::<2>(n_models)?
            .into_iter()
            .map(|[offset, slope]| Calibration { offset, slope });
        Ok(Calibrator {
            maps: maps.collect(),
            usual: self.floats(n_models)?,
            believed: self.floats(1)?[0],
        })
    }

    pub(crate) fn is_empty(&self) -> Result<(), Unreadable> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Unreadable::Inconsistent(format!("{} bytes too many", self.0.len())))
        }
    }
}

fn short() -> Unreadable {
    Unreadable::Inconsistent("it holds fewer numbers than its header says".into())
}
