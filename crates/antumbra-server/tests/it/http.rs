//! The shell, seen from outside.

use crate::support::TestServer;

#[tokio::test]
async fn health_answers_without_a_key() {
    let server = TestServer::start().await;
    let answer = server.client().get(server.url("/health")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

mod raw {
    //! Bytes on the wire, as no client library would send them.

    use std::time::Duration;

    use antumbra_server::{ServerConfig, config::Limits};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        time::timeout,
    };

    use crate::support::TestServer;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Sends `bytes` and reads until the server closes.
    async fn talk(server: &TestServer, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        read_to_end(&mut stream).await
    }

    async fn read_to_end(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        read.expect("the server closes in time").unwrap();
        String::from_utf8(answer).unwrap()
    }

    fn impatient(change: impl FnOnce(&mut Limits)) -> ServerConfig {
        let mut config = ServerConfig::default();
        change(&mut config.limits);
        config
    }

    const SHORT: Duration = Duration::from_millis(150);

    #[tokio::test]
    async fn ambiguous_framing_is_refused_and_the_connection_closed() {
        let server = TestServer::start().await;
        for head in [
            "GET /health HTTP/1.1\r\n\r\n",
            "POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET /health HTTP/1.1\nHost: a\n\n",
            "GET /health HTTP/1.1\r\nHost: a\r\n x\r\n\r\n",
        ] {
            let answer = talk(&server, head.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?} => {answer}");
            assert!(answer.contains(r#"{"message":"Client error: "#), "{answer}");
            assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
        }
    }

    #[tokio::test]
    async fn who_is_refused_in_the_middle_of_an_upload_is_told_that_the_connection_ends() {
        let server = TestServer::start().await;
        let upload = |framing: &str| {
            format!(
                "POST /v1/datapoint HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ant_nobody\r\n{framing}\r\n\r\n10\r\n{}\r\n",
                "x".repeat(16)
            )
        };
        for framing in ["Transfer-Encoding: chunked", "Content-Length: 1000000"] {
            let answer = talk(&server, upload(framing).as_bytes()).await.to_lowercase();
            assert!(answer.starts_with("http/1.1 401 "), "{answer}");
            assert!(answer.contains("\r\nconnection: close\r\n"), "{framing}: {answer}");
        }
        // A short body, or none, is no reason to end a connection.
        let short = "POST /v1/data-silo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
        let bare = "GET /v1/data-subject-request/1 HTTP/1.1\r\nHost: a\r\n\r\n";
        let last = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let answer = talk(&server, format!("{short}{bare}{last}").as_bytes()).await;
        let answered = ["HTTP/1.1 401 ", "HTTP/1.1 200 "].map(|status| answer.matches(status).count());
        assert_eq!(answered, [2, 1], "{answer}");
    }

    fn statuses(answer: &str) -> Vec<&str> {
        answer.lines().filter(|line| line.starts_with("HTTP/1.1")).collect()
    }

    #[tokio::test]
    async fn what_came_before_a_refused_head_is_answered_first() {
        let server = TestServer::start().await;
        let good = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
        let answer = talk(&server, format!("{good}{good}GET / HTTP/1.1\r\n\r\n{good}").as_bytes()).await;
        assert_eq!(
            statuses(&answer),
            ["HTTP/1.1 200 OK", "HTTP/1.1 200 OK", "HTTP/1.1 400 Bad Request"]
        );
    }

    #[tokio::test]
    async fn bodies_and_the_next_head_are_told_apart() {
        let server = TestServer::start().await;
        // The bodies look like requests; whoever miscounts would answer them.
        let inner = "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";
        let bytes = format!(
            "GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{inner}\
             GET /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n\
             GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            inner.len(),
            inner.len()
        );
        for piece in [7, 64, bytes.len()] {
            let mut stream = TcpStream::connect(server.address()).await.unwrap();
            for part in bytes.as_bytes().chunks(piece) {
                stream.write_all(part).await.unwrap();
            }
            let answer = read_to_end(&mut stream).await;
            assert_eq!(statuses(&answer), ["HTTP/1.1 200 OK"; 3]);
        }
    }

    #[tokio::test]
    async fn oversized_heads_have_their_own_answers() {
        let server = TestServer::start().await;
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000));
        assert!(talk(&server, long.as_bytes()).await.starts_with("HTTP/1.1 414 "));
        let fields = format!("GET /health HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(100));
        assert!(talk(&server, fields.as_bytes()).await.starts_with("HTTP/1.1 431 "));
        let large = format!("GET /health HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "y".repeat(10 << 20));
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let (mut reading, mut writing) = stream.split();
        let mut answer = [0; 13];
        let (read, _) = tokio::join!(reading.read_exact(&mut answer), writing.write_all(large.as_bytes()));
        read.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 431 ");
    }

    #[tokio::test]
    async fn a_silent_connection_is_closed() {
        let server = TestServer::with(impatient(|limits| limits.first_byte = SHORT)).await;
        assert_eq!(talk(&server, b"").await, "");
    }

    #[tokio::test]
    async fn half_a_head_is_answered_and_closed() {
        let server = TestServer::with(impatient(|limits| limits.header = SHORT)).await;
        let answer = talk(&server, b"GET /health HTTP/1.1\r\nHost:").await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }

    #[tokio::test]
    async fn a_connection_kept_for_nothing_is_closed() {
        let server = TestServer::with(impatient(|limits| limits.idle = SHORT)).await;
        let answer = talk(&server, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(!answer.to_lowercase().contains("connection: close"));
    }

    #[tokio::test]
    async fn a_trickling_body_is_let_go() {
        let server = TestServer::with(impatient(|limits| limits.body_progress = SHORT)).await;
        let answer = talk(
            &server,
            b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }

    #[tokio::test]
    async fn half_a_body_is_no_body() {
        let server = TestServer::start().await;
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream
            .write_all(b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    #[tokio::test]
    async fn one_address_has_so_many_connections_and_no_more() {
        let server = TestServer::with(impatient(|limits| limits.connections_per_address_max = 2)).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(server.address()).await.unwrap();
            stream
                .write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            let mut first = [0; 12];
            stream.read_exact(&mut first).await.unwrap();
            held.push(stream);
        }
        let mut third = TcpStream::connect(server.address()).await.unwrap();
        let mut answer = Vec::new();
        let _ = third.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let _ = timeout(PATIENCE, third.read_to_end(&mut answer))
            .await
            .expect("the third is closed");
        assert!(answer.is_empty());
    }

    #[tokio::test]
    async fn a_large_body_that_is_refused_hears_why_before_the_line_goes_dead() {
        let server = TestServer::with(impatient(|limits| limits.json_bytes = 1000)).await;
        let length = 8 << 20;
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let head = format!("GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // All of it is sent before anything is read, as simple clients do.
        stream.write_all(&vec![b'x'; length]).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }

    #[tokio::test]
    async fn a_response_that_nobody_reads_is_given_up() {
        let server = TestServer::with(impatient(|limits| limits.unread_response = SHORT)).await;
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(server.address()).await.unwrap();
        // Enough answers to fill every buffer on the way; they go out one after another.
        let ask = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n";
        let sent = timeout(PATIENCE, async { while stream.write_all(ask).await.is_ok() {} }).await;
        assert!(sent.is_ok(), "the server hangs up although nothing was read");
    }

    #[tokio::test]
    async fn head_and_body_leave_in_one_write() {
        let server = TestServer::start().await;
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream
            .write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let mut first = vec![0; 4096];
        let read = stream.read(&mut first).await.unwrap();
        assert!(String::from_utf8_lossy(&first[..read]).ends_with("\r\n\r\nok\n"));
    }
}

mod listener {
    //! The listener as a whole: TLS, HTTP/2, metrics of their own, and stopping.

    use std::time::Duration;

    use antumbra_server::{
        ServerConfig,
        config::{MetricsPlace, TlsFiles},
    };
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use crate::support::TestServer;

    type Empty = http_body_util::Empty<bytes::Bytes>;

    fn fixture(name: &str) -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/it/fixtures")
            .join(name)
    }

    #[tokio::test]
    async fn tls_by_files() {
        let config = ServerConfig {
            tls: Some(TlsFiles {
                certificate: fixture("localhost.cert.pem"),
                key: fixture("localhost.key.pem"),
            }),
            ..ServerConfig::default()
        };
        let server = TestServer::with(config).await;
        let certificate = std::fs::read(fixture("localhost.cert.pem")).unwrap();
        let trusting = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&certificate).unwrap()])
            .build()
            .unwrap();
        let url = format!("https://localhost:{}/health", server.address().port());
        assert_eq!(trusting.get(&url).send().await.unwrap().text().await.unwrap(), "ok\n");
        assert!(
            server.client().get(&url).send().await.is_err(),
            "nobody else vouches for it"
        );
        assert!(
            server.client().get(server.url("/health")).send().await.is_err(),
            "nothing is served in clear"
        );
    }

    #[tokio::test]
    async fn a_key_that_does_not_fit_its_certificate_is_told_at_the_start() {
        let (certificate, key) = (fixture("localhost.cert.pem"), fixture("no-such-file.pem"));
        let server = TestServer::start().await;
        let config = ServerConfig {
            tls: Some(TlsFiles { certificate, key }),
            ..ServerConfig::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refused = antumbra_server::Server::start(config, server.app().world.clone(), listener).await;
        assert!(refused.is_err());
    }

    #[tokio::test]
    async fn http_2_in_clear_for_whoever_knows() {
        let server = TestServer::start().await;
        let stream = TokioIo::new(TcpStream::connect(server.address()).await.unwrap());
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake::<_, _, Empty>(TokioExecutor::new(), stream)
                .await
                .unwrap();
        let request = hyper::Request::get(server.url("/health")).body(Empty::new()).unwrap();
        let answer = tokio::select! {
            answer = sender.send_request(request) => answer.unwrap(),
            ended = connection => panic!("the connection ended first: {ended:?}"),
        };
        assert_eq!(
            (answer.status().as_u16(), answer.version()),
            (200, hyper::Version::HTTP_2)
        );
    }

    #[tokio::test]
    async fn metrics_have_a_listener_of_their_own_where_that_is_wanted() {
        let server = TestServer::start().await;
        let beside = server.client().get(server.url("/metrics")).send().await.unwrap();
        assert!(beside.text().await.unwrap().contains("antumbra_http_requests_total"));
        let config = ServerConfig {
            metrics: MetricsPlace::Apart,
            ..ServerConfig::default()
        };
        let mut server = TestServer::with(config).await;
        assert_eq!(
            server
                .client()
                .get(server.url("/metrics"))
                .send()
                .await
                .unwrap()
                .status(),
            404
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let apart = listener.local_addr().unwrap();
        server.server_mut().show_metrics(listener).unwrap();
        let get = async |path: &str| {
            server
                .client()
                .get(format!("http://{apart}{path}"))
                .send()
                .await
                .unwrap()
        };
        assert!(
            get("/metrics")
                .await
                .text()
                .await
                .unwrap()
                .contains("antumbra_http_requests_total")
        );
        assert_eq!(get("/health").await.status(), 404);
    }

    #[tokio::test]
    async fn readiness_asks_the_store() {
        let server = TestServer::start().await;
        let get = async || server.client().get(server.url("/readyz")).send().await.unwrap();
        assert_eq!(get().await.text().await.unwrap(), "ready\n");
    }

    #[tokio::test]
    async fn stopping_answers_what_was_begun_and_takes_no_more() {
        let mut server = TestServer::start().await;
        let address = server.address();
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut begun = TcpStream::connect(address).await.unwrap();
        begun
            .write_all(b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
            .await
            .unwrap();
        // By the time a later connection is answered, the earlier ones have been taken in.
        assert_eq!(
            server
                .client()
                .get(server.url("/health"))
                .send()
                .await
                .unwrap()
                .status(),
            200
        );
        let running = server.take();
        let stopping = running.shutdown();
        let finishing = async {
            let mut nothing = Vec::new();
            idle.read_to_end(&mut nothing).await.unwrap();
            assert!(nothing.is_empty(), "an idle connection is closed without a word");
            assert!(TcpStream::connect(address).await.is_err(), "and no new one is taken");
            begun.write_all(b"cd").await.unwrap();
            let mut answer = String::new();
            begun.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        };
        tokio::join!(stopping, finishing);
    }

    #[tokio::test]
    async fn stopping_has_an_end_whatever_a_client_does() {
        let mut config = ServerConfig::default();
        config.limits.shutdown = Duration::from_millis(100);
        let mut server = TestServer::with(config).await;
        let mut stuck = TcpStream::connect(server.address()).await.unwrap();
        stuck
            .write_all(b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
            .await
            .unwrap();
        assert_eq!(
            server
                .client()
                .get(server.url("/health"))
                .send()
                .await
                .unwrap()
                .status(),
            200
        );
        let stopping = server.take().shutdown();
        tokio::time::timeout(Duration::from_secs(5), stopping)
            .await
            .expect("within its bound");
    }
}
