//! TLS on both sides, by rustls.

use std::path::Path;
use std::sync::Arc;

use routerwise_types::serve::{Endpoint, ServerTls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What the gateway shows clients, and what it wants to see of them.
///
/// # Errors
/// Which file is wrong, and how.
pub(crate) fn server(tls: &ServerTls) -> Result<Arc<ServerConfig>, String> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider())
                .build()
                .map_err(|error| format!("`{}` cannot verify clients: {error}", path.display()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(certificates(&tls.certificate)?, key(&tls.key)?)
        .map_err(|error| {
            let (certificate, key) = (tls.certificate.display(), tls.key.display());
            format!("`{certificate}` and `{key}` do not go together: {error}")
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Whom the gateway trusts, and what it shows, on the way to a replica.
pub(crate) fn client(endpoint: &Endpoint) -> Result<ClientConfig, String> {
    let roots = match &endpoint.ca {
        Some(path) => roots(path)?,
        // Reading the system's store takes milliseconds; plain addresses have no use for it.
        None if endpoint.url.starts_with("https") => system_roots(),
        None => RootCertStore::empty(),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    match &endpoint.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, private)) => builder
            .with_client_auth_cert(certificates(certificate)?, key(private)?)
            .map_err(|error| format!("`{}` does not fit its key: {error}", certificate.display())),
    }
}

fn system_roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    store
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store
            .add(certificate)
            .map_err(|error| format!("`{}` holds no authority: {error}", path.display()))?;
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |what: String| format!("`{}` {what}", path.display());
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(format!("cannot be read as PEM certificates: {error}")))?;
    if certificates.is_empty() {
        return Err(wrong("holds no certificate".to_owned()));
    }
    Ok(certificates)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    // The error names what was expected, never what was found.
    PrivateKeyDer::from_pem_file(path).map_err(|error| format!("`{}` holds no private key: {error}", path.display()))
}
