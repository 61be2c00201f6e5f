//! AES-256-GCM over small byte strings, and the key bytes themselves.
//!
//! One form everywhere: 12 bytes of random nonce, the ciphertext, 16 bytes of tag. What the bytes are and where they belong goes into
//! the additional data, so that a piece moved elsewhere does not open.

use std::fmt;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use super::KeyError;

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
const NONCE_BYTES: usize = 12;
/// Bytes that sealing adds.
pub(super) const ADDED_BYTES: usize = NONCE_BYTES + 16;

/// A 256-bit key; wiped on drop and never printed.
#[derive(Clone)]
pub struct DataKey(Zeroizing<[u8; KEY_BYTES]>);

impl DataKey {
    /// A fresh key from the operating system's random source.
    pub fn random() -> Result<DataKey, KeyError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        SysRng.try_fill_bytes(bytes.as_mut_slice()).map_err(|_| KeyError::Random)?;
        Ok(DataKey(bytes))
    }

    /// The key with these bytes, or `None` where they are not 32.
    pub(super) fn from_slice(bytes: &[u8]) -> Option<DataKey> {
        Some(DataKey(Zeroizing::new(bytes.try_into().ok()?)))
    }

    /// The bytes, for a cipher.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Nonce, ciphertext and tag of `plain`, bound to `belongs`.
    pub(super) fn encrypt(&self, belongs: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut sealed = vec![0; NONCE_BYTES];
        SysRng.try_fill_bytes(&mut sealed).map_err(|_| KeyError::Random)?;
        let cipher = Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(self.bytes()));
        let body = cipher
            .encrypt(Nonce::from_slice(&sealed), Payload { msg: plain, aad: belongs })
            .expect("only a text of more than 64 GiB is refused");
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// The plain bytes, or `None` where key, place or bytes are not those of sealing.
    pub(super) fn decrypt(&self, belongs: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, body) = sealed.split_at_checked(NONCE_BYTES)?;
        let cipher = Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(self.bytes()));
        cipher.decrypt(Nonce::from_slice(nonce), Payload { msg: body, aad: belongs }).ok().map(Zeroizing::new)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}
