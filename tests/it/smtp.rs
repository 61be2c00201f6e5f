//! Mail against real servers, good ones and bad ones: what arrives, and above all what is never sent.
//!
//! Run with `tests/smtp/start cargo test --test it smtp:: -- --ignored`.

use std::path::PathBuf;

use phiwatch::event::Time;
use phiwatch::notify::channel::{Failure, Sent, build};
use phiwatch::notify::render::{Body, Notification, Told, test_alert};
use phiwatch::notify::{ChannelSettings, Settings};

/// What no untrusted server may ever be sent.
const SECRET: &str = "canary-Secret-1";

fn dir() -> PathBuf {
    PathBuf::from(std::env::var("PHIWATCH_SMTP").expect("run this through tests/smtp/start"))
}

fn port(server: &str) -> u64 {
    let ports = std::fs::read(dir().join("ports.json")).unwrap();
    let ports: serde_json::Value = serde_json::from_slice(&ports).unwrap();
    ports[server].as_u64().unwrap()
}

/// An email channel to one of the servers; `more` is added to its settings.
fn channel(server: &str, tls: &str, more: &str) -> ChannelSettings {
    let dir = dir();
    let text = format!(
        "[[channels]]\nkind = \"email\"\nhost = \"localhost\"\nport = {}\ntls = \"{tls}\"\nca_file = \"{}\"\n\
         from = \"phiwatch <phiwatch@hosp.test>\"\n{more}",
        port(server),
        dir.join("ca.pem").display(),
    );
    #[derive(serde::Deserialize)]
    struct File {
        channels: Settings,
    }
    let file: File = toml::from_str(&text).unwrap();
    assert_eq!(file.channels.problems(), []);
    file.channels.0.into_iter().next().unwrap()
}

fn login() -> String {
    let password = dir().join("password");
    format!("to = [\"soc@hosp.test\"]\nusername = \"phiwatch\"\npassword = {{ file = \"{}\" }}", password.display())
}

const TO: &str = "to = [\"soc@hosp.test\"]";

/// A notification whose alert is hostile in every field that logs can fill.
fn notification(id: &str) -> Notification {
    let at = Time::parse("2026-11-22T20:00:00Z").unwrap();
    let mut alert = test_alert(at);
    alert.reason = "canary-name\r\nBcc: evil@example.org\r\n\r\n.\r\nMAIL FROM:<x>\r\n<script>alert(1)</script>".into();
    alert.subject.id = "=HYPERLINK(\"http://x\")\r\n.\r\n".into();
    alert.title = "Title\r\nX-Evil: 1".into();
    let told = Told { alert, pseudonym: "user-0123456789".into() };
    Notification { id: id.into(), at, body: Body::Alerts { listed: vec![told], more: 37, escalated: false } }
}

async fn send(channel: &ChannelSettings, id: &str) -> Sent {
    build(channel).unwrap().send(&notification(id)).await
}

fn mail(server: &str, number: usize) -> String {
    String::from_utf8(std::fs::read(dir().join(format!("mail/{server}-{number}.eml"))).unwrap()).unwrap()
}

fn mails(server: &str) -> usize {
    let names = std::fs::read_dir(dir().join("mail")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(&format!("{server}-")) && name.ends_with(".eml")).count()
}

fn check_arrived(mail: &str, id: &str, authenticated: &str) {
    for line in [
        "X-Encrypted: True".to_owned(),
        format!("X-Authenticated: {authenticated}"),
        format!("Message-ID: <{id}@hosp.test>"),
        "Auto-Submitted: auto-generated".to_owned(),
        "Subject: phiwatch: informational phiwatch-test.channel and 37 more".to_owned(),
        "Date: Sun, 22 Nov 2026 20:00:00 +0000".to_owned(),
    ] {
        assert!(mail.lines().any(|found| found == line), "{line}\n{mail}");
    }
    assert!(mail.contains("Content-Type: multipart/alternative") && mail.contains("text/html"));
    for never in ["canary", "evil", "HYPERLINK", "X-Evil", "script"] {
        assert!(!mail.contains(never), "{never}\n{mail}");
    }
}

#[tokio::test]
#[ignore = "needs tests/smtp/start"]
async fn required_starttls_with_log_in() {
    let sent = send(&channel("starttls", "starttls", &login()), "n-1").await;
    assert_eq!(sent, Sent { done: 1, note: Some("250".into()), failure: None });
    check_arrived(&mail("starttls", 1), "n-1", "True");
}

#[tokio::test]
#[ignore = "needs tests/smtp/start"]
async fn implicit_tls_with_log_in() {
    let sent = send(&channel("implicit", "implicit", &login()), "n-2").await;
    assert_eq!(sent.failure, None);
    check_arrived(&mail("implicit", 1), "n-2", "True");
    // A wrong password is for a person to mend.
    let wrong = login().replace("\"phiwatch\"", "\"somebody\"");
    let sent = send(&channel("implicit", "implicit", &wrong), "n-3").await;
    assert_eq!(sent.failure, Some(Failure::Held("the mail server says 535: it refuses the log-in".into())));
    assert_eq!(mails("implicit"), 1);
}

#[tokio::test]
#[ignore = "needs tests/smtp/start"]
async fn detail_full_stays_one_mail_whatever_the_names_are() {
    let sent = send(&channel("refusing", "implicit", &format!("{TO}\ndetail = \"full\"")), "n-full").await;
    assert_eq!(sent.failure, None);
    let found = (1..=mails("refusing")).map(|n| mail("refusing", n)).find(|m| m.contains("n-full")).unwrap();
    assert!(found.contains("X-Envelope-To: soc@hosp.test\n"), "{found}");
    for header in ["Bcc:", "X-Evil:", "MAIL FROM"] {
        assert!(!found.lines().any(|line| line.trim_start().starts_with(header)), "{found}");
    }
    let html = found.split("text/html").nth(1).unwrap().replace("=\r\n", "");
    assert!(html.contains("canary-name") && html.contains("&lt;script&gt;") && !html.contains("<script>"), "{html}");
    assert!(!found.lines().any(|line| line.starts_with("Subject:") && line.contains("canary")));
}

#[tokio::test]
#[ignore = "needs tests/smtp/start"]
async fn certificates_that_prove_nothing_are_refused() {
    let cases = [
        ("wrong_host", "implicit", "not valid for name"),
        ("unknown_ca", "implicit", "UnknownIssuer"),
        ("expired", "implicit", "expired"),
        ("starttls_unknown_ca", "starttls", "UnknownIssuer"),
    ];
    for (server, tls, why) in cases {
        let sent = send(&channel(server, tls, TO), "n-4").await;
        let Some(Failure::Held(what)) = sent.failure else {
            panic!("{server}: {sent:?}");
        };
        assert!(what.contains(why), "{server}: {what}");
        assert_eq!(mails(server), 0);
    }
}

#[tokio::test]
#[ignore = "needs tests/smtp/start"]
async fn webhooks_refuse_the_same_certificates() {
    for (server, why) in [("wrong_host", "not valid for name"), ("unknown_ca", "UnknownIssuer"), ("expired", "expired")]
    {
        let dir = dir();
        let text = format!(
            "kind = \"webhook\"\nurl = \"https://localhost:{}/\"\nsecret = {{ file = \"{}\" }}\nca_file = \"{}\"\n\
             allow_addresses = [\"127.0.0.0/8\", \"::1\"]\n",
            port(server),
            dir.join("password").display(),
            dir.join("ca.pem").display(),
        );
        let sent = send(&toml::from_str(&text).unwrap(), "n-11").await;
        let Some(Failure::Held(what)) = sent.failure else {
            panic!("{server}: {sent:?}");
        };
        assert!(what.contains(why), "{server}: {what}");
    }
}

#[tokio::test]
#[ignore = "needs tests/smtp/start"]
async fn nothing_is_said_to_a_server_without_tls() {
    for (server, tls) in [("plain", "starttls"), ("plain", "implicit"), ("inject", "starttls")] {
        let sent = send(&channel(server, tls, &login()), "n-5").await;
        assert!(sent.done == 0 && matches!(sent.failure, Some(Failure::Held(_))), "{server} {tls}: {sent:?}");
        let bytes = std::fs::read(dir().join(format!("{server}.bytes"))).unwrap();
        let text = String::from_utf8_lossy(&bytes).to_uppercase();
        for never in ["AUTH", "MAIL", "RCPT", "DATA", "CANARY", &SECRET.to_uppercase()] {
            assert!(!text.contains(never), "{server} {tls} was sent {never}");
        }
    }
}

#[tokio::test]
#[ignore = "needs tests/smtp/start"]
async fn a_no_for_now_is_repeated() {
    let channel = channel("greylist", "implicit", TO);
    let first = send(&channel, "n-6").await;
    assert_eq!(first.failure, Some(Failure::later("the mail server says 451: not now")));
    assert_eq!(send(&channel, "n-6").await.failure, None);
    assert_eq!(mails("greylist"), 1);
}

#[tokio::test]
#[ignore = "needs tests/smtp/start"]
async fn a_lost_answer_means_the_same_mail_twice_under_one_name() {
    let channel = channel("drop", "implicit", TO);
    assert!(matches!(send(&channel, "n-7").await.failure, Some(Failure::Later { .. })));
    assert_eq!(send(&channel, "n-7").await.failure, None);
    for number in [1, 2] {
        check_arrived(&mail("drop", number), "n-7", "False");
    }
}

#[tokio::test]
#[ignore = "needs tests/smtp/start"]
async fn one_refused_address_does_not_silence_the_others() {
    let both = channel("refusing", "implicit", "to = [\"gone@hosp.test\", \"soc@hosp.test\"]");
    let sent = send(&both, "n-8").await;
    assert_eq!(sent, Sent { done: 1, note: Some("250, 1 of 2 addresses refused".into()), failure: None });
    let none = channel("refusing", "implicit", "to = [\"gone@hosp.test\"]");
    let sent = send(&none, "n-9").await;
    assert_eq!(sent.failure, Some(Failure::Held("the mail server says 550: it refuses an address".into())));
}

#[tokio::test]
#[ignore = "needs tests/smtp/start"]
async fn a_silent_server_holds_nobody_for_more_than_a_minute() {
    let sent = send(&channel("silent", "starttls", TO), "n-10").await;
    assert!(matches!(sent.failure, Some(Failure::Later { .. })), "{sent:?}");
}
