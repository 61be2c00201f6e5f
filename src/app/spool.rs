//! An input that gives each byte once, such as standard input or a pipe, and has to be read twice: for its hash, and in earnest.
//!
//! It lies in a file that has no name any more, sealed with a key that only this process knows: nothing of it is left behind, and
//! nobody can read it meanwhile.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rand::TryRng;

use crate::store::{AesSeal, Seal};

/// Bytes that are sealed at a time.
const CHUNK: usize = 1 << 20;

/// What was read.
pub(super) struct Spool {
    file: Arc<File>,
    seal: Arc<AesSeal>,
    /// Where each sealed chunk ends in the file.
    ends: Arc<Vec<u64>>,
}

impl Spool {
    /// Reads `input` to its end into a file below `dir`.
    pub fn take(mut input: impl Read, dir: &Path) -> io::Result<Spool> {
        let mut key = [0_u8; 32];
        rand::rngs::SysRng.try_fill_bytes(&mut key).map_err(io::Error::other)?;
        let seal = AesSeal::new(&key);
        let path = dir.join(format!("spool-{}", std::process::id()));
        let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        let mut ends = Vec::new();
        let mut at = 0;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            if input.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)? == 0 {
                return Ok(Spool { file: Arc::new(file), seal: Arc::new(seal), ends: Arc::new(ends) });
            }
            let sealed = seal.seal(&place(ends.len()), &chunk);
            file.write_all(&sealed)?;
            at += sealed.len() as u64;
            ends.push(at);
        }
    }

    /// All of it from the start.
    pub fn reader(&self) -> impl Read + Send + use<> {
        let (file, seal, ends) = (self.file.clone(), self.seal.clone(), self.ends.clone());
        Again { file, seal, ends, next: 0, open: io::Cursor::new(Vec::new()) }
    }
}

/// Reads what was spooled.
struct Again {
    file: Arc<File>,
    seal: Arc<AesSeal>,
    ends: Arc<Vec<u64>>,
    next: usize,
    open: io::Cursor<Vec<u8>>,
}

impl Read for Again {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.open.read(buffer)?;
            if read > 0 || buffer.is_empty() || self.next == self.ends.len() {
                return Ok(read);
            }
            let from = self.next.checked_sub(1).map_or(0, |before| self.ends[before]);
            let mut sealed = vec![0; (self.ends[self.next] - from) as usize];
            self.file.read_exact_at(&mut sealed, from)?;
            let chunk = self.seal.open(&place(self.next), &sealed);
            self.open = io::Cursor::new(chunk.map_err(|_| io::Error::other("the spooled input was altered"))?);
            self.next += 1;
        }
    }
}

fn place(chunk: usize) -> String {
    format!("spool/{chunk}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_and_leaves_nothing() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 77] {
            let dir = tempfile::tempdir().unwrap();
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let spool = Spool::take(bytes.as_slice(), dir.path()).unwrap();
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
            for _ in 0..2 {
                let mut found = Vec::new();
                spool.reader().read_to_end(&mut found).unwrap();
                assert!(found == bytes, "{length}");
            }
            let mut sealed = vec![0; spool.ends.last().map_or(0, |end| *end as usize)];
            spool.file.read_exact_at(&mut sealed, 0).unwrap();
            assert!(!sealed.windows(16).any(|window| window == &(0..16).collect::<Vec<u8>>()[..]));
        }
    }
}
