//! The engine's programs have a memory that workers share: `platform/web/threads.rs` says how they
//! use it.

use std::env;
use std::fs;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let (Some(folder), Ok("wasm32")) = (
        env::var_os("OUT_DIR"),
        env::var("CARGO_CFG_TARGET_ARCH").as_deref(),
    ) else {
        return;
    };
    let object = Path::new(&folder).join("thread.o");
    if let Err(problem) = fs::write(&object, thread_local()) {
        println!(
            "cargo:error={} cannot be written: {problem}",
            object.display()
        );
    }
    let object = object.to_string_lossy();
    for program in ["worker", "worker-relaxed", "full-worker"] {
        for argument in [
            "--shared-memory",
            // Given by worker-start.js, which has to know the two sizes.
            "--import-memory",
            "--initial-memory=8388608",
            "--max-memory=4294967296",
            // The standard library and everything else are compiled for one thread.
            "--no-check-features",
            // What wasm-bindgen asks for to give every thread a stack.
            "--export=__wasm_init_tls",
            "--export=__tls_size",
            "--export=__tls_align",
            "--export=__tls_base",
            "--export=__heap_base",
            &object,
        ] {
            println!("cargo:rustc-link-arg-bin={program}={argument}");
        }
    }
}

/// An object file with one thread-local word that nobody uses: wasm-bindgen expects some, and a
/// program compiled for one thread has none. The encoding is the WebAssembly specification's and
/// that of the tool conventions' "Object file linking"; every number in it takes one byte.
fn thread_local() -> Vec<u8> {
    const MEMORY: u8 = 2;
    const WORD: u8 = 4;
    const DATA_SYMBOL: u8 = 1;
    // WASM_SEGMENT_FLAG_TLS and _RETAIN.
    const SEGMENT_FLAGS: u8 = 2 | 4;
    // WASM_SYMBOL_NO_STRIP and _TLS: 0x180 in LEB128.
    const SYMBOL_FLAGS: [u8; 2] = [0x80, 0x03];

    let import = [
        &[1],
        &*text("env"),
        &text("__linear_memory"),
        &[MEMORY, 0, 0],
    ]
    .concat();
    // One segment from address 0 (i32.const 0, end) on.
    let data = [1, 0, 0x41, 0, 0x0b, WORD, 0, 0, 0, 0];
    let symbol = [
        &[1, DATA_SYMBOL],
        &SYMBOL_FLAGS[..],
        &text("thread_word"),
        &[0, 0, WORD],
    ]
    .concat();
    // It is aligned to 1 << 2.
    let segment = [&[1], &*text(".tdata.thread"), &[2, SEGMENT_FLAGS]].concat();
    let linking = [
        text("linking"),
        vec![2],
        section(8, &symbol),
        section(5, &segment),
    ]
    .concat();
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(2, &import),
        section(12, &[1]),
        section(11, &data),
        section(0, &linking),
    ]
    .concat()
}

/// A number and what follows it, with its length.
fn section(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number, content.len() as u8], content].concat()
}

/// A text, with its length.
fn text(of: &str) -> Vec<u8> {
    [&[of.len() as u8], of.as_bytes()].concat()
}
