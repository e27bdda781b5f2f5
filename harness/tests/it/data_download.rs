//! Downloads, against a server in this process.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use harness::data::download::{Fetched, Remote, fetch};
use sha2::{Digest, Sha256};

/// How the server treats one connection.
#[derive(Clone, Copy)]
enum Behaviour {
    /// Honours `Range`.
    Serve,
    /// Sends everything, whatever is asked.
    IgnoreRange,
    /// Closes after this many bytes of the body.
    BreakAfter(usize),
    /// Answers with this status.
    Status(u16),
}

/// Serves `content` once per behaviour; returns its base URL and, per request, the `Range` asked for.
fn server(content: Vec<u8>, behaviours: Vec<Behaviour>) -> Result<(String, Receiver<Option<String>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let (sender, ranges) = channel();
    std::thread::spawn(move || -> Result<()> {
        for behaviour in behaviours {
            let (stream, _) = listener.accept()?;
            let range = answer(stream, &content, behaviour)?;
            let _ = sender.send(range);
        }
        Ok(())
    });
    Ok((url, ranges))
}

fn answer(mut stream: TcpStream, content: &[u8], behaviour: Behaviour) -> Result<Option<String>> {
    let mut range = None;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        range = range.or(line.strip_prefix("range: ").map(String::from));
    }
    let asked = range.as_deref().and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let from = asked.filter(|_| !matches!(behaviour, Behaviour::IgnoreRange)).unwrap_or(0);
    let body = &content[from..];
    let end = match behaviour {
        Behaviour::BreakAfter(n) => n.min(body.len()),
        Behaviour::Status(_) => 0,
        _ => body.len(),
    };
    let status = match behaviour {
        Behaviour::Status(status) => status,
        _ if from > 0 => 206,
        _ => 200,
    };
    write!(stream, "HTTP/1.1 {status} x\r\nConnection: close\r\n")?;
    if status == 206 {
        write!(stream, "Content-Range: bytes {from}-{}/{}\r\n", content.len() - 1, content.len())?;
    }
    let promised = if end == 0 { 0 } else { body.len() };
    write!(stream, "Content-Length: {promised}\r\n\r\n")?;
    stream.write_all(&body[..end])?;
    Ok(range)
}

fn content() -> Vec<u8> {
    (0..300_000u32).map(|i| (i * i / 7 % 251) as u8).collect()
}

fn remote(content: &[u8]) -> Remote {
    let hash: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    Remote { name: "set.tar.gz", size: content.len() as u64, sha256: hash.leak() }
}

fn names(folder: &Path) -> Result<Vec<String>> {
    fs::read_dir(folder)?.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect()
}

#[test]
fn a_whole_download_is_put_in_place_and_not_repeated() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = dir.path().join("data/set");
    let (url, ranges) = server(content(), vec![Behaviour::Serve])?;
    let file = folder.join("set.tar.gz");
    assert_eq!(fetch(&remote(&content()), &url, &folder)?, Fetched::File(file.clone()));
    assert_eq!(fs::read(&file)?, content());
    assert_eq!(names(&folder)?, ["set.tar.gz"]);
    // No server is left to answer a second request.
    assert_eq!(fetch(&remote(&content()), &url, &folder)?, Fetched::File(file.clone()));
    assert_eq!(ranges.iter().collect::<Vec<_>>(), [None]);
    assert_eq!(names(&folder)?, ["set.tar.gz"]);

    fs::write(&file, "something else")?;
    let text = format!("{:#}", fetch(&remote(&content()), &url, &folder).unwrap_err());
    assert!(text.contains("set.tar.gz") && text.contains("14 bytes, expected 300000"), "{text}");
    Ok(())
}

#[test]
fn a_partial_file_is_continued() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("set.tar.gz.part"), &content()[..100_000])?;
    let (url, ranges) = server(content(), vec![Behaviour::Serve])?;
    fetch(&remote(&content()), &url, dir.path())?;
    assert_eq!(ranges.recv()?.as_deref(), Some("bytes=100000-"));
    assert_eq!(fs::read(dir.path().join("set.tar.gz"))?, content());
    assert_eq!(names(dir.path())?, ["set.tar.gz"]);
    Ok(())
}

#[test]
fn a_server_without_ranges_starts_over() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("set.tar.gz.part"), &content()[..100_000])?;
    let (url, _) = server(content(), vec![Behaviour::IgnoreRange])?;
    fetch(&remote(&content()), &url, dir.path())?;
    assert_eq!(fs::read(dir.path().join("set.tar.gz"))?, content());
    Ok(())
}

#[test]
fn a_broken_connection_is_taken_up_again() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let breaks = vec![Behaviour::BreakAfter(50_000), Behaviour::BreakAfter(70_000), Behaviour::Serve];
    let (url, ranges) = server(content(), breaks)?;
    fetch(&remote(&content()), &url, dir.path())?;
    assert_eq!(fs::read(dir.path().join("set.tar.gz"))?, content());
    let ranges: Vec<_> = ranges.iter().collect();
    assert_eq!(ranges, [None, Some("bytes=50000-".into()), Some("bytes=120000-".into())]);
    Ok(())
}

#[test]
fn what_arrived_before_it_broke_off_for_good_is_kept() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (url, _) = server(content(), vec![Behaviour::BreakAfter(50_000)])?;
    let text = format!("{:#}", fetch(&remote(&content()), &url, dir.path()).unwrap_err());
    assert!(text.contains("50000 of 300000") && text.contains("run again to continue"), "{text}");
    assert_eq!(fs::read(dir.path().join("set.tar.gz.part"))?, &content()[..50_000]);
    Ok(())
}

#[test]
fn another_file_than_the_published_one_is_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut wrong = content();
    wrong[123_456] ^= 1;
    let (url, _) = server(wrong, vec![Behaviour::Serve])?;
    let text = format!("{:#}", fetch(&remote(&content()), &url, dir.path()).unwrap_err());
    assert!(text.contains("set.tar.gz") && text.contains(remote(&content()).sha256), "{text}");
    assert!(names(dir.path())?.is_empty(), "nothing is left to be taken for data");

    let longer = [content(), vec![0; 10]].concat();
    let (url, _) = server(longer, vec![Behaviour::Serve])?;
    let text = format!("{:#}", fetch(&remote(&content()), &url, dir.path()).unwrap_err());
    assert!(text.contains("longer than the 300000 bytes"), "{text}");
    Ok(())
}

#[test]
fn no_server_or_no_file_is_told_quickly_and_leaves_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = dir.path().join("set");
    let (url, _) = server(content(), vec![Behaviour::Status(404)])?;
    let unresolvable = "http://no-such-host.invalid".to_string();
    for (url, says) in [("http://127.0.0.1:1".to_string(), ""), (unresolvable, ""), (url, "404")] {
        let begin = Instant::now();
        let Fetched::Unreachable(reason) = fetch(&remote(&content()), &url, &folder)? else {
            panic!("{url} was reached");
        };
        assert!(begin.elapsed() < Duration::from_secs(5), "{url}: {:?}", begin.elapsed());
        assert!(!reason.is_empty() && reason.contains(says), "{url}: {reason}");
        assert!(!folder.exists(), "{url}");
    }
    Ok(())
}

#[test]
fn two_at_once_download_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (url, ranges) = server(content(), vec![Behaviour::Serve])?;
    let set = content();
    let results = std::thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| fetch(&remote(&set), &url, dir.path())));
        both.map(|thread| thread.join())
    });
    for result in results {
        let fetched = result.ok().context("a thread panicked")??;
        assert_eq!(fetched, Fetched::File(dir.path().join("set.tar.gz")));
    }
    assert_eq!(ranges.iter().count(), 1);
    assert_eq!(names(dir.path())?, ["set.tar.gz"]);
    Ok(())
}
