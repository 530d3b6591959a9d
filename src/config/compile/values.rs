//! Values that several sections read: durations, sizes, networks, and names that must not repeat.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::config::raw;
use crate::config::yaml::document::Document;
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::quoted;

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
    place: &YamlPath,
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

/// The same, where `off` says that there is no bound.
pub(super) fn duration_or_off(
    document: &mut Document,
    place: &YamlPath,
    raw: Option<&raw::Duration>,
    default: Option<Duration>,
    bounds: RangeInclusive<Duration>,
) -> Option<Duration> {
    match raw {
        None => default,
        Some(raw::Duration(text)) if text == "off" => None,
        Some(_) => Some(duration(document, place, raw, *bounds.end(), bounds)),
    }
}

const SIZE_UNITS: [(&str, u64); 4] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Reads a size in bytes: one whole number and one unit, as with a duration. `kB` and `MB` mean one thing to some and
/// another to others, so they mean nothing here.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// How people write a size: the largest unit that needs no fraction.
fn show_size(size: u64) -> String {
    let unit =
        SIZE_UNITS.iter().rev().find(|(_, factor)| size != 0 && size.is_multiple_of(*factor));
    unit.map_or_else(|| format!("{size}B"), |(name, factor)| format!("{}{name}", size / factor))
}

/// A size in bytes within bounds; `None` when none is given, or not a good one.
pub(super) fn size(
    document: &mut Document,
    place: &YamlPath,
    raw: Option<&raw::Size>,
    bounds: RangeInclusive<u64>,
) -> Option<u64> {
    let raw::Size(text) = raw?;
    match parse_size(text) {
        Some(size) if bounds.contains(&size) => return Some(size),
        Some(_) => {
            let (least, most) = (show_size(*bounds.start()), show_size(*bounds.end()));
            document.error(place, format!("{} is not from {least} to {most}", quoted(text)));
        }
        None if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            let hint = format!("say `{text}B`, `{text}KiB`, `{text}MiB`, …");
            document.error_with(place, "the size has no unit", Some(hint));
        }
        None => {
            let hint = "a whole number and one of B, KiB, MiB, GiB".to_owned();
            document.error_with(place, format!("{} is no size", quoted(text)), Some(hint));
        }
    }
    None
}

/// The same, where `off` says that there is no bound.
pub(super) fn size_or_off(
    document: &mut Document,
    place: &YamlPath,
    raw: Option<&raw::Size>,
    default: Option<u64>,
    bounds: RangeInclusive<u64>,
) -> Option<u64> {
    match raw {
        Some(raw::Size(text)) if text == "off" => None,
        Some(_) => size(document, place, raw, bounds).or(default),
        None => default,
    }
}

/// An address or a network. What is IPv4 in IPv6 clothes is compared as what it is.
pub(super) fn network(document: &mut Document, place: &YamlPath, text: &str) -> Option<IpNet> {
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
    pub(super) fn claim(&mut self, document: &mut Document, place: &YamlPath, name: &str) {
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
pub(super) fn items<'a, T>(
    list: Option<&'a raw::List<T>>,
    place: &YamlPath,
) -> Vec<(YamlPath, &'a T)> {
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

    #[test]
    fn sizes_carry_one_unit() {
        for (text, bytes) in [
            ("0B", 0),
            ("512B", 512),
            ("32KiB", 32_768),
            ("10MiB", 10_485_760),
            ("4GiB", 4_294_967_296),
            ("18446744073709551615B", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for bad in [
            "10",
            "",
            "MiB",
            "1.5MiB",
            "-1B",
            "+1B",
            "10 MiB",
            "10MB",
            "10kB",
            "10mib",
            "10M",
            "1MiB1B",
            "1é",
            "0x10B",
            "18446744073709551616B",
            "18446744073709551615KiB",
            "17179869184GiB",
        ] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
        for (bytes, text) in [(0, "0B"), (1023, "1023B"), (32_768, "32KiB"), (1 << 40, "1024GiB")] {
            assert_eq!(show_size(bytes), text);
        }
    }

    #[test]
    fn what_is_no_size_within_bounds_is_said_and_left_out() {
        let read = |text: &str| {
            let mut document = Document::empty();
            let raw = raw::Size(text.to_owned());
            let size = size(&mut document, &YamlPath::default(), Some(&raw), 1024..=2048);
            let (errors, _) = document.into_findings();
            let said = errors.first().map(|problem| problem.message.clone());
            (size, said, errors.first().and_then(|problem| problem.hint.clone()))
        };
        assert_eq!(read("1KiB"), (Some(1024), None, None));
        assert_eq!(read("2KiB"), (Some(2048), None, None));
        let bounds = "`3KiB` is not from 1KiB to 2KiB";
        assert_eq!(read("3KiB"), (None, Some(bounds.into()), None));
        let (size, said, hint) = read("1500");
        assert_eq!((size, said.as_deref()), (None, Some("the size has no unit")));
        assert_eq!(hint.as_deref(), Some("say `1500B`, `1500KiB`, `1500MiB`, …"));
        assert_eq!(read("10 MB").1.as_deref(), Some("`10 MB` is no size"));
    }
}
