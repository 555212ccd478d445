//! Which addresses the server may call on somebody's behalf: public ones, and the networks that the operator lists.
//!
//! Checked twice. At save, a URL whose host is a literal address, or a name that can only mean this machine, is refused so
//! that the administrator sees why. At connect, every resolved address is checked again by whoever opens the connection,
//! because a name may answer differently later. What a name resolves to is not this module's business.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::Deserialize;
use thiserror::Error;
use url::{Host, Url};

/// A block of addresses, such as `10.1.0.0/16` or `fd00::/8`; a bare address is a block of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    /// As IPv6, so that both families compare alike.
    first: u128,
    /// Leading bits that count, of 128.
    bits: u8,
}

/// Text that names no block of addresses.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("expected a network such as 10.1.0.0/16 or fd00::/8")]
pub struct NotANetwork;

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Network, NotANetwork> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| NotANetwork)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(width);
        if length > width {
            return Err(NotANetwork);
        }
        let bits = length + (128 - width);
        Ok(Network {
            first: as_bits(address) & mask(bits),
            bits,
        })
    }
}

impl TryFrom<String> for Network {
    type Error = NotANetwork;

    fn try_from(text: String) -> Result<Network, NotANetwork> {
        text.parse()
    }
}

impl Network {
    /// This machine, in both families.
    pub const LOOPBACK: [Network; 2] = [
        Network {
            first: 0xffff_7f00_0000,
            bits: 104,
        },
        Network { first: 1, bits: 128 },
    ];

    /// Whether `address` lies in this block.
    pub fn contains(self, address: IpAddr) -> bool {
        as_bits(address) & mask(self.bits) == self.first
    }
}

fn mask(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

fn as_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// Why an address or URL may not be called. Says nothing about what was found there.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// Not something an HTTP client can call.
    #[error("must be an absolute http or https URL")]
    NotHttp,
    /// Credentials in the URL would be logged and shown; headers are kept sealed.
    #[error("must not contain a user name or password; use a secret header")]
    Credentials,
    /// On such a port something listens that might take a notice for orders of its own kind.
    #[error("uses a port that is kept for another service than HTTP")]
    Port,
    /// Private, loopback, link-local or otherwise not public, and not listed by the operator.
    #[error("points to an address that is not public and not listed in webhooks.allow")]
    NotPublic,
}

/// The rule: public addresses, and what the operator lists.
#[derive(Clone, Debug, Default)]
pub struct AddressRules {
    allowed: Vec<Network>,
}

impl AddressRules {
    /// Public addresses and those in `allowed`.
    pub fn allowing(allowed: Vec<Network>) -> AddressRules {
        AddressRules { allowed }
    }

    /// Whether a connection to `address` may be opened.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|network| network.contains(address)) || is_public(address)
    }

    /// Reads `text` as a URL that may be called, as far as can be told without resolving its host.
    pub fn parse_url(&self, text: &str) -> Result<Url, Refused> {
        let url = Url::parse(text).map_err(|_| Refused::NotHttp)?;
        self.check_url(&url)?;
        Ok(url)
    }

    /// Checks scheme, credentials, port and, where the host is a literal address, that address. The URL parser has already
    /// read decimal, hexadecimal, octal, short and full-width spellings as the addresses they stand for.
    pub fn check_url(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::NotHttp);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Credentials);
        }
        if url.port().is_some_and(|port| KEPT_PORTS.binary_search(&port).is_ok()) {
            return Err(Refused::Port);
        }
        let permitted = match url.host() {
            None => return Err(Refused::NotHttp),
            Some(Host::Ipv4(v4)) => self.permits(v4.into()),
            Some(Host::Ipv6(v6)) => self.permits(v6.into()),
            Some(Host::Domain(name)) if names_this_machine(name) => self.permits(Ipv4Addr::LOCALHOST.into()),
            Some(Host::Domain(_)) => true,
        };
        if permitted { Ok(()) } else { Err(Refused::NotPublic) }
    }
}

/// The ports that the Fetch standard keeps HTTP away from, and those of stores and remote desks. In order.
const KEPT_PORTS: [u16; 98] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
    110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 445, 465, 512, 513, 514, 515, 526, 530,
    531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 873, 989, 990, 993, 995, 1433, 1521, 1719, 1720, 1723, 2049,
    2379, 3306, 3389, 3659, 4045, 4190, 5060, 5061, 5432, 5672, 5900, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669,
    6679, 6697, 9042, 9092, 10080, 11211, 27017,
];

fn names_this_machine(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name == "localhost.localdomain"
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// Blocks of the IANA special-purpose registry that are not globally reachable, and multicast.
const SPECIAL_V4: [([u8; 4], u32); 18] = [
    ([0, 0, 0, 0], 8),       // "this network"
    ([10, 0, 0, 0], 8),      // private
    ([100, 64, 0, 0], 10),   // shared by carriers
    ([127, 0, 0, 0], 8),     // loopback
    ([169, 254, 0, 0], 16),  // link-local, and clouds' metadata services
    ([172, 16, 0, 0], 12),   // private
    ([192, 0, 0, 0], 24),    // protocol assignments
    ([192, 0, 2, 0], 24),    // documentation
    ([192, 31, 196, 0], 24), // AS112
    ([192, 52, 193, 0], 24), // multicast tunnels
    ([192, 88, 99, 0], 24),  // 6to4 relays
    ([192, 168, 0, 0], 16),  // private
    ([192, 175, 48, 0], 24), // AS112
    ([198, 18, 0, 0], 15),   // benchmarks
    ([198, 51, 100, 0], 24), // documentation
    ([203, 0, 113, 0], 24),  // documentation
    ([224, 0, 0, 0], 4),     // multicast
    ([240, 0, 0, 0], 4),     // reserved, and broadcast
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = u32::from(address);
    !SPECIAL_V4.iter().any(|(first, length)| {
        let first = u32::from(Ipv4Addr::from(*first));
        (bits ^ first) >> (32 - length) == 0
    })
}

/// Blocks inside global unicast `2000::/3` that are not reachable as such, or that hide another address.
const SPECIAL_V6: [(u16, u16, u32); 5] = [
    (0x2001, 0x0000, 23), // protocol assignments: Teredo, benchmarks, ORCHID
    (0x2001, 0x0db8, 32), // documentation
    (0x2002, 0x0000, 16), // 6to4 carries any IPv4 address
    (0x3ffe, 0x0000, 16), // returned test network
    (0x3fff, 0x0000, 20), // documentation
];

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // The well-known NAT64 prefix stands for the IPv4 address in its last 32 bits: judge that one.
    if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = segments {
        return is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    }
    let leading = (u32::from(segments[0]) << 16) | u32::from(segments[1]);
    let global_unicast = segments[0] & 0xe000 == 0x2000;
    global_unicast
        && !SPECIAL_V6.iter().any(|(first, second, length)| {
            let block = (u32::from(*first) << 16) | u32::from(*second);
            (leading ^ block) >> (32 - length) == 0
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One a line: what must be refused by a server whose operator listed nothing.
    const REFUSED: &str = "
        http://127.0.0.1/
        http://127.0.0.1:8080/hook
        https://127.0.0.1/
        http://127.1/
        http://127.0.1/
        http://127.255.255.255/
        http://2130706433/
        http://0x7f000001/
        http://0x7f.0.0.1/
        http://0x7F.0x0.0x0.0x1/
        http://0177.0.0.1/
        http://017700000001/
        http://0177.0.0.01/
        http://127.0.0.1./
        http://localhost/
        http://localhost:3000/
        http://LOCALHOST/
        http://localhost./
        http://app.localhost/
        http://localhost.localdomain/
        http://①②⑦.⓪.⓪.①/
        http://127。0。0。1/
        http://１２７.０.０.１/
        http://%31%32%37.0.0.1/
        http://0/
        http://0.0.0.0/
        http://0.0.0.0:80/
        http://0.1.2.3/
        http://10.0.0.1/
        http://10.255.255.255/
        http://167772161/
        http://0xa000001/
        http://012.0.0.1/
        http://10.1/
        http://100.64.0.1/
        http://100.127.255.254/
        http://169.254.169.254/
        http://169.254.169.254/latest/meta-data/
        http://2852039166/
        http://0xa9fea9fe/
        http://0251.0376.0251.0376/
        http://169.254.0.0/
        http://169.254.255.255/
        http://172.16.0.1/
        http://172.31.255.255/
        http://172.20.10.2:9200/
        http://192.0.0.1/
        http://192.0.0.170/
        http://192.0.2.1/
        http://192.31.196.1/
        http://192.52.193.1/
        http://192.88.99.1/
        http://192.168.0.1/
        http://192.168.255.255/
        http://3232235521/
        http://0xc0a80001/
        http://192.168.257/
        http://192.175.48.1/
        http://198.18.0.1/
        http://198.19.255.255/
        http://198.51.100.7/
        http://203.0.113.9/
        http://224.0.0.1/
        http://239.255.255.250/
        http://240.0.0.1/
        http://254.1.2.3/
        http://255.255.255.255/
        http://4294967295/
        http://[::]/
        http://[::1]/
        http://[::1]:8443/
        http://[0:0:0:0:0:0:0:1]/
        http://[0000::0001]/
        http://[::ffff:127.0.0.1]/
        http://[::ffff:7f00:1]/
        http://[::ffff:10.0.0.1]/
        http://[::ffff:169.254.169.254]/
        http://[::ffff:a9fe:a9fe]/
        http://[::ffff:192.168.1.1]/
        http://[::127.0.0.1]/
        http://[::10.0.0.1]/
        http://[::ffff:0:127.0.0.1]/
        http://[64:ff9b::127.0.0.1]/
        http://[64:ff9b::10.0.0.1]/
        http://[64:ff9b::a9fe:a9fe]/
        http://[64:ff9b::192.168.0.1]/
        http://[64:ff9b:1::1]/
        http://[64:ff9b:1:ffff::8.8.8.8]/
        http://[100::1]/
        http://[100:0:0:1::1]/
        http://[2001::1]/
        http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/
        http://[2001:2::1]/
        http://[2001:10::1]/
        http://[2001:20::1]/
        http://[2001:db8::1]/
        http://[2002:7f00:1::]/
        http://[2002:a00:1::1]/
        http://[2002:a9fe:a9fe::1]/
        http://[2002:808:808::1]/
        http://[3ffe::1]/
        http://[3fff::1]/
        http://[3fff:fff::1]/
        http://[4000::1]/
        http://[5f00::1]/
        http://[fc00::1]/
        http://[fd00::1]/
        http://[fd12:3456:789a:1::1]/
        http://[fdff:ffff::1]/
        http://[fe80::1]/
        http://[febf::1]/
        http://[fec0::1]/
        http://[ff02::1]/
        http://[ff0e::1]/
        http://user@shop.example/
        http://user:password@shop.example/
        http://shop.example@127.0.0.1/
        ftp://shop.example/
        file:///etc/passwd
        gopher://shop.example/
        javascript:alert(1)
        data:text/plain,hello
        unix:/run/docker.sock
        //shop.example/
        /relative/path
        shop.example/hook
        http://
        http://999.1.1.1/
        http://127.0.0.1:22/
        http://[::1]:25/
        http://8.8.8.8:22/
        http://shop.example:25/
        https://shop.example:25/
        http://shop.example:6379/
        http://shop.example:11211/
        http://shop.example:5432/
        http://shop.example:27017/
        https://[2606:4700:4700::1111]:3306/
        http://shop.example:0/
        http://1.2.3.4.5/
        http://0x100000000/
    ";

    const PERMITTED: &str = "
        https://shop.example/transcend/new-dsr
        http://shop.example:8081/
        https://shop.example./
        http://shop.example:80/
        https://shop.example:443/
        https://shop.example:8443/
        http://shop.example:81/
        http://shop.example:49152/
        https://localhost.example/
        https://notlocalhost/
        https://8.8.8.8/
        https://1.1.1.1:8443/hook
        https://134744072/
        https://9.255.255.255/
        https://11.0.0.0/
        https://100.63.255.255/
        https://100.128.0.0/
        https://126.255.255.255/
        https://128.0.0.1/
        https://169.253.255.255/
        https://172.15.255.255/
        https://172.32.0.0/
        https://192.0.1.1/
        https://192.167.255.255/
        https://198.17.255.255/
        https://198.20.0.0/
        https://223.255.255.255/
        https://[2606:4700:4700::1111]/
        https://[2001:4860:4860::8888]/
        https://[2a00:1450::1]/
        https://[::ffff:8.8.8.8]/
        https://[64:ff9b::8.8.8.8]/
    ";

    fn lines(table: &str) -> impl Iterator<Item = &str> {
        table.lines().map(str::trim).filter(|line| !line.is_empty())
    }

    #[test]
    fn whatever_is_not_public_is_refused_however_it_is_spelt() {
        let rules = AddressRules::default();
        assert!(lines(REFUSED).count() >= 100);
        for url in lines(REFUSED) {
            assert!(rules.parse_url(url).is_err(), "{url} was let through");
        }
    }

    #[test]
    fn public_addresses_and_names_may_be_called() {
        let rules = AddressRules::default();
        for url in lines(PERMITTED) {
            assert_eq!(rules.parse_url(url).err(), None, "{url}");
        }
    }

    #[test]
    fn the_operator_may_list_networks_and_nothing_beside_them_opens() {
        let rules = AddressRules::allowing(vec!["127.0.0.0/8".parse().unwrap(), "fd00:1::/32".parse().unwrap()]);
        for url in [
            "http://127.0.0.1:9000/",
            "http://[::ffff:127.0.0.1]/",
            "http://localhost/",
            "http://[fd00:1::7]/",
        ] {
            assert_eq!(rules.parse_url(url).err(), None, "{url}");
        }
        for url in [
            "http://10.0.0.1/",
            "http://[::1]/",
            "http://[fd00:2::7]/",
            "http://169.254.169.254/",
        ] {
            assert_eq!(rules.parse_url(url), Err(Refused::NotPublic), "{url}");
        }
    }

    #[test]
    fn a_kept_port_is_refused_even_where_the_operator_lists_the_network() {
        assert!(KEPT_PORTS.is_sorted());
        let rules = AddressRules::allowing(Network::LOOPBACK.to_vec());
        assert_eq!(rules.parse_url("http://127.0.0.1:8080/").err(), None);
        for port in KEPT_PORTS {
            assert_eq!(
                rules.parse_url(&format!("http://127.0.0.1:{port}/")),
                Err(Refused::Port)
            );
        }
    }

    #[test]
    fn loopback_is_what_its_text_says() {
        assert_eq!(
            Network::LOOPBACK,
            ["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()]
        );
    }

    #[test]
    fn a_network_is_an_address_and_a_length() {
        for good in [
            "10.0.0.0/8",
            "10.1.2.3/8",
            "192.168.1.7",
            "::1",
            "fd00::/8",
            "0.0.0.0/0",
            "::/0",
        ] {
            assert!(good.parse::<Network>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0/8",
            "shop.example",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "/8",
        ] {
            assert_eq!(bad.parse::<Network>(), Err(NotANetwork), "{bad}");
        }
        let everything_v4: Network = "0.0.0.0/0".parse().unwrap();
        assert!(everything_v4.contains("10.0.0.1".parse().unwrap()));
        assert!(!everything_v4.contains("::1".parse().unwrap()));
    }
}
