//! How the process is run: how long it drains, and whether it looks after its files by itself.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Compiler;
use super::values::duration;
use crate::config::model::ProcessSettings;
use crate::config::raw::RawConfig;
use crate::config::yaml::path::YamlPath;

const DRAIN: Duration = Duration::from_secs(30);
const DRAINS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
/// Every file is read once in each period.
const PERIODS: RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(3600);

pub(super) fn compile(compiler: &mut Compiler<'_>, raw: &RawConfig) -> ProcessSettings {
    let (document, root) = (&mut compiler.document, YamlPath::default());
    let drain = raw.shutdown.as_ref().and_then(|raw| raw.drain.as_ref());
    let drain = duration(document, &root.key("shutdown").key("drain"), drain, DRAIN, DRAINS);
    let watch = raw.reload.as_ref().and_then(|raw| raw.watch.as_ref());
    let watch = watch.filter(|period| period.0 != "off").map(|period| {
        let place = root.key("reload").key("watch");
        duration(document, &place, Some(period), *PERIODS.end(), PERIODS)
    });
    ProcessSettings { drain, watch }
}
