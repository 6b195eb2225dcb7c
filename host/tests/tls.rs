//! TLS over loopback, both sides, with certificates that are made here.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use host::{Chunk, FileRegion, Host, OpenMode, ReadHalf, Stream};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

const LIMIT: Duration = Duration::from_secs(30);

/// An authority, and what it hands out.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of this test");
        Authority { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn certificate(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    fn server(&self) -> Arc<ServerConfig> {
        let (chain, key) = self.certificate("localhost");
        Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap())
    }

    fn server_asking_for_certificates(&self) -> Arc<ServerConfig> {
        let (chain, key) = self.certificate("localhost");
        let verifier = WebPkiClientVerifier::builder(Arc::new(self.roots())).build().unwrap();
        let config = ServerConfig::builder().with_client_cert_verifier(verifier);
        Arc::new(config.with_single_cert(chain, key).unwrap())
    }

    fn client(&self) -> Arc<ClientConfig> {
        Arc::new(ClientConfig::builder().with_root_certificates(self.roots()).with_no_client_auth())
    }
}

fn on_loopback<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Host) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let host = host::real::host();
        let task = host.spawn("test", test(host.clone()));
        host.clock().timeout(LIMIT, task).await.expect("in time").unwrap();
    });
}

/// A connected pair of plaintext streams: the client's and the server's.
async fn connected(host: &Host) -> (Stream, Stream) {
    let mut listener = host.net().listen("127.0.0.1:0").await.unwrap();
    let near = host.net().connect(&listener.local_addr().to_string()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    (near, far)
}

type Shaken = (std::io::Result<Stream>, std::io::Result<Stream>);

/// What both sides make of a handshake.
async fn shake(host: &Host, client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Shaken {
    let (near, far) = connected(host).await;
    let name = ServerName::try_from("localhost").unwrap();
    let accepted = host.spawn("accepts", host::real::accept_tls(far, server));
    let connected = host::real::connect_tls(near, client, name).await;
    (connected, accepted.await.unwrap())
}

async fn encrypted(host: &Host) -> (Stream, Stream) {
    let authority = Authority::new();
    let (client, server) = shake(host, authority.client(), authority.server()).await;
    (client.unwrap(), server.unwrap())
}

async fn read_to_end(read: &mut ReadHalf, at_a_time: usize) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        read.readable().await?;
        let mut buffer = BytesMut::with_capacity(at_a_time);
        if read.read_into(&mut buffer).await? == 0 {
            return Ok(all);
        }
        all.extend_from_slice(&buffer);
    }
}

fn text(bytes: &'static [u8]) -> Chunk {
    Chunk::Bytes(Bytes::from_static(bytes))
}

#[test]
fn bytes_and_file_regions_go_through_whole_in_both_directions() {
    on_loopback(async |host| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let content: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let written = content.clone();
        let disk = host.disk(dir.path());
        let file = disk.run_slow(move |fs| {
            let file = fs.open(&path, OpenMode::CreateNew).unwrap();
            file.write_all_at(&written, 0).unwrap();
            file
        });
        let file = file.await.unwrap();
        let (client, server) = encrypted(&host).await;
        let ((mut client_read, mut client_write), (mut server_read, mut server_write)) =
            (client.split(), server.split());
        let asks = host.spawn("client", async move {
            let many = (0..1000).map(|_| text(b"0123456789"));
            client_write.write_chunks(&mut many.collect()).await.unwrap();
            client_write.shutdown().await.unwrap();
            read_to_end(&mut client_read, 10_000).await.unwrap()
        });
        let asked = read_to_end(&mut server_read, 1000).await.unwrap();
        assert!(asked == b"0123456789".repeat(1000), "{} bytes", asked.len());
        let region = Chunk::File(FileRegion { file, position: 1, length: 299_998 });
        let mut chunks = VecDeque::from([text(b"head"), text(b""), region, text(b"tail")]);
        server_write.write_chunks(&mut chunks).await.unwrap();
        server_write.shutdown().await.unwrap();
        let got = asks.await.unwrap();
        assert!(got == [b"head", &content[1..299_999], b"tail"].concat(), "{} bytes", got.len());
    });
}

#[test]
fn what_was_decrypted_to_see_that_something_came_is_not_lost() {
    on_loopback(async |host| {
        let (client, server) = encrypted(&host).await;
        let (_client_read, mut client_write) = client.split();
        let (mut read, _server_write) = server.split();
        let mut one = BytesMut::with_capacity(1);
        let nothing = host.clock().timeout(Duration::from_millis(5), read.readable()).await;
        assert!(nothing.is_err(), "nothing was sent");
        client_write.write_chunks(&mut VecDeque::from([text(b"abcdef")])).await.unwrap();
        read.readable().await.unwrap();
        read.readable().await.unwrap();
        assert_eq!(read.read_into(&mut one).await.unwrap(), 1);
        assert_eq!(&one[..], b"a", "a buffer of one byte takes that byte and no more");
        read.readable().await.unwrap();
        let mut rest = BytesMut::with_capacity(100);
        assert_eq!(read.read_into(&mut rest).await.unwrap(), 5);
        assert_eq!(&rest[..], b"bcdef");
    });
}

#[test]
fn a_client_certificate_is_shown_to_the_server() {
    on_loopback(async |host| {
        let authority = Authority::new();
        let (chain, key) = authority.certificate("alice");
        let own = chain[0].clone();
        let client = ClientConfig::builder().with_root_certificates(authority.roots());
        let client = Arc::new(client.with_client_auth_cert(chain, key).unwrap());
        let (near, far) = shake(&host, client, authority.server_asking_for_certificates()).await;
        let (near, far) = (near.unwrap(), far.unwrap());
        assert_eq!(far.peer_certificates(), [own]);
        assert_eq!(near.peer_certificates().len(), 1, "the server's");
        assert_eq!(far.peer_addr(), near.local_addr());
    });
}

#[test]
fn a_client_without_a_certificate_is_refused_where_one_is_asked_for() {
    on_loopback(async |host| {
        let authority = Authority::new();
        let (near, far) = shake(&host, authority.client(), authority.server_asking_for_certificates()).await;
        assert_eq!(far.unwrap_err().kind(), ErrorKind::InvalidData);
        // In TLS 1.3 the client hears of it with its first read.
        let (mut read, _write) = near.unwrap().split();
        assert_eq!(read_to_end(&mut read, 10).await.unwrap_err().kind(), ErrorKind::InvalidData);
    });
}

#[test]
fn a_certificate_of_a_foreign_authority_or_for_another_name_is_refused() {
    on_loopback(async |host| {
        let (ours, foreign) = (Authority::new(), Authority::new());
        let (near, far) = shake(&host, ours.client(), foreign.server()).await;
        assert_eq!(near.unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(far.unwrap_err().kind(), ErrorKind::InvalidData);
        let (near, far) = connected(&host).await;
        let accepted = host.spawn("accepts", host::real::accept_tls(far, ours.server()));
        let name = ServerName::try_from("elsewhere.example").unwrap();
        let refused = host::real::connect_tls(near, ours.client(), name).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidData);
        assert!(accepted.await.unwrap().is_err());
    });
}

#[test]
fn a_peer_that_speaks_no_tls_is_an_error_and_not_a_wait() {
    on_loopback(async |host| {
        let (near, far) = connected(&host).await;
        let accepted = host.spawn("accepts", host::real::accept_tls(far, Authority::new().server()));
        let (_read, mut write) = near.split();
        let plain = text(b"\0\0\0\x10\0\x12\0\x03\0\0\0\x01 an ApiVersions request");
        write.write_chunks(&mut VecDeque::from([plain])).await.unwrap();
        assert_eq!(accepted.await.unwrap().unwrap_err().kind(), ErrorKind::InvalidData);
    });
}

#[test]
fn an_end_without_a_goodbye_is_an_error() {
    on_loopback(async |host| {
        let (client, server) = encrypted(&host).await;
        let (mut read, _write) = client.split();
        // Dropped, not shut down: anybody on the way could have ended the TCP connection here.
        drop(server);
        assert_eq!(read_to_end(&mut read, 10).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn an_abort_ends_an_encrypted_stream_for_both() {
    on_loopback(async |host| {
        let (client, server) = encrypted(&host).await;
        client.abort_handle().abort();
        let ((mut near, _near_write), (mut far, _far_write)) = (client.split(), server.split());
        assert!(read_to_end(&mut near, 10).await.is_err());
        assert!(read_to_end(&mut far, 10).await.is_err());
    });
}

#[test]
fn a_writer_waits_for_a_reader_that_does_not_read() {
    on_loopback(async |host| {
        let (client, server) = encrypted(&host).await;
        let ((_client_read, mut write), (mut read, _server_write)) = (client.split(), server.split());
        let chunk = Bytes::from(vec![7; 1 << 20]);
        let mut chunks: VecDeque<Chunk> = (0..32).map(|_| Chunk::Bytes(chunk.clone())).collect();
        let mut writing = Box::pin(async move {
            write.write_chunks(&mut chunks).await.unwrap();
            write.shutdown().await.unwrap();
        });
        let blocked = host.clock().timeout(Duration::from_millis(50), &mut writing).await;
        assert!(blocked.is_err(), "32 MiB do not fit into a connection that nobody reads");
        let (got, ()) = tokio::join!(read_to_end(&mut read, 1 << 20), writing);
        assert_eq!(got.unwrap().len(), 32 << 20);
    });
}

#[test]
fn tls_wants_a_plaintext_connection_below_it() {
    on_loopback(async |host| {
        let (client, server) = encrypted(&host).await;
        let twice = host::real::accept_tls(server, Authority::new().server()).await;
        assert_eq!(twice.unwrap_err().kind(), ErrorKind::InvalidInput);
        drop(client);
        let (near, _far) = host.net().pair();
        let in_memory = host::real::accept_tls(near, Authority::new().server()).await;
        assert_eq!(in_memory.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}
