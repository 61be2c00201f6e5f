//! `phiwatch peek`: the newest records of a topic, as they came and as they decode.

use std::io::{ErrorKind, IsTerminal, Write, stdout};
use std::path::PathBuf;

use clap::Args;

use super::Stop;
use crate::app;
use crate::decode::{Decoder, Limits, RawRecord, native, reject_line};
use crate::ingest::kafka;
use crate::notify::render::clean;
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
        if let Some(history) = settings.history.as_ref().filter(|history| app::is_there(history)) {
            app::audit(&settings, &history.dir, "peek", &self.topic)?;
        }
        let mut out = stdout().lock();
        for record in kafka::peek(plan, &self.topic, self.n).map_err(Stop::failed)? {
            let at = record.at.map(|time| settings.default_zone.clock(time)).unwrap_or_default();
            let mut lines = format!("# {} offset {}  {at}\n", record.origin, record.offset).into_bytes();
            lines.extend_from_slice(record.value.as_deref().unwrap_or(b"(tombstone)"));
            lines.push(b'\n');
            let mut decoder = Decoder::new(record.origin.clone(), settings.hints(&self.topic), Limits::default());
            let raw = RawRecord { offset: record.offset, byte: 0, at: record.at, value: record.value.as_deref() };
            decoder.push(&raw);
            let decoded = decoder.finish(record.offset, record.offset + 1);
            decoded.batch.rows().for_each(|event| native::write(&event, &mut lines));
            decoded.rejects.iter().for_each(|reject| lines.extend(format!("{}\n", reject_line(reject)).bytes()));
            match out.write_all(&harmless(lines, stdout().is_terminal())) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                written => written.map_err(Stop::failed)?,
            }
        }
        Ok(())
    }
}

/// A record may hold anything: what would move the cursor or colour the screen never reaches a terminal. A pipe gets the bytes.
fn harmless(lines: Vec<u8>, terminal: bool) -> Vec<u8> {
    if !terminal {
        return lines;
    }
    let text = String::from_utf8_lossy(&lines);
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n").into_bytes()
}
