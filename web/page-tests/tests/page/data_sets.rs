//! Data sets as people have them, learnt in the page as natively: in Parquet, with labels, with a
//! context beside the question, in an object.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use page_tests::Page;
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::json;

use crate::cases::{file, learned, notice_of};
use crate::{START, open_tiny};

const END: &str = "<|endoftext|>";

/// A row of questions, answers and labels.
type Row = (String, String, bool);

fn rows() -> Vec<Row> {
    let row = |i: usize| {
        (
            format!("What is {i}?"),
            format!("{i} is a number."),
            i % 6 != 5,
        )
    };
    (0..120).map(row).collect()
}

/// As hubs keep them.
fn in_parquet(rows: &[Row], compression: Compression) -> Result<Vec<u8>> {
    let schema = "message rows { required binary prompt (UTF8); required binary completion (UTF8); required boolean label; }";
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .build();
    let mut bytes = Vec::new();
    let schema = Arc::new(parse_message_type(schema)?);
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    let texts = |of: fn(&Row) -> &str| -> Vec<ByteArray> {
        rows.iter().map(|row| ByteArray::from(of(row))).collect()
    };
    let (prompts, completions) = (texts(|row| &row.0), texts(|row| &row.1));
    let mut columns = [prompts, completions].into_iter();
    while let Some(mut column) = group.next_column()? {
        match column.untyped() {
            ColumnWriter::BoolColumnWriter(labels) => {
                let values: Vec<bool> = rows.iter().map(|row| row.2).collect();
                labels.write_batch(&values, None, None)?;
            }
            ColumnWriter::ByteArrayColumnWriter(texts) => {
                texts.write_batch(&columns.next().context("no more texts")?, None, None)?;
            }
            _ => {}
        }
        column.close()?;
    }
    group.close()?;
    file.close()?;
    Ok(bytes)
}

/// How many conversations the page learns from the file, after it said what it holds.
fn conversations(page: &Page, path: &Path) -> Result<(String, String)> {
    page.drop_file(path)?;
    let name = path.file_name().context("no name")?.to_string_lossy();
    let (text, told) = learned(page, &format!("1 file: {name}"))?;
    ensure!(text.is_empty(), "{text}");
    page.wait_for("document.querySelector('#tune-conversations')", START)?;
    Ok((page.text("#tune-conversations")?, told))
}

#[test]
fn parquet_is_read_and_bad_answers_are_left_out() -> Result<()> {
    let page = open_tiny()?;
    let bytes = in_parquet(&rows(), Compression::SNAPPY)?;
    for (name, bytes) in [
        ("kto.parquet", &bytes),
        (
            "plain.parquet",
            &in_parquet(&rows(), Compression::UNCOMPRESSED)?,
        ),
    ] {
        let (learnt, told) = conversations(&page, &file(name, bytes)?)?;
        ensure!(learnt.starts_with("100 conversations"), "{learnt}");
        ensure!(told.contains("20 answers labelled as bad"), "{told}");
    }
    // The same rows as JSON lines.
    let line = |(prompt, completion, label): Row| {
        json!({ "prompt": prompt, "completion": completion, "label": label }).to_string() + "\n"
    };
    let lines: String = rows().into_iter().map(line).collect();
    let (learnt, told) = conversations(&page, &file("kto.jsonl", lines)?)?;
    ensure!(learnt.starts_with("100 conversations"), "{learnt}");
    ensure!(told.contains("20 answers labelled as bad"), "{told}");

    // What is damaged is refused by name, and ends nothing: the next is read.
    let mut damaged = vec![bytes[..bytes.len() / 2].to_vec()];
    for at in [bytes.len() - 6, bytes.len() - 60, bytes.len() - 200, 40] {
        let mut other = bytes.clone();
        other[at..at + 4].fill(0xff);
        damaged.push(other);
    }
    for (i, bytes) in damaged.iter().enumerate() {
        let name = format!("damaged-{i}.parquet");
        let told = notice_of(&page, &file(&name, bytes)?)?;
        ensure!(told.contains(&name), "{told}");
        eprintln!("{told}");
    }
    let good = file(
        "good.parquet",
        in_parquet(&rows()[..12], Compression::SNAPPY)?,
    )?;
    let (learnt, _) = conversations(&page, &good)?;
    ensure!(learnt.starts_with("10 conversations"), "{learnt}");

    // Its first bytes tell what it is, whatever it is called.
    let told = notice_of(&page, &file("login.parquet", "<!doctype html><p>Log in")?)?;
    ensure!(told.contains("login.parquet is no Parquet file"), "{told}");
    let (learnt, _) = conversations(&page, &file("train-00000", &bytes)?)?;
    ensure!(learnt.starts_with("100 conversations"), "{learnt}");
    Ok(())
}

#[test]
fn a_context_and_an_object_with_a_list_are_read() -> Result<()> {
    let page = open_tiny()?;
    let texts: Vec<_> = (0..50)
        .map(|i| json!({ "text": format!("line {i}") }))
        .collect();
    let set = json!({ "version": "1", "licenses": ["MIT"], "data": texts });
    page.drop_file(&file("set.json", format!("{set:#}"))?)?;
    let (text, _) = learned(&page, "1 file: set.json")?;
    let expected: String = (0..50).map(|i| format!("line {i}{END}")).collect();
    ensure!(text == expected, "{text}");

    let several = json!({ "train": texts, "test": texts });
    let told = notice_of(&page, &file("several.json", several.to_string())?)?;
    ensure!(
        told.contains("several.json") && told.contains("several lists: train, test"),
        "{told}"
    );

    // Dolly's context is what Alpaca's input is, and is no less learnt.
    let plan = |name: &str, context: &str, reply: &str| -> Result<String> {
        let page = open_tiny()?;
        let line = |i: usize| {
            let row = json!({ "instruction": format!("Who is {i}?"), context: format!("{i} is a dog."), reply: "A dog." });
            row.to_string() + "\n"
        };
        let lines: String = (0..40).map(line).collect();
        let (learnt, _) = conversations(&page, &file(name, lines)?)?;
        ensure!(learnt.starts_with("40 conversations"), "{learnt}");
        page.wait_for("document.querySelector('#tune-plan')", START)?;
        page.text("#tune-plan")
    };
    let dolly = plan("dolly.jsonl", "context", "response")?;
    let alpaca = plan("alpaca.jsonl", "input", "output")?;
    let without = plan("without.jsonl", "note", "output")?;
    ensure!(
        dolly == alpaca && dolly != without,
        "{dolly} {alpaca} {without}"
    );
    page.assert_clean()
}
