//! A file on another site, read in parts as they are wanted: nothing of it is kept.
//!
//! What reads it goes from front to back, but for glances at other places. So its blocks come
//! in their order, each once, and their checksum is that of the file. An import that goes on takes
//! the checksum up before the last block of the visit before, which comes once more: what is
//! written next may lie in it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use js_sys::{Array, Uint8Array};
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest, Sha256};
use ternary::backend::LocalFuture;
use ternary::format::ByteSource;
use wasm_bindgen_futures::JsFuture;

use super::cancel::Cancel;
use super::http::{self, is_final, pair};
use super::journal::{Journal, ReadState};
use crate::js::describe;
use crate::protocol::RemoteFile;

/// Bytes asked for at a time, and how many such blocks stay: what is read lies close together.
const BLOCK: u64 = 4 << 20;
const BLOCKS: usize = 4;
/// So much is a glance, unless it goes on from what was read before: it brings only itself.
const GLANCE: u64 = 64 << 10;
/// Attempts in a row that bring nothing: several minutes without a network.
const ATTEMPTS: u32 = 12;
/// Before another attempt; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const PARTIAL: u16 = 206;

/// A handle: clones read the same file.
#[derive(Clone)]
pub struct RemoteSource(Rc<Inner>);

struct Inner {
    file: RemoteFile,
    cancel: Cancel,
    blocks: RefCell<VecDeque<(u64, Rc<Vec<u8>>)>>,
    /// The first block that did not come yet, and the checksum of those before.
    next: Cell<u64>,
    checksum: RefCell<Sha256>,
    /// Where the last read ended.
    end: Cell<u64>,
    /// The last block that came, and the checksum of those before it.
    last: RefCell<(u64, Sha256)>,
    /// What keeps the beginnings of files, and this one's place in it.
    journal: Option<(Rc<RefCell<Journal>>, usize)>,
    /// Something did not come, which may come at a later visit.
    broke_off: Cell<bool>,
}

impl RemoteSource {
    /// Reading fails while `cancel` is raised. With a journal, in which it has this place, it goes
    /// on where that ends.
    pub fn new(
        file: RemoteFile,
        cancel: Cancel,
        journal: Option<(Rc<RefCell<Journal>>, usize)>,
    ) -> Self {
        let before = journal.as_ref().and_then(|(journal, place)| {
            let journal = journal.borrow();
            let state = journal.read_state(*place)?;
            let checksum = state.checksum.as_slice().try_into().ok()?;
            Some((state.blocks, Sha256::deserialize(&checksum).ok()?))
        });
        let (next, checksum) = before.unwrap_or_default();
        Self(Rc::new(Inner {
            file,
            cancel,
            blocks: RefCell::default(),
            next: Cell::new(next),
            checksum: RefCell::new(checksum.clone()),
            end: Cell::new(0),
            last: RefCell::new((next, checksum)),
            journal,
            broke_off: Cell::new(false),
        }))
    }

    /// Where a later visit has to go on.
    pub fn state(&self) -> ReadState {
        let (blocks, checksum) = &*self.0.last.borrow();
        ReadState {
            blocks: *blocks,
            checksum: checksum.serialize().to_vec(),
        }
    }

    /// Whether reading failed because something did not come.
    pub fn broke_off(&self) -> bool {
        self.0.broke_off.get()
    }

    /// Reads what was not wanted of the file, too.
    ///
    /// # Errors
    /// When its bytes are others than those that the site has told of.
    pub async fn verify(&self) -> Result<(), String> {
        let Some(told) = &self.0.file.sha256 else {
            return Ok(());
        };
        while self.0.next.get() * BLOCK < self.0.file.bytes {
            self.next_block().await?;
        }
        let found = self.0.checksum.take().finalize();
        let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        if *told == found {
            return Ok(());
        }
        Err(format!(
            "{} arrived damaged: its SHA-256 is {found}, the hub tells of {told}. Try again",
            self.0.file.name
        ))
    }

    async fn slice(&self, offset: u64, len: usize) -> Result<Vec<u8>, String> {
        let end = offset.saturating_add(len as u64);
        let bytes = self.0.file.bytes;
        if end > bytes {
            return Err(format!(
                "it ends early: {len} bytes expected at {offset}, and the file has {bytes}"
            ));
        }
        // The first rows of all matrices, which tell what these are, must not bring the whole file.
        let goes_on = offset <= self.0.end.replace(end) + GLANCE;
        let is_here = self.known(offset / BLOCK).is_some();
        if !goes_on && !is_here && len as u64 <= GLANCE {
            return self.fetch_patiently(offset..end).await;
        }
        let mut read = Vec::with_capacity(len);
        let mut at = offset;
        while at < end {
            let block = self.block(at / BLOCK).await?;
            let from = (at % BLOCK) as usize;
            let part = &block[from..block.len().min(from + (end - at) as usize)];
            read.extend_from_slice(part);
            at += part.len() as u64;
        }
        Ok(read)
    }

    async fn block(&self, index: u64) -> Result<Rc<Vec<u8>>, String> {
        if let Some(block) = self.known(index) {
            return Ok(block);
        }
        if index < self.0.next.get() {
            // It was there, and went.
            let block = self.fetch_patiently(self.range(index)).await?;
            return Ok(self.remember(index, block));
        }
        while self.0.next.get() < index {
            self.next_block().await?;
        }
        self.next_block().await
    }

    /// A block that came lately.
    fn known(&self, index: u64) -> Option<Rc<Vec<u8>>> {
        let blocks = self.0.blocks.borrow();
        let found = blocks.iter().find(|(known, _)| *known == index);
        found.map(|(_, block)| Rc::clone(block))
    }

    async fn next_block(&self) -> Result<Rc<Vec<u8>>, String> {
        let index = self.0.next.get();
        let block = self.fetch_patiently(self.range(index)).await?;
        let mut checksum = self.0.checksum.borrow_mut();
        self.0.last.replace((index, checksum.clone()));
        checksum.update(&block);
        self.0.next.set(index + 1);
        Ok(self.remember(index, block))
    }

    fn remember(&self, index: u64, block: Vec<u8>) -> Rc<Vec<u8>> {
        let block = Rc::new(block);
        let mut blocks = self.0.blocks.borrow_mut();
        blocks.truncate(BLOCKS - 1);
        blocks.push_front((index, Rc::clone(&block)));
        block
    }

    fn range(&self, block: u64) -> Range<u64> {
        let from = block * BLOCK;
        from..self.0.file.bytes.min(from + BLOCK)
    }

    /// From the journal, or else from the site: tries again as long as it may help.
    async fn fetch_patiently(&self, range: Range<u64>) -> Result<Vec<u8>, String> {
        if let Some((journal, place)) = &self.0.journal {
            let kept = journal.borrow().piece(*place, &range);
            if let Some(kept) = kept {
                return Ok(kept);
            }
        }
        let from = range.start;
        let bytes = self.ask_patiently(range).await;
        let bytes = bytes.inspect_err(|_| self.0.broke_off.set(true))?;
        if let Some((journal, place)) = &self.0.journal {
            journal.borrow_mut().keep(*place, from, &bytes)?;
        }
        Ok(bytes)
    }

    async fn ask_patiently(&self, range: Range<u64>) -> Result<Vec<u8>, String> {
        let mut pause = PAUSE;
        let mut attempts = 1;
        loop {
            match self.fetch(range.clone()).await {
                Ok(bytes) => return Ok(bytes),
                Err(Broken::Refused(problem)) => return Err(problem),
                Err(Broken::Off(problem)) if attempts == ATTEMPTS => return Err(problem),
                Err(Broken::Off(_)) => {}
            }
            if self.0.cancel.is_raised() {
                return Err("given up".to_owned());
            }
            attempts += 1;
            http::sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    async fn fetch(&self, range: Range<u64>) -> Result<Vec<u8>, Broken> {
        let RemoteFile { url, bytes, .. } = &self.0.file;
        let options = http::options("GET", &self.0.cancel);
        let asked = pair("range", &format!("bytes={}-{}", range.start, range.end - 1));
        options.set_headers(&Array::of1(&asked));
        let response = http::request(url, options).await.map_err(Broken::Off)?;
        let status = response.status();
        if let Err(problem) = http::ok(&response, url) {
            return Err(match is_final(status) {
                true => Broken::Refused(problem),
                false => Broken::Off(problem),
            });
        }
        let wanted = range.end - range.start;
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

/// Why bytes did not come.
enum Broken {
    /// Another attempt may succeed.
    Off(String),
    /// Another would be answered the same.
    Refused(String),
}

impl ByteSource for RemoteSource {
    fn name(&self) -> String {
        self.0.file.name.clone()
    }

    fn len(&self) -> u64 {
        self.0.file.bytes
    }

    fn read(&self, offset: u64, len: usize) -> LocalFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(self.slice(offset, len))
    }
}
