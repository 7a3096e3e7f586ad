//! `onebit download`, against a server on this machine.

pub mod server;

use std::path::Path;

use sha1::{Digest, Sha1};
use sha2::Sha256;

use self::server::{Answer, Request, Server};
use crate::common::{Output, line, run_with, sentences};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn git_sha1(content: &[u8]) -> String {
    hex(&Sha1::digest(
        [format!("blob {}\0", content.len()).as_bytes(), content].concat(),
    ))
}

fn download(dir: &Path, server: &Server, what: &str) -> Output {
    line(
        dir,
        &format!(
            "download {what} --endpoint {} --output-dir out --retry-pause 5",
            server.address
        ),
    )
}

const FILE: &str = "some/set --file a/text.txt";

fn content() -> Vec<u8> {
    sentences(600_000, 9).into_bytes()
}

/// The hub's first hop for a large file: where it lies, and what it must be.
fn redirect(content: &[u8], sha256: String) -> Answer {
    Answer {
        status: 302,
        headers: vec![
            ("Location", "/cdn/blob?signature=a%2Fb".into()),
            ("X-Linked-Etag", format!("\"{sha256}\"")),
            ("X-Linked-Size", content.len().to_string()),
        ],
        ..Answer::default()
    }
}

#[test]
fn a_small_file_is_fetched_and_its_git_checksum_verified() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let text = content();
    let etag = git_sha1(&text);
    let answer = text.clone();
    let server = Server::new(move |_, r| Answer::content(r, &answer, &etag));
    let env = [
        ("HF_ENDPOINT", server.address.as_str()),
        ("HF_TOKEN", "hf_secret"),
    ];
    let args = [
        "download",
        "some/set",
        "--file",
        "a/text file.txt",
        "--revision",
        "refs/pr/1",
    ];
    let out = run_with(d, &args, env).ok().stderr;
    assert_eq!(
        std::fs::read(d.join("data/set/a-text file.txt")).unwrap(),
        text
    );
    for word in [
        "Git SHA-1 verified",
        "source: ",
        "license: ",
        "next: onebit tokenize --data-dir data/set/a-text file.txt",
    ] {
        assert!(out.contains(word), "{word} in {out}");
    }
    let asked = server.asked();
    assert_eq!(
        asked[0].path,
        "/datasets/some/set/resolve/refs%2Fpr%2F1/a/text%20file.txt"
    );
    // Never over plain HTTP, not even to the endpoint itself.
    assert_eq!(asked[0].header("authorization"), None);
    assert!(out.contains("HF_TOKEN is not sent"), "{out}");
    assert!(!out.contains("hf_secret"));
    // Again: it is there.
    let out = run_with(d, &args, env).ok().stderr;
    assert!(
        out.contains("there already") && server.asked().len() == 2,
        "{out}"
    );
    assert_eq!(std::fs::read_dir(d.join("data/set")).unwrap().count(), 1);
}

#[test]
fn a_large_file_comes_from_where_the_hub_redirects_to() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let text = content();
    let answer = text.clone();
    let server = Server::new(move |_, r| match r.path.as_str() {
        "/cdn/blob?signature=a%2Fb" => Answer::content(r, &answer, "cdn-etag-3"),
        _ => redirect(&answer, sha256(&answer)),
    });
    let out = download(d, &server, FILE).ok().stderr;
    assert!(out.contains("SHA-256 verified"), "{out}");
    assert_eq!(std::fs::read(d.join("out/a-text.txt")).unwrap(), text);
    assert_eq!(server.asked().len(), 2);
}

/// A server whose connection drops after `lengths` bytes, once each; then it is well.
fn dropping(content: &[u8], lengths: &'static [usize], ranges: bool) -> Server {
    let content = content.to_vec();
    let etag = sha256(&content);
    Server::new(move |n, r| {
        let whole = Request {
            path: r.path.clone(),
            headers: Default::default(),
        };
        let mut answer = Answer::content(if ranges { r } else { &whole }, &content, &etag);
        answer.drop_after = lengths.get(n).copied();
        answer
    })
}

#[test]
fn dropped_connections_are_continued_where_they_ended() {
    let dir = tempfile::tempdir().unwrap();
    let text = content();
    let server = dropping(&text, &[100_000, 0, 50_000], true);
    let out = download(dir.path(), &server, FILE).ok().stderr;
    assert!(
        out.contains("trying again from byte 100000") && out.contains("from byte 150000"),
        "{out}"
    );
    assert_eq!(
        std::fs::read(dir.path().join("out/a-text.txt")).unwrap(),
        text
    );
    let from: Vec<Option<usize>> = server.asked().iter().map(Request::from).collect();
    assert_eq!(from, [None, Some(100_000), Some(100_000), Some(150_000)]);
    let etag = format!("\"{}\"", sha256(&text));
    assert_eq!(server.asked()[3].header("if-range"), Some(etag.as_str()));
}

#[test]
fn an_interrupted_download_is_continued_by_the_next_command() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let text = content();
    // Five tries without a byte gained: given up.
    let ill = dropping(&text, &[300_000, 0, 0, 0, 0, 0, 0], true);
    download(d, &ill, FILE).fails(&["given up after 5 tries", "from byte 300000", "continues"]);
    assert_eq!(
        std::fs::metadata(d.join("out/a-text.txt.part"))
            .unwrap()
            .len(),
        300_000
    );
    assert!(!d.join("out/a-text.txt").exists());
    let well = dropping(&text, &[], true);
    download(d, &well, FILE).ok();
    assert_eq!(well.asked()[0].from(), Some(300_000));
    assert_eq!(std::fs::read(d.join("out/a-text.txt")).unwrap(), text);
    assert_eq!(std::fs::read_dir(d.join("out")).unwrap().count(), 1);
}

#[test]
fn a_server_without_ranges_and_a_file_that_changed_start_over() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let text = content();
    let server = dropping(&text, &[200_000], false);
    download(d, &server, FILE).ok();
    assert_eq!(server.asked()[1].from(), Some(200_000));
    assert_eq!(std::fs::read(d.join("out/a-text.txt")).unwrap(), text);

    std::fs::remove_dir_all(d.join("out")).unwrap();
    let ill = dropping(&text, &[200_000, 0, 0, 0, 0, 0], true);
    download(d, &ill, FILE).fails(&["given up"]);
    let other = [b"Another text. ", &text[..]].concat();
    // One server honors If-Range, the other continues the wrong file.
    for careless in [false, true] {
        let (content, etag) = (other.clone(), sha256(&other));
        let server = Server::new(move |_, r| {
            let mut request = r.clone();
            if careless {
                request.headers.remove("if-range");
            }
            Answer::content(&request, &content, &etag)
        });
        let old = std::fs::read(d.join("out/a-text.txt.part")).unwrap();
        let notes = std::fs::read(d.join("out/a-text.txt.part.json")).unwrap();
        download(d, &server, FILE).ok();
        assert_eq!(
            std::fs::read(d.join("out/a-text.txt")).unwrap(),
            other,
            "careless: {careless}"
        );
        std::fs::remove_file(d.join("out/a-text.txt")).unwrap();
        std::fs::write(d.join("out/a-text.txt.part"), old).unwrap();
        std::fs::write(d.join("out/a-text.txt.part.json"), notes).unwrap();
    }
}

#[test]
fn a_wrong_checksum_is_refused_and_the_next_try_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let text = content();
    let mut damaged = text.clone();
    damaged[1234] ^= 1;
    let etag = sha256(&text);
    let (good, bad) = (text.clone(), damaged);
    let server =
        Server::new(move |n, r| Answer::content(r, if n == 0 { &bad } else { &good }, &etag));
    download(d, &server, FILE).fails(&[
        "a-text.txt is damaged",
        "SHA-256",
        &sha256(&text),
        "again",
    ]);
    assert!(!d.join("out").exists());
    download(d, &server, FILE).ok();
    assert_eq!(server.asked()[1].from(), None);
}

#[test]
fn statuses_and_names_that_cannot_be_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let status = |status: u16| Server::new(move |_, _| Answer::status(status));
    download(d, &status(404), FILE).fails(&["resolve/main/a/text.txt", "404", "HF_TOKEN"]);
    download(d, &status(401), FILE).fails(&["401", "HF_TOKEN"]);
    download(d, &status(418), FILE).fails(&["418"]);
    let busy = status(503);
    download(d, &busy, FILE).fails(&["503", "given up after 5 tries"]);
    assert_eq!(busy.asked().len(), 5);
    let circle = Server::new(|_, _| Answer {
        status: 302,
        headers: vec![("Location", "/round".into())],
        ..Answer::default()
    });
    download(d, &circle, FILE).fails(&["more than 8 redirections"]);
    line(
        d,
        "download some/set --file x --endpoint http://127.0.0.1:9 --retry-pause 1",
    )
    .fails(&["127.0.0.1:9", "cannot reach"]);
    line(d, "download some/set --file x --endpoint ftp://x").fails(&["ftp://x", "https://HOST"]);
    line(d, "download some/set").fails(&["--file"]);
    line(d, "download wikitext-3").fails(&[
        "wikitext-3",
        "wikitext-2, tinystories, tinyshakespeare",
        "owner/name",
    ]);
}

/// A Parquet file with an `id` and a `text` column.
fn parquet(rows: &[&str]) -> Vec<u8> {
    use parquet::data_type::{ByteArrayType, Int32Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    let schema = "message m { required int32 id; optional binary text (UTF8); }";
    let schema = std::sync::Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(parquet::basic::Compression::SNAPPY)
        .build();
    let mut bytes = Vec::new();
    let mut file = SerializedFileWriter::new(&mut bytes, schema, properties.into()).unwrap();
    let mut group = file.next_row_group().unwrap();
    let mut ids = group.next_column().unwrap().unwrap();
    let numbers: Vec<i32> = (0..rows.len() as i32).collect();
    ids.typed::<Int32Type>()
        .write_batch(&numbers, None, None)
        .unwrap();
    ids.close().unwrap();
    let mut texts = group.next_column().unwrap().unwrap();
    let values: Vec<_> = rows.iter().map(|r| r.as_bytes().to_vec().into()).collect();
    texts
        .typed::<ByteArrayType>()
        .write_batch(&values, Some(&vec![1; rows.len()]), None)
        .unwrap();
    texts.close().unwrap();
    group.close().unwrap();
    file.close().unwrap();
    bytes
}

#[test]
fn parquet_becomes_text_to_tokenize() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let file = parquet(&[" = Title = \n", "", " A line . \n"]);
    let server = Server::new(move |_, r| Answer::content(r, &file, &sha256(&file)));
    let out = download(d, &server, "wikitext-2").ok().stderr;
    let text = " = Title = \n \n A line . \n";
    for name in ["train.txt", "valid.txt", "test.txt"] {
        assert_eq!(
            std::fs::read_to_string(d.join("out").join(name)).unwrap(),
            text
        );
    }
    assert!(
        out.contains("CC BY-SA") && out.contains("--data-dir out/train.txt"),
        "{out}"
    );
    assert!(server.asked()[0].path.ends_with(
        "/Salesforce/wikitext/resolve/main/wikitext-2-raw-v1/train-00000-of-00001.parquet"
    ));
    // Of other data sets, a document a row.
    download(d, &server, "some/set --file x.parquet").ok();
    let lines = std::fs::read_to_string(d.join("out/x.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 3);
    assert!(
        lines.starts_with("{\"text\":\" = Title = \\n\"}\n"),
        "{lines}"
    );

    let broken = b"PAR1 no parquet PAR1".to_vec();
    let server = Server::new(move |_, r| Answer::content(r, &broken, &sha256(&broken)));
    download(d, &server, "some/set --file y.parquet").fails(&["y.parquet"]);
}

#[test]
fn parquet_files_of_strangers_are_read_within_limits() {
    for name in ["dict.parquet", "pq-1.parquet", "pq-2.parquet"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/hostile")
            .join(name);
        let bytes = std::fs::read(path).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let server = Server::new(move |_, r| Answer::content(r, &bytes, "x"));
        let out = download(dir.path(), &server, &format!("some/set --file {name}")).fails(&[name]);
        assert!(!out.stderr.contains("panicked"), "{}", out.stderr);
        // Only what was downloaded is there.
        let left = std::fs::read_dir(dir.path().join("out")).unwrap();
        assert_eq!(
            left.map(|e| e.unwrap().file_name()).collect::<Vec<_>>(),
            [name]
        );
    }
}
