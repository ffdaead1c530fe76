//! Buffers that local files are read into, each used again within a scan: the pages of a fresh one take the system longer
//! to find and to clear than the file's bytes take to be copied.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

/// Smaller buffers are not kept: the allocator hands those out again by itself.
const MIN_BYTES: usize = 256 << 10;
/// Idle buffers of a scan, all together.
const MAX_IDLE_BYTES: usize = 48 << 20;

/// The buffers of one scan that nobody reads into or from at the moment.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

/// A buffer on loan.
struct Loan {
    bytes: Vec<u8>,
    length: usize,
    owner: Arc<Buffers>,
}

impl Buffers {
    /// `length` bytes that `fill` has written.
    ///
    /// # Errors
    /// Those of `fill`.
    pub(super) fn read<E>(
        self: &Arc<Self>,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Bytes, E> {
        if length < MIN_BYTES {
            let mut bytes = vec![0; length];
            fill(&mut bytes)?;
            return Ok(bytes.into());
        }
        let mut loan = Loan {
            bytes: self.take(length),
            length,
            owner: Arc::clone(self),
        };
        fill(loan.bytes.get_mut(..length).unwrap_or_default())?;
        Ok(Bytes::from_owner(loan))
    }

    /// The smallest buffer that is large enough, or a new one.
    fn take(&self, length: usize) -> Vec<u8> {
        let mut idle = self.0.lock().expect("no holder panics");
        let fitting = idle.iter().enumerate();
        let fitting = fitting.filter(|(_, buffer)| buffer.len() >= length);
        match fitting.min_by_key(|(_, buffer)| buffer.len()) {
            Some((at, _)) => idle.swap_remove(at),
            None => vec![0; length],
        }
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut idle = self.0.lock().expect("no holder panics");
        let kept: usize = idle.iter().map(Vec::len).sum();
        if kept.saturating_add(buffer.len()) <= MAX_IDLE_BYTES {
            idle.push(buffer);
        }
    }
}

impl AsRef<[u8]> for Loan {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.owner.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn read(buffers: &Arc<Buffers>, length: usize, value: u8) -> Bytes {
        let filled = buffers.read(length, |bytes| {
            bytes.fill(value);
            Ok::<(), Infallible>(())
        });
        filled.unwrap()
    }

    #[test]
    fn a_buffer_is_used_again_when_its_bytes_are_gone() {
        let buffers = Arc::new(Buffers::default());
        let first = read(&buffers, MIN_BYTES + 10, 1);
        let part = first.slice(5..10);
        drop(first);
        let second = read(&buffers, MIN_BYTES, 2);
        assert_eq!(
            (part.as_ref(), second.len()),
            ([1; 5].as_slice(), MIN_BYTES)
        );
        let place = part.as_ptr();
        drop(part);
        let third = read(&buffers, MIN_BYTES + 1, 3);
        assert_eq!(third.slice(5..10).as_ptr(), place);
        assert!(third.iter().all(|byte| *byte == 3) && second.iter().all(|byte| *byte == 2));
    }

    #[test]
    fn idle_bytes_are_bounded() {
        let buffers = Arc::new(Buffers::default());
        let length = MAX_IDLE_BYTES / 3;
        let all: Vec<Bytes> = (0..5).map(|_| read(&buffers, length, 0)).collect();
        drop(all);
        assert_eq!(buffers.0.lock().unwrap().len(), 3);
        assert!(buffers.read(length, |_| Err(())).is_err());
        assert_eq!(buffers.0.lock().unwrap().len(), 3);
    }
}
