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
