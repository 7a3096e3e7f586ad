//! A web server on this machine that answers as a test says, and remembers what it was asked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was asked: path and headers, their names in lower case.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: HashMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// First byte asked for.
    pub fn from(&self) -> Option<usize> {
        self.header("range")?
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    }
}

#[derive(Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub drop_after: Option<usize>,
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Answer {
            status,
            ..Answer::default()
        }
    }

    /// The whole of `content`, or what is left of it after the range asked for.
    pub fn content(request: &Request, content: &[u8], etag: &str) -> Self {
        let etag = ("ETag", format!("\"{etag}\""));
        let matches = request.header("if-range").is_none_or(|e| e == etag.1);
        match request.from().filter(|_| matches) {
            None => Answer {
                status: 200,
                headers: vec![etag],
                body: content.to_vec(),
                drop_after: None,
            },
            Some(from) if from >= content.len() => Answer {
                status: 416,
                headers: vec![
                    etag,
                    ("Content-Range", format!("bytes */{}", content.len())),
                ],
                ..Answer::default()
            },
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
                Answer {
                    status: 206,
                    headers: vec![etag, ("Content-Range", range)],
                    body: content[from..].to_vec(),
                    drop_after: None,
                }
            }
        }
    }
}

pub struct Server {
    pub address: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// `answer` gets the number of the request and the request.
    pub fn new(answer: impl Fn(usize, &Request) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        // Ends with the test program.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(request) = read(&stream) else {
                    continue;
                };
                let number = {
                    let mut log = log.lock().unwrap();
                    log.push(request.clone());
                    log.len() - 1
                };
                write(stream, answer(number, &request));
            }
        });
        Server { address, asked }
    }

    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Request { path, headers })
}

fn write(mut stream: TcpStream, answer: Answer) {
    let mut head = format!(
        "HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {}\r\n",
        answer.status,
        answer.body.len()
    );
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let body = &answer.body[..answer.drop_after.unwrap_or(answer.body.len())];
    // A client that does not want the body closes the connection; that is its right.
    let _ = stream
        .write_all(format!("{head}\r\n").as_bytes())
        .and_then(|()| stream.write_all(body))
        .and_then(|()| stream.shutdown(Shutdown::Write));
}
