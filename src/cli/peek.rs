//! `phiwatch peek`: the newest records of a topic, as they came and as they decode.

use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::Args;

use super::Stop;
use crate::decode::{Decoder, Limits, RawRecord, native, reject_line};
use crate::event::{Origin, Time};
use crate::ingest::kafka;
use crate::settings::Settings;

/// Show the newest records of a topic, as they came and as they decode.
#[derive(Args)]
pub struct Peek {
    /// The topic.
    topic: String,
    /// How many records.
    #[arg(short, default_value_t = 10)]
    n: usize,
    /// The settings file.
    #[arg(long, value_name = "FILE", default_value = "phiwatch.toml")]
    config: PathBuf,
}

impl Peek {
    pub(super) fn run(self) -> Result<(), Stop> {
        let settings = Settings::load(&self.config).map_err(Stop::Problems)?;
        let plan =
            settings.kafka.as_ref().ok_or_else(|| Stop::Usage("the settings have no [kafka] section".to_owned()))?;
        let mut out = stdout().lock();
        for record in kafka::peek(plan, &self.topic, self.n).map_err(Stop::failed)? {
            let at = record.at.map(|time: Time| time.to_string()).unwrap_or_default();
            let mut lines = format!("# {} offset {} {at}\n", record.origin, record.offset).into_bytes();
            lines.extend_from_slice(record.value.as_deref().unwrap_or(b"(tombstone)"));
            lines.push(b'\n');
            let origin: Origin = record.origin.clone();
            let mut decoder = Decoder::new(origin, settings.hints(&self.topic), Limits::default());
            let raw = RawRecord { offset: record.offset, byte: 0, at: record.at, value: record.value.as_deref() };
            decoder.push(&raw);
            let decoded = decoder.finish(record.offset, record.offset + 1);
            decoded.batch.rows().for_each(|event| native::write(&event, &mut lines));
            decoded.rejects.iter().for_each(|reject| lines.extend(format!("{}\n", reject_line(reject)).bytes()));
            out.write_all(&lines).map_err(Stop::failed)?;
        }
        Ok(())
    }
}
