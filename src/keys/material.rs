//! The key metadata of a Parquet file: one JSON object in the form of the Parquet key tools (`PKMT1`, stored inside the file).
//!
//! Any reader that knows that form (pyarrow's `CryptoFactory`, Spark) reads the files with a small client for its key service:
//! `wrappedDEK` is base64 of 12 bytes nonce, the AES-256-GCM ciphertext of the 32 key bytes under the month key, and 16 bytes tag;
//! the additional data is the text of `masterKeyID`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The object, with the names of the Parquet key tools.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    key_material_type: String,
    internal_storage: bool,
    is_footer_key: bool,
    #[serde(rename = "kmsInstanceID")]
    kms_instance_id: String,
    #[serde(rename = "kmsInstanceURL")]
    kms_instance_url: String,
    #[serde(rename = "masterKeyID")]
    master_key_id: String,
    double_wrapping: bool,
    #[serde(rename = "wrappedDEK")]
    wrapped_dek: String,
}

/// The metadata for a data key that `month` wraps.
pub(super) fn write(month: &str, wrapped: &[u8]) -> Vec<u8> {
    let material = Material {
        key_material_type: "PKMT1".into(),
        internal_storage: true,
        is_footer_key: true,
        kms_instance_id: "DEFAULT".into(),
        kms_instance_url: "DEFAULT".into(),
        master_key_id: month.into(),
        double_wrapping: false,
        wrapped_dek: STANDARD.encode(wrapped),
    };
    serde_json::to_vec(&material).expect("plain texts are written as JSON")
}

/// The month and the wrapped key in `metadata`, or `None` where it is of another form.
pub fn read(metadata: &[u8]) -> Option<(String, Vec<u8>)> {
    let material: Material = serde_json::from_slice(metadata).ok()?;
    if material.key_material_type != "PKMT1" || material.double_wrapping || !material.internal_storage {
        return None;
    }
    Some((material.master_key_id, STANDARD.decode(&material.wrapped_dek).ok()?))
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> Zeroizing<String> {
    use std::fmt::Write;
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        write!(text, "{byte:02x}").expect("text can be appended to a string");
    }
    text
}
