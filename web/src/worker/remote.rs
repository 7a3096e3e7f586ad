//! A file on another site, read in parts as they are wanted: nothing of it is kept.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use js_sys::{Array, Uint8Array};
use ternary::backend::LocalFuture;
use ternary::format::ByteSource;
use wasm_bindgen_futures::JsFuture;

use super::cancel::Cancel;
use super::http::{self, is_final, pair};
use crate::js::describe;
use crate::protocol::RemoteFile;

/// Bytes asked for at a time, and how many such blocks stay: what is read lies close together.
const BLOCK: u64 = 4 << 20;
const BLOCKS: usize = 4;
/// Attempts in a row that bring nothing.
const ATTEMPTS: u32 = 5;
/// Before another attempt; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(500);
const PARTIAL: u16 = 206;

pub struct RemoteSource {
    file: RemoteFile,
    cancel: Cancel,
    blocks: RefCell<VecDeque<(u64, Rc<Vec<u8>>)>>,
}

impl RemoteSource {
    /// Reading fails while `cancel` is raised.
    pub fn new(file: RemoteFile, cancel: Cancel) -> Self {
        Self {
            file,
            cancel,
            blocks: RefCell::default(),
        }
    }

    async fn slice(&self, offset: u64, len: usize) -> Result<Vec<u8>, String> {
        let end = offset.saturating_add(len as u64);
        if end > self.file.bytes {
            return Err(format!(
                "it ends early: {len} bytes expected at {offset}, and the file has {}",
                self.file.bytes
            ));
        }
        let mut bytes = Vec::with_capacity(len);
        let mut at = offset;
        while at < end {
            let block = self.block(at / BLOCK).await?;
            let from = (at % BLOCK) as usize;
            let part = &block[from..block.len().min(from + (end - at) as usize)];
            bytes.extend_from_slice(part);
            at += part.len() as u64;
        }
        Ok(bytes)
    }

    async fn block(&self, index: u64) -> Result<Rc<Vec<u8>>, String> {
        let known = |blocks: &VecDeque<(u64, Rc<Vec<u8>>)>| {
            let found = blocks.iter().find(|(known, _)| *known == index);
            found.map(|(_, block)| Rc::clone(block))
        };
        if let Some(block) = known(&self.blocks.borrow()) {
            return Ok(block);
        }
        let mut pause = PAUSE;
        let mut attempts = 1;
        let block = loop {
            match self.fetch(index).await {
                Ok(block) => break Rc::new(block),
                Err(Broken::Refused(problem)) => return Err(problem),
                Err(Broken::Off(problem)) if attempts == ATTEMPTS => return Err(problem),
                Err(Broken::Off(_)) => {}
            }
            if self.cancel.is_raised() {
                return Err("given up".to_owned());
            }
            attempts += 1;
            http::sleep(pause).await;
            pause *= 2;
        };
        let mut blocks = self.blocks.borrow_mut();
        blocks.truncate(BLOCKS - 1);
        blocks.push_front((index, Rc::clone(&block)));
        Ok(block)
    }

    async fn fetch(&self, index: u64) -> Result<Vec<u8>, Broken> {
        let RemoteFile { url, bytes, .. } = &self.file;
        let from = index * BLOCK;
        let last = bytes.min(&(from + BLOCK)) - 1;
        let options = http::options("GET", &self.cancel);
        let range = pair("range", &format!("bytes={from}-{last}"));
        options.set_headers(&Array::of1(&range));
        let response = http::request(url, options).await.map_err(Broken::Off)?;
        let status = response.status();
        if let Err(problem) = http::ok(&response, url) {
            return Err(match is_final(status) {
                true => Broken::Refused(problem),
                false => Broken::Off(problem),
            });
        }
        let wanted = last + 1 - from;
        if status != PARTIAL && wanted != *bytes {
            return Err(Broken::Refused(format!(
                "{url}: the server sends whole files only; download the file and drop it here"
            )));
        }
        let body = response
            .array_buffer()
            .map_err(describe)
            .map_err(Broken::Off)?;
        let body = JsFuture::from(body).await;
        let body = body.map_err(|thrown| {
            Broken::Off(format!(
                "{url}: the download broke off: {}",
                describe(thrown)
            ))
        })?;
        let body = Uint8Array::new(&body).to_vec();
        if body.len() as u64 != wanted {
            return Err(Broken::Off(format!(
                "{url}: {} bytes came of {wanted}",
                body.len()
            )));
        }
        Ok(body)
    }
}

/// Why a block did not come.
enum Broken {
    /// Another attempt may succeed.
    Off(String),
    /// Another would be answered the same.
    Refused(String),
}

impl ByteSource for RemoteSource {
    fn name(&self) -> String {
        self.file.name.clone()
    }

    fn len(&self) -> u64 {
        self.file.bytes
    }

    fn read(&self, offset: u64, len: usize) -> LocalFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(self.slice(offset, len))
    }
}
