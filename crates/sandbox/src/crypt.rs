//! Keys, passwords and what is stored encrypted.
//!
//! The key stands in the same private file as what it encrypts. So this keeps a credential out of
//! dumps, greps and the answers that are given without `decrypt`; it does not keep it from somebody
//! who may read the file. (OpenNebula keeps its key, `.one/one_key`, beside its database too.)

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::Aead;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use model::{Attributes, Value};
use sha2::{Digest as _, Sha256};

use crate::error::SandboxError;
use crate::settings::EncryptedAttribute;

/// Bytes of the key of XChaCha20-Poly1305.
pub(crate) const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 24;

/// Encrypts and decrypts attribute values.
pub(crate) struct Cipher(XChaCha20Poly1305);

impl Cipher {
    /// `None` if the key has the wrong length.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        XChaCha20Poly1305::new_from_slice(key).ok().map(Self)
    }

    /// The value as base64 of nonce and cipher text. A value that is one of ours already stays as
    /// it is: people read an object, change a line and write all of it back.
    fn encrypt(&self, clear: &str) -> Result<String, SandboxError> {
        if self.decrypt(clear).is_some() {
            return Ok(clear.to_owned());
        }
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut out = nonce.to_vec();
        // The only error of this cipher is a text of more than 256 GiB.
        let text = self.0.encrypt(&XNonce::from(nonce), clear.as_bytes()).unwrap_or_default();
        out.extend_from_slice(&text);
        Ok(STANDARD.encode(out))
    }

    fn decrypt(&self, stored: &str) -> Option<String> {
        let bytes = STANDARD.decode(stored).ok()?;
        let (nonce, text) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce: [u8; NONCE_LEN] = nonce.try_into().ok()?;
        String::from_utf8(self.0.decrypt(&XNonce::from(nonce), text).ok()?).ok()
    }

    /// Encrypts what the list names. Empty values stay empty.
    pub(crate) fn encrypt_all(
        &self,
        template: Attributes,
        list: &[EncryptedAttribute],
    ) -> Result<Attributes, SandboxError> {
        rewrite(template, list, &|text| match text {
            "" => Ok(String::new()),
            text => self.encrypt(text),
        })
    }

    /// Decrypts what the list names; what is no cipher text of ours stays as it is.
    pub(crate) fn decrypt_all(
        &self,
        template: Attributes,
        list: &[EncryptedAttribute],
    ) -> Attributes {
        let clear = |text: &str| -> Result<String, std::convert::Infallible> {
            Ok(self.decrypt(text).unwrap_or_else(|| text.to_owned()))
        };
        match rewrite(template, list, &clear) {
            Ok(template) => template,
            Err(never) => match never {},
        }
    }
}

fn rewrite<E>(
    template: Attributes,
    list: &[EncryptedAttribute],
    change: &dyn Fn(&str) -> Result<String, E>,
) -> Result<Attributes, E> {
    if list.is_empty() {
        return Ok(template);
    }
    template
        .into_iter()
        .map(|(key, value)| {
            let value = match value {
                Value::Vector(inner) => {
                    let inner = inner
                        .into_iter()
                        .map(|(sub, value)| {
                            let named = list
                                .iter()
                                .any(|a| a.key == key && a.sub.as_deref() == Some(sub.as_str()));
                            let value = match value {
                                Value::Text(text) if named => Value::Text(change(&text)?),
                                value => value,
                            };
                            Ok((sub, value))
                        })
                        .collect::<Result<Attributes, E>>()?;
                    Value::Vector(inner)
                }
                Value::Text(text) if list.iter().any(|a| a.key == key && a.sub.is_none()) => {
                    Value::Text(change(&text)?)
                }
                value => value,
            };
            Ok((key, value))
        })
        .collect()
}

/// Random bytes of the system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], SandboxError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(SandboxError::Random)?;
    Ok(bytes)
}

/// A password that nobody guesses: 128 random bits, in hexadecimal.
pub(crate) fn new_password() -> Result<String, SandboxError> {
    Ok(hex(&random::<16>()?))
}

/// How `core` passwords are stored: SHA-256 in hexadecimal (`src/um/UserPool.cc`, 7.4).
pub(crate) fn password_hash(password: &str) -> String {
    hex(&Sha256::digest(password.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares without telling by its duration where the texts differ.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::EncryptedKind;

    fn list() -> Vec<EncryptedAttribute> {
        ["BODY", "PROVISION/TOKEN"]
            .map(|path| EncryptedAttribute::new(EncryptedKind::Host, path))
            .to_vec()
    }

    fn sample() -> Attributes {
        let mut inner = Attributes::new();
        inner.push("PLAN", "p");
        inner.push("TOKEN", "tok-é");
        let mut all = Attributes::new();
        all.push("BODY", "secret body");
        all.push("OTHER", "clear");
        all.push("PROVISION", inner);
        all.push("TOKEN", "not of the vector");
        all
    }

    #[test]
    fn named_values_are_encrypted_and_come_back() {
        let cipher = Cipher::new(&[7; KEY_LEN]).unwrap();
        let hidden = cipher.encrypt_all(sample(), &list()).unwrap();
        let xml = hidden.to_xml("T").unwrap();
        assert!(!xml.contains("secret body") && !xml.contains("tok-é"), "{xml}");
        assert_eq!(hidden.text("OTHER"), Some("clear"));
        assert_eq!(hidden.text("TOKEN"), Some("not of the vector"));
        assert_eq!(cipher.decrypt_all(hidden, &list()), sample());
    }

    #[test]
    fn what_is_encrypted_is_not_encrypted_twice() {
        let cipher = Cipher::new(&[7; KEY_LEN]).unwrap();
        let once = cipher.encrypt_all(sample(), &list()).unwrap();
        assert_eq!(cipher.encrypt_all(once.clone(), &list()).unwrap(), once);
    }

    #[test]
    fn another_key_opens_nothing() {
        let hidden = Cipher::new(&[7; KEY_LEN]).unwrap().encrypt_all(sample(), &list()).unwrap();
        let other = Cipher::new(&[8; KEY_LEN]).unwrap();
        assert_eq!(other.decrypt_all(hidden.clone(), &list()), hidden);
        assert!(Cipher::new(&[7; 5]).is_none());
    }

    #[test]
    fn passwords_are_hashed_as_oned_does() {
        // The recorded PASSWORD element of a user whose password was "opennebula".
        let expected = "b065663b91df7176a5d6567fddde2eb91b3ea73a5055c1f0915909f764d92cc6";
        assert_eq!(password_hash("opennebula"), expected);
        assert!(same("abc", "abc") && !same("abc", "abd") && !same("abc", "ab"));
        assert_eq!(new_password().unwrap().len(), 32);
    }
}
