//! Arguments to exit code: one file a command, all of them small; the work is done elsewhere.
//!
//! Standard output carries results, standard error everything else. Exit status: 0 done, 1 stopped by a failure, 2 bad usage or
//! settings, 3 (`verify`) something is altered.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app::Stop;
use crate::event::Problem;
use crate::settings::Settings;

mod alerts;
mod ask;
mod channels;
mod check;
mod decode;
mod demo;
mod over;
mod partitions;
mod peek;
mod rules;
mod run;
mod scan;
mod shown;
mod simulate;

/// Watches who opens whose medical record: access logs in, few and explained alerts out.
#[derive(Parser)]
#[command(name = "phiwatch", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Run(run::Run),
    Scan(scan::Scan),
    Ask(ask::Ask),
    Alerts(alerts::Alerts),
    Channels(channels::Channels),
    Partitions(partitions::Partitions),
    Check(check::Check),
    Rules(rules::Rules),
    Peek(peek::Peek),
    Decode(decode::Decode),
    Simulate(simulate::Simulate),
}

impl Command {
    /// Whether it talks to other machines: one that hangs up must not end the program, as a reader of its output may.
    fn holds_connections(&self) -> bool {
        let of_run = matches!(self, Command::Demo(_) | Command::Run(_) | Command::Partitions(_));
        of_run || matches!(self, Command::Channels(_) | Command::Check(_) | Command::Peek(_))
    }
}

/// Where settings come from; the embedded defaults without it.
#[derive(Args)]
pub struct Config {
    /// The settings file; without it the embedded defaults hold.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

impl Config {
    fn load(&self) -> Result<Settings, Stop> {
        self.config
            .as_deref()
            .map_or_else(|| Ok(Settings::default()), |path| Settings::load(path).map_err(Stop::Problems))
    }

    /// As far as they can be read, and every problem in them.
    fn read(&self) -> (Settings, Vec<Problem>) {
        self.config.as_deref().map_or_else(|| (Settings::default(), Vec::new()), Settings::read)
    }
}

/// Words that say something.
fn words(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("a few words are needed".to_owned()) } else { Ok(text.to_owned()) }
}

/// Writes a result to standard output. A reader who has seen enough is no failure; a disk that takes no more is one.
fn say(text: &str) -> Result<(), Stop> {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Stop::Failed(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// A file for records and alerts, made so that only its owner can read it; what is in it stays where the work `goes_on`.
fn private(path: &Path, goes_on: bool) -> Result<File, Stop> {
    let mut options = OpenOptions::new();
    options.create(true).write(true).append(goes_on).truncate(!goes_on).mode(0o600);
    options.open(path).map_err(|error| Stop::Failed(format!("{}: {error}", path.display())))
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    set_signals(cli.command.holds_connections());
    log_to_standard_error();
    log_bugs();
    let done = match cli.command {
        Command::Demo(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Scan(command) => command.run(),
        Command::Ask(command) => command.run(),
        Command::Alerts(command) => command.run(),
        Command::Channels(command) => command.run(),
        Command::Partitions(command) => command.run(),
        Command::Peek(command) => command.run(),
        Command::Decode(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Rules(command) => command.run(),
        Command::Simulate(command) => command.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => report(&stop),
    }
}

/// Logs go to standard error: for reading on a terminal, as JSON lines otherwise. `PHIWATCH_LOG` chooses what is logged.
fn log_to_standard_error() {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::try_from_env("PHIWATCH_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("phiwatch=info,error"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() { log.init() } else { log.json().init() }
}

/// A bug is a line of the log like others. Only what the program's text says itself is repeated: values may name people.
fn log_bugs() {
    std::panic::set_hook(Box::new(|bug| {
        let what = bug.payload().downcast_ref::<&'static str>().unwrap_or(&"an assertion does not hold");
        let at = bug.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(what, at, "this is a bug of phiwatch; please report it");
    }));
}

fn report(stop: &Stop) -> ExitCode {
    match stop {
        Stop::Failed(what) => {
            eprintln!("phiwatch: {what}");
            ExitCode::from(1)
        }
        Stop::Usage(what) => {
            eprintln!("phiwatch: {what}");
            ExitCode::from(2)
        }
        Stop::Problems(problems) => {
            for problem in problems {
                eprintln!("{problem}");
            }
            eprintln!("phiwatch: {} {}", problems.len(), if problems.len() == 1 { "problem" } else { "problems" });
            ExitCode::from(2)
        }
    }
}

/// What signals do by themselves. A reader that goes away, as `| head` does, ends the program quietly; one that holds connections
/// gets an error from the one that broke.
#[allow(unsafe_code, reason = "what a signal does by itself can only be chosen through the C library")]
fn set_signals(holds_connections: bool) {
    // SAFETY: called before any thread starts; both are valid dispositions.
    unsafe {
        if !holds_connections {
            // Rust ignores SIGPIPE at start: it gets its meaning back.
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        }
        // A file that has grown to the limit of the process is an error of the write, like a full disk, and no sudden death.
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Whether a command line is understood; its first word is that of the command.
    fn check(line: &str, understood: bool) {
        let parsed = Cli::try_parse_from(["phiwatch"].into_iter().chain(line.split(' ')));
        let said = parsed.as_ref().err().map(ToString::to_string);
        assert_eq!(parsed.is_ok(), understood, "{line}: {said:?}");
        if let Ok(Cli { command: Command::Alerts(command) }) = parsed {
            assert_eq!(command.settings_file(), Some(Path::new("x.toml")), "{line}");
        }
    }

    #[test]
    fn the_settings_file_may_stand_behind_the_last_word() {
        for what in ["list", "show a-1", "verdict a-1 confirmed --reason r", "mute mass-query.* --reason r"] {
            check(&format!("alerts {what} --config x.toml"), true);
            check(&format!("alerts --config x.toml {what}"), true);
        }
        check("channels test --config x.toml", true);
        check("partitions leave ehr 0 --reason r --config x.toml", true);
        check("partitions resume ehr --reason r --config x.toml", true);
        check("rules list --config x.toml", true);
        check("check --config x.toml --online", true);
        check("rules fields --config x.toml", false);
    }
}
