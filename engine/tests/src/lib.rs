//! Tests that cross the engine's crates: they belong to none of them. The decoder's gradients
//! against candle's autograd over [`reference`], on the CPU and on a GPU; whole runs; boards and C
//! headers against the engine; files of earlier versions; replies of a form.
#![cfg(test)]

mod board;
mod c_header;
mod decoder;
mod finetune;
mod forms;
mod reference;
mod runs;
mod training;
mod versions;
mod zoo;
