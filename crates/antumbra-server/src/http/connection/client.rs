//! Whose request it is, where a proxy stands in front of the server. Pure.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

use crate::config::Limits;

/// Where each proxy adds the address that it was called from, at the end.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address that a request came from: what is at the other end of the connection, or, where that is a proxy that the
/// operator trusts, what it wrote down. Read from the end, past every proxy that is trusted; what stands before the first
/// that is not was written by whoever liked to. Where the list is not one of addresses, the last that could be read counts.
pub(super) fn client_of(peer: IpAddr, headers: &HeaderMap, limits: &Limits) -> IpAddr {
    let mut client = peer.to_canonical();
    let lists = headers.get_all(FORWARDED_FOR).iter().rev();
    let mut hops = lists.flat_map(|list| list.as_bytes().rsplit(|byte| *byte == b','));
    while limits.trusts_proxy(client) {
        match hops.next().map(|hop| hop.trim_ascii()).map(address) {
            Some(Some(address)) => client = address.to_canonical(),
            Some(None) | None => break,
        }
    }
    client
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?;
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let parsed = bare.unwrap_or(hop).parse();
    parsed.ok().or_else(|| Some(hop.parse::<SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client(peer: &str, lists: &[&str]) -> String {
        let limits = Limits {
            trusted_proxies: ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap()).to_vec(),
            ..Limits::default()
        };
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(list).unwrap());
        }
        client_of(peer.parse().unwrap(), &headers, &limits).to_string()
    }

    #[test]
    fn the_word_of_a_stranger_about_where_he_comes_from_counts_nothing() {
        assert_eq!(client("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(client("::ffff:203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
    }

    #[test]
    fn a_trusted_proxy_says_who_called_it() {
        assert_eq!(client("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("fd00::1", &["2001:db8::7"]), "2001:db8::7");
        assert_eq!(client("10.0.0.1", &["[2001:db8::7]:4711"]), "2001:db8::7");
        assert_eq!(client("10.0.0.1", &["[2001:db8::7]"]), "2001:db8::7");
        assert_eq!(client("10.0.0.1", &["198.51.100.1:4711"]), "198.51.100.1");
    }

    #[test]
    fn what_a_client_wrote_before_the_proxy_counts_nothing() {
        assert_eq!(client("10.0.0.1", &["192.0.2.5, 198.51.100.1"]), "198.51.100.1");
        assert_eq!(
            client("10.0.0.1", &["192.0.2.5", "198.51.100.1, 10.0.0.2"]),
            "198.51.100.1"
        );
        assert_eq!(
            client("10.0.0.1", &["10.0.0.3, 192.0.2.5", "198.51.100.1"]),
            "198.51.100.1"
        );
    }

    #[test]
    fn where_nothing_can_be_read_the_last_that_could_be_counts() {
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["192.0.2.5, , 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &["10.0.0.2, 10.0.0.3"]), "10.0.0.2");
    }
}
