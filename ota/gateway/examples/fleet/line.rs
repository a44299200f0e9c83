//! The least HTTP/1.1 that a hub needs, with every byte counted.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use cairn_sync::http::Event;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// How long a request may take; the hub's own client waits as long.
const WHOLE: Duration = Duration::from_secs(100);
/// Longest answer.
const MAX_BODY: usize = 16 << 20;
/// Longest line of a head.
const MAX_LINE: usize = 16 * 1024;

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) encoding: Option<String>,
    pub(crate) retry_after: Option<u64>,
    /// Bytes that went up and came down.
    pub(crate) bytes: usize,
}

struct Head {
    status: u16,
    length: Option<usize>,
    encoding: Option<String>,
    retry_after: Option<u64>,
    bytes: usize,
}

/// Sends a body and reads the answer on a connection of its own.
pub(crate) async fn post(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> Result<Answer> {
    timeout(WHOLE, exchange(address, path, headers, body)).await?
}

async fn exchange(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> Result<Answer> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await?;
    let answer = read_head(&mut stream).await?;
    let length = answer.length.context("an answer without a length")?;
    ensure!(length <= MAX_BODY, "an answer of {length} bytes");
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    let Head { status, encoding, retry_after, bytes: of_head, .. } = answer;
    Ok(Answer {
        status,
        encoding,
        retry_after,
        bytes: head.len() + body.len() + of_head + length,
        body: bytes,
    })
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> Result<Head> {
    let mut head = Head { status: 0, length: None, encoding: None, retry_after: None, bytes: 0 };
    loop {
        let mut line = String::new();
        let read = (&mut *stream).take(MAX_LINE as u64).read_line(&mut line).await?;
        ensure!(read > 0, "the connection ended in the head of an answer");
        head.bytes += read;
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(head);
        }
        if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
            head.status = rest.get(..3).context("no status")?.parse()?;
        } else if let Some((name, value)) = line.split_once(": ") {
            match name {
                "content-length" => head.length = Some(value.parse()?),
                "content-encoding" => head.encoding = Some(value.to_owned()),
                "retry-after" => head.retry_after = value.parse().ok(),
                _ => {}
            }
        }
    }
}

/// A held stream.
pub(crate) struct Held {
    stream: BufReader<TcpStream>,
}

impl Held {
    /// Opens one.
    pub(crate) async fn open(address: SocketAddr, path: &str, headers: &str) -> Result<Self> {
        timeout(WHOLE, async {
            let mut stream = BufReader::with_capacity(1024, TcpStream::connect(address).await?);
            stream
                .write_all(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n").as_bytes())
                .await?;
            match read_head(&mut stream).await?.status {
                200 => Ok(Self { stream }),
                status => bail!("the stream was answered with {status}"),
            }
        })
        .await?
    }

    /// The next event, and how many bytes it took.
    pub(crate) async fn next(&mut self) -> Result<(Event, usize)> {
        loop {
            let mut line = String::new();
            let read = (&mut self.stream).take(4 * MAX_LINE as u64).read_line(&mut line).await?;
            ensure!(read > 0, "the stream ended");
            // Between the lines stand the lengths of chunks.
            if line.starts_with('"') || line.starts_with('{') {
                return Ok((serde_json::from_str(&line)?, read));
            }
        }
    }
}
