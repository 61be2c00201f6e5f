//! One mail over one connection to a mail server, encrypted before anything is said.
//!
//! The dialogue is lettre's. Two things are ours. Until TLS is up, a stream gives out one line at a time: text that somebody on the
//! way has put behind the answer to STARTTLS then stands in the handshake, which fails, instead of being taken for the server's later
//! answers (<https://nostarttls.secvuln.info/>). And a refused receiver does not keep the mail from the others.

use std::error::Error as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::channel::Failure;

/// The longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(15);
/// The longest time for everything.
const WHOLE: Duration = Duration::from_secs(55);

/// A mail server and how to talk to it.
pub struct Server {
    /// Its name, which its certificate must bear.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// True: TLS from the first byte; false: by a required STARTTLS.
    pub implicit: bool,
    /// Which certificates are trusted.
    pub tls: TlsParameters,
    /// Whom to log in as.
    pub credentials: Option<Credentials>,
}

/// What the server took.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its answer to the mail.
    pub code: u16,
    /// How many receivers it refused; the others have the mail.
    pub refused: usize,
}

impl Server {
    /// Hands over one mail.
    ///
    /// # Errors
    /// Where not a single receiver has it (or where that cannot be known).
    pub async fn hand_over(&self, from: &Address, to: &[Address], mail: &[u8]) -> Result<Taken, Failure> {
        match tokio::time::timeout(WHOLE, self.dialogue(from, to, mail)).await {
            Ok(taken) => taken,
            Err(_) => Err(Failure::later("the mail server does not answer in time")),
        }
    }

    /// Connects and logs in, and takes leave without a mail.
    ///
    /// # Errors
    /// What would keep a mail from being taken.
    pub async fn greet(&self) -> Result<(), Failure> {
        let hello = async {
            let mut connection = self.enter().await?;
            let _ = connection.quit().await;
            Ok(())
        };
        let in_time = tokio::time::timeout(WHOLE, hello).await;
        in_time.unwrap_or_else(|_| Err(Failure::later("the mail server does not answer in time")))
    }

    async fn enter(&self) -> Result<AsyncSmtpConnection, Failure> {
        let mut connection = self.connect().await?;
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await.map_err(|error| failure(&error, At::LogIn))?;
        }
        Ok(connection)
    }

    async fn dialogue(&self, from: &Address, to: &[Address], mail: &[u8]) -> Result<Taken, Failure> {
        let mut connection = self.enter().await?;
        let opened = connection.command(Mail::new(Some(from.clone()), vec![])).await;
        opened.map_err(|error| failure(&error, At::Envelope))?;
        let mut refusals = Vec::new();
        for receiver in to {
            match connection.command(Rcpt::new(receiver.clone(), vec![])).await {
                Ok(_) => {}
                Err(error) if error.status().is_some() => refusals.push(failure(&error, At::Envelope)),
                Err(error) => return Err(failure(&error, At::Envelope)),
            }
        }
        if refusals.len() == to.len()
            && let Some(refusal) = refusals.pop()
        {
            connection.abort().await;
            return Err(refusal);
        }
        connection.command(Data).await.map_err(|error| failure(&error, At::Mail))?;
        let answer = connection.message(mail).await.map_err(|error| failure(&error, At::Mail))?;
        // It has the mail; how it takes leave does not matter.
        let _ = connection.quit().await;
        Ok(Taken { code: u16::from(answer.code()), refused: refusals.len() })
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Failure> {
        let hello = ClientId::default();
        let address = (self.host.as_str(), self.port);
        if self.implicit {
            let tls = Some(self.tls.clone());
            let connected = AsyncSmtpConnection::connect_tokio1(address, Some(CONNECT), &hello, tls, None).await;
            return connected.map_err(|error| failure(&error, At::Greeting));
        }
        let stream = match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return Err(Failure::later(format!("the mail server cannot be reached: {}", error.kind())));
            }
            Err(_) => return Err(Failure::later("the mail server cannot be reached in time")),
        };
        let connected = AsyncSmtpConnection::connect_with_transport(Box::new(LineByLine(stream)), &hello).await;
        let mut connection = connected.map_err(|error| failure(&error, At::Greeting))?;
        let secured = connection.starttls(self.tls.clone(), &hello).await;
        secured.map_err(|error| failure(&error, At::Greeting))?;
        Ok(connection)
    }
}

/// Where in the dialogue something failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Greeting,
    LogIn,
    Envelope,
    Mail,
}

/// What a failure means. The server's own words are left out: they may repeat an address.
fn failure(error: &SmtpError, at: At) -> Failure {
    if let Some(code) = error.status() {
        return refusal(u16::from(code), at);
    }
    if error.is_timeout() {
        return Failure::later("the mail server does not answer in time");
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            // A handshake that failed for another reason than the network, such as a certificate, comes as invalid data.
            return match io.kind() {
                std::io::ErrorKind::InvalidData => Failure::Held(format!("no trust in the mail server: {io}")),
                _ => Failure::later(format!("the connection to the mail server failed: {}", io.kind())),
            };
        }
        source = cause.source();
    }
    if error.is_client() || error.is_tls() {
        // Such as: STARTTLS is not offered, no common way to log in.
        return Failure::Held(format!("no safe way to the mail server: {error}"));
    }
    Failure::later("the mail server broke off or answered nonsense")
}

/// What a negative answer means (RFC 5321, section 4.2).
fn refusal(code: u16, at: At) -> Failure {
    let says = format!("the mail server says {code}");
    match (code, at) {
        (..500, _) => Failure::later(format!("{says}: not now")),
        (552, At::Mail) => Failure::Dead(format!("{says}: the mail is too large")),
        (_, At::LogIn) | (530 | 534 | 535 | 538, _) => Failure::Held(format!("{says}: it refuses the log-in")),
        (_, At::Envelope) => Failure::Held(format!("{says}: it refuses an address")),
        _ => Failure::Held(format!("{says}: it refuses the mail")),
    }
}

/// A connection that gives out at most one line per read, so that no buffer above it holds more than the line that was asked for.
#[derive(Debug)]
struct LineByLine(TcpStream);

impl AsyncRead for LineByLine {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let stream = &mut self.get_mut().0;
        let mut seen = [0; 16 * 1024];
        let room = out.remaining().min(seen.len());
        let mut peeked = ReadBuf::new(&mut seen[..room]);
        let count = ready!(stream.poll_peek(cx, &mut peeked))?;
        let line = peeked.filled().iter().position(|byte| *byte == b'\n').map_or(count, |end| end + 1);
        if line == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut again = ReadBuf::new(&mut seen[..line]);
        ready!(Pin::new(stream).poll_read(cx, &mut again))?;
        out.put_slice(again.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LineByLine {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for LineByLine {
    fn peer_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.peer_addr()
    }
}
