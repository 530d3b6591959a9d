//! Values that several sections read: durations, networks, and names that must not repeat.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::config::document::Document;
use crate::config::place::Place;
use crate::config::problem::quoted;
use crate::config::raw;

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a duration: one whole number and one unit.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(*factor)?))
}

/// How people write it: the largest unit that needs no fraction.
fn show(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    let unit = UNITS.iter().rev().find(|(_, factor)| millis.is_multiple_of(u128::from(*factor)));
    unit.map_or_else(String::new, |(name, factor)| {
        format!("{}{name}", millis / u128::from(*factor))
    })
}

/// A duration within bounds, or its default.
pub(super) fn duration(
    document: &mut Document,
    place: &Place,
    raw: Option<&raw::Duration>,
    default: Duration,
    bounds: RangeInclusive<Duration>,
) -> Duration {
    let Some(raw::Duration(text)) = raw else { return default };
    match parse_duration(text) {
        Some(duration) if bounds.contains(&duration) => return duration,
        Some(_) => {
            let (least, most) = (show(*bounds.start()), show(*bounds.end()));
            document.error(place, format!("{} is not from {least} to {most}", quoted(text)));
        }
        None if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            let hint = format!("say `{text}m`, `{text}s`, `{text}ms`, …");
            document.error_with(place, "the duration has no unit", Some(hint));
        }
        None => {
            let hint = "a whole number and one of ms, s, m, h, d".to_owned();
            document.error_with(place, format!("{} is no duration", quoted(text)), Some(hint));
        }
    }
    default
}

/// An address or a network. What is IPv4 in IPv6 clothes is compared as what it is.
pub(super) fn network(document: &mut Document, place: &Place, text: &str) -> Option<IpNet> {
    let address = |text: &str| text.parse::<IpAddr>().map(IpNet::from);
    match text.parse::<IpNet>().or_else(|_| address(text)) {
        Ok(network) if network.trunc() != network => {
            let message = format!("{} has bits beyond its prefix", quoted(text));
            let hint = Some(format!("did you mean `{}`?", network.trunc()));
            document.error_with(place, message, hint);
            None
        }
        Ok(network) => Some(canonical(network)),
        Err(_) => {
            let message = format!("{} is no IP address or network", quoted(text));
            let hint = Some("such as `10.0.0.1` or `10.0.0.0/8`".to_owned());
            document.error_with(place, message, hint);
            None
        }
    }
}

fn canonical(network: IpNet) -> IpNet {
    let mapped = || {
        let address = match network.addr() {
            IpAddr::V6(address) => address.to_ipv4_mapped()?,
            IpAddr::V4(_) => return None,
        };
        Ipv4Net::new(address, network.prefix_len().checked_sub(96)?).ok()
    };
    mapped().map_or(network, IpNet::V4)
}

/// Names that may be given once, with the line of the first.
#[derive(Default)]
pub(super) struct Names(BTreeMap<String, usize>);

impl Names {
    /// Notes a name; an error when it was given before.
    pub(super) fn claim(&mut self, document: &mut Document, place: &Place, name: &str) {
        let line = document.line(place);
        if let Some(first) = self.0.get(name) {
            document.error(place, format!("{} is taken on line {first}", quoted(name)));
        } else {
            self.0.insert(name.to_owned(), line);
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The items of a list with their places; those that were refused already are left out.
pub(super) fn items<'a, T>(list: Option<&'a raw::List<T>>, place: &Place) -> Vec<(Place, &'a T)> {
    let items = list.into_iter().flatten().enumerate();
    items.filter_map(|(i, item)| Some((place.index(i), item.as_ref()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_network_in_ipv6_clothes_is_an_ipv4_network() {
        for (text, expected) in [
            ("::ffff:10.20.0.0/112", "10.20.0.0/16"),
            ("::ffff:10.20.0.1/128", "10.20.0.1/32"),
            ("10.20.0.0/16", "10.20.0.0/16"),
            ("fd00::/8", "fd00::/8"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(canonical(text.parse().unwrap()).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn durations_carry_one_unit() {
        for (text, millis) in
            [("15m", 900_000), ("500ms", 500), ("0s", 0), ("2h", 7_200_000), ("14d", 1_209_600_000)]
        {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
        }
        for bad in
            ["15", "", "m", "1.5h", "-1s", "1 m", "1M", "1h30m", "99999999999999999999s", "1é"]
        {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
        assert_eq!(show(Duration::from_secs(900)), "15m");
        assert_eq!(show(Duration::from_millis(1)), "1ms");
        assert_eq!(show(Duration::ZERO), "0s");
    }
}
