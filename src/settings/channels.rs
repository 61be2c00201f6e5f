//! `[[channels]]`: each read by itself, as its kind says, so that a fault in one hides none in the others.

use std::path::Path;

use toml::Spanned;
use toml::de::DeTable;

use super::paths::is_inside;
use super::tree::{StandIns, Tree, nearest};
use crate::notify::{ChannelSettings, Settings, channel};

/// A table as it stands in the file.
pub(super) type Place<'a> = Spanned<DeTable<'a>>;

/// Reads every channel; relative paths begin at `folder`. Channels that cannot be read are problems of the tree.
pub(super) fn read<'a>(tree: &mut Tree<'a>, folder: &Path) -> (Settings, Vec<Place<'a>>) {
    let (mut channels, mut places, mut lacking) = (Vec::new(), Vec::new(), Vec::new());
    for mut table in tree.take_list("channels") {
        let place = table.clone();
        let kind = table.get_mut().remove("kind");
        let known = || channel::ALL.iter().map(|spec| spec.kind);
        let mut missing = StandIns::default();
        let read = match kind.as_ref().map(|kind| kind.get_ref().as_str().unwrap_or_default()) {
            Some("file") => tree.read(table, "channels", &mut missing).map(ChannelSettings::File),
            Some("stdout") => tree.read(table, "channels", &mut missing).map(ChannelSettings::Stdout),
            Some("kafka") => tree.read(table, "channels", &mut missing).map(ChannelSettings::Kafka),
            Some("email") => tree.read(table, "channels", &mut missing).map(ChannelSettings::Email),
            Some("webhook") => tree.read(table, "channels", &mut missing).map(ChannelSettings::Webhook),
            Some("syslog") => tree.read(table, "channels", &mut missing).map(ChannelSettings::Syslog),
            other => {
                let all = known().collect::<Vec<_>>().join(", ");
                let meant = other.and_then(|other| nearest(other, known()));
                let meant = meant.map(|meant| format!("; do you mean {meant:?}?")).unwrap_or_default();
                let span = kind.as_ref().map_or(place.span(), |kind| kind.span());
                tree.problem_at(Some(span), format!("a channel needs a `kind` of {all}{meant}"));
                None
            }
        };
        if let Some(mut channel) = read {
            channel.rebase(folder);
            channels.push(channel);
            places.push(place);
            lacking.push(missing);
        }
    }
    let channels = Settings(channels);
    for (index, what) in channels.problems() {
        // That it is missing was said.
        if !lacking[index].are_meant(&what) {
            tree.problem_of(&places[index], what);
        }
    }
    (channels, places)
}

/// Complains of channels that write into a topic that is read: their alerts would come back as records. The same cluster may have
/// several addresses, so that the name alone decides.
pub(super) fn no_circle<'a>(tree: &mut Tree<'a>, settings: &super::Settings, places: &[Place<'a>]) {
    let Some(read) = &settings.kafka else { return };
    for (channel, place) in settings.channels.0.iter().zip(places) {
        let ChannelSettings::Kafka(own) = channel else { continue };
        if read.topics().iter().any(|topic| **topic == *own.topic) {
            let what =
                format!("topic: alerts are written to {:?}, and [kafka] reads it; name another topic", own.topic);
            tree.problem_of(place, what);
        }
    }
}

/// Complains of files inside folders that have to be left alone, each with what it is.
pub(super) fn apart<'a>(tree: &mut Tree<'a>, channels: &Settings, places: &[Place<'a>], folders: &[(&Path, &str)]) {
    for (channel, place) in channels.0.iter().zip(places) {
        let ChannelSettings::File(file) = channel else { continue };
        for (_, what) in folders.iter().filter(|(folder, _)| is_inside(&file.path, folder)) {
            tree.problem_of(place, format!("path: its path lies inside {what}"));
        }
    }
}
