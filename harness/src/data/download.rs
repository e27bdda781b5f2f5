//! Downloads: resumable, checked, and only in place once they are whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use ureq::http::Response;
use ureq::{Agent, Body};

/// Together below 5 s: the time until an offline machine knows that it is.
const RESOLVE: Duration = Duration::from_millis(2000);
const CONNECT: Duration = Duration::from_millis(2500);
/// A server that answers at all may be this slow, at every read.
const SILENCE: Duration = Duration::from_secs(20);
/// Connections tried in all when one breaks off.
const ATTEMPTS: usize = 3;

/// Where the CIFAR archives are published.
pub const BASE_URL: &str = "https://www.cs.toronto.edu/~kriz";

/// A published file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its name, here and under the base URL.
    pub name: &'static str,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256, lower-case hex.
    pub sha256: &'static str,
}

/// CIFAR-10, binary version.
pub const CIFAR10: Remote = Remote {
    name: "cifar-10-binary.tar.gz",
    size: 170_052_171,
    sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
};

/// CIFAR-100, binary version.
pub const CIFAR100: Remote = Remote {
    name: "cifar-100-binary.tar.gz",
    size: 168_513_733,
    sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
};

/// How a download ended that did not fail half-way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Here it is, whole and checked.
    File(PathBuf),
    /// No server answered, or it does not have the file; nothing was transferred. Says why.
    Unreachable(String),
}

/// Gets `remote` from `base_url` into `folder`, unless it is there already.
///
/// What arrives is kept in `NAME.part`, which a later call continues, and renamed once its checksum is right. Several
/// processes may call this at once: one downloads, the others wait for it.
///
/// # Errors
/// A folder that cannot be written, a transfer that breaks off (call again to continue), a wrong checksum.
pub fn fetch(remote: &Remote, base_url: &str, folder: &Path) -> Result<Fetched> {
    let target = folder.join(remote.name);
    let created = !folder.exists();
    fs::create_dir_all(folder).with_context(|| format!("{}: cannot be created", folder.display()))?;
    let part_path = folder.join(format!("{}.part", remote.name));
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&part_path);
    let mut part = opened.with_context(|| format!("{}: cannot be written", part_path.display()))?;
    part.lock().with_context(|| format!("{}: cannot be locked", part_path.display()))?;
    let clean_up = || {
        let _ = fs::remove_file(&part_path);
        if created {
            let _ = fs::remove_dir(folder);
        }
    };
    if target.is_file() {
        clean_up();
        check(&mut File::open(&target)?, remote).with_context(|| target.display().to_string())?;
        return Ok(Fetched::File(target));
    }
    if part.metadata()?.len() > remote.size {
        part.set_len(0)?;
    }
    if let Some(reason) = transfer(remote, base_url, &mut part, &target)? {
        if part.metadata()?.len() == 0 {
            clean_up();
        }
        return Ok(Fetched::Unreachable(reason));
    }
    if let Err(error) = check(&mut part, remote) {
        clean_up();
        return Err(error.context(format!("{base_url}/{}", remote.name)));
    }
    part.sync_all()?;
    fs::rename(&part_path, &target).with_context(|| format!("{}: cannot be renamed", part_path.display()))?;
    Ok(Fetched::File(target))
}

/// Fills `part` up to the full size; `Some(reason)` if no transfer began.
fn transfer(remote: &Remote, base_url: &str, part: &mut File, target: &Path) -> Result<Option<String>> {
    let url = format!("{base_url}/{}", remote.name);
    let agent = agent();
    let mut bar = None;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let have = part.metadata()?.len();
        if have == remote.size {
            return Ok(None);
        }
        let mut response = match request(&agent, &url, have) {
            Ok(response) => response,
            Err(reason) if bar.is_none() => return Ok(Some(reason)),
            Err(reason) => {
                last = Some(reason);
                continue;
            }
        };
        // 206: the rest, as asked for. Anything else begins at the beginning.
        let from = if response.status() == 206 { have } else { 0 };
        part.set_len(from)?;
        part.seek(SeekFrom::Start(from))?;
        let bar = bar.get_or_insert_with(|| progress(&url, remote, target));
        bar.set_position(from);
        let mut body = bar.wrap_read(response.body_mut().as_reader());
        // One byte too many is enough to see that the file is another one.
        match copy(&mut body, part, remote.size + 1 - from)? {
            None => {}
            Some(broken) => last = Some(broken.to_string()),
        }
        let got = part.metadata()?.len();
        if got > remote.size {
            part.set_len(0)?;
            bail!("{url}: longer than the {} bytes expected: another file than the published one", remote.size);
        }
    }
    let have = part.metadata()?.len();
    ensure!(
        have == remote.size,
        "{url}: broke off after {have} of {} bytes ({}); run again to continue",
        remote.size,
        last.unwrap_or_else(|| "the server closed the connection".into())
    );
    Ok(None)
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .accept_encoding("identity")
        .timeout_resolve(Some(RESOLVE))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE));
    config.build().new_agent()
}

/// The response to a request for everything from byte `from` on, or why there is none.
fn request(agent: &Agent, url: &str, from: u64) -> Result<Response<Body>, String> {
    let mut request = agent.get(url);
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
    }
    let response = request.call().map_err(|error| error.to_string())?;
    match response.status().as_u16() {
        200 => Ok(response),
        206 => {
            let range = response.headers().get("Content-Range").and_then(|value| value.to_str().ok());
            let begins = range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")));
            if begins { Ok(response) } else { Err(format!("asked for bytes {from}-, the server offers {range:?}")) }
        }
        status => Err(format!("the server answered with status {status}")),
    }
}

/// Copies at most `limit` bytes. A failing read is returned as a value: the caller may try again.
fn copy(from: &mut impl Read, to: &mut File, limit: u64) -> Result<Option<io::Error>> {
    let mut from = from.take(limit);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(n) => to.write_all(&buffer[..n]).context("the download cannot be written")?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Some(error)),
        }
    }
}

/// A bar on a terminal, one line elsewhere.
fn progress(url: &str, remote: &Remote, target: &Path) -> ProgressBar {
    if !io::stderr().is_terminal() {
        say!("downloading {url} ({:.0} MB) to {}", remote.size as f64 / 1e6, target.display());
        return ProgressBar::hidden();
    }
    let template = "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(remote.size).with_style(style).with_message(remote.name)
}

/// Compares length and SHA-256 of a whole file.
fn check(file: &mut File, remote: &Remote) -> Result<()> {
    let size = file.metadata()?.len();
    ensure!(size == remote.size, "{size} bytes, expected {}: remove the file to download it again", remote.size);
    file.seek(SeekFrom::Start(0))?;
    let mut hash = Sha256::new();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = reader.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(found == remote.sha256, "SHA-256 {found}, expected {}: damaged, or not the published file", remote.sha256);
    Ok(())
}
