//! Which server is believed to be the front-end, and what is said when it is not.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::HttpError;
use crate::discover::Endpoint;

/// TLS with ring and the system's certificates, which are read only if the endpoint needs them.
pub(super) fn config(
    endpoint: &Endpoint,
    extra: Option<&[u8]>,
    verify: bool,
) -> Result<ClientConfig, HttpError> {
    let mut roots = rustls::RootCertStore::empty();
    if endpoint.is_https() && verify {
        // One bad certificate of the system is no reason to refuse the others; no certificate at
        // all ends in an error that names the place for more when the server's is checked.
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "system certificates could not all be read");
        }
        roots.add_parsable_certificates(system.certs);
    }
    let mut given = Vec::new();
    if let Some(pem) = extra {
        given = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|_| HttpError::Ca)?;
        if roots.add_parsable_certificates(given.clone()).0 == 0 {
            return Err(HttpError::Ca);
        }
    }
    let setup = |error: Box<dyn StdError + Send + Sync>| HttpError::Setup(error);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(error.into()))?;
    if verify && given.is_empty() {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    let mut checked = None;
    if verify {
        let webpki =
            WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        checked = Some(webpki.build().map_err(|error| setup(error.into()))?);
    }
    let verifier = Arc::new(Verifier { checked, given, provider });
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    Ok(builder.with_no_client_auth())
}

/// Believes what the operator said is to be believed.
#[derive(Debug)]
struct Verifier {
    /// `None`: no certificate is checked.
    checked: Option<Arc<WebPkiServerVerifier>>,
    /// Also as the server's own: one that `openssl req -x509` made is of a CA, which webpki takes for no
    /// server's.
    given: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(checked) = &self.checked else { return Ok(ServerCertVerified::assertion()) };
        match checked.verify_server_cert(certificate, between, name, ocsp, now) {
            // Its time was looked at before that, its name was not. An expired one is another error.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.given.iter().any(|given| given == certificate) =>
            {
                let certificate = ParsedCertificate::try_from(certificate)?;
                rustls::client::verify_server_name(&certificate, name)?;
                Ok(ServerCertVerified::assertion())
            }
            outcome => outcome,
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

const NAME_IT: &str =
    "put the certificate of its CA, in PEM form, or its own, into a folder that ONE_CERT_DIR names";

/// What an operator can do about a TLS error, if the error is one.
pub(super) fn cause(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(tls) = cause.downcast_ref::<Error>() {
            return Some(match tls {
                Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                    format!("the server's certificate is signed by nobody known here; {NAME_IT}")
                }
                Error::InvalidCertificate(CertificateError::Other(_)) => {
                    format!(
                        "the server's certificate is not one that a CA signed for it; {NAME_IT}"
                    )
                }
                Error::InvalidCertificate(reason) => {
                    format!("the server's certificate is not accepted ({reason})")
                }
                Error::InvalidMessage(_) => {
                    "the server does not speak TLS on this port; is it http:// instead?".to_owned()
                }
                other => other.to_string(),
            });
        }
        // `source` of an I/O error passes over the error that it wraps.
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => cause.source(),
        };
    }
    None
}
