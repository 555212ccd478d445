//! How the connection to the server is kept from others: what `sslmode` asks for, over rustls.
//!
//! The words are those of PostgreSQL's own clients: `disable`; `prefer`, the default, which encrypts where the server
//! offers it; `require`, which insists; `verify-ca`, which also wants the server's certificate vouched for by the
//! authorities in a file; `verify-full`, which wants it to bear the host's name besides. Where a file of authorities is
//! named and no mode is, `verify-full` is meant.

use crate::OpenError;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    config::SslMode,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_rustls::TlsConnector;

/// What is asked of the connection, and the URL without it, which is a secret.
pub(super) struct Asked {
    pub(super) url: String,
    mode: Mode,
    authorities: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyAuthority,
    VerifyFull,
}

impl Asked {
    /// Reads `sslmode` and `sslrootcert` from a URL. `ca_file` stands for the latter where the URL has none.
    pub(super) fn read(url: &str, ca_file: Option<&Path>) -> Result<Asked, &'static str> {
        let (place, parameters) = url.split_once('?').unwrap_or((url, ""));
        let (mut word, mut authorities, mut others) = (None, ca_file.map(Path::to_owned), Vec::new());
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", mode)) => word = Some(mode),
                Some(("sslrootcert", file)) => authorities = Some(PathBuf::from(without_escapes(file)?)),
                _ => others.push(parameter),
            }
        }
        let mode = match (word, &authorities) {
            (None, None) | (Some("prefer"), None) => Mode::Prefer,
            (Some("disable"), None) => Mode::Disable,
            (Some("require"), None) => Mode::Require,
            (Some("require" | "verify-ca"), Some(_)) => Mode::VerifyAuthority,
            (None | Some("verify-full"), Some(_)) => Mode::VerifyFull,
            (Some("verify-ca" | "verify-full"), None) => {
                return Err("its sslmode needs a file of authorities: storage.ca_file, or sslrootcert in the address");
            }
            (Some("disable" | "prefer"), Some(_)) => {
                return Err("a file of authorities is named and its sslmode would not look at it; use verify-full");
            }
            (Some(_), _) => return Err("sslmode is disable, prefer, require, verify-ca or verify-full"),
        };
        let url = match others.as_slice() {
            [] => place.to_owned(),
            others => format!("{place}?{}", others.join("&")),
        };
        Ok(Asked { url, mode, authorities })
    }

    /// What the driver is to do, which knows three modes only.
    pub(super) fn ssl_mode(&self) -> SslMode {
        match self.mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyAuthority | Mode::VerifyFull => SslMode::Require,
        }
    }

    /// What makes the handshakes.
    pub(super) fn connector(&self) -> Result<Connector, OpenError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let authorities = match &self.authorities {
            Some(file) => Some(read_authorities(file, &provider)?),
            None => None,
        };
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|source| OpenError::Engine {
            doing: "preparing TLS",
            source: source.into(),
        })?;
        let config = match (self.mode, authorities) {
            (Mode::VerifyFull, Some(authorities)) => builder.with_webpki_verifier(authorities),
            (_, authorities) => {
                let lenient = Lenient { authorities, provider };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(lenient))
            }
        };
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Connector(TlsConnector::from(Arc::new(config))))
    }
}

/// Undoes `%2F` and its like.
fn without_escapes(text: &str) -> Result<String, &'static str> {
    let mut parts = text.split('%');
    let mut plain = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2).ok_or("sslrootcert is escaped wrongly")?;
        plain.push(u8::from_str_radix(code, 16).map_err(|_| "sslrootcert is escaped wrongly")?);
        plain.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(plain).map_err(|_| "sslrootcert is escaped wrongly")
}

fn read_authorities(file: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, OpenError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| OpenError::Folder {
        doing: "reading the authorities in",
        path: file.to_owned(),
        source: io::Error::other(source),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|source| failed(source.into()))? {
        let certificate = certificate.map_err(|source| failed(source.into()))?;
        roots.add(certificate).map_err(|source| failed(source.into()))?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|source| failed(source.into()))
}

/// Lets a certificate pass whatever name it bears; and, without authorities, whoever vouches for it. That the server
/// holds its key is checked all the same.
#[derive(Debug)]
struct Lenient {
    authorities: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authorities) = &self.authorities else {
            return Ok(ServerCertVerified::assertion());
        };
        match authorities.verify_server_cert(certificate, between, name, ocsp, now) {
            // The name is looked at last, so everything else was right.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Makes a handshake for each connection.
#[derive(Clone)]
pub(super) struct Connector(TlsConnector);

/// One handshake to come.
pub(super) struct Handshake {
    connector: TlsConnector,
    /// None where the host has no name that could stand in a certificate: a socket in the file system.
    name: Option<ServerName<'static>>,
}

impl<S> MakeTlsConnect<S> for Connector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        Ok(Handshake {
            connector: self.0.clone(),
            name: ServerName::try_from(host.to_owned()).ok(),
        })
    }
}

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let no_name = || io::Error::other("the host has no name that could stand in a certificate");
            let name = self.name.ok_or_else(no_name)?;
            Ok(Encrypted(self.connector.connect(name, stream).await?))
        })
    }
}

/// A connection that others cannot read.
pub(super) struct Encrypted<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::PrivateKeyDer;
    use tokio_rustls::TlsAcceptor;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/it/fixtures")
            .join(name)
    }

    /// A handshake with a server whose certificate is for `localhost`, vouched for by `authority.cert.pem`.
    async fn handshake(parameters: &str, host: &str) -> io::Result<()> {
        let chain = CertificateDer::pem_file_iter(fixture("database.cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(fixture("database.key.pem")).unwrap();
        let builder = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let server = builder
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        let asked = Asked::read(&format!("postgres://db/{parameters}"), None).unwrap();
        let mut connector = asked.connector().unwrap();
        let (near, far) = tokio::io::duplex(64 << 10);
        let handshake = MakeTlsConnect::<tokio::io::DuplexStream>::make_tls_connect(&mut connector, host).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let (connected, _) = tokio::join!(handshake.connect(near), acceptor.accept(far));
        connected.map(drop)
    }

    #[tokio::test]
    async fn each_mode_looks_at_what_it_says() {
        let of = |name: &str| {
            format!(
                "&sslrootcert={}",
                fixture(name).display().to_string().replace('/', "%2F")
            )
        };
        let (right, wrong) = (of("authority.cert.pem"), of("stranger.cert.pem"));
        for (parameters, host, accepted) in [
            (String::new(), "elsewhere.example", true),
            ("?sslmode=require".to_owned(), "elsewhere.example", true),
            (format!("?sslmode=require{right}"), "elsewhere.example", true),
            (format!("?sslmode=require{wrong}"), "localhost", false),
            (format!("?sslmode=verify-ca{right}"), "elsewhere.example", true),
            (format!("?sslmode=verify-ca{right}"), "127.0.0.1", true),
            (format!("?sslmode=verify-ca{wrong}"), "localhost", false),
            (format!("?sslmode=verify-full{right}"), "localhost", true),
            (format!("?sslmode=verify-full{right}"), "elsewhere.example", false),
            (format!("?sslmode=verify-full{right}"), "127.0.0.1", false),
            (format!("?sslmode=verify-full{wrong}"), "localhost", false),
            (format!("?{right}"), "localhost", true),
            (format!("?{right}"), "elsewhere.example", false),
        ] {
            let outcome = handshake(&parameters, host).await;
            assert_eq!(outcome.is_ok(), accepted, "{parameters} at {host}: {outcome:?}");
        }
        assert!(
            handshake("", "").await.is_err(),
            "a socket in the file system has no name"
        );
    }

    #[test]
    fn the_address_goes_on_without_what_was_read_from_it() {
        let read = |url| Asked::read(url, None).unwrap();
        for (url, rest, mode) in [
            ("postgres://db/a", "postgres://db/a", SslMode::Prefer),
            ("postgres://db/a?sslmode=disable", "postgres://db/a", SslMode::Disable),
            (
                "postgres://db/a?application_name=x&sslmode=require&options=-c%20a%3Db",
                "postgres://db/a?application_name=x&options=-c%20a%3Db",
                SslMode::Require,
            ),
            (
                "postgres://db/a?sslrootcert=/etc/ca.pem&sslmode=verify-full",
                "postgres://db/a",
                SslMode::Require,
            ),
        ] {
            let asked = read(url);
            assert_eq!((asked.url.as_str(), asked.ssl_mode()), (rest, mode), "{url}");
        }
        let asked = Asked::read("postgres://db/a", Some(Path::new("/etc/ca.pem"))).unwrap();
        assert_eq!((asked.mode, asked.ssl_mode()), (Mode::VerifyFull, SslMode::Require));
    }

    #[test]
    fn what_would_be_less_safe_than_it_looks_is_refused() {
        for url in [
            "postgres://db/a?sslmode=verify-full",
            "postgres://db/a?sslmode=verify-ca",
            "postgres://db/a?sslmode=prefer&sslrootcert=/etc/ca.pem",
            "postgres://db/a?sslmode=disable&sslrootcert=/etc/ca.pem",
            "postgres://db/a?sslmode=verify_full",
            "postgres://db/a?sslmode=",
            "postgres://db/a?sslrootcert=%",
            "postgres://db/a?sslrootcert=%zz",
        ] {
            assert!(Asked::read(url, None).is_err(), "{url}");
        }
        let nowhere = Asked::read("postgres://db/a?sslrootcert=/nowhere/ca.pem", None).unwrap();
        assert!(matches!(nowhere.connector().err(), Some(OpenError::Folder { .. })));
        let empty = Asked::read("postgres://db/a", Some(&fixture("database.key.pem"))).unwrap();
        assert!(
            empty.connector().is_err(),
            "a file without a certificate vouches for nobody"
        );
    }
}
