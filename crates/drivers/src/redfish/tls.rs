//! Which certificate of a BMC is believed.
//!
//! BMCs come with certificates that they signed themselves. The honest ways to believe one are a CA of the
//! site, or its fingerprint; not to check at all has to be asked for.

use std::path::Path;
use std::sync::Arc;

use driver::DriverError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use sha2::{Digest as _, Sha256};

use crate::common::definite;
use crate::http::tls;

/// Largest CA file, in bytes.
const CA_LIMIT: u64 = 1 << 20;

/// Which certificate is believed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Trust {
    /// One that a CA vouches for: the system's, and those in PEM.
    Authority(Option<Vec<u8>>),
    /// One with such a SHA-256.
    Pins(Vec<[u8; 32]>),
    /// Any.
    Anything,
}

impl Trust {
    /// What the parameters ask for. A pin is checked even if `verify` is off.
    pub(super) fn new(
        verify: bool,
        ca: Option<&str>,
        pins: &[String],
    ) -> Result<Self, DriverError> {
        if !pins.is_empty() {
            let pins = pins.iter().map(|pin| fingerprint(pin)).collect::<Option<Vec<_>>>();
            return pins.map(Self::Pins).ok_or_else(|| {
                definite(
                    "parameter redfish_pin must be a SHA-256 in 64 hexadecimal digits, as\n\
                     openssl x509 -noout -fingerprint -sha256 shows it",
                )
            });
        }
        if !verify {
            return Ok(Self::Anything);
        }
        let pem = match ca {
            None => None,
            Some(text) if text.contains("-----BEGIN") => Some(text.as_bytes().to_vec()),
            Some(path) => Some(read(Path::new(path)).map_err(|error| {
                definite(format!("parameter redfish_ca: cannot read {path}: {error}"))
            })?),
        };
        Ok(Self::Authority(pem))
    }

    /// TLS that believes it.
    pub(super) fn config(&self) -> Result<ClientConfig, String> {
        let words = |error: crate::http::SetupError| match self {
            Self::Authority(Some(_)) => format!("parameter redfish_ca: {error}"),
            _ => error.to_string(),
        };
        let (mut config, pins) = match self {
            Self::Authority(pem) => return tls(pem.as_deref()).map_err(words),
            Self::Pins(pins) => (tls(None).map_err(words)?, Some(pins.clone())),
            Self::Anything => (tls(None).map_err(words)?, None),
        };
        let provider = Arc::clone(config.crypto_provider());
        config.dangerous().set_certificate_verifier(Arc::new(Given { pins, provider }));
        Ok(config)
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut pem = Vec::new();
    std::fs::File::open(path)?.take(CA_LIMIT).read_to_end(&mut pem)?;
    Ok(pem)
}

/// A SHA-256 in hexadecimal digits, with or without `:` and the algorithm's name in front.
fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.strip_prefix("sha256:").unwrap_or(&lower).replace(':', "");
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut found = [0; 32];
    for (index, byte) in found.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(found)
}

/// Believes a certificate for itself, whoever signed it and however old it is.
#[derive(Debug)]
struct Given {
    pins: Option<Vec<[u8; 32]>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Given {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let seen: [u8; 32] = Sha256::digest(certificate).into();
        match &self.pins {
            Some(pins) if !pins.contains(&seen) => {
                let hex: String = seen.iter().map(|byte| format!("{byte:02x}")).collect();
                Err(Error::General(format!(
                    "the server's certificate is not the pinned one; its SHA-256 is {hex}"
                )))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_as_openssl_writes_it() {
        let digits = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        for text in [&digits, &colons, &format!("sha256:{digits}")] {
            assert_eq!(fingerprint(text), Some([0xab; 32]), "{text}");
        }
        for text in ["", "ab", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(fingerprint(text), None, "{text}");
        }
    }
}
