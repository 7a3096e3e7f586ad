//! The conversations' place in the browser: IndexedDB, which holds as much as the disk allows and
//! is shared by all tabs.
//!
//! A conversation is two texts under one key: what a list shows of it, and all of it.

use js_sys::{Array, Function, Promise};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{IdbDatabase, IdbObjectStore, IdbRequest, IdbTransaction, IdbTransactionMode};

use crate::js::describe;

const NAME: &str = "ternary-core";
const HEADS: &str = "heads";
const RECORDS: &str = "conversations";

pub struct Database(IdbDatabase);

impl Database {
    pub async fn open() -> Result<Self, String> {
        let factory = web_sys::window().and_then(|window| window.indexed_db().ok().flatten());
        let factory = factory.ok_or("this browser has no database for pages")?;
        let request = factory.open_with_u32(NAME, 1).map_err(describe)?;
        let new = request.clone();
        // Runs once in a browser, before the database is there for anyone.
        let create = wasm_bindgen::closure::Closure::once_into_js(move || {
            if let Ok(database) = new.result() {
                let database: IdbDatabase = database.unchecked_into();
                for store in [HEADS, RECORDS] {
                    // A store that is missing shows when it is used.
                    database.create_object_store(store).ok();
                }
            }
        });
        request.set_onupgradeneeded(Some(create.unchecked_ref()));
        let database: IdbDatabase = done(&request).await?.unchecked_into();
        // Another tab may want to delete or renew it; the next use here opens it again.
        let closing = database.clone();
        let close = wasm_bindgen::closure::Closure::once_into_js(move || closing.close());
        database.set_onversionchange(Some(close.unchecked_ref()));
        Ok(Self(database))
    }

    /// The keys, and what a list shows of each; nothing where a value is no text.
    pub async fn heads(&self) -> Result<Vec<(String, Option<String>)>, String> {
        let (_, heads) = self.stores(IdbTransactionMode::Readonly, HEADS)?;
        let (keys, values) = (heads.get_all_keys(), heads.get_all());
        let keys = done(&keys.map_err(describe)?).await?;
        let values = done(&values.map_err(describe)?).await?;
        let (keys, values): (Array, Array) = (keys.unchecked_into(), values.unchecked_into());
        let both = keys.iter().zip(values.iter());
        Ok(both
            .filter_map(|(key, value)| Some((key.as_string()?, value.as_string())))
            .collect())
    }

    /// All of a conversation.
    pub async fn get(&self, key: &str) -> Result<Option<String>, String> {
        let (_, records) = self.stores(IdbTransactionMode::Readonly, RECORDS)?;
        let request = records.get(&JsValue::from_str(key)).map_err(describe)?;
        Ok(done(&request).await?.as_string())
    }

    /// Puts both texts there unless `may` says no to what the list showed before; tells whether it
    /// did.
    pub async fn put(
        &self,
        key: &str,
        (head, record): (&str, &str),
        may: impl Fn(Option<String>) -> bool,
    ) -> Result<bool, String> {
        let (transaction, heads) = self.stores(IdbTransactionMode::Readwrite, HEADS)?;
        let records = transaction.object_store(RECORDS).map_err(describe)?;
        let key = JsValue::from_str(key);
        let before = heads.get(&key).map_err(describe)?;
        // All in one transaction: what another tab writes comes before, and is seen, or after.
        for (store, text) in [(heads, head), (records, record)] {
            store
                .put_with_key(&JsValue::from_str(text), &key)
                .map_err(describe)?;
        }
        if !may(done(&before).await?.as_string()) {
            transaction.abort().map_err(describe)?;
            return Ok(false);
        }
        written(&transaction).await.map(|()| true)
    }

    pub async fn delete(&self, key: &str) -> Result<(), String> {
        let (transaction, heads) = self.stores(IdbTransactionMode::Readwrite, HEADS)?;
        let records = transaction.object_store(RECORDS).map_err(describe)?;
        for store in [heads, records] {
            store.delete(&JsValue::from_str(key)).map_err(describe)?;
        }
        written(&transaction).await
    }

    fn stores(
        &self,
        mode: IdbTransactionMode,
        store: &str,
    ) -> Result<(IdbTransaction, IdbObjectStore), String> {
        let names = Array::of2(&HEADS.into(), &RECORDS.into());
        let transaction = self.0.transaction_with_str_sequence_and_mode(&names, mode);
        let transaction = transaction.map_err(describe)?;
        let store = transaction.object_store(store).map_err(describe)?;
        Ok((transaction, store))
    }
}

/// A request's result.
async fn done(request: &IdbRequest) -> Result<JsValue, String> {
    let settled = Promise::new(&mut |resolve: Function, reject: Function| {
        request.set_onsuccess(Some(&resolve));
        request.set_onerror(Some(&reject));
    });
    match JsFuture::from(settled).await {
        Ok(_) => request.result().map_err(describe),
        Err(_) => Err(told(request.error().ok().flatten())),
    }
}

/// Everything that was put is on the disk.
async fn written(transaction: &IdbTransaction) -> Result<(), String> {
    let settled = Promise::new(&mut |resolve: Function, reject: Function| {
        transaction.set_oncomplete(Some(&resolve));
        transaction.set_onabort(Some(&reject));
    });
    match JsFuture::from(settled).await {
        Ok(_) => Ok(()),
        Err(_) => Err(told(transaction.error())),
    }
}

fn told(error: Option<web_sys::DomException>) -> String {
    error.map_or_else(
        || "the browser gives no reason".to_owned(),
        |error| format!("{}: {}", error.name(), error.message()),
    )
}
